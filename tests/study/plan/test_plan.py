"""From a study to its trials: how many, in which order, under which ids, and what is refused."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from study.grid.spec import StudyError, load_spec
from study.plan.estimate import ADVERSARIAL_GRADIENTS, FLOPS_PER_SECOND, estimate, trial_cost
from study.plan.plan import Plan, expand
from study.plan.points import Point
from tests.stored import at
from tests.study.mnist_facts import N, facts
from trainables.config import identity
from trainables.config.execution import ExecutionConfig
from trainables.config.measures.evaluation import Evaluation
from trainables.config.measures.hessian import Hessian
from trainables.config.trial import Trial
from trainables.networks.cards import cost
from trainables.results import files
from trainables.results.schema import TABLES

BASE = {"base_lr": 0.02, "epochs": 10, "lr_reference_batch_size": 32}
ONCE = settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def planned(folder: Path, **sections: Any) -> Plan:
    """The plan of a study of these sections, on an MLP."""
    path = folder / "study.yaml"
    written = {"name": "x", "network": {"name": "mlp"}, "training": BASE} | sections
    path.write_text(json.dumps(written))  # JSON is YAML
    return expand(load_spec(path), facts)


AXES = {
    "training.global_batch_size": [1, 8, 32, 500, 1000, 5000],
    "training.lr_scaling": ["none", "linear", "sqrt"],
    "training.warmup_epochs": [0, 0.5, 2],
    "training.discard_ratio": [0, 0.25, 0.5],
    "network.hidden": [[8], [16, 8], [4]],
}
ARMS = {"cosine": {"training.decay": "cosine"}, "adam": {"training.optimizer.name": "adam"}}


@st.composite
def grids(draw: st.DrawFn, batch_sizes: list[int]) -> dict[str, list[Any]]:
    def some(values: list[Any]) -> list[Any]:
        chosen = draw(st.lists(st.sampled_from(range(len(values))), min_size=1, unique=True))
        return [values[i] for i in chosen]

    others = draw(st.lists(st.sampled_from(list(AXES)[1:]), unique=True, max_size=3))
    sizes = {"training.global_batch_size": some(batch_sizes)}
    return sizes | {axis: some(AXES[axis]) for axis in others}


# ------------------------------------------------------------------------------------------- points


@ONCE
@given(grid=grids([8, 32, 500]), num_seeds=st.integers(1, 3), data=st.data())
def test_points_are_the_product_less_what_is_excluded(
    tmp_path: Path, grid: dict[str, list[Any]], num_seeds: int, data: st.DataObject
) -> None:
    arms = ["baseline", *ARMS]
    coordinates = {"arm": arms, "seed": list(range(num_seeds))} | grid
    names = data.draw(st.lists(st.sampled_from(list(coordinates)), unique=True, max_size=2))
    entry = {name: data.draw(st.sampled_from(coordinates[name])) for name in names}
    everything = [dict(zip(coordinates, p, strict=True)) for p in product(*coordinates.values())]
    kept = [p for p in everything if not entry or any(p[k] != v for k, v in entry.items())]
    if not kept:
        return
    plan = planned(
        tmp_path, grid=grid, arms=ARMS, seeds=num_seeds, exclude=[entry] if entry else []
    )

    def written(point: Point) -> dict[str, Any]:
        hidden = {"network.hidden": point.network.options.get("hidden")}
        of_training = {f"training.{k}": v for k, v in vars(point.training).items()}
        values = {"arm": point.arm, "seed": point.seed} | of_training | hidden
        return {key: values[key] for key in coordinates}

    got = [written(point) for point in plan.points]
    assert len(got) == len(kept)
    assert all(point in got for point in kept)


@ONCE
@given(grid=grids([8, 32, 500]))
def test_an_id_stands_for_one_resolved_science(tmp_path: Path, grid: dict[str, Any]) -> None:
    plan = planned(tmp_path, grid=grid, arms=ARMS, seeds=2)
    sciences = {key: json.dumps(identity.science(config)) for key, config in plan.configs.items()}
    assert len(set(sciences.values())) == len(sciences)
    assert {p.trial_id for p in plan.points} == plan.configs.keys()
    assert all(identity.trial_id(config) == key for key, config in plan.configs.items())
    for point in plan.points:
        config = plan.configs[point.trial_id]
        assert (config.seed, config.network, config.data) == (point.seed, point.network, point.data)


@ONCE
@given(grid=grids([8, 32, 500]))
def test_extending_a_study_keeps_what_it_has(tmp_path: Path, grid: dict[str, Any]) -> None:
    before = planned(tmp_path, grid=grid, seeds=1)
    wider = {**grid, "training.global_batch_size": [8, 32, 500, 1000]}
    after = planned(tmp_path, grid=wider, seeds=2, arms=ARMS, execution={"num_workers": 4})
    assert before.configs.items() <= after.configs.items()


def test_all_points_of_a_seed_come_before_the_next(tmp_path: Path) -> None:
    grid = {"training.global_batch_size": [8, 16]}
    plan = planned(tmp_path, grid=grid, arms=ARMS, seeds=[7, 3])
    assert [p.seed for p in plan.points] == [7] * 6 + [3] * 6
    assert [p.arm for p in plan.points[:3]] == ["baseline", "cosine", "adam"]
    assert list(plan.configs) == list(dict.fromkeys(p.trial_id for p in plan.points))


def test_ids_are_what_they_have_always_been(tmp_path: Path) -> None:
    """A changed id would orphan every result there is: new fields must leave these alone."""
    plan = planned(
        tmp_path,
        training={"base_lr": 0.02, "epochs": 10, "global_batch_size": 32},
        arms={
            "remedy": {
                "training.lr_scaling": "sqrt",
                "training.lr_reference_batch_size": 8,
                "training.warmup_epochs": 2,
                "training.decay": "cosine",
                "training.discard_ratio": 0.25,
            },
            "first": {"training.batch_schedule": [{"until_epoch": 1, "global_batch_size": 8}]},
            "adam": {"training.optimizer": {"name": "adam", "epsilon": 1e-6}},
            "network": {"network.hidden": [64], "training.precision": "bf16"},
            "data": {"data": {"source": "mnist", "root": "anywhere", "train_examples": 5000}},
        },
        seeds=[1],
    )
    assert {p.arm: p.trial_id for p in plan.points} == {
        "baseline": "615ec0b72132",
        "remedy": "78afb84ad428",
        "first": "c0c8a4db82d3",
        "adam": "7ab81d7bb70a",
        "network": "b30212d30025",
        "data": "242ec5773c9b",
    }


def test_points_that_come_to_the_same_share_a_trial(tmp_path: Path) -> None:
    grid = {"training.global_batch_size": [32, 64], "training.lr_scaling": ["none", "linear"]}
    plan = planned(tmp_path, grid=grid, seeds=1)
    assert (len(plan.points), len(plan.configs)) == (4, 3)


def test_rows_of_the_plan_are_rows_of_its_table(tmp_path: Path) -> None:
    grid = {"training.global_batch_size": [8, 16], "network.hidden": [[8], [4]]}
    plan = planned(tmp_path, grid=grid, arms=ARMS, seeds=2)
    rows = plan.point_rows()
    files.write_rows(*at(tmp_path / "plan.parquet"), rows)
    read = files.read_rows(*at(tmp_path / "plan.parquet"))
    assert [row["trial_id"] for row in read] == [p.trial_id for p in plan.points]
    assert set(rows[0]) <= set(TABLES["plan"].names)
    assert (read[3]["network_options"], read[1]["decay"]) == ('{"hidden": [4]}', "cosine")
    assert (read[2]["optimizer"], read[2]["beta1"], read[0]["beta1"]) == ("adam", 0.9, None)


def test_trials_carry_the_studys_execution_and_measures(tmp_path: Path) -> None:
    plan = planned(
        tmp_path,
        grid={"training.global_batch_size": [8, 16]},
        measures=[{"name": "hessian"}],
        execution={"threads_per_worker": 2},
        seeds=1,
    )
    first, second = plan.trials(tmp_path / "results")
    assert [first.trial_id, second.trial_id] == list(plan.configs)
    assert second.config == plan.configs[second.trial_id]
    assert first.execution == ExecutionConfig(threads_per_worker=2)
    assert first.measures == (Evaluation(), Hessian())
    assert first.folder == str(tmp_path / "results")
    assert first.import_folder == str(tmp_path)


# ----------------------------------------------------------------------------------------- refusals


def refused(folder: Path, **sections: Any) -> tuple[str, ...]:
    with pytest.raises(StudyError) as error:
        planned(folder, **sections)
    return tuple(p.replace(f"{folder}/study.yaml", "F") for p in error.value.problems)


@settings(ONCE, max_examples=100)
@given(grid=grids(AXES["training.global_batch_size"]))
def test_pasting_the_entries_leaves_exactly_the_points_that_can_run(
    tmp_path: Path, grid: dict[str, Any]
) -> None:
    # At batch 1 nothing can be discarded; warmup scaled with the batch outlasts the run at some;
    # ghost groups of 8 do not divide 500.
    sections: dict[str, Any] = {
        "training": BASE | {"warmup_scaling": "linear"},
        "grid": grid,
        "arms": {"ghost": {"training.ghost_batch_size": 8}},
        "seeds": 1,
    }

    def can_run(size: int, warmup: float, discard: float, arm: str) -> bool:
        return (
            (discard == 0 or int(discard * size) > 0)
            and warmup * size / 32 <= 10
            and (arm == "baseline" or size % 8 == 0)
        )

    axes = ["training.warmup_epochs", "training.discard_ratio"]
    rest = [len(v) for k, v in grid.items() if k not in ("training.global_batch_size", *axes)]
    combinations = product(
        grid["training.global_batch_size"],
        *(grid.get(axis, [0]) for axis in axes),
        ["baseline", "ghost"],
    )
    expected = sum(can_run(*combination) for combination in combinations)
    for count in rest:
        expected *= count
    try:
        plan = planned(tmp_path, **sections)
    except StudyError as error:
        entries = [
            YAML(typ="safe").load(line)
            for line in re.findall(r"^  - (.*)$", str(error), re.MULTILINE)
        ]
        assert bool(entries) == (expected > 0)
        if not entries:
            return
        plan = planned(tmp_path, **sections, exclude=entries)
    assert len(plan.points) == expected


def test_a_refusal_says_where_how_many_and_what_to_paste(tmp_path: Path) -> None:
    (line,) = refused(
        tmp_path, grid={"training.global_batch_size": [32, 1000, 6000]}, arms=ARMS, seeds=2
    )
    assert line.startswith("F:1:")
    assert "grid.training.global_batch_size: 6 of 18 points cannot run: " in line
    assert "larger than the training set of 5000 examples" in line
    assert line.endswith("under exclude:\n  - {training.global_batch_size: 6000}")


def test_what_no_point_can_do_is_not_to_be_excluded(tmp_path: Path) -> None:
    (line,) = refused(tmp_path, training=BASE | {"epochs": None, "global_batch_size": 8})
    assert "5 of 5 points cannot run: budget: got none" in line
    assert "exclude" not in line


@pytest.mark.parametrize(
    ("sections", "says"),
    [
        ({"training": BASE | {"global_batch_size": 9000}}, "training.global_batch_size: 5 of 5"),
        (
            {"training": BASE | {"global_batch_size": 8, "warmup_epochs": 11}},
            "training.warmup_epochs: 5 of 5",
        ),
        (
            {"training": BASE | {"global_batch_size": 9}, "execution": {"num_workers": 2}},
            "must be a multiple of num_workers 2; nearest: 8, 10",
        ),
        (
            {
                "training": BASE | {"global_batch_size": 64},
                "execution": {"max_micro_batch_size": 16},
            },
            "execution.max_micro_batch_size: 5 of 5 points cannot run: max_micro_batch_size 16: "
            "normalization over the whole batch",
        ),
        (
            {
                "training": BASE | {"global_batch_size": 8},
                "measures": [{"name": "sharpness", "examples": 5001}],
            },
            "measures: 5 of 5 points cannot run: examples 5001 of measure sharpness: the training "
            "set has 5000",
        ),
        (
            {
                "training": BASE | {"global_batch_size": 8},
                "arms": {"warm": {"training.start": {"trial": {"training.epochs": 2}, "epoch": 1}}},
                "measures": [{"name": "sharpness", "examples": 5001}],
            },
            "measures: 10 of 10 points cannot run: examples 5001 of measure sharpness: the",
        ),
        (
            {
                "training": BASE | {"global_batch_size": 8},
                "measures": [{"name": "noise-scale", "large_batch_size": 5001}],
            },
            "measures: 5 of 5 points cannot run: large_batch_size 5001 of measure noise-scale: the "
            "training set has 5000 examples; at most that, e.g. {small_batch_size: 312, "
            "large_batch_size: 5000}",
        ),
        (
            {
                "training": BASE | {"global_batch_size": 64},
                "measures": [{"name": "batch-sharpness", "examples": 32}],
            },
            "measures: 5 of 5 points cannot run: global_batch_size 64 of measure batch-sharpness: "
            "batches are drawn from 32 examples; give a batch_size of at most 32, or leave "
            "examples out for all",
        ),
        (
            {
                "training": BASE | {"global_batch_size": 8},
                "measures": [{"name": "batch-sharpness", "batch_size": 5001}],
            },
            "measures: 5 of 5 points cannot run: batch_size 5001 of measure batch-sharpness: "
            "batches are drawn from 5000 examples; give a batch_size of at most 5000",
        ),
        (
            {
                "training": BASE | {"global_batch_size": 8},
                "measures": [{"name": "gradient-probe", "batch_sizes": [32, 5001, 9999]}],
            },
            "measures: 5 of 5 points cannot run: batch_sizes [32, 5001, 9999] of measure "
            "gradient-probe: the training set has 5000 examples; at most that, e.g. [32, 5000]",
        ),
        (
            {
                "training": BASE | {"global_batch_size": 8},
                "execution": {"keep_weights": [1, 1000]},
            },
            "5 of 5 points cannot run: keep_weights 1000: later than the end of the run at",
        ),
        (
            {
                "training": BASE | {"global_batch_size": 8},
                "network": {"name": "torchvision/resnet18"},
            },
            "network.name: 5 of 5 points cannot run: network.name: torchvision/resnet18 takes",
        ),
    ],
)
def test_what_cannot_be_is_refused(tmp_path: Path, sections: Mapping[str, Any], says: str) -> None:
    (line,) = refused(tmp_path, **sections)
    assert says in line


# ------------------------------------------------------------------------------------------ in time


def test_adversarial_inputs_are_counted_in_the_cost(tmp_path: Path) -> None:
    grid = {"training.adversarial_epsilon": [0.0, 0.1], "training.global_batch_size": [5000]}
    plain, adversarial = planned(tmp_path, grid=grid, seeds=1).trials(tmp_path)
    costs = [trial_cost(trial, facts(trial.config.data)) for trial in (plain, adversarial)]
    gradients = 10 * N * 3 * 2 * multiply_adds(plain) / FLOPS_PER_SECOND
    difference = costs[1].training_seconds - costs[0].training_seconds
    assert difference == pytest.approx((ADVERSARIAL_GRADIENTS - 1) * gradients)
    assert costs[0].measuring_seconds == costs[1].measuring_seconds


@pytest.mark.parametrize(
    ("execution", "together"),
    [
        ({}, 8),
        ({"num_workers": 2}, 4),
        ({"num_workers": 2, "threads_per_worker": 3}, 1),
        ({"num_workers": 8, "threads_per_worker": 2}, 1),
        ({"max_concurrent_trials": 3}, 3),
    ],
)
def test_trials_that_fit_at_a_time_share_the_cores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, execution: dict[str, int], together: int
) -> None:
    monkeypatch.setattr("study.plan.estimate.usable_cores", lambda: 8)
    grid = {"training.global_batch_size": [40, 48, 56]}
    trials = planned(tmp_path, grid=grid, seeds=4, execution=execution).trials(tmp_path)
    found = estimate(trials, [], {}, trials, facts)
    assert found.concurrent_trials == together
    alone = estimate(trials[:1], [], {}, trials, facts)
    assert alone.concurrent_trials == 1


def multiply_adds(trial: Trial) -> int:
    counted = cost(trial.config.network, (1, 28, 28), 10)
    assert counted is not None
    return counted[1]


def test_ten_thousand_points_are_planned_in_two_seconds(tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    grid = {
        "training.global_batch_size": list(range(8, 58)),
        "training.base_lr": [0.001 * i for i in range(1, 41)],
    }
    training = {"epochs": 10}
    path.write_text(
        json.dumps({"name": "x", "network": {"name": "mlp"}, "training": training, "grid": grid})
    )
    start = time.process_time()
    plan = expand(load_spec(path), facts)
    rows = plan.point_rows()
    seconds = time.process_time() - start
    assert len(rows) == len(plan.configs) == 10_000
    assert seconds < 2
