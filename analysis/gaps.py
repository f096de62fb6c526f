"""Gaps between batch sizes and what closes them: paired by seed, every mean with its interval.

A *cell* is one arm, one combination of settings and one batch size; its points differ in the seed
alone. Gaps are formed between cells that are equal in everything but the batch size. Only complete
trials enter a mean; all others are counted in the cell's row and named in its `remark`.

Every table has one row per cell, in the plan's order with batch sizes ascending, that begins with
    arm, settings ("" or e.g. "base_lr=0.02, network=f1": the values of `axes(study)`),
    global_batch_size, points (seeds planned), complete, diverged, failed, unfinished (counts),
    remark ("" or e.g. "3 of 5 diverged, 1 of 5 failed");
means over seeds add mean, low, high (95 % Student t), n and std. Accuracies and their gaps are
fractions of 1. A cell without values stays in the table: its mean is NaN and its n is 0.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd

from analysis.load import Study
from analysis.uncertainty import (
    Interval,
    mean_interval,
    paired_interval,
    ratio_interval,
    sign_flip_p,
)
from trainables.schema import POINT_COLUMNS

BASELINE_ARM = "baseline"
CELL = ["arm", "settings", "global_batch_size"]
TARGET_SHARE = 0.99
"""The target of `choice_table`: this share of the baseline's mean final accuracy."""
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
SHARE_COLUMNS = [
    *["share", "share_low", "share_high", "n", "reason"],
    *[
        name + bound
        for name in ["gap", "gain", "baseline_gain", "net_gain", "gap_under_arm"]
        for bound in ["", "_low", "_high"]
    ],
    "may_say_closes",
]


# --------------------------------------------------------------------------------------- cells


def axes(study: Study) -> list[str]:
    """The point columns besides seed and batch size that vary within an arm: the grid's axes."""
    columns = [c for c in POINT_COLUMNS if c not in ("seed", "global_batch_size")]
    varies = study.points.groupby("arm")[columns].nunique(dropna=False).gt(1).any()
    return [column for column in columns if varies[column]]


def labelled_points(study: Study) -> pd.DataFrame:
    """`study.points` with their `settings`, each cell and seed once, in the tables' order."""
    return _labelled(study).copy(deep=False)


@lru_cache(maxsize=1)  # every table of a report begins with these; a study never changes
def _labelled(study: Study) -> pd.DataFrame:
    texts = [[f"{c}={_setting_text(v)}" for v in study.points[c]] for c in axes(study)]
    settings = [", ".join(parts) for parts in zip(*texts, strict=True)] if texts else ""
    points = study.points.assign(settings=settings).drop_duplicates([*CELL, "seed"])
    order = (
        points["seed"],
        points["global_batch_size"],
        pd.factorize(points["settings"])[0],
        pd.factorize(points["arm"])[0],
    )
    return points.iloc[np.lexsort(order)].reset_index(drop=True)


def cells(study: Study) -> pd.DataFrame:
    """The cells with their counts: the columns that every table here begins with."""
    return _counted(study).copy(deep=False)


@lru_cache(maxsize=1)
def _counted(study: Study) -> pd.DataFrame:
    points = labelled_points(study)
    counts = pd.crosstab([points[c] for c in CELL], points["status"])
    ended = counts.reindex(columns=["complete", "diverged", "failed"], fill_value=0)
    others = counts.drop(columns=["complete", "diverged", "failed"], errors="ignore")
    total = counts.sum(axis=1)
    unfinished = others.sum(axis=1).astype(int)
    table = ended.assign(unfinished=unfinished, remark=_remarks(counts, total))
    table.insert(0, "points", total)
    return points[CELL].drop_duplicates(ignore_index=True).join(table, on=CELL)


def _remarks(counts: pd.DataFrame, total: pd.Series) -> list[str]:
    first = ["diverged", "failed"]
    statuses = [s for s in first if s in counts] + [
        s for s in counts if s not in ("complete", *first)
    ]
    return [
        ", ".join(
            f"{row[s]} of {n} {'not run' if s == 'planned' else s}" for s in statuses if row[s]
        )
        for row, n in zip(counts.to_dict("records"), total, strict=True)
    ]


def _setting_text(value: Any) -> str:
    if isinstance(value, tuple):
        return "[" + " ".join(_setting_text(v) for v in value) + "]"
    if value is None or value != value:
        return "none"
    return f"{value:g}" if isinstance(value, float) else str(value)


# --------------------------------------------------------------------------------------- means


def cell_means(study: Study, column: str) -> pd.DataFrame:
    """Mean over seeds of one column of `study.points` (test_accuracy, train_loss, ...)."""
    return _means(study, _complete_values(study, column))


