"""The loss around the solutions, drawn: spectrum, landscape, random directions.

Frames in, figures out, as in `analysis.figures.overview`. Every frame is of one series and has
`global_batch_size`, `seed` and `value`; batch sizes are coloured by viridis.
"""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator

from analysis.figures.drawing import (
    GREY,
    WIDTH,
    beside,
    draw_curve,
    fit_to_lines,
    log_axis,
    of_size,
    size_colours,
    size_legend,
    style,
)
from analysis.wording import axis
from trainables.task import Metric

DECADES = 7
"""Of a density below its peak that are shown."""
LEVELS = 12
"""Contours of a landscape, over the losses of all panels."""


# ------------------------------------------------------------------------------------- spectrum


def spectra(points: pd.DataFrame) -> Figure:
    """Eigenvalue densities, mean over seeds, a line per batch size; the density on a log scale.

    The eigenvalues' axis is linear around 0, up to a tenth of the smallest spectrum's reach, and
    logarithmic beyond: spectra of small and large batches differ by orders of magnitude.

    Args:
        points: One row per grid point with `x`, the eigenvalue; every trial has its own grid.
    """
    colours = size_colours(points)
    with style():
        figure = Figure(figsize=(WIDTH, 3.4), layout="constrained")
        axes = figure.subplots()
        for name, colour in colours.items():
            x, density = mean_density(of_size(points, name))
            axes.plot(x, density, color=colour, linewidth=1.6)
        reach = points["x"].abs().groupby(points["global_batch_size"]).max().min()
        axes.set_xscale("symlog", linthresh=10.0 ** math.floor(math.log10(reach / 10)))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
        top = points["value"].max()
        axes.set_ylim(bottom=top / 10**DECADES, top=3 * top)
        axes.set_title("spectral_density")
        axes.set_xlabel("eigenvalue of the Hessian")
        axes.axvline(0, color=GREY, linewidth=1, zorder=1)
        log_axis(axes)
        size_legend(figure, colours)
    return figure


def mean_density(points: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """The mean over seeds on the union of their grids; between two points a density is a line."""
    grid = np.unique(points["x"])
    densities = [
        np.interp(grid, rows["x"], rows["value"], left=0, right=0)
        for _, rows in points.sort_values("x").groupby("seed")
    ]
    return grid, np.mean(densities, axis=0)


# ------------------------------------------------------------------------------------ landscape


def landscapes(points: pd.DataFrame, loss: Metric) -> Figure:
    """Contours of the loss over the plane, a panel per batch size, with common levels.

    Args:
        points: One row per point with `x` and `y`; of one seed.
        loss: For its unit.
    """
    sizes = sorted(set(points["global_batch_size"]))
    columns = min(len(sizes), 2)
    rows = math.ceil(len(sizes) / columns)
    low = max(points["value"].min(), points["value"].max() / 10**DECADES)
    levels = np.geomspace(low, points["value"].max(), LEVELS)
    with style():
        figure = Figure(figsize=(WIDTH, 0.7 + 2.3 * rows), layout="constrained")
        panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
        for axes, size in zip(panels.flat, sizes, strict=False):
            plane = points[points["global_batch_size"] == size]
            table = plane.pivot_table(index="y", columns="x", values="value").clip(lower=low)
            drawn = axes.contourf(
                table.columns, table.index, table, levels, norm=LogNorm(), cmap="viridis_r"
            )
            axes.plot(0, 0, marker="+", color="#1a1a1a", markersize=9)
            axes.set_title(f"batch size {size:g}")
            axes.set_aspect("equal")
            axes.grid(visible=False)
        for axes in list(panels.flat)[len(sizes) :]:
            axes.set_visible(False)
        bar = figure.colorbar(drawn, ax=panels, location="bottom", shrink=0.8, aspect=40)
        bar.set_label(axis("train_loss", loss))
        shown = levels[:: max((LEVELS - 1) // 5, 1)]
        bar.set_ticks(shown.tolist(), labels=[f"{level:.2g}" for level in shown], minor=False)
        bar.ax.xaxis.set_minor_locator(NullLocator())
    return figure


# ---------------------------------------------------------------------------- random directions


def random_rises(points: pd.DataFrame, steep_rise: float, loss: Metric) -> Figure:
    """Sorted rises along random directions: mean over seeds with its interval, log scale.

    Ranks at which the loss falls in any of the seeds are not drawn.

    Args:
        points: One row per direction with `x`, its rank's share.
        steep_rise: Where the line stands.
        loss: For its unit.
    """
    colours = size_colours(points)
    with style():
        figure = Figure(figsize=(WIDTH, 3.2), layout="constrained")
        axes = figure.subplots()
        for name, colour in colours.items():
            rows = of_size(points, name)
            rows = rows[rows.groupby("x")["value"].transform("min") > 0]
            draw_curve(axes, 100 * rows["x"], rows["value"], colour, log=True)
        axes.axhline(steep_rise, color=GREY, linewidth=1, zorder=1)
        beside(axes, "steep", (0.0, steep_rise), (4, 3), axes.get_yaxis_transform())
        axes.set_title(axis("rise of the loss", loss))
        axes.set_xlabel("share of the directions that rise no more (%)")
        axes.margins(x=0.01)
        fit_to_lines(axes)
        log_axis(axes)
        size_legend(figure, colours)
    return figure
