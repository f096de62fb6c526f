"""Rows of attempts: numbered, never compared by their times."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from trainables.config.trial import Trial
from trainables.results import files
from trainables.results.ledger import attempts_after, latest_attempt, read_attempts
from trainables.results.storage import storage_at
from trainables.run.endings import close_earlier, failure_after
from trainables.run.failures import LOST
from trainables.run.rows import Attempt

Make = Callable[..., Trial]
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def write(trial: Trial, number: int, error: str | None, *, rank: int = 0, hours: int = 0) -> None:
    """An attempt by a clock that is so many hours ahead."""
    name = f"attempts/{trial.trial_id}-{number}{f'-{rank}' if rank else ''}.parquet"
    row = {
        "trial_id": trial.trial_id,
        "attempt": number,
        "rank": rank,
        "status": "failed" if error else "running",
        "error": error,
        "started_at": NOW + timedelta(hours=hours),
        "finished_at": NOW + timedelta(hours=hours, minutes=1),
    }
    files.write_rows(storage_at(trial.folder), name, [row])


def test_a_clock_that_was_set_back_changes_nothing(make_trial: Make, tmp_path: Path) -> None:
    trial = make_trial(tmp_path)
    write(trial, 1, "ValueError: old", hours=5)
    write(trial, 2, "KeyError: new", hours=-5)
    assert failure_after(trial, 1) == "KeyError: new"
    assert failure_after(trial, 2) is None
    storage = storage_at(trial.folder)
    assert latest_attempt(storage, trial.trial_id) == 2
    assert read_attempts(storage, [trial.trial_id])[trial.trial_id]["attempt"] == 2


def test_the_tenth_attempt_comes_after_the_ninth(make_trial: Make, tmp_path: Path) -> None:
    trial = make_trial(tmp_path)
    for number in range(1, 12):
        write(trial, number, f"E: {number}")
    rows = attempts_after(storage_at(trial.folder), trial.trial_id, 8)
    assert [row["attempt"] for row in rows] == [9, 10, 11]


def test_of_several_workers_the_one_that_began_it_is_heard(
    make_trial: Make, tmp_path: Path
) -> None:
    trial = make_trial(tmp_path)
    write(trial, 1, f"{LOST}: RuntimeError: closed by peer", hours=-1)
    assert failure_after(trial, 0) is None  # one of them died, which is tried again
    write(trial, 1, "ValueError: mine", rank=1, hours=3)
    assert failure_after(trial, 0) == "ValueError: mine"
    latest = read_attempts(storage_at(trial.folder), [trial.trial_id])[trial.trial_id]
    assert latest["rank"] == 0


def test_an_attempt_that_was_ended_from_outside_is_closed_once(
    make_trial: Make, tmp_path: Path
) -> None:
    trial = make_trial(tmp_path)
    attempt = Attempt(trial=trial)
    attempt.open()
    close_earlier(trial, 1, "hung: there", "the stack")
    close_earlier(trial, 1, "hung: elsewhere", "another")
    (row,) = attempts_after(storage_at(trial.folder), trial.trial_id, 0)
    assert (row["status"], row["error"], row["traceback"]) == ("failed", "hung: there", "the stack")
