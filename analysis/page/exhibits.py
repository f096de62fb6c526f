"""The report's figures: from a study to drawings with captions that say what to see.

Where a figure has nothing to show, a sentence says why instead. Captions state n and the interval.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from analysis import scaling
from analysis.figures import overview as figures
from analysis.figures import scaling as scaling_figure
from analysis.figures.drawing import Looks, looks_of
from analysis.gaps import by_cell
from analysis.gaps.by_cell import BASELINE_ARM, CELL
from analysis.gaps.measured import measure_values
from analysis.gaps.sharpness import (
    described,
    far_text,
    first_sharpness,
    leading,
    method_of,
    named,
    sharpness_definitions,
    sharpness_ratio,
)
from analysis.judged.arms import share_of_gap_closed
from analysis.judged.gaps import spoken_gap
from analysis.load import Study
from analysis.page.exhibit import Exhibit, exhibit, n_text, seeds_text
from analysis.page.path_exhibits import path_exhibits
from analysis.wording import axis, listed, percent_level, words
from analysis.wording import title as title_of
from trainables.task import Metric

INTERVAL = "Bars: 95 % Student t interval of the mean over seeds"


def exhibits(study: Study) -> dict[str, Exhibit]:
    """All figures of a study's report, by name, in the order of the page."""
    points = by_cell.labelled_points(study)
    looks = looks_of(points)
    shown = [
        _metric(study, points, looks),
        _measures(study, points, looks),
        _against(study, looks),
        _arms(study, looks),
        _curves(study, points),
        _arm_curves(study, points, looks),
        _steps(study, looks),
        *path_exhibits(study, points, looks),
    ]
    return {drawn.name: drawn for drawn in shown}


# ------------------------------------------------------------------------------------- captions


def _rough(metric: Metric, value: float) -> str:
    """A value with three digits: `95.7 %`."""
    return f"{f'{metric.scale * value:#.3g}'.rstrip('.')} {metric.unit}".rstrip()


# -------------------------------------------------------------------------------------- figures


def _metric(study: Study, points: pd.DataFrame, looks: Looks) -> Exhibit:
    metric, column = study.metric, study.test_metric
    complete = points[points["status"] == "complete"].dropna(subset=column)
    if complete.empty:
        absent = f"No trial has completed yet: no {words(metric.name)} to show."
        return Exhibit(name="metric", absent=absent)
    title = f"{title_of(column)} against batch size."
    means = by_cell.first_series(complete).groupby("global_batch_size")[column].mean()
    ends = means.iloc[[0, -1]] if len(means) > 1 else means
    said = " and ".join(
        f"{_rough(metric, mean)} at batch size {size}" for size, mean in ends.items()
    )
    label = looks[by_cell.first_key(complete)].label
    caption = (
        f"Series {label}: {said}. {INTERVAL} ({seeds_text(points)}); "
        "faint dots: single seeds. Series at one batch size stand side by side so as not to hide "
        "each other."
    )
    drawn = figures.metric_by_batch(points, looks, metric)
    return exhibit("metric", title, caption, drawn)


def _measures(study: Study, points: pd.DataFrame, looks: Looks) -> Exhibit:
    values = measured_values(study, points)
    if values.empty:
        absent = "Neither sharpness nor the Hessian has been measured on a complete trial."
        return Exhibit(name="measures", absent=absent)
    counts = values.groupby(["quantity", *CELL]).size()
    first = first_sharpness(study)
    title = "Sharpness and curvature of the solutions, the training loss beside them."
    caption = (
        f"Geometric means; bars: 95 % Student t interval on the log scale ({n_text(counts)}). "
        "Where the training loss rises with the batch, the large batch underfits, and sharpness "
        "no longer compares like with like."
    )
    if first is not None:
        caption += (
            f" Of a sharpness the largest value found; the report's is {described(study, first)}. "
            f"{far_text(study)}"
        )
    method = f"sharpness: {method_of(study, first)}" if first is not None else ""
    drawn = figures.measures_by_batch(values, looks, method)
    return exhibit("measures", title, caption.strip(), drawn)


