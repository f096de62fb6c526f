"""Warm starts (Keskar et al. 2017, figure 5): a branch begins with the weights of its trunk.

It takes the trunk's parameters and buffers after some step, and nothing else: its optimizer is
fresh, and its index stream, schedules and clocks begin at 0.
"""

from __future__ import annotations

from torch import Tensor

from trainables.config.trial import DONE, Trial
from trainables.kept_weights import kept_weights
from trainables.results.ledger import trial_row
from trainables.results.storage import storage_at


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
