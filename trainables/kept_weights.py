"""Weights that a trial kept, read back: only if they are those that its row was recorded with."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from torch import Tensor

from trainables import results
from trainables.config import DONE, Trial
from trainables.ledger import trial_row


def kept_weights(folder: Path, row: Mapping[str, Any], optimizer_step: int) -> dict[str, Tensor]:
    """Parameters and buffers of a trial after a step, on the CPU.

    Args:
        folder: the results folder.
        row: the trial's final row.
        optimizer_step: after which step.

    Raises:
        ValueError: if they were not kept, are gone, or are not those that the row lists.
    """
    path = results.weights_path(folder, row["trial_id"], optimizer_step)
    name = path.relative_to(folder).as_posix()
    recorded = {file["path"]: file["sha256"] for file in row["files"] or ()}
    if name not in recorded or not path.exists():
        raise ValueError(
            f"{name}: the weights of trial {row['trial_id']} were not kept or are gone; train it "
            "again: run with --retrain and keep_weights: final"
        )
    if results.sha256(path) != recorded[name]:
        raise ValueError(
            f"{name}: the weights of trial {row['trial_id']} are not those it was recorded with; "
            "delete the file and train the trial again (--retrain)"
        )
    return load_file(path)


def start_weights(trial: Trial) -> dict[str, Tensor]:
    """What a warm start begins with: the trunk's parameters and buffers at `trial.start_step`.

    A trunk that diverged may have kept them before it did.

    Args:
        trial: one whose config has a `start`.

    Raises:
        ValueError: if the trunk has not ended, or has no such weights.
    """
    start, step = trial.config.start, trial.start_step
    assert start is not None, "only a warm start begins with kept weights"
    assert step is not None, "the plan gives every warm start its step"
    row = trial_row(Path(trial.folder), start.trial_id)
    trunk = f"training.start: the trunk {start.trial_id}"
    if row is None or row["status"] not in DONE:
        why = "has not ended" if row is None else f"{row['status']} ({row['error']})"
        raise ValueError(f"{trunk} {why}; its branches need it, run again once it is complete")
    if row["optimizer_step"] < step:
        ended = row["error"] or f"training ended at step {row['optimizer_step']}"
        raise ValueError(f"{trunk} never reached epoch {start.epoch:g}, step {step}: {ended}")
    return kept_weights(Path(trial.folder), row, step)
