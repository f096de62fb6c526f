"""Warm starts in a study: what the file may say, and the trunks and branches that it makes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from study.grid.spec import StudyError, load_spec, resolved_yaml
from study.plan.plan import Plan, expand
from study.run.runners import waves
from tests.stored import at
from tests.study.mnist_facts import N, facts
from trainables.config.optimizers.adam import Adam
from trainables.config.optimizers.sgd import SGD
from trainables.config.trial import Start
from trainables.results import files
from trainables.rules.batching import batch_plan

SMALL, LARGE = 50, 1000
TRUNK = {"training.global_batch_size": SMALL, "training.epochs": 4}
START = {"trial": TRUNK, "epoch": 2}
BASE = {"base_lr": 0.02, "epochs": 3}
SIZES = {"training.global_batch_size": [LARGE]}


def planned(folder: Path, **sections: Any) -> Plan:
    path = folder / "study.yaml"
    written = {"name": "x", "network": {"name": "mlp"}, "training": BASE, "grid": SIZES, "seeds": 1}
    path.write_text(json.dumps(written | sections))  # JSON is YAML
    return expand(load_spec(path), facts)


def refused(folder: Path, **sections: Any) -> str:
    with pytest.raises(StudyError) as error:
        planned(folder, **sections)
    (line,) = error.value.problems
    return line.replace(f"{folder}/study.yaml", "F")


def warm(start: Any = None, **changes: Any) -> dict[str, Any]:
    return {"arms": {"warm": {"training.start": START if start is None else start} | changes}}


# ------------------------------------------------------------------------------ trunks and branches


def test_a_trunk_stands_before_its_branches_whether_it_is_a_point_or_not(tmp_path: Path) -> None:
    plan = planned(tmp_path, **warm(), seeds=2)
    assert [p.arm for p in plan.points] == ["baseline", "warm"] * 2
    branches = {key: own for key, own in plan.configs.items() if own.start is not None}
    assert len(plan.configs) == 6 and len(branches) == 2
    for trial_id, branch in branches.items():
        assert branch.start is not None
        trunk = plan.configs[branch.start.trial_id]
        order = list(plan.configs)
        assert order.index(branch.start.trial_id) < order.index(trial_id)
        assert (trunk.seed, trunk.global_batch_size, trunk.start) == (branch.seed, SMALL, None)
        assert trunk.optimizer_steps == 4 * N // SMALL
        assert branch.optimizer_steps == 3 * N // LARGE
        assert plan.requires(trial_id) == [branch.start.trial_id]
    assert set(plan.trunks()) == {own.start.trial_id for own in branches.values() if own.start}


def test_a_trunk_is_the_very_trial_that_a_point_of_its_settings_is(tmp_path: Path) -> None:
    both = planned(
        tmp_path,
        grid=[
            {"training.global_batch_size": [SMALL], "training.epochs": [4]},
            {"training.global_batch_size": [LARGE], "training.start": [START]},
        ],
    )
    point, branch = both.points
    assert both.configs[branch.trial_id].start == Start(trial_id=point.trial_id, epoch=2)
    assert both.trunks() == []


def test_one_trunk_serves_all_epochs_and_keeps_their_weights(tmp_path: Path) -> None:
    grid = SIZES | {"training.start.trial": [TRUNK], "training.start.epoch": [0.5, 1, 4]}
    plan = planned(tmp_path, grid=grid, execution={"keep_weights": [2]})
    (trunk_id,) = plan.trunks()
    trials = {trial.trial_id: trial for trial in plan.trials(tmp_path)}
    assert trials[trunk_id].execution.keep_weights == (0.5, 1, 2, 4)
    branches = [trials[point.trial_id] for point in plan.points]
    assert {trial.execution.keep_weights for trial in branches} == {(2,)}
    steps = batch_plan(plan.configs[trunk_id], N)
    assert [trial.start_step for trial in branches] == [50, 100, steps.optimizer_steps]
    assert trials[trunk_id].start_step is None
    assert {trial.execution.keep_weights for trial in planned(tmp_path).trials(tmp_path)} == {
        "final"
    }


def test_the_id_of_a_branch_depends_on_all_of_its_trunk(tmp_path: Path) -> None:
    def branch(start: dict[str, Any], **sections: Any) -> str:
        return planned(tmp_path, **warm(start), **sections).points[1].trial_id

    ids = [
        branch(START),
        branch(START | {"epoch": 3}),
        branch({"trial": TRUNK | {"training.epochs": 5}, "epoch": 2}),
        branch({"trial": TRUNK | {"training.optimizer.momentum": 0.9}, "epoch": 2}),
        branch(START, seeds=[1]),
    ]
    assert len(set(ids)) == len(ids)
    assert branch({"trial": dict(reversed(TRUNK.items())), "epoch": 2.0}) == ids[0]


def test_a_trunk_takes_over_everything_that_its_trial_does_not_change(tmp_path: Path) -> None:
    training = BASE | {
        "optimizer": {"name": "sgd", "momentum": 0.9, "weight_decay": 0.01},
        "decay": "step",
        "decay_epochs": [1, 2.5],
        "decay_factor": 0.5,
        "batch_schedule": [{"until_epoch": 1, "global_batch_size": 100}],
    }
    trial = TRUNK | {"training.optimizer.momentum": 0.5}
    plan = planned(tmp_path, training=training, **warm({"trial": trial, "epoch": 2}))
    (trunk,) = (plan.configs[i] for i in plan.trunks())
    assert trunk.optimizer == SGD(momentum=0.5, weight_decay=0.01)
    assert (trunk.decay, trunk.decay_epochs, trunk.decay_factor) == ("step", (1, 2.5), 0.5)
    assert [phase.global_batch_size for phase in trunk.batch_schedule] == [100]
    fresh = {"trial": TRUNK | {"training.optimizer.name": "adam"}, "epoch": 2}
    plan = planned(tmp_path, training=training, **warm(fresh))
    assert plan.configs[plan.trunks()[0]].optimizer == Adam()


def test_the_plan_says_as_written_and_reads_back(tmp_path: Path) -> None:
    plan = planned(tmp_path, **warm())
    files.write_rows(*at(tmp_path / "plan.parquet"), plan.point_rows())
    plain, branch = files.read_rows(*at(tmp_path / "plan.parquet"))
    assert (plain["start_trial"], plain["start_epoch"], plain["requires"]) == (None, None, [])
    assert json.loads(branch["start_trial"]) == TRUNK and branch["start_epoch"] == 2
    assert branch["requires"] == plan.trunks()
    (tmp_path / "again.yaml").write_text(resolved_yaml(plan.spec))
    assert load_spec(tmp_path / "again.yaml") == plan.spec


def test_warm_starts_may_be_left_out(tmp_path: Path) -> None:
    grid = SIZES | {"training.start.trial": [TRUNK], "training.start.epoch": [1, 2]}
    plan = planned(tmp_path, grid=grid, exclude=[{"training.start.epoch": 1}])
    assert [plan.configs[p.trial_id].start.epoch for p in plan.points] == [2]  # type: ignore[union-attr]


def test_branches_run_after_the_trunks_that_are_left_to_run(tmp_path: Path) -> None:
    plan = planned(tmp_path, **warm(), seeds=2)
    todo = plan.trials(tmp_path)
    first, second = waves(todo)
    assert [t.trial_id for t in first + second] != [t.trial_id for t in todo]
    assert {t.config.start is None for t in first} == {True}
    assert {t.config.start is None for t in second} == {False}
    branches = [t for t in todo if t.config.start is not None]
    assert waves(branches) == [branches]  # their trunks are done
    assert waves([]) == []


# --------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("start", "says"),
    [
        ({"epoch": 2}, "training.start.trial: missing; e.g. trial: {"),
        ({"trial": TRUNK}, "training.start.epoch: missing; e.g. epoch: 10"),
        (START | {"epoch": 0}, "training.start.epoch: 0 must be above 0"),
        (START | {"epoch": "two"}, "training.start.epoch: 'two' is not a number"),
        (START | {"step": 2}, "training.start.step: unknown key; valid are epoch, trial"),
        (7, "training.start: 7 is not a mapping with trial, epoch or null"),
        (
            {"trial": {"training.epoch": 3}, "epoch": 2},
            "training.start.trial.training.epoch: unknown field; did you mean training.epochs",
        ),
        (
            {"trial": {"global_batch_size": 3}, "epoch": 2},
            "unknown field; did you mean training.global_batch_size or",
        ),
        (
            {"trial": {"network.name": "f1"}, "epoch": 2},
            "the trunk has its point's data and network; name fields of training",
        ),
        (
            {"trial": {"training.start": START}, "epoch": 2},
            "a trunk starts from fresh weights; remove it",
        ),
        (
            {"trial": {"training.global_batch_size": 0}, "epoch": 2},
            "training.start.trial.training.global_batch_size: 0 must be at least 1",
        ),
        (
            {"trial": {"training.optimizer": {"name": "sgdd"}}, "epoch": 2},
            "training.start.trial.training.optimizer.name: there is no 'sgdd'; did you mean sgd",
        ),
    ],
)
def test_a_start_that_cannot_be_read_is_one_line(tmp_path: Path, start: Any, says: str) -> None:
    line = refused(tmp_path, **warm(start))
    assert says in line
    assert line.startswith("F:1:")


def test_an_epoch_that_the_trunk_never_reaches_is_refused_naming_the_most(tmp_path: Path) -> None:
    line = refused(tmp_path, **warm(START | {"epoch": 4.5}))
    assert "arms.warm.training.start: 1 of 2 points cannot run: start.epoch 4.5: the trunk" in line
    assert "ends at epoch 4; at most that" in line
    assert line.endswith('under exclude:\n  - {arm: "warm"}')
    grid = SIZES | {"training.start.trial": [TRUNK], "training.start.epoch": [4, 5]}
    line = refused(tmp_path, grid=grid)
    assert "grid.training.start.epoch: 1 of 2 points cannot run" in line
    assert line.endswith("under exclude:\n  - {training.start.epoch: 5}")


def test_the_most_that_is_named_is_accepted(tmp_path: Path) -> None:
    trial = {"training.global_batch_size": 300, "training.optimizer_steps": 31}
    trial |= {"training.epochs": None}  # 31 x 300 / 5000 = 1.86 epochs
    line = refused(tmp_path, **warm({"trial": trial, "epoch": 2}))
    assert "ends at epoch 1.86;" in line
    assert len(planned(tmp_path, **warm({"trial": trial, "epoch": 1.86})).points) == 2


def test_a_trunk_that_cannot_be_is_refused_with_its_rule(tmp_path: Path) -> None:
    trial = {"training.global_batch_size": 6000}
    line = refused(tmp_path, **warm({"trial": trial, "epoch": 2}))
    assert "arms.warm.training.start: 1 of 2 points cannot run: start.trial {" in line
    assert "as a trunk, global_batch_size 6000: larger than the training set of 5000" in line
