"""Which trials at the baseline batch size the others are compared with."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random
from typing import Any

import pytest

from analysis.gaps import by_cell
from analysis.load import load_study
from study.grid.settings import BASELINE
from study.grid.spec import load_spec
from study.plan.plan import Plan, expand
from tests.analysis.conftest import write_study
from tests.study.mnist_facts import facts

INTERPOLATION = {"name": "interpolation", "points": 3}
SIZES = {"training.global_batch_size": [32, 500, 1000]}


def planned(folder: Path, **sections: Any) -> Plan:
    path = folder / "study.yaml"
    written = {
        "name": "x",
        "network": {"name": "mlp"},
        "training": {"base_lr": 0.02, "epochs": 3},
        "grid": SIZES,
        "seeds": 2,
        "measures": [INTERPOLATION],
    }
    path.write_text(json.dumps(written | sections))  # JSON is YAML
    return expand(load_spec(path), facts)


Told = tuple[str, int, int, dict[str, Any]]


def pairs(plan: Plan) -> list[tuple[Told, list[Told]]]:
    """Arm, batch size, seed and grid values of every point, and of those it is compared with."""

    def told(trial_id: str) -> Told:
        p = next(p for p in plan.points if p.trial_id == trial_id)
        rest = {k: v for k, v in p.grid.items() if k != "training.global_batch_size"}
        return p.arm, p.training.global_batch_size, p.seed, rest

    trials = {trial.trial_id: trial for trial in plan.trials(Path())}
    return [
        (told(p.trial_id), [told(i) for i in trials[p.trial_id].other_trial_ids])
        for p in plan.points
    ]


@pytest.mark.parametrize("measure", [INTERPOLATION, {"name": "distance"}])
def test_same_arm_grid_values_and_seed(tmp_path: Path, measure: dict[str, Any]) -> None:
    plan = planned(
        tmp_path,
        grid=SIZES | {"training.decay": ["constant", "cosine"]},
        arms={"adam": {"training.optimizer.name": "adam"}},
        measures=[measure],
    )
    found = pairs(plan)
    assert len(found) == 3 * 2 * 2 * 2
    for (arm, size, seed, grid), others in found:
        assert others == ([] if size == 32 else [(arm, 32, seed, grid)])
    for row, p in zip(plan.point_rows(), plan.points, strict=True):
        assert row["requires"] == list(plan.other_trial_ids.get(p.trial_id, ()))


def test_without_such_a_measure_there_are_no_pairs(tmp_path: Path) -> None:
    plan = planned(tmp_path, measures=[{"name": "hessian"}])
    assert not any(others for _, others in pairs(plan))
    assert not any(row["requires"] for row in plan.point_rows())


def test_an_arm_without_the_baseline_batch_takes_the_baseline_arms(tmp_path: Path) -> None:
    plan = planned(
        tmp_path,
        arms={"warmup": {"training.warmup_epochs": 1}},
        exclude=[{"arm": "warmup", "training.global_batch_size": 32, "seed": 1}],
    )
    of_arm = {(size, seed): o for (arm, size, seed, _), o in pairs(plan) if arm == "warmup"}
    assert of_arm[500, 0] == [("warmup", 32, 0, {})]
    assert of_arm[500, 1] == [("baseline", 32, 1, {})]


def test_blocks_do_not_matter_and_a_rate_tuned_apart_does_not_bind(tmp_path: Path) -> None:
    grid = [
        {"training.global_batch_size": [32], "training.base_lr": [0.01]},
        {"training.global_batch_size": [500], "training.base_lr": [0.01, 0.1]},
    ]
    plan = planned(tmp_path, grid=grid, seeds=1, training={"epochs": 3})
    small = ("baseline", 32, 0, {"training.base_lr": 0.01})
    assert [others for _, others in pairs(plan)] == [[], [small], [small]]


def test_other_networks_and_data_are_never_compared(tmp_path: Path) -> None:
    arms = {"other": {"network.hidden": [64]}}
    entry = {"arm": "other", "training.global_batch_size": 32}
    plan = planned(tmp_path, arms=arms, exclude=[entry], seeds=1)
    assert not any(others for (arm, *_), others in pairs(plan) if arm == "other")


def test_a_trial_of_several_points_is_compared_with_the_partners_of_all(tmp_path: Path) -> None:
    # At batch 32, the reference, the arm's rule changes nothing; warmup does, at 500 it is reset.
    arms = {"linear": {"training.lr_scaling": "none", "training.warmup_epochs": 1}}
    training = {"base_lr": 0.02, "epochs": 3, "warmup_shape": "linear"}
    plan = planned(tmp_path, arms=arms, training=training, seeds=1)
    assert all(len(others) <= 1 for _, others in pairs(plan))
    shared = {"same": {"training.lr_scaling": "linear", "training.lr_reference_batch_size": 500}}
    plan = planned(tmp_path, arms=shared, seeds=1)
    by_point = {(arm, size): others for (arm, size, _, _), others in pairs(plan)}
    assert by_point["baseline", 500] == [("baseline", 32, 0, {}), ("same", 32, 0, {})]


def test_a_branch_is_compared_with_the_cold_solution_and_needs_its_trunk_too(
    tmp_path: Path,
) -> None:
    start = {"trial": {"training.global_batch_size": 64}, "epoch": 1}
    grid = [SIZES, {"training.global_batch_size": [1000], "training.start": [start]}]
    plan = planned(tmp_path, grid=grid, seeds=1)
    branch, small = plan.points[-1], plan.points[0]
    assert plan.other_trial_ids[branch.trial_id] == (small.trial_id,)
    assert plan.requires(branch.trial_id) == [*plan.trunks(), small.trial_id]
    assert set(plan.other_trial_ids).isdisjoint(plan.trunks())


AXES = {
    "training.decay": ["constant", "cosine"],
    "training.base_lr": [0.01, 0.02],
    "training.warmup_epochs": [0, 1],
}
ARMS = {
    "adam": {"training.optimizer.name": "adam"},
    "ghosts": {"training.ghost_batch_size": 4},
    "hot": {"training.base_lr": 0.5},
}


@pytest.mark.parametrize("draw", range(30))
def test_plan_and_tables_compare_the_same_trials(tmp_path: Path, draw: int) -> None:
    """Whom measures between two trials compare is whom gaps and arms are compared with."""
    random = Random(draw)
    arms = dict(random.sample([*ARMS.items()], 2))
    axes = dict(random.sample([*AXES.items()], 2))
    if "hot" in arms:
        axes.pop("training.base_lr", None)  # what an arm sets is no axis of the same block
    exclude = []
    if random.random() < 0.5:
        exclude.append({"arm": random.choice([*arms]), "training.global_batch_size": 32})
    training = {"base_lr": 0.02, "epochs": 3}
    plan = planned(
        tmp_path,
        training={k: v for k, v in training.items() if f"training.{k}" not in axes},
        grid=SIZES | axes,
        arms=arms,
        seeds=1,
        exclude=exclude,
    )
    rows = [row | {"status": "complete", "test_accuracy": 0.9} for row in plan.point_rows()]
    study = load_study(write_study(tmp_path / "results", rows, one_file_per_table=True))
    points = by_cell.labelled_points(study).set_index(by_cell.CELL)["trial_id"]
    large = by_cell.off_baseline(study, by_cell.counts(study))
    matching = by_cell.matching_settings(study)
    found = 0
    for arm, settings, size in large[by_cell.CELL].itertuples(index=False, name=None):
        baselines = [(BASELINE, other, 32) for other in matching[arm, settings]]
        own = (arm, settings, 32)
        partners = [points[cell] for cell in ([own] if own in points.index else baselines)]
        assert set(partners) <= set(plan.other_trial_ids[points[arm, settings, size]])
        found += len(partners)
    assert found >= 2 * 3
