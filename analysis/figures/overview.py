"""DataFrames in, matplotlib figures out: nothing is read, nothing written, no global state.

Every frame has one row per value with the columns of a cell: `arm`, `settings` and
`global_batch_size`. A *series* is one arm with one combination of settings; it keeps its look
through all figures that are given the same `looks` (`drawing.looks_of`). Intervals are 95 % Student
t over seeds, on the log scale where the axis is logarithmic. A frame without rows has no figure.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from textwrap import fill
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis.figures.drawing import (
    GREY,
    ROW_NAME,
    TEXT_GREY,
    WIDTH,
    Look,
    Looks,
    batch_axis,
    beside,
    by_series,
    draw_cells,
    draw_curve,
    draw_point,
    handle,
    known_interval,
    legend_above,
    log_axis,
    named_rows,
    ordered_colours,
    series_handles,
    style,
)
from analysis.wording import axis
from trainables.task import Metric

TITLE_WIDTH = 54
"""Characters of a title's line."""

# ------------------------------------------------------------------------- against batch size


def metric_by_batch(points: pd.DataFrame, looks: Looks, metric: Metric) -> Figure:
    """The test set's metric against batch size: mean and interval per cell, each seed a faint dot.

    Diverged trials enter no mean; a cross on the axis counts them.

    Args:
        points: One row per cell and seed, with `status` and the metric's column of the test set.
        looks: Of the series.
        metric: What to draw.
    """
    quantity = metric.column("test")
    with style():
        figure = Figure(figsize=(WIDTH, 3.4), layout="constrained")
        axes = figure.subplots()
        complete = points[points["status"] == "complete"].dropna(subset=quantity)
        for look, rows in by_series(
            complete.assign(value=metric.scale * complete[quantity]), looks
        ):
            draw_cells(axes, rows, look, _sizes_beside(points, rows))
        crosses = _mark_diverged(axes, points[points["status"] == "diverged"], looks)
        axes.set_title(axis(quantity, metric))
        batch_axis(axes, points["global_batch_size"], looks)
        legend_above(figure, series_handles(points, looks) + crosses)
    return figure


def _mark_diverged(axes: Axes, diverged: pd.DataFrame, looks: Looks) -> list[Line2D]:
    """A cross on the axis per cell with diverged trials; its legend entry if there is any."""
    cross: dict[str, Any] = {
        "linestyle": "none",
        "marker": "x",
        "markersize": 7.0,
        "markeredgewidth": 1.8,
    }
    on_axis = axes.get_xaxis_transform()
    for look, rows in by_series(diverged, looks):
        for size, group in rows.groupby("global_batch_size"):
            at, colour = (size * look.shift, 0.0), look.colour
            axes.plot(*at, transform=on_axis, color=colour, clip_on=False, zorder=5, **cross)
            beside(axes, str(len(group)), at, (0, 6), on_axis, color=colour, ha="center")
    if diverged.empty:
        return []
    return [Line2D([], [], color=GREY, label="diverged (how many)", **cross)]


def measures_by_batch(values: pd.DataFrame, looks: Looks, method: str = "") -> Figure:
    """Measured quantities against batch size, one panel each over a common axis; log scale.

    Means and intervals are geometric. A value that is not positive enters no mean: an open triangle
    on the axis stands for it.

    Args:
        values: One row per cell, seed and `quantity` with `value`; panels follow the quantities'
            order of appearance, and their names stand above them.
        looks: Of the series.
        method: How the filled values were found, for the legend.
    """
    quantities = list(dict.fromkeys(values["quantity"]))
    with style():
        figure = Figure(figsize=(WIDTH, 0.5 + 1.9 * len(quantities)), layout="constrained")
        panels = figure.subplots(len(quantities), sharex=True, squeeze=False)[:, 0]
        for axes, quantity in zip(panels, quantities, strict=True):
            rows = values[values["quantity"] == quantity]
            _draw_measure(axes, rows, looks, values)
            axes.set_title(fill(quantity, TITLE_WIDTH))
            log_axis(axes)
        batch_axis(panels[-1], values["global_batch_size"], looks)
        found = [handle(method, color=GREY, marker="o")] if method else []
        legend_above(figure, series_handles(values, looks) + found)
    return figure


def _draw_measure(axes: Axes, values: pd.DataFrame, looks: Looks, all_values: pd.DataFrame) -> None:
    lowest: dict[str, Any] = {"marker": "v", "markerfacecolor": "white", "clip_on": False}
    for look, rows in by_series(values, looks):
        positive = rows["value"] > 0
        draw_cells(axes, rows[positive], look, _sizes_beside(all_values, rows), log=True)
        for size in rows.loc[~positive, "global_batch_size"]:
            at = (size * look.shift, 0.0)
            axes.plot(*at, transform=axes.get_xaxis_transform(), color=look.colour, **lowest)


