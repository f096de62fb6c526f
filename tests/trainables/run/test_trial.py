"""What one trial leaves: rows, weights and measures, however it ends."""

from __future__ import annotations

import json
import math
import socket
import sys
import uuid
from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.stored import at
from trainables.collective import Collective
from trainables.config.data import DataConfig, NetworkConfig
from trainables.config.execution import ExecutionConfig
from trainables.config.identity import parameters_text
from trainables.config.measures.adaptive_sharpness import AdaptiveSharpness
from trainables.config.measures.batch_sharpness import BatchSharpness
from trainables.config.measures.evaluation import Evaluation
from trainables.config.measures.hessian import Hessian
from trainables.config.measures.landscape import Landscape
from trainables.config.measures.noise_scale import NoiseScale
from trainables.config.measures.random_directions import RandomDirections
from trainables.config.measures.sharpness import Sharpness
from trainables.config.measures.spectrum import Spectrum
from trainables.config.optimizers.adagrad import AdaGrad
from trainables.config.optimizers.adam import Adam
from trainables.config.optimizers.cblr import CBLR
from trainables.config.optimizers.conservative import Conservative
from trainables.config.optimizers.lbfgs import LBFGS
from trainables.config.optimizers.sam import SAM
from trainables.config.optimizers.sgd import SGD
from trainables.config.training import BatchPhase
from trainables.config.trial import Beat, Trial
from trainables.installation import torch_version
from trainables.measures import take
from trainables.measures.evaluation import evaluate, prepared_copy
from trainables.methods.losses import evaluated
from trainables.prepare import prepare
from trainables.results import files
from trainables.results.layout import digest
from trainables.results.schema import TABLES, flatten
from trainables.results.storage import StorageError
from trainables.run import trial as trials

SHARPNESS = Sharpness(examples=40)
HESSIAN = Hessian(trace_samples=2, examples=40)
NOISE_SCALE = NoiseScale(small_batch_size=4, large_batch_size=20, pairs=3, examples=40)
EVERY_STEP = {"heartbeat_seconds": 1e-9}

UserModule = Callable[[str], str]


@pytest.fixture
def make(make_trial, tmp_path) -> Callable[..., Trial]:
    """A trial of ten steps in a folder of its own."""

    def made(size: int = 50, folder: str = "study", **settings: Any) -> Trial:
        trial: Trial = make_trial(tmp_path / folder, size, **settings)
        return trial

    return made


@pytest.fixture
def user_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> UserModule:
    """Writes a module beside the study file; returns its name."""
    monkeypatch.setattr(sys, "path", list(sys.path))

    def written(body: str) -> str:
        name = f"user_{uuid.uuid4().hex}"
        (tmp_path / f"{name}.py").write_text(f"import torch\nfrom torch import nn\n{body}\n")
        return name

    return written


def run(trial: Trial, **options: Any) -> list[Beat]:
    return list(trials.run(trial, **options))


def rows(trial: Trial, table: str) -> list[dict[str, Any]]:
    paths = sorted((Path(trial.folder) / table).glob(f"{trial.trial_id}*.parquet"))
    return [row for path in paths for row in files.read_rows(*at(path))]


def row(trial: Trial) -> dict[str, Any]:
    (found,) = rows(trial, "trials")
    return found


def kept(trial: Trial, step: int = 10) -> bytes:
    path = Path(trial.folder) / "weights" / trial.trial_id / f"{step}.safetensors"
    return path.read_bytes()