def train_test_gap_accuracy(study: Study) -> pd.DataFrame:
    """Train minus test accuracy of the same trial; positive = worse on test."""
    train, test = (_complete_values(study, f"{s}_accuracy") for s in ("train", "test"))
    return _means(study, train.assign(value=train["value"] - test["value"]))


def train_test_gap_loss(study: Study) -> pd.DataFrame:
    """Test minus train loss of the same trial; positive = worse on test."""
    train, test = (_complete_values(study, f"{s}_loss") for s in ("train", "test"))
    return _means(study, train.assign(value=test["value"] - train["value"]))


def generalization_gap(study: Study) -> pd.DataFrame:
    """Test accuracy at the baseline batch minus at this one, paired by seed; see `gap_of`."""
    return gap_of(study, "test_accuracy")


def gap_of(study: Study, column: str) -> pd.DataFrame:
    """A column of `study.points` at the baseline batch minus at this one, paired by seed.

    Returns:
        One row per cell off the baseline batch; `p` is the exact sign-flip permutation p.
    """
    pairs = paired_gaps(study, column)
    table = _off_baseline(study, _means(study, pairs))
    return table.join(pairs.groupby(CELL)["value"].agg(sign_flip_p).rename("p"), on=CELL)


def paired_gaps(study: Study, column: str = "test_accuracy") -> pd.DataFrame:
    """The single pairs of `gap_of`: arm, settings, batch size, seed, trial_id and value."""
    pairs = _paired(study, _complete_values(study, column))
    return pairs.assign(value=pairs["baseline"] - pairs["value"]).drop(columns="baseline")


def _complete_values(study: Study, column: str) -> pd.DataFrame:
    """CELL, seed, trial_id and value of the complete points, in the tables' order."""
    points = labelled_points(study)
    complete = points[points["status"] == "complete"]
    return complete[[*CELL, "seed", "trial_id"]].assign(value=complete[column])


def _paired(study: Study, values: pd.DataFrame, *by: str) -> pd.DataFrame:
    """Values off the baseline batch beside their pair's at it, `baseline`: same seed, arm, `by`."""
    same = ["arm", "settings", "seed", *by]
    at_baseline = values["global_batch_size"] == study.baseline_batch_size
    baseline = values[at_baseline].rename(columns={"value": "baseline"})
    return values[~at_baseline].merge(baseline[[*same, "baseline"]], on=same)


def _means(study: Study, values: pd.DataFrame, *by: str) -> pd.DataFrame:
    """All cells, crossed with the values of `by`, and the mean of their values over seeds."""
    table = cells(study)
    for column in by:
        table = table.merge(values[[column]].drop_duplicates(), how="cross")
    finite = values[np.isfinite(values["value"].astype(float))]
    groups = finite.groupby([*CELL, *by], sort=False)["value"]
    intervals = {key: vars(mean_interval(group)) for key, group in groups}
    keys = table[[*CELL, *by]].itertuples(index=False, name=None)
    nothing = vars(mean_interval([]))
    rows = [intervals.get(key, nothing) for key in keys]
    return table.join(pd.DataFrame(rows, columns=[*nothing]))


def _off_baseline(study: Study, table: pd.DataFrame) -> pd.DataFrame:
    return table[table["global_batch_size"] != study.baseline_batch_size].reset_index(drop=True)


# ------------------------------------------------------------------------------------ measures


def measure_values(study: Study) -> pd.DataFrame:
    """What was measured at the end of training: one row per trial and label.

    Returns:
        Columns trial_id, label ("sharpness best, epsilon 0.001", "hessian_trace"), quantity
        (sharpness, hessian_top_eigenvalue, hessian_bottom_eigenvalue, hessian_trace), method,
        sharpness_epsilon, subspace_dim, examples, value, start_loss. Of several eigenvalues the
        outermost.
    """
    rows = study.measures
    rows = rows[(rows["at_end"] == True) & rows["value"].notna()]  # noqa: E712 - nullable
    rows = rows[rows["index"].fillna(0) == 0]
    columns = ["trial_id", "quantity", "method", "sharpness_epsilon", "subspace_dim", "examples"]
    rows = rows[[*columns, "value", "start_loss"]]
    labels = [_measure_label(row) for row in rows.to_dict("records")]
    return rows.assign(label=pd.Series(labels, index=rows.index, dtype=str)).drop_duplicates(
        ["trial_id", "label"], keep="last"
    )


def _measure_label(row: dict[str, Any]) -> str:
    parts = [row["quantity"]]
    if row["quantity"] == "sharpness":
        parts[0] += f" {row['method']}"
        parts.append(f"epsilon {row['sharpness_epsilon']:g}")
    if row["subspace_dim"] == row["subspace_dim"] and row["subspace_dim"] is not None:
        parts.append(f"subspace {row['subspace_dim']:g}")
    if row["examples"] == row["examples"] and row["examples"] is not None:
        parts.append(f"{row['examples']:g} examples")
    return ", ".join(parts)


