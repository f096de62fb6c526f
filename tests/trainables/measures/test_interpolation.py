"""The path between two solutions: its ends are the two trials, bit for bit."""

from __future__ import annotations

import math
import sys
import uuid
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.stored import at
from trainables.collective import Collective
from trainables.config.data import NetworkConfig
from trainables.config.measures.evaluation import Evaluation
from trainables.config.measures.interpolation import Interpolation
from trainables.config.trial import Trial
from trainables.draws import fixed_sample
from trainables.measures.evaluation import evaluate, prepared_copy
from trainables.measures.initial import weight_vector
from trainables.measures.interpolation import (
    alphas,
    coefficients,
    loss_barrier,
    second_derivative,
)
from trainables.measures.objective import Objective
from trainables.methods.losses import evaluated
from trainables.prepare import prepare
from trainables.results import files
from trainables.results.layout import weights_file
from trainables.run import trial as trials
from trainables.weights import kept_weights

LINEAR = Interpolation(points=7)
CURVILINEAR = Interpolation(path="curvilinear", points=7)
QUANTITIES = ("train_loss", "train_accuracy", "test_loss", "test_accuracy")
NO_NORMALIZATION = """
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 6), nn.Tanh(), nn.Linear(6, 10))
"""
COUNTER = """
    class Counting(nn.Linear):
        def __init__(self):
            super().__init__(784, 10)
            self.register_buffer("calls", torch.zeros(()))
        def forward(self, x):
            self.calls += self.training * len(x)
            return super().forward(x.flatten(1))
    return Counting()
"""


@pytest.fixture
def user_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], NetworkConfig]:
    """A network from the body of its build function, in a module beside the study."""
    monkeypatch.setattr(sys, "path", list(sys.path))

    def written(body: str) -> NetworkConfig:
        name = f"user_{uuid.uuid4().hex}"
        head = "import torch\nfrom torch import nn\n\ndef build(input_shape, num_classes):"
        (tmp_path / f"{name}.py").write_text(head + body)
        return NetworkConfig(build=f"{name}:build")

    return written


@pytest.fixture
def pair(make_trial, tmp_path) -> Callable[..., tuple[Trial, Trial]]:
    """Two trials, at batch sizes 50 and 100, in float64; the first has run."""

    def made(*measures: Any, **settings: Any) -> tuple[Trial, Trial]:
        settings = {"precision": "float64", "import_folder": tmp_path} | settings
        small = make_trial(tmp_path / "study", 50, **settings)
        large = make_trial(tmp_path / "study", 100, measures=(Evaluation(), *measures), **settings)
        assert run(small) == "complete"
        return small, replace(large, other_trial_ids=(small.trial_id,))

    return made


def run(trial: Trial, **options: Any) -> str:
    return list(trials.run(trial, **options))[-1].status


def rows(trial: Trial, table: str) -> list[dict[str, Any]]:
    paths = sorted((Path(trial.folder) / table).glob(f"{trial.trial_id}*.parquet"))
    return [row for path in paths for row in files.read_rows(*at(path))]


def curve(trial: Trial, quantity: str = "train_loss") -> dict[float, float]:
    return {r["x"]: r["value"] for r in rows(trial, "curves") if r["quantity"] == quantity}


def value(trial: Trial, quantity: str, method: str | None = None) -> float:
    (found,) = (
        r["value"]
        for r in rows(trial, "measures")
        if r["quantity"] == quantity and method in (None, r["method"])
    )
    assert isinstance(found, float)
    return found


# --------------------------------------------------------------------------------------- the path


def test_points_are_equidistant_decimals():
    third = [Fraction(i, 10) for i in range(-2, 14, 3)]
    found = alphas(Interpolation(alpha_min=-0.2, alpha_max=1.3, points=6))
    assert found == sorted({*third, Fraction(0), Fraction(1)})
    assert [float(a) for a in alphas(Interpolation())] == [i / 8 for i in range(-8, 17)]
    assert alphas(Interpolation(alpha_min=0, alpha_max=1, points=3)) == [0, Fraction(1, 2), 1]


@pytest.mark.parametrize("path", ["linear", "curvilinear"])
def test_both_paths_begin_and_end_at_the_solutions(path):
    assert coefficients(path, 0.0) == (0.0, 1.0)
    assert coefficients(path, 1.0) == (1.0, 0.0)


@pytest.mark.parametrize("alpha", [-1.0, -0.4, 0.25, 0.5, 1.3, 2.0])
def test_between_them_they_are_the_papers(alpha):
    assert coefficients("linear", alpha) == (alpha, 1 - alpha)
    angle = alpha * math.pi / 2
    expected = (math.sin(angle), math.cos(angle))
    assert coefficients("curvilinear", alpha) == pytest.approx(expected, abs=1e-15)