def measured_values(study: Study, points: pd.DataFrame) -> pd.DataFrame:
    """Every sharpness (`best`), the top eigenvalue and the train loss of the complete points.

    One row per value; `quantity` is what a panel of it is called, definition and method included.
    """
    columns = [*CELL, "block", "seed", "trial_id", "train_loss"]
    complete = points.loc[points["status"] == "complete", columns]
    values = measure_values(study)
    names = {d.label: named(study, d) for d in sharpness_definitions(study)}
    names |= {d.label: d.quantity for d, _ in leading(study) if d.label not in names}
    measured = complete.merge(values[values["label"].isin(names)], on="trial_id")
    if measured.empty:
        return measured
    measured["quantity"] = measured["label"].map(names)
    train_loss = axis("train_loss", study.loss)
    losses = complete.assign(quantity=train_loss, value=complete["train_loss"])
    columns = [*CELL, "block", "seed", "quantity", "value"]
    order = {name: i for i, name in enumerate((*names.values(), train_loss))}
    both = pd.concat([measured[columns], losses[columns]], ignore_index=True)
    return both.sort_values("quantity", key=lambda found: found.map(order), kind="stable")


def _against(study: Study, looks: Looks) -> Exhibit:
    cells = ratio_and_gap(study)
    if cells.empty:
        absent = (
            "Sharpness is not set against the gap: that takes sharpness at the baseline batch "
            "size and at another."
        )
        return Exhibit(name="against", absent=absent)
    title = "Sharpness ratio against generalization gap."
    caption = (
        "A point is one batch size of one series; the numbers are batch sizes. Sharpness is "
        "relative to the baseline batch size, geometric mean over seeds. Bars: 95 % intervals, "
        f"paired by seed ({n_text(cells['n'])}). Points that line up say that the two go "
        "together here, not that one makes the other."
    )
    first = first_sharpness(study)
    which = "" if first is None else described(study, first)
    drawn = figures.sharpness_against_gap(cells, looks, study.metric, which)
    return exhibit("against", title, caption, drawn)


def ratio_and_gap(study: Study) -> pd.DataFrame:
    """Per cell off the baseline batch the ratio of the study's sharpness beside the gap."""
    ratio, gap = sharpness_ratio(study), spoken_gap(study)
    if ratio is None:
        return pd.DataFrame(columns=CELL)
    bounds = ["mean", "low", "high"]
    names = dict(zip(bounds, ("ratio", "ratio_low", "ratio_high"), strict=True))
    ratio = ratio.rename(columns=names)
    gap = gap.rename(columns=dict(zip(bounds, ("gap", "gap_low", "gap_high"), strict=True)))
    both = ratio[[*CELL, *names.values(), "n"]].merge(
        gap[[*CELL, "gap", "gap_low", "gap_high"]], on=CELL
    )
    return both.dropna(subset=["ratio", "gap"])


def _arms(study: Study, looks: Looks) -> Exhibit:
    shares = share_of_gap_closed(study)
    if shares.empty or shares["gain"].isna().all() or study.baseline_batch_size is None:
        absent = (
            "No arm can be compared yet: a share takes the arm and the baseline arm at a large "
            "batch size, and the baseline arm at the baseline batch size."
        )
        return Exhibit(name="arms", absent=absent)
    metric = study.metric
    title = f"The share of the gap that each arm closes, and the {metric.plural} behind it."
    better = "right" if metric.is_larger_better else "left"
    caption = (
        f"Above: bars are {_share_bars(shares)}, cut at -100 and 250 %. Below: filled at the large "
        "batch size, open at the baseline's; bars are 95 % Student t intervals "
        f"({n_text(shares['n'])}). An arm whose open mark lies {better} of the baseline arm's "
        "gains at the baseline batch size too."
    )
    # One row per arm: settings of the baseline arm that it matches several times count once.
    drawn = figures.arms_side_by_side(
        shares.drop_duplicates(CELL),
        by_cell.cell_means(study, study.test_metric),
        looks,
        study.baseline_batch_size,
        study.metric,
    )
    return exhibit("arms", title, caption, drawn)