def untimed(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    timing = ("seconds", "training_seconds", "examples_per_second")
    return [{k: v for k, v in row.items() if k not in timing} for row in rows]


# ---------------------------------------------------------------------------------------- complete


def test_a_complete_trial(make):
    trial = make(
        optimizer=SGD(momentum=0.9, weight_decay=0.01),
        measures=(Evaluation(every_epochs=0.5), SHARPNESS),
        execution=EVERY_STEP,
    )
    beats = run(trial, concurrent_trials=3)
    assert [b.stage for b in beats] == ["training"] * 10 + ["measuring", "ended"]
    assert [b.optimizer_step for b in beats] == [*range(1, 11), 10, 10]
    assert [b.fraction for b in beats[:10]] == [i / 10 for i in range(1, 11)]
    assert beats[-2].measure == "sharpness" and beats[-1].status == "complete"

    found, (_, last) = row(trial), rows(trial, "evaluations")
    written = {k: v for k, v in found.items() if k in flatten(trial.config)}
    assert written == flatten(trial.config)
    assert (found["status"], found["stop_reason"], found["error"]) == ("complete", "budget", None)
    metrics = [c for c in TABLES["trials"].names if c.endswith(("_loss", "_accuracy"))]
    assert all(found[name] == last[name] for name in metrics if name != "target_train_loss")
    assert found["optimizer_step"] == 10 and found["epoch"] == 1.0
    assert found["examples_seen"] == 500 and found["effective_batch_size"] == 50.0
    assert found["lr_per_example"] == 0.1 / 50
    assert found["weight_decay_per_epoch"] == pytest.approx(0.1 * 0.01 * 500 / 50)
    assert 0.9 ** (found["momentum_half_life_examples"] / 50) == pytest.approx(0.5)
    assert found["smith_le_noise"] == pytest.approx(0.1 * (500 / 50 - 1) / (1 - 0.9))
    assert found["gradient_evaluations"] == 10
    assert found["num_parameters"] == 784 * 16 + 16 + 16 * 8 + 8 + 8 * 10 + 10 + 2 * 16 + 2 * 8
    assert found["num_train_examples"] == 500 and found["num_test_examples"] == 10_000
    assert found["micro_batch_size"] == 50 and found["accumulation_steps"] == 1
    assert found["concurrent_trials"] == 3 and found["every_epochs"] == 0.5
    assert found["training_seconds"] > 0 and found["evaluation_seconds"] > 0
    assert found["started_at"] < found["finished_at"]
    assert not (Path(trial.folder) / "checkpoints" / trial.trial_id).exists()


@pytest.mark.parametrize(
    ("optimizer", "half_life_steps", "decay"),
    [
        (SGD(), None, 0.0),
        (SAM(momentum=0.8, weight_decay=0.01), math.log(0.5) / math.log(0.8), 0.01),
        (Conservative(inner_steps=2), math.log(0.5) / math.log(0.9) / 2, None),
        (CBLR(momentum=0.8), math.log(0.5) / math.log(0.8), None),
        (AdaGrad(weight_decay=0.01), None, 0.01),
        (LBFGS(), None, None),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_what_follows_from_the_batch_is_null_where_it_has_no_sense(
    make, optimizer, half_life_steps, decay
):
    trial = make(optimizer=optimizer, optimizer_steps=1, base_lr=1e-3)
    run(trial)
    found = row(trial)
    half_life = None if half_life_steps is None else pytest.approx(50 * half_life_steps)
    assert found["momentum_half_life_examples"] == half_life
    per_epoch = None if decay is None else pytest.approx(1e-3 * decay * 10)
    assert found["weight_decay_per_epoch"] == per_epoch
    assert (found["smith_le_noise"] is not None) == isinstance(optimizer, SGD)


def test_the_rows_of_its_files_and_their_digests(make):
    trial = make(measures=(Evaluation(every_epochs=0.2),))
    run(trial)
    folder, id_ = Path(trial.folder), trial.trial_id
    files = row(trial)["files"]
    paths = [f"evaluations/{id_}.parquet", f"weights/{id_}/10.safetensors"]
    assert [file["path"] for file in files] == paths
    assert [file["rows"] for file in files] == [5, None]
    assert all(file["sha256"] == digest((folder / file["path"]).read_bytes()) for file in files)
    everything = {path.relative_to(folder).as_posix() for path in folder.rglob("*.*")}
    assert everything == {*paths, f"trials/{id_}.parquet", f"attempts/{id_}-1.parquet"}


def test_its_attempt(make):
    trial = make()
    running = trials.run(trial)
    next(running)
    (attempt,) = rows(trial, "attempts")
    assert attempt["status"] == "running" and attempt["finished_at"] is None
    list(running)
    (attempt,) = rows(trial, "attempts")
    assert attempt["status"] == "complete" and attempt["attempt"] == 1
    assert (attempt["start_step"], attempt["end_step"]) == (0, 10)


def test_its_evaluations_fall_on_the_first_step_at_or_after(make):
    schedule = (BatchPhase(until_epoch=0.2, global_batch_size=10, peak_lr=0.05),)
    trial = make(
        70,
        batch_schedule=schedule,
        measures=(Evaluation(every_epochs=0.1, train_examples=60),),
        discard_ratio=0.3,
        discard_epochs=0.5,
        decay="cosine",
    )
    run(trial)
    taken: list[tuple[int, int, int]] = []  # of each step: examples before, size, kept
    while (seen := sum(size for _, size, _ in taken)) < 500:
        size = 10 if seen < 100 else 70
        taken.append((seen, size, size - (size * 3 // 10 if seen < 250 else 0)))
    total = taken[-1][0] + 70
    after = [before + size for before, size, _ in taken]
    due = [1 + next(i for i, n in enumerate(after) if n >= 50 * k) for k in range(1, 11)]
    steps = sorted({*due, len(taken)})
    expected = [
        {
            "optimizer_step": step,
            "examples_seen": before + size,
            "epoch": (before + size) / 500,
            "global_batch_size": size,
            "effective_batch_size": kept_of,
            "train_examples_evaluated": 500 if step == len(taken) else 60,
        }
        for step in steps
        for before, size, kept_of in [taken[step - 1]]
    ]
    found = rows(trial, "evaluations")
    assert [{name: r[name] for name in expected[0]} for r in found] == expected
    rates = [
        (0.05 if before < 100 else 0.1) * (1 + math.cos(math.pi * before / total)) / 2
        for before, _, _ in (taken[step - 1] for step in steps)
    ]
    assert [r["lr"] for r in found] == pytest.approx(rates)
    mean_kept = sum(kept_of for *_, kept_of in taken) / len(taken)
    assert row(trial)["effective_batch_size"] == pytest.approx(mean_kept)


def test_more_training_examples_than_there_are_is_all_of_them(make):
    trial = make(measures=(Evaluation(every_epochs=0.5, train_examples=9999),))
    run(trial)
    assert [r["train_examples_evaluated"] for r in rows(trial, "evaluations")] == [500, 500]


def test_evaluating_at_every_step_changes_no_bit_of_the_weights(make):
    network = NetworkConfig(name="mlp", options={"hidden": [16, 8], "dropout": 0.3})
    settings = {"network": network, "discard_ratio": 0.3, "horizontal_flip": True, "epochs": 2.0}
    often = make(folder="often", measures=(Evaluation(every_epochs=0.1),), **settings)
    never = make(folder="never", measures=(Evaluation(every_epochs=99.0),), **settings)
    assert often.trial_id == never.trial_id
    run(often), run(never)
    assert len(rows(often, "evaluations")) == 20 and len(rows(never, "evaluations")) == 1
    assert kept(often, 20) == kept(never, 20)
    assert untimed(rows(often, "evaluations"))[-1:] == untimed(rows(never, "evaluations"))


def test_kept_weights_are_those_that_were_evaluated(make):
    trial = make()
    run(trial)
    prepared, state = prepare(trial, Collective())
    path = Path(trial.folder) / "weights" / trial.trial_id / "10.safetensors"
    state.model.load_state_dict(load_file(path))
    ready = prepared_copy(state.model, prepared.data, "recalibrated")
    functions = evaluated(trial.config)
    found = evaluate(ready, prepared.data, "test", "recalibrated", Collective(), functions)
    assert found == {name: row(trial)[name] for name in ("test_loss", "test_accuracy")}


@pytest.mark.parametrize(
    ("keep", "steps"), [("final", {10}), ("none", set()), ((0.25, 0.5, 9.0), {3, 5, 10})]
)
def test_which_weights_are_kept(make, keep, steps):
    trial = make(execution={"keep_weights": keep})
    run(trial)
    folder = Path(trial.folder) / "weights" / trial.trial_id
    assert {int(path.stem) for path in folder.glob("*")} == steps
    assert len(row(trial)["files"]) == 1 + len(steps)
    if keep not in ("final", "none"):
        assert len({path.read_bytes() for path in folder.glob("*")}) == len(steps)


def test_a_validation_split_is_recorded(make):
    data = DataConfig(source="mnist-5k", train_examples=500, validation_examples=100)
    trial = make(data=data)
    run(trial)
    (last,) = rows(trial, "evaluations")
    found = row(trial)
    assert found["num_train_examples"] == 400 and found["num_validation_examples"] == 100
    assert found["optimizer_step"] == 8
    assert math.isfinite(last["validation_loss"]) and 0 <= last["validation_accuracy"] <= 1
    assert found["validation_loss"] == last["validation_loss"] != last["train_loss"]
    without = make(folder="without")
    run(without)
    assert row(without)["validation_loss"] is None


@pytest.mark.parametrize(("target", "steps"), [(1e9, 10), (1e-9, 30)])
def test_a_target_stops_at_the_first_epoch_that_has_it(make, target, steps):
    trial = make(target_train_loss=target, max_epochs=3.0, measures=(Evaluation(every_epochs=0.5),))
    assert run(trial)[-1].status == "complete"
    found = row(trial)
    assert found["optimizer_step"] == steps
    assert found["stop_reason"] == ("target_train_loss" if steps == 10 else "budget")
    assert found["train_loss"] <= target or steps == 30
    assert kept(trial, steps)


def test_a_target_is_looked_at_on_all_training_examples(make):
    measures = (Evaluation(every_epochs=2.0, train_examples=50),)
    trial = make(target_train_loss=1e9, max_epochs=3.0, measures=measures)
    run(trial)
    (only,) = rows(trial, "evaluations")
    assert only["optimizer_step"] == 10 and only["train_examples_evaluated"] == 500


def test_evaluation_normalization_is_a_choice_that_matters(make):
    found = {}
    for choice in ("recalibrated", "running", "batch"):
        trial = make(evaluation_normalization=choice)
        run(trial)
        assert row(trial)["evaluation_normalization"] == choice
        found[choice] = row(trial)["test_loss"], kept(trial)
    assert len({loss for loss, _ in found.values()}) == 3
    assert len({weights for _, weights in found.values()}) == 1


@pytest.mark.parametrize("precision", ["float32", "float64", "bf16"])
def test_precisions(make, precision):
    trial = make(precision=precision, measures=(Evaluation(), SHARPNESS))
    assert run(trial)[-1].status == "complete"
    path = Path(trial.folder) / "weights" / trial.trial_id / "10.safetensors"
    kinds = {value.dtype for value in load_file(path).values() if value.is_floating_point()}
    assert kinds == {torch.float64 if precision == "float64" else torch.float32}
    measured = {r["precision"] for r in rows(trial, "measures")}
    assert measured == {"float64" if precision == "float64" else "float32"}


# --------------------------------------------------------------------------------------- measures


def test_measures_at_the_end(make):
    trial = make(measures=(Evaluation(), SHARPNESS, HESSIAN, NOISE_SCALE))
    run(trial)
    found = rows(trial, "measures")
    assert {r["measure"] for r in found} == {"sharpness", "hessian", "noise-scale"}
    assert {r["method"] for r in found} >= {"paper", "best", "lanczos", "hutchinson"}
    noise = [r["quantity"] for r in found if r["method"] == "batches 4 and 20"]
    assert sorted(noise) == ["gradient_squared_norm", "gradient_trace_covariance", "noise_scale"]
    for r in found:
        assert r["error"] is None and math.isfinite(r["value"]) and r["certificate"]
        assert r["at_end"] and r["optimizer_step"] == 10 and r["epoch"] == 1.0
        assert r["normalization"] == "recalibrated" and r["split"] == "train"
        assert r["examples"] == 40 and r["seconds"] > 0
        assert json.loads(r["parameters"])["examples"] == 40


def test_measures_of_the_loss_around_the_weights_give_values_and_curves(make):
    measures = (
        AdaptiveSharpness(examples=40),
        Spectrum(lanczos_steps=4, vectors=2, examples=40),
        RandomDirections(directions=3, examples=40),
        Landscape(points=3, examples=40),
    )
    trial = make(measures=(Evaluation(), *measures))
    run(trial)
    found, curves = rows(trial, "measures"), rows(trial, "curves")
    assert {r["measure"] for r in found} == {measure.name for measure in measures}
    assert all(r["error"] is None and math.isfinite(r["value"]) for r in found)
    assert {(r["measure"], r["quantity"]) for r in curves} == {
        ("spectrum", "spectral_density"),
        ("spectrum", "spectral_weight"),
        ("random-directions", "rise"),
        ("landscape", "train_loss"),
    }
    for r in curves:
        assert r["at_end"] and r["optimizer_step"] == 10 and r["examples"] == 40
        assert math.isfinite(r["x"]) and math.isfinite(r["value"])
        assert (r["y"] is not None) == (r["measure"] == "landscape")


def test_batch_sharpness_is_that_of_the_batch_size_in_force(make):
    asked = BatchSharpness(batches=2, every_epochs=0.25)
    schedule = (BatchPhase(until_epoch=0.5, global_batch_size=25),)
    trial = make(batch_schedule=schedule, measures=(Evaluation(), asked))
    run(trial)
    found = [r for r in rows(trial, "measures") if r["method"] == "mean of ratios"]
    sizes = {r["epoch"]: r["certificate"] for r in found}
    assert sizes == {
        0.25: "2 batches of 25 drawn",
        0.5: "2 batches of 25 drawn",
        0.8: "2 batches of 50 drawn",  # the first step boundary after .75
        1.0: "2 batches of 50 drawn",
    }
    # As asked, so that trials of all batch sizes have it under one name.
    assert {r["parameters"] for r in found} == {parameters_text(asked)}
    fixed = make(folder="fixed", measures=(Evaluation(), replace(asked, batch_size=7)))
    run(fixed)
    assert {r["certificate"] for r in rows(fixed, "measures")} == {"2 batches of 7 drawn"}


def test_a_measure_that_fails_is_a_row(make, monkeypatch):
    def fails(*args: Any) -> None:
        raise RuntimeError("did not converge")

    monkeypatch.setitem(take.OF_OBJECTIVE, "hessian", fails)
    trial = make(measures=(Evaluation(), HESSIAN, SHARPNESS))
    assert run(trial)[-1].status == "complete"
    by_measure = {r["measure"]: r for r in rows(trial, "measures")}
    assert by_measure["hessian"]["error"] == "RuntimeError: did not converge"
    assert by_measure["hessian"]["value"] is None
    assert by_measure["sharpness"]["error"] is None


def test_measures_that_are_missing_are_taken_later_without_training(make):
    complete = make(folder="complete", measures=(Evaluation(), SHARPNESS, HESSIAN))
    run(complete)
    trial = make(folder="later", measures=(Evaluation(), SHARPNESS))
    run(trial)
    files = {p: p.read_bytes() for p in Path(trial.folder).rglob("*.*")}
    later = replace(trial, measures=(Evaluation(), SHARPNESS, HESSIAN))
    beats = run(later)
    assert [(b.stage, b.measure) for b in beats] == [("measuring", "hessian"), ("ended", None)]
    assert beats[-1].status == "complete"
    assert {p: p.read_bytes() for p in files} == files
    new = {p.parent.name for p in Path(trial.folder).rglob("*.*") if p not in files}
    assert new == {"measures", "attempts"}
    assert untimed(rows(later, "measures")) == untimed(rows(complete, "measures"))
    assert [b.stage for b in run(later)] == ["ended"]


def test_a_measure_whose_weights_were_not_kept_fails_and_leaves_the_trial(make):
    trial = make(execution={"keep_weights": "none"})
    run(trial)
    before = row(trial)
    *_, last = run(replace(trial, measures=(Evaluation(), HESSIAN)))
    assert last.status == "failed" and "--retrain" in (last.error or "")
    assert row(trial) == before
    assert [r["status"] for r in rows(trial, "attempts")] == ["complete", "failed"]


def test_a_measure_is_not_taken_of_weights_that_were_damaged(make):
    trial = make()
    run(trial)
    path = Path(trial.folder) / "weights" / trial.trial_id / "10.safetensors"
    content = bytearray(path.read_bytes())
    content[-5] ^= 0x10
    path.write_bytes(content)
    *_, last = run(replace(trial, measures=(Evaluation(), HESSIAN)))
    assert last.status == "failed" and "not those it was recorded with" in (last.error or "")
    assert not rows(trial, "measures")


def test_measures_along_training_change_no_bit_of_it(make):
    along = replace(SHARPNESS, every_epochs=0.25)
    settings = {"network": NetworkConfig(name="mlp", options={"hidden": [16, 8], "dropout": 0.3})}
    trial = make(folder="along", measures=(Evaluation(), along), **settings)
    plain = make(folder="plain", **settings)
    run(trial), run(plain)
    assert kept(trial) == kept(plain)
    assert untimed(rows(trial, "evaluations")) == untimed(rows(plain, "evaluations"))
    found = {(r["optimizer_step"], r["at_end"]) for r in rows(trial, "measures")}
    assert found >= {(3, False), (5, False), (8, False), (10, True)}
    epochs = {r["optimizer_step"]: r["epoch"] for r in rows(trial, "measures")}
    assert epochs == {3: 0.3, 5: 0.5, 8: 0.8, 10: 1.0}
    values = {r["optimizer_step"]: r["start_loss"] for r in rows(trial, "measures")}
    assert len(set(values.values())) == 4


def test_stopped_within_a_measure_it_goes_on_there(make):
    undisturbed = make(folder="undisturbed", measures=(Evaluation(), SHARPNESS, HESSIAN))
    run(undisturbed)
    trial = make(measures=(Evaluation(), SHARPNESS, HESSIAN))
    stage: list[str] = []
    running = trials.run(trial, should_stop=lambda: stage[-1:] == ["hessian"])
    beats = [(stage.append(b.measure or b.stage), b)[1] for b in running]
    assert beats[-1].status == "interrupted" and row(trial)["status"] == "interrupted"
    assert {r["measure"] for r in rows(trial, "measures")} == {"sharpness"}
    assert [b.measure for b in run(trial)] == ["hessian", None]
    assert [r["start_step"] for r in rows(trial, "attempts")] == [0, 10]
    assert untimed(rows(trial, "measures")) == untimed(rows(undisturbed, "measures"))
    assert kept(trial) == kept(undisturbed)


def test_stopped_within_a_measure_after_a_target_was_reached_it_trains_no_further(make):
    trial = make(target_train_loss=1e9, max_epochs=3.0, measures=(Evaluation(), HESSIAN))
    stage: list[str] = []
    running = trials.run(trial, should_stop=lambda: stage[-1:] == ["measuring"])
    assert [(stage.append(b.stage), b.status)[1] for b in running][-1] == "interrupted"
    assert [b.stage for b in run(trial)] == ["measuring", "ended"]
    assert row(trial)["optimizer_step"] == 10
    assert row(trial)["stop_reason"] == "target_train_loss"


def test_stopped_within_a_measure_of_a_complete_trial_the_trial_stays_complete(make):
    trial = make()
    run(trial)
    more = replace(trial, measures=(Evaluation(), HESSIAN))
    assert run(more, should_stop=lambda: True)[-1].status == "interrupted"
    assert row(trial)["status"] == "complete"
    assert run(more)[-1].status == "complete" and rows(trial, "measures")


def test_measures_of_batch_statistics_use_recalibrated_ones_and_say_so(make):
    trial = make(evaluation_normalization="batch", measures=(Evaluation(), SHARPNESS))
    run(trial)
    assert {r["normalization"] for r in rows(trial, "measures")} == {"recalibrated"}


# --------------------------------------------------------------------------------- the other ends


@pytest.mark.parametrize("heartbeat_seconds", [1e-9, 1e9])
def test_a_diverged_trial_is_a_row_with_its_step(make, heartbeat_seconds, user_module, tmp_path):
    name = user_module(
        """
class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(784, 10)
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x):
        if self.training:
            self.calls += 1
        return self.layer(x.flatten(1)) * torch.where(self.calls == 3, torch.nan, 1.0)

def build(input_shape, num_classes):
    return Network()
"""
    )
    trial = make(
        network=NetworkConfig(build=f"{name}:build"),
        import_folder=tmp_path,
        measures=(Evaluation(every_epochs=0.2), SHARPNESS),
        execution={"heartbeat_seconds": heartbeat_seconds},
    )
    beats = run(trial)
    assert beats[-1].status == "diverged" and beats[-1].optimizer_step == 3
    found = row(trial)
    assert found["status"] == "diverged" and found["stop_reason"] is None
    assert found["error"] == "loss not finite at step 3"
    assert found["optimizer_step"] == 3 and found["examples_seen"] == 150
    assert found["train_loss"] is None  # the evaluation at step 2 is not what it ended with
    assert [r["optimizer_step"] for r in rows(trial, "evaluations")] == [2]
    assert [file["rows"] for file in found["files"]] == [1]
    assert not rows(trial, "measures") and rows(trial, "attempts")[0]["end_step"] == 3
    assert [b.status for b in run(trial)] == ["diverged"]


def test_weights_that_are_not_finite_after_the_last_step_are_divergence(make):
    network = NetworkConfig(name="mlp", options={"hidden": [16, 8], "batch_norm": False})
    trial = make(base_lr=3e38, optimizer_steps=1, network=network)
    assert run(trial)[-1].status == "diverged"
    found = row(trial)
    assert found["optimizer_step"] == 1 and not math.isfinite(found["train_loss"])


FAILING = """
class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(784, 10)

    def forward(self, x):
        if len(x) == 50:
            raise RuntimeError("out of luck")
        return self.layer(x.flatten(1))

def build(input_shape, num_classes):
    return Network()
"""


def test_a_failed_trial_is_a_row_with_its_error_and_runs_again(make, user_module, tmp_path):
    name = user_module(FAILING)
    trial = make(network=NetworkConfig(build=f"{name}:build"), import_folder=tmp_path)
    (last,) = run(trial)
    assert last.status == "failed" and last.error == "RuntimeError: out of luck"
    found = row(trial)
    assert found["status"] == "failed" and found["error"] == "RuntimeError: out of luck"
    assert found["global_batch_size"] == 50 and found["attempt"] == 1
    path = tmp_path / f"{name}.py"
    path.write_text(path.read_text().replace("len(x) == 50", "False"))
    del sys.modules[name]
    assert run(trial)[-1].status == "complete"
    assert row(trial)["status"] == "complete" and row(trial)["error"] is None
    assert [r["status"] for r in rows(trial, "attempts")] == ["failed", "complete"]


def test_what_cannot_be_set_up_is_a_failed_row(make):
    trial = make(execution={"max_micro_batch_size": 10})
    (last,) = run(trial)
    assert last.status == "failed" and "ghost_batch_size" in (last.error or "")
    assert row(trial)["status"] == "failed"


def test_an_interrupted_trial_is_a_row(make):
    trial = make(execution=EVERY_STEP)
    (last,) = run(trial, should_stop=lambda: True)
    assert last.status == "interrupted" and row(trial)["status"] == "interrupted"
    assert (Path(trial.folder) / "checkpoints" / trial.trial_id).exists()
    assert run(trial)[-1].status == "complete" and row(trial)["status"] == "complete"


# ----------------------------------------------------------------------------- the user's own code


LOADER = """
from trainables.methods.losses import evaluated
from trainables.datasets.splits import Splits

def examples(count, seed, shape):
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randint(256, (count, *shape), generator=generator, dtype=torch.uint8)
    return inputs.numpy(), torch.arange(count).numpy() % 10

def load(side=32):
    return Splits(train=examples(60, 0, (3, side, side)), test=examples(20, 1, (3, side, side)))
"""


@pytest.mark.parametrize("channels_last", [None, True, False])
def test_c1_on_images_of_ones_own(make, user_module, tmp_path, channels_last):
    data = DataConfig(source="load", load=f"{user_module(LOADER)}:load", standardize=True)
    trial = make(
        20,
        data=data,
        network=NetworkConfig(name="c1"),
        import_folder=tmp_path,
        optimizer_steps=2,
        optimizer=Adam(),
        horizontal_flip=True,
        ghost_batch_size=10,
        execution={"channels_last": channels_last, "max_micro_batch_size": 10},
    )
    assert run(trial)[-1].status == "complete"
    found = row(trial)
    assert found["num_parameters"] == 1_757_834
    assert found["channels_last"] is (channels_last is not False)
    assert found["accumulation_steps"] == 2 and found["optimizer_step"] == 2
    assert found["data_source_hash"] and found["network_source_hash"] is None
    assert math.isfinite(found["test_loss"])


def test_memory_format_is_no_part_of_the_mathematics(make, user_module, tmp_path):
    network = f"{user_module(SMALL_CONVOLUTION)}:build"
    data = DataConfig(source="load", load=f"{user_module(LOADER)}:load", options={"side": 8})
    ends = []
    for channels_last in (True, False):
        trial = make(
            20,
            folder=str(channels_last),
            data=data,
            network=NetworkConfig(build=network),
            import_folder=tmp_path,
            epochs=3.0,
            precision="float64",
            execution={"channels_last": channels_last},
        )
        run(trial)
        path = Path(trial.folder) / "weights" / trial.trial_id / "9.safetensors"
        ends.append(load_file(path))
    for name, value in ends[0].items():
        torch.testing.assert_close(value, ends[1][name], rtol=1e-10, atol=1e-10)


SMALL_CONVOLUTION = """
def build(input_shape, num_classes):
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 10)
    )
"""


def test_weights_that_share_memory_are_kept(make, user_module, tmp_path):
    """safetensors refuses tensors that share memory."""
    name = user_module(
        """
def build(input_shape, num_classes):
    one, two = nn.Linear(10, 10), nn.Linear(10, 10)
    two.weight = one.weight
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 10), one, two)
"""
    )
    network = NetworkConfig(build=f"{name}:build")
    trial = make(network=network, import_folder=tmp_path)
    assert run(trial)[-1].status == "complete"
    found = row(trial)
    assert found["num_parameters"] == 7850 + 100 + 20
    assert found["network_source_hash"] and found["parameter_shapes_hash"]
    measured = replace(trial, measures=(Evaluation(), HESSIAN))
    assert run(measured)[-1].status == "complete"
    assert all(r["error"] is None for r in rows(measured, "measures"))


def test_every_setting_that_runs_is_in_the_row(make):
    """A field of the trial that a reader of the table cannot see would be lost."""
    trial = make()
    run(trial)
    names = {f.name for f in fields(trial.config)} - {"start"} | {"start_trial_id", "start_epoch"}
    assert names <= row(trial).keys()
    shown: Mapping[str, Any] = row(trial)
    execution = {f.name for f in fields(ExecutionConfig)}
    for name in execution & shown.keys() - {"device", "channels_last"}:
        assert shown[name] == getattr(trial.execution, name)


def test_code_that_asks_to_exit_is_a_failed_trial(make, user_module, tmp_path):
    name = user_module(
        "import sys\n"
        "class Net(nn.Linear):\n"
        "    def forward(self, x):\n"
        "        if self.training: sys.exit('no more')\n"
        "        return super().forward(x.flatten(1))\n"
        "def build(input_shape, num_classes): return Net(784, num_classes)"
    )
    trial = make(network=NetworkConfig(build=f"{name}:build"), import_folder=tmp_path)
    assert run(trial)[-1].error == "SystemExit: no more"
    (row,) = rows(trial, "trials")
    assert row["status"] == "failed"
    (attempt,) = rows(trial, "attempts")
    assert attempt["traceback"].startswith("In your code:") and f"{name}.py" in attempt["traceback"]


def test_a_node_that_does_not_see_the_results_ends_the_run_with_its_name(
    make_trial: Callable[..., Trial], tmp_path: Path
) -> None:
    trial, elsewhere = make_trial(tmp_path / "study"), str(tmp_path / "not-mounted")
    with pytest.raises(StorageError, match=f"{elsewhere}: is not there on {socket.gethostname()}"):
        next(trials.run(trial, scratch=elsewhere))
    assert not (tmp_path / "study").exists()


def test_the_version_of_torch_is_known_without_it() -> None:
    assert torch_version() == torch.__version__
