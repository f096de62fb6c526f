"""Loss and metric on the path between two solutions, as Keskar et al. 2017 draw it.

Frames in, figures out, as in `analysis.figures.overview`.
"""

from __future__ import annotations

import textwrap

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.figures.drawing import (
    COLOURS,
    GREY,
    WIDTH,
    Looks,
    beside,
    draw_curve,
    handle,
    legend_above,
    log_axis,
    style,
)
from analysis.gaps.by_cell import CELL
from analysis.wording import axis
from trainables.task import Metric

MAX_CELLS = 6
"""Cells drawn; a taller figure would not be looked at."""
SPLITS = {"train": (COLOURS[1], "-"), "test": (COLOURS[2], "--")}


def parametric_plots(
    curves: pd.DataFrame, looks: Looks, baseline_batch_size: int, metric: Metric, loss: Metric
) -> Figure:
    """Per cell the losses, and below them the metric, against alpha; at most `MAX_CELLS`.

    Mean over seeds with its 95 % t interval, of losses on the log scale. Axes hold all seeds, not
    all intervals.

    Args:
        curves: CELL, seed, quantity, x (alpha), value.
        looks: of the series, for their names.
        baseline_batch_size: of the solution at alpha 0.
        metric: the task's.
        loss: what the trials minimized.
    """
    cells = [rows for _, rows in curves.groupby(CELL, sort=False)][:MAX_CELLS]
    with style():
        figure = Figure(figsize=(WIDTH, 0.4 + 3.9 * len(cells)), layout="constrained")
        panels = figure.subplots(2 * len(cells), height_ratios=(3, 2) * len(cells))
        for i, rows in enumerate(cells):
            above, below = panels[2 * i : 2 * i + 2]
            _draw(above, rows, loss, log=True)
            _draw(below, rows, metric)
            arm, settings, size = rows.iloc[0][CELL]
            name = f"{looks[arm, settings].label}, " if len(looks) > 1 else ""
            name = textwrap.fill(f"{name}batch size {size:g}", 46)
            above.set_title(f"{name}\n{axis(loss.name, loss)}", pad=18)
            below.set_title(axis(metric.name, metric))
            below.set_xlabel("alpha")
            above.tick_params(labelbottom=False)
            _mark_solutions(above, below, (baseline_batch_size, size))
        entries = [handle(s, color=c, linestyle=line) for s, (c, line) in SPLITS.items()]
        legend_above(figure, entries)
    return figure


def _draw(axes: Axes, rows: pd.DataFrame, metric: Metric, log: bool = False) -> None:
    shown = []
    for split, (colour, line) in SPLITS.items():
        of_split = rows[rows["quantity"] == metric.column(split)]
        usable = of_split[np.isfinite(of_split["value"]) & ((of_split["value"] > 0) | (not log))]
        values = metric.scale * usable["value"]
        draw_curve(axes, usable["x"], values, colour, log, linestyle=line)
        shown.append(values)
    values = pd.concat(shown)
    if log:
        axes.set_ylim(0.8 * values.min(), 1.25 * values.max())
        log_axis(axes)
    else:
        margin = 0.05 * (values.max() - values.min()) + metric.scale / 1000
        axes.set_ylim(values.min() - margin, values.max() + margin)
    axes.margins(x=0.01)


def _mark_solutions(above: Axes, below: Axes, sizes: tuple[int, int]) -> None:
    for alpha, size in enumerate(sizes):
        for axes in (above, below):
            axes.axvline(alpha, color=GREY, linewidth=1, zorder=1)
        at = (float(alpha), 1.0)
        beside(above, f"batch {size:g}", at, (0, 4), ("data", "axes fraction"), ha="center")