# ---------------------------------------------------------------------------------------- the ends


@pytest.mark.parametrize("normalization", ["recalibrated", "batch"])
@pytest.mark.parametrize("measure", [LINEAR, CURVILINEAR], ids=lambda m: m.path)
def test_its_ends_are_the_recorded_evaluations(pair, measure, normalization):
    small, large = pair(measure, evaluation_normalization=normalization)
    assert run(large) == "complete"
    recorded = [rows(trial, "evaluations")[-1] for trial in (small, large)]
    for quantity in QUANTITIES:
        found = curve(large, quantity)
        assert [found[0.0], found[1.0]] == [row[quantity] for row in recorded], quantity
    assert {row["normalization"] for row in rows(large, "curves")} == {normalization}
    assert len(curve(large)) == 7


def test_of_running_statistics_the_ends_are_recalibrated(pair):
    """Statistics that only training could make exist at no other point."""
    small, large = pair(LINEAR, evaluation_normalization="running")
    assert run(large) == "complete"
    assert {row["normalization"] for row in rows(large, "curves")} == {"recalibrated"}
    prepared, state = prepare(small, Collective())
    state.model.load_state_dict(kept_weights(prepared.storage, small.trial_id))
    ready = prepared_copy(state.model, prepared.data, "recalibrated")
    functions = evaluated(small.config)
    found = evaluate(ready, prepared.data, "test", "recalibrated", Collective(), functions)
    loss = found["test_loss"]
    assert curve(large, "test_loss")[0.0] == loss != rows(small, "evaluations")[-1]["test_loss"]


def test_between_them_statistics_belong_to_the_point(pair):
    small, large = pair(Interpolation(points=5, alpha_min=0, alpha_max=1))
    assert run(large) == "complete"
    prepared, state = prepare(large, Collective())
    ends = [kept_weights(prepared.storage, trial.trial_id) for trial in (small, large)]
    weights = {name for name, _ in state.model.named_parameters()}
    mixed = {name: 0.75 * ends[0][name] + 0.25 * ends[1][name] for name in weights}
    losses = []
    for normalization in ("recalibrated", "running"):
        state.model.load_state_dict(ends[0] | mixed)
        ready = prepared_copy(state.model, prepared.data, normalization)
        functions = evaluated(large.config)
        found = evaluate(ready, prepared.data, "test", normalization, Collective(), functions)
        losses.append(found["test_loss"])
    assert curve(large, "test_loss")[0.25] == pytest.approx(losses[0], rel=1e-12)
    assert abs(losses[1] - losses[0]) > 1e-3


def test_it_leaves_the_network_and_both_trials_as_they_were(pair):
    small, large = pair(LINEAR)
    assert run(replace(large, measures=(Evaluation(),))) == "complete"
    files = {p: p.read_bytes() for p in Path(large.folder).rglob("*.*") if "attempts" not in str(p)}
    assert run(large) == "complete"
    assert {path: path.read_bytes() for path in files} == files
    assert len(rows(large, "measures")) == 3 and not rows(small, "measures")


# ------------------------------------------------------------------------------------ what it says


def test_its_rows(pair):
    small, large = pair(replace(LINEAR, examples=40))
    assert run(large) == "complete"
    points, values = rows(large, "curves"), rows(large, "measures")
    assert len(points) == 7 * 4
    for row in (*points, *values):
        assert row["other_trial_id"] == small.trial_id
        assert row["measure"] == "interpolation" and row["at_end"] and row["optimizer_step"] == 5
    assert {(r["split"], r["examples"]) for r in points} == {("train", 40), ("test", 10_000)}
    assert {r["quantity"].partition("_")[0] == r["split"] for r in points} == {True}
    assert {r["method"] for r in points} == {"linear"}
    named = {(r["quantity"], r["method"]) for r in values}
    curvatures = {("path_curvature", f"at alpha {alpha}") for alpha in (0, 1)}
    assert named == {("loss_barrier", "linear")} | curvatures
    assert all(r["error"] is None and r["start_loss"] == curve(large)[1.0] for r in values)


def test_the_barrier_is_what_exceeds_the_straight_line():
    losses = {Fraction(i - 1, 4): loss for i, loss in enumerate((99.0, 2.0, 3.0, 9.0, 4.0, 6.0))}
    assert loss_barrier(losses) == (Fraction(1, 2), 9.0 - 4.0)
    valley = {Fraction(0): 1.0, Fraction(1, 2): 0.0, Fraction(1): 3.0}
    assert loss_barrier(valley) == (Fraction(0), 0.0)
    assert math.isnan(loss_barrier(valley | {Fraction(1, 2): math.nan})[1])


