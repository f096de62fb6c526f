from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.stored import at
from trainables.config.trial import Halving, Trial
from trainables.results import files
from trainables.results.layout import weights_file
from trainables.results.storage import PosixFolder
from trainables.rules.batching import batch_plan
from trainables.run import trial as trials
from trainables.run.asha import falls_behind, rung_steps


def halving(*siblings: str, **changes: Any) -> Halving:
    settings = {"grace_epochs": 1.0, "reduction_factor": 3, "objective": "test_accuracy"}
    return Halving(**settings | changes, sibling_ids=siblings)


def evaluated(folder: Path, trial_id: str, step: int, **metrics: float) -> None:
    row = {"trial_id": trial_id, "optimizer_step": step, "epoch": 1.0, **metrics}
    files.write_rows(*at(folder / "evaluations" / f"{trial_id}.parquet"), [row])


def own(value: float, column: str = "test_accuracy") -> dict[str, Any]:
    return {"optimizer_step": 10, "epoch": 1.0, column: value}


def test_rungs_lie_at_powers_of_the_factor_below_the_end(tmp_path: Path, make_trial: Any) -> None:
    plan = batch_plan(make_trial(tmp_path, 50, epochs=9.0).config, 500)
    assert rung_steps(halving(), plan) == {10, 30}  # 9 epochs is the end, no rung
    assert rung_steps(halving(grace_epochs=0.5, reduction_factor=2), plan) == {5, 10, 20, 40, 80}
    assert rung_steps(halving(grace_epochs=9.0), plan) == set()


@pytest.mark.parametrize("factor", [2, 3, 4])
@pytest.mark.parametrize("column", ["test_accuracy", "validation_loss"])
def test_of_those_that_came_one_in_so_many_goes_on(
    tmp_path: Path, factor: int, column: str
) -> None:
    """Against the rule written out: how many are strictly better."""
    values = np.random.default_rng(0).permutation(12) / 12
    names = [f"t{i}" for i in range(12)]
    asked = halving(*names, reduction_factor=factor, objective=column)
    for i, (name, value) in enumerate(zip(names, values, strict=True)):
        before = values[:i] if column == "validation_loss" else -values[:i]
        mine = value if column == "validation_loss" else -value
        goes_on = (before < mine).sum() < max((i + 1) // factor, 1)
        assert (falls_behind(asked, PosixFolder(tmp_path), own(value, column)) is None) == goes_on
        evaluated(tmp_path, name, 10, **{column: value})


BEHIND = "asha: not among the best 1 of 2 at epoch 1"


def test_ties_and_the_first_go_on_and_other_steps_do_not_count(tmp_path: Path) -> None:
    asked = halving("a", "b", "never")
    assert falls_behind(asked, PosixFolder(tmp_path), own(0.1)) is None
    evaluated(tmp_path, "a", 10, test_accuracy=0.5)
    evaluated(tmp_path, "b", 20, test_accuracy=0.9)
    assert falls_behind(asked, PosixFolder(tmp_path), own(0.5)) is None
    assert falls_behind(asked, PosixFolder(tmp_path), own(0.4)) == (
        "asha: not among the best 1 of 2 at epoch 1"
    )


def stopped(make_trial: Any, folder: Path) -> Trial:
    """A trial of which another one was perfect at the first of two epochs."""
    evaluated(folder, "better", 10, test_accuracy=1.0)
    trial: Trial = make_trial(folder, 50, epochs=2.0, execution={"keep_weights": "none"})
    return replace(trial, halving=halving("better"))


def test_a_trial_that_falls_behind_ends_in_its_loop_and_is_done(
    tmp_path: Path, make_trial: Any
) -> None:
    trial = stopped(make_trial, tmp_path)
    *_, last = trials.run(trial)
    assert last.status == "stopped" and last.optimizer_step == 10
    (row,) = files.read_rows(*at(tmp_path / "trials" / f"{trial.trial_id}.parquet"))
    assert row["status"] == "stopped" and row["optimizer_step"] == 10
    assert row["stop_reason"] == "asha: not among the best 1 of 2 at epoch 1"
    assert 0 < row["test_accuracy"] < 1
    assert not (tmp_path / "checkpoints" / trial.trial_id).exists()
    *_, again = trials.run(trial)
    assert again.status == "stopped"
    assert len(list((tmp_path / "trials").glob("*.parquet"))) == 1


def test_a_trial_that_keeps_up_ends_with_the_weights_of_one_without_rungs(
    tmp_path: Path, make_trial: Any
) -> None:
    plain = make_trial(tmp_path / "plain", 50, epochs=2.0)
    kept = replace(make_trial(tmp_path / "kept", 50, epochs=2.0), halving=halving("nobody"))
    assert plain.trial_id == kept.trial_id
    weights = []
    for trial in (plain, kept):
        *_, last = trials.run(trial)
        assert last.status == "complete"
        weights.append((Path(trial.folder) / weights_file(trial.trial_id, 20)).read_bytes())
    assert weights[0] == weights[1]
