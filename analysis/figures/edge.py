"""Curvature beside the level that the rate sets, drawn: along training, and against batch size.

Frames in, figures out, as in `analysis.figures.overview`; every frame has `global_batch_size` and
`seed`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.figures.drawing import (
    GREY,
    TEXT_GREY,
    WIDTH,
    Looks,
    batch_axis,
    beside,
    by_series,
    draw_cells,
    draw_curve,
    fit_to_lines,
    handle,
    legend_above,
    log_axis,
    of_size,
    series_handles,
    size_colours,
    size_legend,
    style,
)

BATCH, TOP = "batch_sharpness", "hessian_top_eigenvalue"
_LINES = {BATCH: "-", TOP: "--"}
MANY_SIZES = 4
"""From so many on panels stand in two columns."""


def edge_of_stability(values: pd.DataFrame, levels: pd.DataFrame, clock: str) -> Figure:
    """Curvature along training against the rate's levels, a panel per batch size; log scale.

    Args:
        values: One row per record and seed with `quantity` (BATCH or TOP) and the clock; what is
            not positive is not drawn.
        levels: One row per record with the clock and the levels: `plain` (2 / lr), and where there
            is momentum m `low` and `high`, 2 (1 - m) / lr and 2 (1 + m) / lr, else NaN.
        clock: `epoch` or `optimizer_step`.
    """
    colours = size_colours(values)
    columns = 2 if len(colours) >= MANY_SIZES else 1
    rows = math.ceil(len(colours) / columns)
    with style():
        figure = Figure(figsize=(WIDTH, 0.6 + 1.9 * rows), layout="constrained")
        panels = figure.subplots(rows, columns, sharex=True, squeeze=False)
        for axes, (name, colour) in zip(panels.flat, colours.items(), strict=False):
            _draw_levels(axes, of_size(levels, name), clock)
            for quantity, line in _LINES.items():
                own = of_size(values, name)
                own = own[(own["quantity"] == quantity) & (own["value"] > 0)]
                draw_curve(axes, own[clock], own["value"], colour, log=True, linestyle=line)
            axes.set_title(f"batch size {name}")
            axes.margins(x=0.01)
            fit_to_lines(axes)
            log_axis(axes)
        for axes in panels.flat[len(colours) :]:
            axes.set_visible(False)
        for column in range(columns):
            lowest = [axes for axes in panels[:, column] if axes.get_visible()][-1]
            lowest.set_xlabel(clock)
            lowest.tick_params(labelbottom=True)
        present = [q for q in _LINES if q in set(values["quantity"])]
        lines = [handle(q, color=TEXT_GREY, linestyle=_LINES[q]) for q in present]
        legend_above(figure, lines)
    return figure


def _draw_levels(axes: Axes, levels: pd.DataFrame, clock: str) -> None:
    """A grey line per level, its name at one end: 2 / lr and 2 (1 + m) / lr lie close together."""
    names = {"plain": ("2 / lr", 0), "low": ("2 (1 - m) / lr", -1), "high": ("2 (1 + m) / lr", -1)}
    means = levels.groupby(clock)[list(names)].mean()
    for column, (name, end) in names.items():
        line = means[column].dropna()
        if line.empty:
            continue
        axes.plot(line.index, line, color=GREY, linewidth=1, zorder=1)
        at = (line.index[end], line.iloc[end])
        beside(axes, name, at, (0, 3), ha="left" if end == 0 else "right")


def gradient_variance(values: pd.DataFrame, clock: str) -> Figure:
    """The variance of an example's gradient along the top eigenvector, a line per batch size.

    Args:
        values: One row per record and seed with `value` and the clock; zeros are not drawn.
        clock: `epoch` or `optimizer_step`.
    """
    colours = size_colours(values)
    values = values[values["value"] > 0]
    with style():
        figure = Figure(figsize=(WIDTH, 3.0), layout="constrained")
        axes = figure.subplots()
        for name, colour in colours.items():
            rows = of_size(values, name)
            draw_curve(axes, rows[clock], rows["value"], colour, log=True)
        axes.set_title("top_gradient_variance")
        axes.set_xlabel(clock)
        axes.margins(x=0.01)
        fit_to_lines(axes)
        log_axis(axes)
        size_legend(figure, colours)
    return figure


def edge_distances(rows: pd.DataFrame, lines: Iterable[pd.DataFrame], looks: Looks) -> Figure:
    """The relative distance of the top eigenvalue below 2 / lr against batch size, both log.

    Args:
        rows: One per trial with `arm`, `settings` and `distance`, above 0.
        lines: Fits, each with `arm`, `settings`, `global_batch_size` and `distance`.
        looks: The look of every series.
    """
    drawn = rows.rename(columns={"distance": "value"})
    sizes = sorted(set(rows["global_batch_size"]))
    with style():
        figure = Figure(figsize=(WIDTH, 3.4), layout="constrained")
        axes = figure.subplots()
        for look, own in by_series(drawn, looks):
            draw_cells(axes, own, look, sizes, log=True)
        for line in lines:
            look = looks[line["arm"].iloc[0], line["settings"].iloc[0]]
            at = line["global_batch_size"] * look.shift
            axes.plot(at, line["distance"], color=look.colour, linestyle="--", linewidth=1.2)
        axes.set_title("1 - top eigenvalue \N{MULTIPLICATION SIGN} lr / 2")
        log_axis(axes)
        batch_axis(axes, sizes, looks)
        legend_above(figure, series_handles(drawn, looks))
    return figure
