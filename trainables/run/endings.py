"""How a trial ended, or an attempt at it, put on record also by who did not run it. Light."""

from __future__ import annotations

import socket
from datetime import UTC, datetime
from typing import Any

from trainables.config.trial import Status, Trial
from trainables.installation import torch_version
from trainables.results import files
from trainables.results.files import DamagedFileError
from trainables.results.layout import attempt_file, trial_file
from trainables.results.ledger import attempts_after, finished_row, latest_attempt
from trainables.results.schema import flatten
from trainables.results.storage import storage_at
from trainables.run.failures import LOST


def close_earlier(trial: Trial, number: int, error: str, where: str | None) -> None:
    """Writes how an attempt ended that could not write it itself, if none has done so."""
    storage, name = storage_at(trial.folder), attempt_file(trial.trial_id, number)
    try:
        (row,) = files.read_rows(storage, name)
    except DamagedFileError:
        return
    if row["status"] == "running":
        ended = {"status": "failed", "error": error, "traceback": where}
        files.write_rows(storage, name, [row | ended])


def write_trial_row(trial: Trial, row: dict[str, Any]) -> None:
    """Writes a trial's final row; after this the trial is what its status says."""
    row = {"trial_id": trial.trial_id, **flatten(trial.config), **row}
    files.write_rows(storage_at(trial.folder), trial_file(trial.trial_id), [row])


def write_unfinished(trial: Trial, attempt: int, status: Status, error: str | None) -> None:
    """Writes the row of a trial that failed or was interrupted; running again takes it up."""
    row = {
        "status": status,
        "error": error,
        "attempt": attempt,
        "host": socket.gethostname(),
        "finished_at": datetime.now(UTC),
        "num_workers": trial.execution.num_workers,
        "threads_per_worker": trial.execution.threads_per_worker,
        "torch_version": torch_version(),
    }
    write_trial_row(trial, row)


def write_failure(trial: Trial, error: str) -> None:
    """Puts on record a failure that the trial's own processes could not, having died."""
    storage = storage_at(trial.folder)
    for row in attempts_after(storage, trial.trial_id, 0):
        if row["status"] == "running" and not row["rank"]:
            close_earlier(trial, row["attempt"], error, None)
    if finished_row(storage, trial.trial_id) is None:
        write_unfinished(trial, latest_attempt(storage, trial.trial_id), "failed", error)


def failure_after(trial: Trial, number: int) -> str | None:
    """What a worker said of why it failed in an attempt after the one of that number.

    That it lost the others says nothing: one of them died, which is tried again.
    """
    rows = attempts_after(storage_at(trial.folder), trial.trial_id, number)
    errors = [row["error"] for row in rows if row["status"] == "failed"]
    return next((error for error in errors if not error.startswith(LOST)), None)