def _sizes_beside(points: pd.DataFrame, rows: pd.DataFrame) -> pd.Series:
    """The batch sizes of a series' own blocks: a line joins neighbours among these."""
    if "block" not in points:
        return points["global_batch_size"]
    return points.loc[points["block"].isin(rows["block"]), "global_batch_size"]


# ---------------------------------------------------------------------------- against each other


def sharpness_against_gap(
    cells: pd.DataFrame, looks: Looks, metric: Metric, definition: str = ""
) -> Figure:
    """Sharpness ratio against generalization gap: a point per cell with both its intervals.

    Batch sizes stand beside the points of a series that ran at several.

    Args:
        cells: One row per cell off the baseline batch with `ratio`, `ratio_low`, `ratio_high` (1
            at the baseline batch) and `gap`, `gap_low`, `gap_high` (as the tables have them).
        looks: Of the series.
        metric: Of the gap, for its unit.
        definition: Which sharpness it is, and how it was found.
    """
    with style():
        figure = Figure(figsize=(WIDTH, 3.9), layout="constrained")
        axes = figure.subplots()
        axes.axhline(1, color=GREY, linewidth=1, zorder=1)
        axes.axvline(0, color=GREY, linewidth=1, zorder=1)
        axes.plot(0, 1, marker="*", markersize=13, color=GREY, markeredgecolor="white", zorder=3)
        beside(axes, "baseline batch", (0, 1), (8, 6))
        for look, rows in by_series(cells, looks):
            _draw_against(axes, rows.sort_values("global_batch_size"), look, metric.scale)
        axes.margins(x=0.1)
        name = f"sharpness_ratio ({definition})" if definition else "sharpness_ratio"
        axes.set_title(fill(name, TITLE_WIDTH))
        unit = " (percentage points)" if metric.unit_of_difference == "points" else ""
        axes.set_xlabel(f"generalization_gap{unit}")
        axes.grid(axis="x")
        log_axis(axes)
        legend_above(figure, series_handles(cells, looks))
    return figure


def _draw_against(axes: Axes, rows: pd.DataFrame, look: Look, scale: float) -> None:
    axes.plot(scale * rows["gap"], rows["ratio"], color=look.colour, linewidth=1, alpha=0.35)
    for row in rows.to_dict("records"):
        gap = known_interval(*(scale * row[c] for c in ("gap", "gap_low", "gap_high")))
        ratio = known_interval(*(row[c] for c in ("ratio", "ratio_low", "ratio_high")))
        draw_point(axes, gap, ratio, look)
        if len(rows) > 1:
            size = f"{row['global_batch_size']:g}"
            beside(axes, size, (gap.mean, ratio.mean), (7, 5), color=look.colour)


# --------------------------------------------------------------------------------- along training


def learning_curves(
    evaluations: pd.DataFrame,
    metric: Metric,
    loss: Metric,
    colours: Mapping[str, str] | None = None,
) -> Figure:
    """Test metric and train loss against epoch: a line per name, mean over seeds, its interval.

    The metric's axis leaves out the first change, beside which no difference could be seen.

    Args:
        evaluations: One row per record point and seed with `line` (its name), `epoch`,
            the metric's column of the test set and `train_loss`.
        metric: The task's.
        loss: For its unit.
        colours: Of the lines, by name; default: viridis in order of appearance.
    """
    column = metric.column("test")
    colours = colours or ordered_colours(list(dict.fromkeys(evaluations["line"])))
    shown = {line: c for line, c in colours.items() if line in set(evaluations["line"])}
    with style():
        figure = Figure(figsize=(WIDTH, 5.2), layout="constrained")
        above, below = figure.subplots(2, sharex=True, height_ratios=(3, 2))
        for line, colour in reversed(shown.items()):
            rows = evaluations[evaluations["line"] == line]
            draw_curve(above, rows["epoch"], metric.scale * rows[column], colour)
            positive = rows[rows["train_loss"] > 0]
            draw_curve(below, positive["epoch"], positive["train_loss"], colour, log=True)
        above.set_ylim(_after_the_rise(evaluations, metric))
        above.set_title(axis(column, metric))
        below.set_title(axis("train_loss", loss))
        below.set_xlabel("epoch")
        below.margins(x=0.01)
        log_axis(below)
        legend_above(figure, [handle(n, color=c, linewidth=2.5) for n, c in shown.items()])
    return figure


def _after_the_rise(evaluations: pd.DataFrame, metric: Metric) -> tuple[float, float]:
    """Limits of the metric's axis around all means after a fifth of training."""
    late = evaluations[evaluations["epoch"] >= 0.2 * evaluations["epoch"].max()]
    means = metric.scale * late.groupby(["line", "epoch"])[metric.column("test")].mean()
    margin = 0.08 * (means.max() - means.min()) + metric.scale / 1000
    return float(means.min() - margin), float(means.max() + margin)


