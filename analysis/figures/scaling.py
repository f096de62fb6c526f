"""Steps to the target against batch size: DataFrame in, matplotlib figure out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.figures.drawing import (
    GREY,
    MARKERS,
    WIDTH,
    Key,
    Look,
    Looks,
    batch_axis,
    by_series,
    handle,
    legend_above,
    log_axis,
    neighbours,
    series_handles,
    style,
)
from analysis.scaling import CriticalBatch


def steps_by_batch(table: pd.DataFrame, fits: Mapping[Key, CriticalBatch], looks: Looks) -> Figure:
    """Least steps to the target against batch size, both on log axes.

    Grey and dashed: perfect scaling from each series' smallest batch size that reached the target.
    Dotted: the fit of S_min (1 + B_crit / B). A batch size that never reached it stands as an open
    triangle on the upper edge.

    Args:
        table: `scaling.steps_to_target`.
        fits: `scaling.critical_batches`.
        looks: Of the series.
    """
    sizes = table["global_batch_size"].astype(float)
    with style():
        figure = Figure(figsize=(WIDTH, 3.6), layout="constrained")
        axes = figure.subplots()
        for look, rows in by_series(table, looks):
            key = (str(rows["arm"].iloc[0]), str(rows["settings"].iloc[0]))
            _draw_series(axes, rows, look, sizes, fits.get(key))
        axes.set_title("optimizer steps to the target")
        log_axis(axes)
        batch_axis(axes, sizes, looks)
        legend_above(figure, series_handles(table, looks) + _handles(table, fits))
    return figure


def _draw_series(
    axes: Axes, rows: pd.DataFrame, look: Look, sizes: pd.Series, fit: CriticalBatch | None
) -> None:
    reached = rows[np.isfinite(rows["steps"])].sort_values("global_batch_size")
    steps = dict(zip(reached["global_batch_size"].astype(float), reached["steps"], strict=True))
    marker: dict[str, Any] = {"marker": look.marker, "markersize": MARKERS[look.marker]}
    for run in neighbours(sorted(steps), sizes):
        xs = [size * look.shift for size in run]
        axes.plot(xs, [steps[s] for s in run], color=look.colour, linestyle=look.line, **marker)
    if steps:
        first, largest = min(steps), float(sizes.max())
        perfect = [steps[first], steps[first] * first / largest]
        line: dict[str, Any] = {"color": GREY, "linestyle": "--", "linewidth": 1.0, "zorder": 1}
        axes.plot([first, largest], perfect, **line)
    if fit is not None and 0 < fit.critical_batch_size < np.inf:
        along = np.geomspace(sizes.min(), sizes.max(), 60)
        axes.plot(
            along, fit.steps(along), color=look.colour, linestyle=":", linewidth=1.2, zorder=2
        )
    never = rows.loc[np.isinf(rows["steps"]) & rows["trials"].gt(0), "global_batch_size"]
    axes.plot(
        never * look.shift,
        [1.0] * len(never),
        transform=axes.get_xaxis_transform(),
        color=look.colour,
        markerfacecolor="white",
        marker="^",
        markersize=8,
        linestyle="none",
        clip_on=False,
    )


def _handles(table: pd.DataFrame, fits: Mapping[Key, CriticalBatch]) -> list[Any]:
    entries = [handle("perfect scaling", color=GREY, linestyle="--")]
    if fits:
        entries.append(handle("S_min (1 + B_crit / B)", color=GREY, linestyle=":"))
    if np.isinf(table["steps"]).any():
        entries.append(handle("not reached", hollow=True, color=GREY, marker="^", linestyle="none"))
    return entries
