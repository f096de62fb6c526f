"""Weights of other moments: those that a trial kept, and those that a warm start begins with.

Keskar et al. 2017, figure 5: a branch begins with the weights of its trunk. It takes the trunk's
parameters and buffers after some step, and nothing else: its optimizer is fresh, and its index
stream, schedules and clocks begin at 0.
"""

from __future__ import annotations

from safetensors.torch import load
from torch import Tensor

from trainables.config.trial import DONE, Trial
from trainables.results.layout import digest, trial_file, weights_file
from trainables.results.ledger import trial_row
from trainables.results.storage import Storage, storage_at


def kept_weights(
    storage: Storage, trial_id: str, optimizer_step: int | None = None
) -> dict[str, Tensor]:
    """Parameters and buffers of a trial after a step, on the CPU, verified against its row.

    Args:
        storage: the results folder.
        trial_id: whose.
        optimizer_step: after which step; default: at its end.

    Raises:
        ValueError: if the trial has not ended, or has no such weights: it diverged, they were not
            kept, or are not those that its row recorded. The text says what to do.
    """
    row = trial_row(storage, trial_id)
    if row is None or row["status"] not in DONE:
        status = "not run yet" if row is None else row["status"]
        raise ValueError(f"trial {trial_id}: {status}, and its weights are needed; run it first")
    at_end = optimizer_step is None
    if at_end and row["status"] == "diverged":
        raise ValueError(f"trial {trial_id}: diverged, so that it has no solution to measure")
    name = weights_file(trial_id, optimizer_step or row["optimizer_step"])
    shown = name.rpartition("/")[2]
    try:
        content = storage.read(name)
    except FileNotFoundError:
        keep = "final" if at_end else "[the epochs wanted]"
        raise ValueError(
            f"{shown}: the weights of trial {trial_id} were not kept; it must be trained again "
            f"(--retrain, or remove {trial_file(trial_id)}) with keep_weights: {keep}"
        ) from None
    recorded = {file["path"]: file["sha256"] for file in row["files"]}
    if digest(content) != recorded.get(name):
        raise ValueError(
            f"{shown}: the kept weights of trial {trial_id} are not those it was recorded "
            "with; delete the file and train the trial again (--retrain)"
        )
    return load(content)


def start_weights(trial: Trial) -> dict[str, Tensor]:
    """The trunk's parameters and buffers at `trial.start_step`, on the CPU.

    A trunk that diverged may have kept them before it did.

    Args:
        trial: one whose config has a `start`.

    Raises:
        ValueError: if the trunk has not ended, never reached that step, or has no such weights.
    """
    storage, start, step = storage_at(trial.folder), trial.config.start, trial.start_step
    assert start is not None, "only a warm start begins with another trial's weights"
    assert step is not None, "the plan gives every warm start its step"
    row = trial_row(storage, start.trial_id)
    trunk = f"training.start: the trunk {start.trial_id}"
    if row is None or row["status"] not in DONE:
        why = "has not run" if row is None else f"{row['status']} ({row['error']})"
        raise ValueError(f"{trunk} {why}; run again once it is complete")
    if row["optimizer_step"] < step:
        ended = row["error"] or f"it ended at step {row['optimizer_step']}"
        raise ValueError(f"{trunk} never reached epoch {start.epoch:g}, its step {step}: {ended}")
    return kept_weights(storage, start.trial_id, step)