def measure_means(study: Study, quantity: str) -> pd.DataFrame:
    """Mean of a measured quantity per cell and label, on the plain and on the log scale.

    Returns:
        mean ... n, and geometric_mean, geometric_low, geometric_high: exp of the logs' interval,
        NaN where a value is not positive.
    """
    values = _measured(study, quantity)
    table = _means(study, values, "label")
    positive = values.groupby([*CELL, "label"])["value"].transform("min") > 0
    logs = _means(study, values[positive].assign(value=np.log(values["value"][positive])), "label")
    return table.merge(
        np.exp(logs[["mean", "low", "high"]]).add_prefix("geometric_").join(logs[[*CELL, "label"]]),
        on=[*CELL, "label"],
        how="left",
    )


def measure_gap(study: Study, quantity: str) -> pd.DataFrame:
    """A measured quantity at this batch minus at the baseline batch, paired; per cell and label."""
    pairs = _paired(study, _measured(study, quantity), "label")
    differences = pairs.assign(value=pairs["value"] - pairs["baseline"])
    return _off_baseline(study, _means(study, differences, "label"))


def measure_ratio(study: Study, quantity: str) -> pd.DataFrame:
    """A measured quantity at this batch over that at the baseline batch, paired, log scale.

    Returns:
        Per cell and label mean (geometric), low and high as ratios; std is that of the logs. Pairs
        with a value that is not positive have no logarithm: `left_out` counts them.
    """
    pairs = _paired(study, _measured(study, quantity), "label")
    usable = (pairs["value"] > 0) & (pairs["baseline"] > 0)
    logs = np.log(pairs["value"].where(usable) / pairs["baseline"].where(usable))
    table = _off_baseline(study, _means(study, pairs.assign(value=logs), "label"))
    table[["mean", "low", "high"]] = np.exp(table[["mean", "low", "high"]])
    left_out = (~usable).groupby([pairs[c] for c in [*CELL, "label"]]).sum().rename("left_out")
    table = table.join(left_out, on=[*CELL, "label"])
    return table.fillna({"left_out": 0}).astype({"left_out": int})


def sharpness_gap(study: Study) -> pd.DataFrame:
    """`measure_gap` of the sharpness."""
    return measure_gap(study, "sharpness")


def sharpness_ratio(study: Study) -> pd.DataFrame:
    """`measure_ratio` of the sharpness."""
    return measure_ratio(study, "sharpness")


def _measured(study: Study, quantity: str) -> pd.DataFrame:
    """CELL, seed, trial_id, label and value of the complete points."""
    values = measure_values(study)
    points = _complete_values(study, "test_accuracy").drop(columns="value")
    return points.merge(values[values["quantity"] == quantity], on="trial_id")


# ----------------------------------------------------------------------------- what closes them


def share_of_gap_closed(study: Study) -> pd.DataFrame:
    """How much of the gap each arm closes: mean(arm - large) / mean(baseline - large).

    `large` is the baseline arm at this batch, `baseline` the same at the baseline batch; settings
    are equal in the axes that the arm leaves alone, seeds are paired, the interval is Fieller's.
    Beside it stand the arm's gain at the baseline batch, where it ran, and the gap under the arm:
    an arm that gains at every batch size lifts the accuracy and closes no gap.

    Returns:
        Per arm (settings of the baseline arm in `baseline_settings`) and batch size, both besides
        the baseline's: share, share_low, share_high (1 = the whole gap; NaN where not shown), n,
        reason (why it is not shown, else ""), then gap, gain, baseline_gain, net_gain (gain minus
        baseline_gain) and gap_under_arm, each with _low and _high (NaN where there is none), and
        may_say_closes (a share is shown and the arm also ran at the baseline batch).
    """
    values = _complete_values(study, "test_accuracy").groupby(CELL, sort=False)
    accuracy = {cell: rows.set_index("seed")["value"] for cell, rows in values}
    matching = matching_settings(study)
    table = _off_baseline(study, cells(study))
    rows = [
        {
            **row,
            "baseline_settings": other,
            **_share(accuracy, row, other, study.baseline_batch_size),
        }
        for row in table[table["arm"] != BASELINE_ARM].to_dict("records")
        for other in matching[row["arm"], row["settings"]]
    ]
    return pd.DataFrame(rows, columns=[*table.columns, "baseline_settings", *SHARE_COLUMNS])


