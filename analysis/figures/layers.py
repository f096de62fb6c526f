"""Figures of single layers, after Gao & Zhong 2020: gradients, strides and curvature radii.

Frames come from `analysis.layers`. As in `analysis.figures.overview`, nothing is read or written,
and a frame without rows has no figure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.figures.drawing import (
    COLOURS,
    GREY,
    WIDTH,
    Look,
    batch_axis,
    draw_cells,
    draw_curve,
    handle,
    legend_above,
    log_axis,
    ordered_colours,
    style,
)
from analysis.layers import Fit

STEP = Look(label="first step", colour=COLOURS[0], marker="o", line="-", shift=1.0)
AT_START = Look(label="probe at the start", colour=COLOURS[1], marker="s", line="--", shift=1.0)
AT_END = Look(label="probe at the end", colour=COLOURS[2], marker="D", line=":", shift=1.0)


def gradients_by_batch(
    first: pd.DataFrame, points: pd.DataFrame, fits: Sequence[Fit], tensors: Sequence[str]
) -> Figure:
    """Mean |g| against batch size, a panel per tensor: in training, probed, and the fitted law.

    Args:
        first: `layers.first_gradients`.
        points: `layers.probed`, on the same axis.
        fits: `layers.fits`; a line each.
        tensors: Of the panels, in order.
    """
    with style():
        figure = Figure(figsize=(WIDTH, 0.5 + 2.5 * len(tensors)), layout="constrained")
        panels = figure.subplots(len(tensors), sharex=True, squeeze=False)[:, 0]
        sizes = pd.concat([first["global_batch_size"], points["global_batch_size"]])
        shown: dict[str, Look] = {}
        for axes, tensor in zip(panels, tensors, strict=True):
            series = {
                STEP: first[first["tensor"] == tensor],
                **{
                    look: points[(points["tensor"] == tensor) & (points["at_start"] == at_start)]
                    for look, at_start in ((AT_START, True), (AT_END, False))
                },
            }
            for look, rows in series.items():
                if not rows.empty:
                    shown[look.label] = look
                    _draw_means(axes, rows, look)
            _draw_fits(axes, [fit for fit in fits if fit.layer == tensor], sizes)
            _draw_square_root_law(axes, next(r for r in series.values() if not r.empty))
            axes.set_title(f"{tensor}: mean_abs_gradient")
            log_axis(axes)
        batch_axis(panels[-1], sizes, {("", ""): STEP})
        panels[-1].set_xlabel("batch size (examples)")
        marks = [
            handle(
                look.label,
                hollow=look is not STEP,
                color=look.colour,
                marker=look.marker,
                linestyle="none",
            )
            for look in (STEP, AT_START, AT_END)
            if look.label in shown
        ]
        lines = [handle("B^(-1/2)", color=GREY, linestyle="-")]
        if fits:
            lines.append(handle("fit to the probe", color=GREY, linestyle="--"))
        legend_above(figure, marks + lines)
    return figure


def _draw_means(axes: Axes, rows: pd.DataFrame, look: Look) -> None:
    """Means with intervals, and seeds as dots; no line but the law's."""
    for size in rows["global_batch_size"].unique():
        one = rows[rows["global_batch_size"] == size]
        draw_cells(axes, one, look, [size], log=True, hollow=look is not STEP)


def _draw_fits(axes: Axes, fits: Sequence[Fit], sizes: pd.Series) -> None:
    for fit in fits:
        look = AT_START if fit.at_start else AT_END
        to = min(float(sizes.max()), fit.num_examples)
        grid = np.geomspace(float(sizes.min()), to, 60)
        axes.plot(grid, fit.at(grid), color=look.colour, linestyle="--", linewidth=1.1, zorder=2)


def _draw_square_root_law(axes: Axes, rows: pd.DataFrame) -> None:
    """B^(-1/2) through the mean at the smallest batch size."""
    means = rows.groupby("global_batch_size")["value"].mean()
    ends = np.array([means.index.min(), means.index.max()], dtype=float)
    axes.plot(ends, means.iloc[0] * np.sqrt(ends[0] / ends), color=GREY, linewidth=1.1, zorder=1)


def along_training(records: pd.DataFrame, columns: Sequence[str], tensors: Sequence[str]) -> Figure:
    """Columns of the records against epoch, a panel per tensor and column, a line per batch size.

    Args:
        records: `layers.records`, thinned.
        columns: Of it; positive values are drawn, on a log scale.
        tensors: Of it.
    """
    sizes = sorted(records["global_batch_size"].unique())
    colours = ordered_colours([f"{size:g}" for size in sizes])
    lines = records.assign(line=[f"{size:g}" for size in records["global_batch_size"]])
    panels = {
        f"{tensor}: {column}": lines[lines["tensor"] == tensor].assign(
            value=lambda rows, column=column: rows[column]
        )
        for column in columns
        for tensor in tensors
    }
    return _panels(panels, colours)


def curvature_radii(records: pd.DataFrame, column: str) -> Figure:
    """Curvature radii against epoch, a line per layer: weights and biases apart, two batch sizes.

    Args:
        records: `layers.records`, thinned, those that have curvature.
        column: `mean_curvature_radius` or `median_curvature_radius`.
    """
    layers = list(dict.fromkeys(records.loc[records["kind"] == "weight", "layer"]))
    colours = ordered_colours(layers)
    sizes = records["global_batch_size"]
    lines = records.assign(line=records["layer"], value=records[column])
    panels = {
        f"{name}, batch size {size:g}": lines[(lines["kind"] == kind) & (sizes == size)]
        for kind, name in (("weight", "weights"), ("bias", "biases"))
        for size in dict.fromkeys([sizes.min(), sizes.max()])
    }
    return _panels(panels, colours)


def _panels(panels: Mapping[str, pd.DataFrame], colours: Mapping[str, str]) -> Figure:
    """One above the other; of each the `line`s, `epoch` and `value`."""
    panels = {title: rows[_is_drawable(rows["value"])] for title, rows in panels.items()}
    panels = {title: rows for title, rows in panels.items() if not rows.empty}
    with style():
        figure = Figure(figsize=(WIDTH, 0.4 + 1.75 * len(panels)), layout="constrained")
        all_axes = figure.subplots(len(panels), sharex=True, squeeze=False)[:, 0]
        for axes, (title, rows) in zip(all_axes, panels.items(), strict=True):
            for name, colour in reversed([*colours.items()]):
                of_line = rows[rows["line"] == name]
                draw_curve(axes, of_line["epoch"], of_line["value"], colour, log=True)
            axes.set_title(title)
            axes.margins(x=0.01)
            log_axis(axes)
        all_axes[-1].set_xlabel("epoch")
        legend_above(figure, [handle(n, color=c, linewidth=2.5) for n, c in colours.items()])
    return figure


def _is_drawable(values: pd.Series) -> pd.Series:
    numbers = values.astype(float)
    return (numbers > 0) & np.isfinite(numbers)
