"""What a batch size costs and gives, and the conditions that change along with it."""

from __future__ import annotations

import numpy as np
import pandas as pd

from analysis.gaps.by_cell import (
    BASELINE_ARM,
    CELL,
    cell_means,
    counts,
    labelled_points,
    matching_settings,
)
from analysis.load import Study
from trainables.task import Metric

TARGET_SHARE = 0.99
"""The target of `choice_table`: this share of the baseline's mean final metric."""
CONDITIONS = [
    "peak_lr",
    "scaled_warmup_epochs",
    "optimizer_steps_resolved",
    "effective_batch_size",
    "lr_per_example",
    "weight_decay_per_epoch",
    "momentum_half_life_examples",
]
"""What changes with the batch size by other ways than the batch itself."""


def choice_table(study: Study) -> pd.DataFrame:
    """What each batch size costs and gives, for the person who must choose.

    Returns:
        Per cell test_metric, test_metric_low, test_metric_high, n, optimizer_steps (taken),
        seconds_per_epoch, timing ("exclusive": from a timing pass; "alone" or "shared machine":
        from training itself), peak_memory_bytes (NaN on a machine that does not say), and the
        time to `target_share` of the baseline's mean final metric: target_trials (complete or
        diverged), target_reached (of these), target_seconds, target_epoch, target_optimizer_step
        (medians over target_trials; inf where half of them or more never reached it).
    """
    table = cell_means(study, study.test_metric).drop(columns="std")
    names = {"mean": "test_metric", "low": "test_metric_low", "high": "test_metric_high"}
    table = table.rename(columns=names)
    for column in (_costs(study), _time_to_target(study)):
        table = table.join(column, on=CELL)
    return table


def target_share(metric: Metric) -> float:
    """99 %, or where less is better 101."""
    return TARGET_SHARE if metric.is_larger_better else 2 - TARGET_SHARE


def _costs(study: Study) -> pd.DataFrame:
    """Steps, seconds per epoch and memory per cell: the timing pass where there was one."""
    timed = study.timings.groupby("trial_id")[["seconds_per_epoch", "peak_memory_bytes"]].mean()
    points = labelled_points(study).merge(timed, on="trial_id", how="left", suffixes=("", "_timed"))
    complete = points["status"] == "complete"
    trained = points[["training_seconds", "epoch", "optimizer_step"]].where(complete)
    points["optimizer_steps"] = trained["optimizer_step"]
    points["own_seconds"] = trained["training_seconds"] / trained["epoch"]
    points["memory"] = points["peak_memory_bytes_timed"].fillna(points["peak_memory_bytes"])
    groups = points.groupby(CELL, sort=False)
    means = groups[["optimizer_steps", "seconds_per_epoch", "own_seconds"]].mean()
    seconds = means["seconds_per_epoch"].fillna(means["own_seconds"])
    shared = groups["concurrent_trials"].max() > 1
    timing = shared.map({True: "shared machine", False: "alone"})
    timing = timing.where(means["seconds_per_epoch"].isna(), "exclusive").where(seconds.notna(), "")
    return pd.DataFrame(
        {
            "optimizer_steps": means["optimizer_steps"],
            "seconds_per_epoch": seconds,
            "timing": timing,
            "peak_memory_bytes": groups["memory"].max(),
        }
    )


def _time_to_target(study: Study) -> pd.DataFrame:
    """Medians per cell of the clocks at the first record that reaches the target."""
    points = labelled_points(study)
    points = points[points["status"].isin(["complete", "diverged"])]
    points = points[[*CELL, "seed", "trial_id"]].assign(target=_targets(study, points))
    clocks = {
        "training_seconds": "target_seconds",
        "epoch": "target_epoch",
        "optimizer_step": "target_optimizer_step",
    }
    metric, column = study.metric, study.test_metric
    records = points.merge(study.evaluations[["trial_id", column, *clocks]], on="trial_id")
    is_reached = metric.advantage(records[column], records["target"]) >= 0
    reached = records[is_reached].sort_values("optimizer_step")
    first = reached.drop_duplicates([*CELL, "seed"]).rename(columns=clocks)
    points = points.merge(first[[*CELL, "seed", *clocks.values()]], on=[*CELL, "seed"], how="left")
    points["target_reached"] = points["target_epoch"].notna()
    # Not reached is longer than any time: the median stays honest, infinite or not.
    known = points["target"].notna()
    points[list(clocks.values())] = points[list(clocks.values())].fillna(np.inf).where(known)
    groups = points.groupby(CELL, sort=False)
    counts = groups["target_reached"].agg(target_trials="size", target_reached="sum")
    return counts.join(groups[list(clocks.values())].median())


def _targets(study: Study, points: pd.DataFrame) -> list[float]:
    """What each point has to reach: the metric of the baseline arm in matching settings."""
    means = cell_means(study, study.test_metric)
    means = means[means["global_batch_size"] == study.baseline_batch_size]
    baseline = means[means["arm"] == BASELINE_ARM].set_index("settings")["mean"]
    targets = {
        own: target_share(study.metric) * baseline.reindex(others).mean()
        for own, others in matching_settings(study).items()
    }
    return [targets[own] for own in zip(points["arm"], points["settings"], strict=True)]


def conditions(study: Study) -> pd.DataFrame:
    """What follows from the batch size by other ways, per cell: mean of each of `CONDITIONS`.

    Returns:
        Per cell peak_lr, scaled_warmup_epochs, optimizer_steps_resolved (the budget),
        effective_batch_size, lr_per_example (lr / B), weight_decay_per_epoch (lr wd N / B) and
        momentum_half_life_examples, over the trials that have ended.
    """
    means = labelled_points(study).groupby(CELL, sort=False)[CONDITIONS].mean()
    return counts(study).join(means, on=CELL)
