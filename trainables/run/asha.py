"""Stopping trials of a search that fall behind: asynchronous successive halving.

Li et al. 2020 (arXiv 1810.05934). At its rungs, after grace_epochs x eta^k epochs, eta the
reduction factor, a trial goes on only if its objective is among the best max(floor(n / eta), 1) of
the n trials of its cell and seed that have come to this rung so far, itself among them; ties go on.

Departure: the paper pauses trials and resumes those that are promoted later; here, as in Ray's
ASHAScheduler, one that falls behind ends for good. So the best one known at a rung is never
stopped, and what is stopped depends on the order in which trials come there. Loads neither torch
nor ray.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from trainables.config.trial import Halving
from trainables.results import files
from trainables.results.files import DamagedFileError
from trainables.results.layout import evaluations_file
from trainables.results.storage import Storage
from trainables.rules.batching import BatchPlan, as_written
from trainables.rules.record_steps import step_at
from trainables.task import metric_of


def rung_steps(halving: Halving, plan: BatchPlan) -> set[int]:
    """The first step boundaries at or after the rungs' epochs, below the end of the run."""
    steps, epoch = set(), as_written(halving.grace_epochs)
    while epoch < Fraction(plan.examples, plan.num_train_examples):
        steps.add(step_at(plan, epoch))
        epoch *= halving.reduction_factor
    return steps - {plan.optimizer_steps}


def falls_behind(halving: Halving, storage: Storage, own: Mapping[str, Any]) -> str | None:
    """Why a trial is to stop at a rung; None if it goes on.

    Args:
        halving: the trial's.
        storage: the results folder, where the others' evaluations are.
        own: the trial's evaluation at the rung.
    """
    column, step = halving.objective, own["optimizer_step"]
    others = [_value_at(storage, other, step, column) for other in halving.sibling_ids]
    known = [own[column], *(value for value in others if value is not None)]
    best = sorted(known, reverse=metric_of(column).is_larger_better)
    going_on = best[: max(len(best) // halving.reduction_factor, 1)]
    if own[column] in going_on:
        return None
    return f"asha: not among the best {len(going_on)} of {len(best)} at epoch {own['epoch']:.6g}"


def _value_at(storage: Storage, trial_id: str, step: int, column: str) -> float | None:
    """Another trial's objective at the same step, if it has come there."""
    columns = ["optimizer_step", column]
    try:
        rows = files.read_rows(storage, evaluations_file(trial_id), columns)
    except (FileNotFoundError, DamagedFileError):
        return None
    return next((row[column] for row in rows if row["optimizer_step"] == step), None)