# --------------------------------------------------------------------------------- side by side


def arms_side_by_side(
    shares: pd.DataFrame,
    means: pd.DataFrame,
    looks: Looks,
    baseline_batch_size: float,
    metric: Metric,
) -> Figure:
    """Two forests: the share of the gap that each arm closes, and the metric behind it.

    Args:
        shares: One row per arm, settings and batch size with `share`, `share_low`, `share_high`
            (1 = the whole gap; NaN where not shown; without a high end of tuned arms).
        means: One row per cell, those of the baseline arm among them, with the metric's `mean`,
            `low`, `high`: filled at the row's batch size, open at the baseline's.
        looks: Of the series.
        baseline_batch_size: Where the open markers are measured.
        metric: The task's.
    """
    large = sorted(set(shares["global_batch_size"]))
    rows = means[means["global_batch_size"].isin(large)].dropna(subset="mean")
    with style():
        names = _row_names(rows, looks, several=len(large) > 1)
        lines = max(math.ceil(len(name) / ROW_NAME) for name in names)
        height = 1.7 + (0.14 + 0.17 * lines) * (len(shares) + len(rows))
        figure = Figure(figsize=(WIDTH, height), layout="constrained")
        above, below = figure.subplots(2, height_ratios=(len(shares) + 0.5, len(rows) + 0.5))
        _draw_shares(above, shares, looks, several=len(large) > 1)
        _draw_means(below, rows, means, looks, baseline_batch_size, metric)
        named_rows(below, names)
        legend_above(figure, _batch_handles(large, baseline_batch_size))
    return figure


def _row_names(rows: pd.DataFrame, looks: Looks, several: bool) -> list[str]:
    cells = zip(rows["arm"], rows["settings"], rows["global_batch_size"], strict=True)
    return [looks[a, s].label + (f", {size:g}" if several else "") for a, s, size in cells]


def _draw_shares(axes: Axes, shares: pd.DataFrame, looks: Looks, several: bool) -> None:
    for x, text, line in ((0, "no gain", "-"), (100, "whole gap", "--")):
        axes.axvline(x, color=GREY, linewidth=1, linestyle=line, zorder=1)
        beside(axes, text, (x, 1), (0, 4), ("data", "axes fraction"), ha="center")
    axes.set_xlim(*_share_limits(shares))
    for y, row in enumerate(shares.to_dict("records")):
        look = looks[row["arm"], row["settings"]]
        if np.isnan(row["share"]):
            beside(axes, "not shown: see the table", (0, y), (6, -4))
        else:
            high = row["share"] if np.isnan(row["share_high"]) else row["share_high"]
            bounds = (100 * value for value in (row["share"], row["share_low"], high))
            draw_point(axes, known_interval(*bounds), y, look)
    named_rows(axes, _row_names(shares, looks, several))
    axes.set_xlabel("share of the gap closed (%)")


def _share_limits(shares: pd.DataFrame) -> tuple[float, float]:
    """Around all intervals, but not beyond -100 and 250 %: a wide one would hide all others."""
    bounds = 100 * shares[["share", "share_low", "share_high"]].to_numpy(dtype=float)
    low = max(float(np.nanmin([0.0, *bounds.ravel()])), -100.0)
    high = min(float(np.nanmax([100.0, *bounds.ravel()])), 250.0)
    margin = 0.08 * (high - low)
    return low - margin, high + margin


def _draw_means(
    axes: Axes,
    rows: pd.DataFrame,
    all_means: pd.DataFrame,
    looks: Looks,
    baseline: float,
    metric: Metric,
) -> None:
    cells = all_means.set_index(["arm", "settings", "global_batch_size"])
    scaled = metric.scale * cells[["mean", "low", "high"]].dropna(subset="mean")
    for y, row in enumerate(rows.to_dict("records")):
        key = row["arm"], row["settings"]
        sizes = [s for s in (baseline, row["global_batch_size"]) if (*key, s) in scaled.index]
        means = [known_interval(*scaled.loc[(*key, size)]) for size in sizes]
        ends = [mean.mean for mean in means]
        axes.plot(ends, [y] * len(ends), color=looks[key].colour, linewidth=1, alpha=0.35)
        for size, mean in zip(sizes, means, strict=True):
            draw_point(axes, mean, y, looks[key], hollow=size == baseline)
    axes.set_xlabel(axis(metric.column("test"), metric))


def _batch_handles(large: Sequence[float], baseline: float) -> list[Line2D]:
    grey: dict[str, Any] = {"color": TEXT_GREY, "marker": "o", "linestyle": "none"}
    size = f"batch size {large[0]:g}" if len(large) == 1 else "the row's batch size"
    return [
        handle(size, **grey),
        handle(f"baseline batch size {baseline:g}", hollow=True, **grey),
    ]