def _share_bars(shares: pd.DataFrame) -> str:
    if shares["standing"].eq("recovers").any() or shares["two_by_two"].notna().any():
        return "lower limits, against the best that the baseline could be tuned to"
    levels = sorted(set(shares["level"]))
    named = listed([percent_level(level) for level in levels])
    return f"Fieller intervals of {named}, the level of each family of comparisons"


def _curves(study: Study, points: pd.DataFrame) -> Exhibit:
    first = by_cell.first_series(points)
    records = _records(study, first, first["global_batch_size"].map(lambda size: f"{size:g}"))
    if records.empty:
        return Exhibit(name="curves", absent="Nothing was recorded along training.")
    title = "Learning curves, one line per batch size."
    arm, settings = by_cell.first_key(points)
    of = f"{arm}: {settings}" if settings else f"arm {arm}"
    caption = (
        f"Series: {of}. Mean over seeds; band: 95 % Student t interval ({seeds_text(first)}), on "
        f"the log scale for the loss. The {words(study.metric.name)} axis leaves out the first "
        f"{'rise' if study.metric.is_larger_better else 'fall'}."
    )
    drawn = figures.learning_curves(records, study.metric, study.loss)
    return exhibit("curves", title, caption, drawn)


def _arm_curves(study: Study, points: pd.DataFrame, looks: Looks) -> Exhibit:
    """The arms at the largest batch size that one of them ran at, beside the baseline arm."""
    sizes = points.loc[points["arm"] != BASELINE_ARM, "global_batch_size"]
    at = points[points["global_batch_size"] == sizes.max()] if len(sizes) else points[:0]
    names = [looks[key].label for key in zip(at["arm"], at["settings"], strict=True)]
    records = _records(study, at, pd.Series(names, index=at.index, dtype=object))
    if records.empty:
        return Exhibit(name="arm_curves", absent=" ")
    title = f"Learning curves of the arms at batch size {sizes.max():g}."
    caption = f"Mean over seeds; band: 95 % Student t interval ({seeds_text(at)})."
    colours = {look.label: look.colour for look in looks.values()}
    drawn = figures.learning_curves(records, study.metric, study.loss, colours)
    return exhibit("arm_curves", title, caption, drawn)


def _steps(study: Study, looks: Looks) -> Exhibit:
    if study.target is None:
        return Exhibit(name="steps", absent=" ")
    table = scaling.steps_to_target(study)
    table = table[[key in looks for key in zip(table["arm"], table["settings"], strict=True)]]
    target = f"a {words(study.test_metric)} of {_rough(study.metric, study.target)}"
    if not np.isfinite(table["steps"]).any():
        return Exhibit(name="steps", absent=f"No trial reached {target}.")
    title = f"Optimizer steps to {target}, the least over all trials."
    caption = (
        "Dashed: perfect scaling, half the steps at twice the batch. Dotted: the fit of S_min (1 + "
        "B_crit / B). Open triangles: batch sizes at which no trial reached it."
    )
    drawn = scaling_figure.steps_by_batch(table, scaling.critical_batches(study), looks)
    return exhibit("steps", title, caption, drawn)


def _records(study: Study, points: pd.DataFrame, lines: pd.Series) -> pd.DataFrame:
    """What complete points recorded along training, with the name of their line."""
    complete = points["status"] == "complete"
    named = points.loc[complete, ["trial_id", "seed"]].assign(line=lines[complete])
    records = study.evaluations[["trial_id", "epoch", study.test_metric, "train_loss"]]
    return named.merge(records, on="trial_id").dropna(subset=["epoch", study.test_metric])