def _share(
    accuracy: dict[Any, pd.Series], row: dict[str, Any], other: str, small: int | None
) -> dict[str, Any]:
    batch = row["global_batch_size"]
    wanted = {
        "arm": (row["arm"], row["settings"], batch),
        "arm_small": (row["arm"], row["settings"], small),
        "large": (BASELINE_ARM, other, batch),
        "baseline": (BASELINE_ARM, other, small),
    }
    # One row per seed; which seeds a difference uses is decided pair by pair below.
    seeds = pd.DataFrame({k: accuracy.get(v, pd.Series(dtype=float)) for k, v in wanted.items()})
    three = seeds[["arm", "large", "baseline"]].dropna()
    gap = paired_interval(three["baseline"], three["large"])
    gain = paired_interval(three["arm"], three["large"])
    ratio = ratio_interval(three["arm"] - three["large"], three["baseline"] - three["large"])
    at_small = seeds[["arm_small", "baseline"]].dropna()
    own = seeds[["arm_small", "arm"]].dropna()
    four = seeds.dropna()
    net_gain = paired_interval(four["arm"] - four["large"], four["arm_small"] - four["baseline"])
    reason = _why_no_share(gap)
    shown = {"share": ratio.ratio, "share_low": ratio.low, "share_high": ratio.high}
    return {
        **(dict.fromkeys(shown, float("nan")) if reason else shown),
        "n": len(three),
        "reason": reason,
        **_bounds("gap", gap),
        **_bounds("gain", gain),
        **_bounds("baseline_gain", paired_interval(at_small["arm_small"], at_small["baseline"])),
        **_bounds("net_gain", net_gain),
        **_bounds("gap_under_arm", paired_interval(own["arm_small"], own["arm"])),
        "may_say_closes": not reason and len(at_small) > 1,
    }


def _why_no_share(gap: Interval) -> str:
    if gap.n < 2:
        return "fewer than two seeds complete in all three"
    if not gap.excludes_zero:
        return "the gap's own 95 % interval includes 0"
    return "" if gap.mean > 0 else "no gap to close: this batch is the more accurate one"


def _bounds(name: str, interval: Interval) -> dict[str, float]:
    return {name: interval.mean, f"{name}_low": interval.low, f"{name}_high": interval.high}


def matching_settings(study: Study) -> dict[tuple[str, str], list[str]]:
    """The baseline arm's settings that each arm and settings is compared with.

    They are equal in every axis, except where the arm itself sets an axis to a value that the
    baseline arm never takes: there every setting of the baseline arm matches.
    """
    names = axes(study)
    settings = labelled_points(study).drop_duplicates(["arm", "settings"])
    settings = settings[["arm", "settings"]].join(settings[names].map(_setting_text))
    baseline = settings[settings["arm"] == BASELINE_ARM].to_dict("records")
    taken = {name: {other[name] for other in baseline} for name in names}

    def matches(own: dict[str, str]) -> list[str]:
        bound = [name for name in names if own[name] in taken[name]]
        return [b["settings"] for b in baseline if all(b[name] == own[name] for name in bound)]

    return {(own["arm"], own["settings"]): matches(own) for own in settings.to_dict("records")}


# ------------------------------------------------------------------------------------ to choose


def choice_table(study: Study) -> pd.DataFrame:
    """What each batch size costs and gives, for the person who must choose.

    Returns:
        Per cell test_accuracy, test_accuracy_low, test_accuracy_high, n, optimizer_steps (taken),
        seconds_per_epoch, timing ("exclusive": from a timing pass; "alone" or "shared machine":
        from training itself), peak_memory_bytes (NaN on a machine that does not say), and the
        time to 99 % of the baseline's mean final accuracy: target_trials (complete or diverged),
        target_reached (of these), target_seconds, target_epoch, target_optimizer_step (medians
        over target_trials; inf where half of them or more never reached it).
    """
    table = cell_means(study, "test_accuracy").drop(columns="std")
    names = {"mean": "test_accuracy", "low": "test_accuracy_low", "high": "test_accuracy_high"}
    table = table.rename(columns=names)
    for column in (_costs(study), _time_to_target(study)):
        table = table.join(column, on=CELL)
    return table


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
    records = study.evaluations[["trial_id", "test_accuracy", *clocks]]
    records = points.merge(records, on="trial_id")
    reached = records[records["test_accuracy"] >= records["target"]].sort_values("optimizer_step")
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
    """The accuracy each point has to reach: that of the baseline arm in matching settings."""
    means = cell_means(study, "test_accuracy")
    means = means[means["global_batch_size"] == study.baseline_batch_size]
    baseline = means[means["arm"] == BASELINE_ARM].set_index("settings")["mean"]
    targets = {
        own: TARGET_SHARE * baseline.reindex(others).mean()
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
    return cells(study).join(means, on=CELL)
