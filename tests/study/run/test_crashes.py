"""What an end without a word counts: a crash on a node that lives, nothing on one that is gone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from study.run.crashes import Crashes
from tests.stored import at
from trainables.collective import Collective
from trainables.config.trial import Trial
from trainables.results import files
from trainables.run import hangs
from trainables.run.rows import Attempt

MakeTrial = Callable[..., Trial]


class Run:
    """One trial of a run on nodes A and B, whose processes die as told."""

    def __init__(self, trial: Trial, folder: Path) -> None:
        self.trial, self.folder, self.lives = trial, folder, {"A": True, "B": True}
        self.crashes = Crashes(str(folder), lambda: dict(self.lives))

    def dies(self, node: str, stack: str = "") -> int:
        """An attempt begins on a node and ends without a word; the crashes so far."""
        attempt = Attempt(trial=self.trial, collective=Collective(), node_id=node)
        attempt.open()
        with hangs.stack_file(str(self.folder), self.trial.trial_id, attempt.number, 0) as file:
            left = Path(file.name)
        left.write_text(stack)  # nobody removed it
        return self.crashes.count(self.trial)

    def row(self, number: int) -> dict[str, object]:
        path = Path(self.trial.folder) / "attempts" / f"{self.trial.trial_id}-{number}.parquet"
        return files.read_rows(*at(path))[0]


@pytest.fixture
def run(make_trial: MakeTrial, tmp_path: Path) -> Run:
    (tmp_path / "scratch").mkdir()
    return Run(make_trial(tmp_path / "study"), tmp_path / "scratch")


def test_on_a_node_that_lives_each_is_a_crash(run: Run) -> None:
    assert [run.dies("A"), run.dies("B"), run.dies("A")] == [1, 2, 3]
    assert run.row(2)["error"] == "its process died" and run.row(2)["status"] == "failed"


def test_on_a_node_that_is_gone_it_costs_nothing(run: Run) -> None:
    assert run.dies("A") == 1
    run.lives["B"] = False
    assert [run.dies("B"), run.dies("B"), run.dies("A")] == [1, 1, 2]
    assert run.row(2)["error"] == "its node is gone"


def test_a_node_that_is_missed_late_is_counted_no_more(run: Run) -> None:
    assert [run.dies("B"), run.dies("B")] == [1, 2]
    run.lives["B"] = False
    assert run.dies("A") == 1


def test_a_process_that_dies_before_it_has_begun_is_a_crash_too(run: Run) -> None:
    assert [run.crashes.count(run.trial), run.crashes.count(run.trial)] == [1, 2]


def test_unless_a_node_went_with_it(run: Run) -> None:
    run.lives["B"] = False
    assert run.crashes.count(run.trial) == 0
    assert run.crashes.count(run.trial) == 1  # B is gone for long


def test_attempts_of_an_earlier_run_are_not_counted(run: Run) -> None:
    for _ in range(3):
        Attempt(trial=run.trial, collective=Collective(), node_id="A").open()
    assert run.dies("A") == 1
    assert run.row(1)["status"] == "running"


def test_what_hung_has_its_stack_on_record(run: Run) -> None:
    stack = 'Thread 1:\n  File "/x/trainables/run/trial.py", line 3 in run\n'
    assert run.dies("A", stack) == 1
    assert str(run.row(1)["error"]).startswith("hung: no sign of life came in time")
    assert run.row(1)["traceback"] == stack