def test_the_barrier_of_a_trial(pair):
    _, large = pair(Interpolation(points=4, alpha_min=0.0, alpha_max=1.0))
    assert run(large) == "complete"
    loss = curve(large)
    excess = [loss[a] - (a * loss[1.0] + (1 - a) * loss[0.0]) for a in loss]
    assert value(large, "loss_barrier") == pytest.approx(max(excess), rel=1e-12)
    assert not [r for r in rows(large, "measures") if r["quantity"] == "path_curvature"]


def test_the_second_derivative_of_a_parabola_is_exact():
    points = (Fraction(-1), Fraction(0), Fraction(1, 3), Fraction(1))
    losses = {a: float(7 * a * a - 3 * a + 2) for a in points}
    assert second_derivative(losses, 0) == pytest.approx(14, rel=1e-12)
    assert second_derivative(losses, 1) is None


def test_path_curvature_is_that_of_the_hessian_along_the_path(pair, user_network):
    """u'Hu at both solutions, u = (x_LB - x_SB) / |x_LB - x_SB|, by Hessian-vector products."""
    network = user_network(NO_NORMALIZATION)
    near = Interpolation(points=27, alpha_min=-0.04, alpha_max=1.04, examples=60)
    small, large = pair(near, network=network)
    assert run(large) == "complete"
    prepared, state = prepare(large, Collective())
    vectors = []
    for trial in (small, large):
        state.model.load_state_dict(kept_weights(prepared.storage, trial.trial_id))
        vectors.append(weight_vector(state.model))
    sample = torch.from_numpy(fixed_sample(500, 60).copy())
    objective = Objective(state.model.eval(), *prepared.data.batch("train", sample))
    unit = (vectors[1] - vectors[0]) / (vectors[1] - vectors[0]).norm()
    for alpha, x in enumerate(vectors):
        expected = objective.hessian_vector_products(x)(unit[None])[0] @ unit
        found = value(large, "path_curvature", f"at alpha {alpha}")
        assert found == pytest.approx(expected.item(), rel=1e-2)


# ------------------------------------------------------------------------------ what may go wrong


def test_without_another_trial_there_is_nothing(make_trial, tmp_path):
    trial = make_trial(tmp_path, measures=(Evaluation(), LINEAR))
    assert run(trial) == "complete"
    assert not rows(trial, "measures") and not rows(trial, "curves")
    assert [beat.stage for beat in trials.run(trial)] == ["ended"]


def test_it_waits_until_the_other_trial_is_complete(make_trial, tmp_path):
    small = make_trial(tmp_path, 50)
    large = make_trial(tmp_path, 100, measures=(Evaluation(), LINEAR))
    large = replace(large, other_trial_ids=(small.trial_id,))
    assert run(large) == "complete" and not rows(large, "measures")
    assert run(small) == run(large) == "complete"
    assert len(curve(large)) == 7


def test_weights_of_the_other_trial_that_are_gone_are_an_error_that_says_what_to_do(pair):
    small, large = pair(LINEAR)
    (Path(small.folder) / weights_file(small.trial_id, 10)).unlink()
    assert run(large) == "complete"
    (row,) = rows(large, "measures")
    assert row["value"] is None and not rows(large, "curves")
    for word in (small.trial_id, "were not kept", "keep_weights: final", "measure STUDY --retry"):
        assert word in row["error"]


def test_another_partner_is_another_measure(pair, make_trial):
    small, large = pair(LINEAR)
    assert run(large) == "complete"
    third = make_trial(Path(large.folder), 25, precision="float64")
    assert run(third) == "complete"
    both = replace(large, other_trial_ids=(small.trial_id, third.trial_id))
    before = rows(large, "measures")
    assert run(both) == "complete"
    new = [r for r in rows(large, "measures") if r not in before]
    assert {r["other_trial_id"] for r in new} == {small.trial_id, third.trial_id}
    turned = replace(both, other_trial_ids=both.other_trial_ids[::-1])
    assert [beat.stage for beat in trials.run(turned)] == ["ended"]


def test_stopped_on_the_path_it_is_taken_again(pair):
    _, large = pair(LINEAR)
    assert run(replace(large, measures=(Evaluation(),))) == "complete"
    asked = iter(range(1000))
    assert run(large, should_stop=lambda: next(asked) > 4) == "interrupted"
    assert not rows(large, "measures") and not rows(large, "curves")
    assert run(large) == "complete" and len(curve(large)) == 7


def test_a_buffer_that_training_changes_has_no_value_between(pair, user_network):
    _, large = pair(LINEAR, network=user_network(COUNTER), epochs=1.1)
    assert run(large) == "complete"
    (row,) = rows(large, "measures")
    assert "calls of the network is neither" in row["error"]
