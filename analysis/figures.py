"""DataFrames in, matplotlib figures out: nothing is read, nothing written, no global state.

Every frame has one row per value with the columns of a cell, `arm`, `settings` and
`global_batch_size`. A *series* is one arm with one combination of settings: it keeps its colour,
marker and place in the legend through all figures of a study when each is given the same `series`.
Intervals are 95 % Student t over seeds, on the log scale where the axis is logarithmic.

Figures are 5.4 inches wide at 11 points, so that their text stays legible when a telephone shows
them at full width. The colours are those of Okabe & Ito 2008 (without yellow, which white paper
swallows), told apart under every common colour blindness, and never the only distinction; batch
sizes are ordered by viridis.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullLocator

from analysis.uncertainty import Interval, mean_interval

WIDTH = 5.4
"""Inches."""
COLOURS = ("#1a1a1a", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
MARKERS = ("o", "s", "D", "^", "v", "P", "X", "<", ">")
FAINT = "#8a8a8a"
SERIES = ["arm", "settings"]

AXIS_LABELS = {
    "test_accuracy": "test accuracy (%)",
    "train_accuracy": "train accuracy (%)",
    "validation_accuracy": "validation accuracy (%)",
    "train_loss": "train loss (nats)",
    "test_loss": "test loss (nats)",
    "sharpness": "sharpness",
    "hessian_top_eigenvalue": "Hessian top\neigenvalue",
    "hessian_trace": "Hessian trace",
}

_STYLE: dict[str, Any] = {
    "font.family": "sans-serif",
    "font.size": 11,
    "axes.titlesize": 11,
    "axes.labelsize": 11,
    "xtick.labelsize": 10,
    "ytick.labelsize": 10,
    "legend.fontsize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#666666",
    "axes.labelcolor": "#222222",
    "xtick.color": "#666666",
    "ytick.color": "#666666",
    "xtick.labelcolor": "#222222",
    "ytick.labelcolor": "#222222",
    "axes.grid": True,
    "axes.grid.axis": "y",
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.8,
    "axes.axisbelow": True,
    "figure.facecolor": "white",
    "axes.facecolor": "white",
    "axes.formatter.useoffset": False,
}


@dataclass(frozen=True, kw_only=True)
class Series:
    """How one arm with one combination of settings is drawn."""

    label: str
    colour: str
    marker: str
    line: str
    shift: float
    """Factor on the batch size, so that series do not hide each other."""


def style() -> AbstractContextManager[None]:
    """The look of all figures; drawing and saving belong inside it, the rest of matplotlib not."""
    return mpl.rc_context(_STYLE)


def series_of(cells: pd.DataFrame) -> dict[tuple[str, str], Series]:
    """One look per arm and settings, in order of appearance.

    Args:
        cells: Frame with the columns `arm`, `settings`, `global_batch_size`.
    """
    keys = list(dict.fromkeys(zip(cells["arm"], cells["settings"], strict=True)))
    sizes = np.unique(cells["global_batch_size"].to_numpy(dtype=float))
    closest = float(np.min(sizes[1:] / sizes[:-1])) if len(sizes) > 1 else 2.0
    several_arms = len({arm for arm, _ in keys}) > 1
    # All series together take less than half of the way to the next batch size.
    places = (np.arange(len(keys)) - (len(keys) - 1) / 2) / max(len(keys) - 1, 4)
    return {
        (arm, settings): Series(
            label=_label(arm, settings, several_arms),
            colour=COLOURS[i % len(COLOURS)],
            marker=MARKERS[i % len(MARKERS)],
            line=("-", "--", ":")[i // len(COLOURS) % 3],
            shift=float(closest ** (0.42 * places[i])),
        )
        for i, (arm, settings) in enumerate(keys)
    }


def _label(arm: str, settings: str, several_arms: bool) -> str:
    if not settings:
        return arm
    return f"{arm}: {settings}" if several_arms else settings


# ------------------------------------------------------------------------- against batch size


def accuracy_by_batch(
    points: pd.DataFrame,
    series: Mapping[tuple[str, str], Series],
    quantity: str = "test_accuracy",
) -> Figure:
    """Accuracy against batch size: mean and interval per cell, every seed a faint dot.

    Diverged trials have no accuracy; a cross on the axis counts them.

    Args:
        points: One row per cell and seed, with `status` and the quantity as a fraction of 1.
        series: From `series_of`.
        quantity: The accuracy's column.
    """
    with style():
        figure = Figure(figsize=(WIDTH, 3.9), layout="constrained")
        axes = figure.subplots()
        complete = points[points["status"] == "complete"]
        for key, rows in _by_series(complete, series):
            values = rows.assign(value=100 * rows[quantity]).dropna(subset="value")
            _draw_series(axes, values, series[key], points["global_batch_size"])
        marked = _mark_diverged(axes, points, series)
        axes.set_ylabel(AXIS_LABELS[quantity])
        _batch_axis(axes, points["global_batch_size"])
        _legend(figure, _handles(points, series) + marked)
    return figure


def measures_by_batch(values: pd.DataFrame, series: Mapping[tuple[str, str], Series]) -> Figure:
    """Measured quantities against batch size, one panel each, sharing the batch axis; log scale.

    Means and intervals are geometric. Where a quantity was measured by the methods `best` and
    `paper`, `best` is filled and drawn through, `paper` open and dashed.

    Args:
        values: One row per cell, seed, `quantity` and `method` ("" without), with `value`; panels
            follow the quantities' order of appearance.
        series: From `series_of`.
    """
    quantities = list(dict.fromkeys(values["quantity"]))
    with style():
        figure = Figure(figsize=(WIDTH, 1.0 + 2.0 * len(quantities)), layout="constrained")
        panels = figure.subplots(len(quantities), sharex=True, squeeze=False)[:, 0]
        for axes, quantity in zip(panels, quantities, strict=True):
            axes.set_yscale("log")
            _draw_methods(axes, values[values["quantity"] == quantity], series)
            axes.set_ylabel(AXIS_LABELS.get(quantity, quantity))
            _log_ticks(axes)
        _batch_axis(panels[-1], values["global_batch_size"])
        figure.align_ylabels(panels)
        _legend(figure, _handles(values, series) + _method_handles(values["method"]))
    return figure


def _draw_methods(
    axes: Axes, values: pd.DataFrame, series: Mapping[tuple[str, str], Series]
) -> None:
    for method, of_method in values.groupby("method", sort=True):
        for key, rows in _by_series(of_method, series):
            drawn = rows[rows["value"] > 0]
            _draw_series(
                axes,
                drawn,
                series[key],
                values["global_batch_size"],
                log=True,
                faint=method == "paper",
            )
            for row in rows[~(rows["value"] > 0)].itertuples():
                # A log axis has no place for it; below the axis is where it belongs.
                x = row.global_batch_size * series[key].shift
                axes.plot(
                    x,
                    0.02,
                    transform=axes.get_xaxis_transform(),
                    marker=7,
                    ms=6,
                    color=series[key].colour,
                    mfc="none",
                    clip_on=False,
                )


def _draw_series(
    axes: Axes,
    rows: pd.DataFrame,
    look: Series,
    all_sizes: Iterable[float],
    log: bool = False,
    faint: bool = False,
) -> None:
    """Seeds, means with intervals, and a line between neighbours among the study's batch sizes."""
    if rows.empty:
        return
    axes.plot(
        rows["global_batch_size"] * look.shift, rows["value"], ls="none", marker="o", ms=3,
        mew=0, color=look.colour, alpha=0.15 if faint else 0.3, zorder=2,
    )  # fmt: skip
    cells = {
        float(size): _interval(group["value"], log)
        for size, group in rows.groupby("global_batch_size")
    }
    for run in _neighbours(sorted(cells), all_sizes):
        axes.plot(
            [size * look.shift for size in run], [cells[size].mean for size in run],
            ls="--" if faint else look.line, lw=1.0 if faint else 1.5, color=look.colour,
            alpha=0.8, zorder=3,
        )  # fmt: skip
    for size, interval in cells.items():
        _point(axes, size * look.shift, interval, look, open_=faint)


def _point(
    axes: Axes,
    x: float,
    y: Interval,
    look: Series,
    x_interval: Interval | None = None,
    open_: bool = False,
) -> None:
    """A mean with its interval upright, and level where there is one."""
    axes.errorbar(
        x, y.mean, yerr=_reach(y), xerr=_reach(x_interval) if x_interval else None,
        marker=look.marker, ms=6.5, mew=1.3, color=look.colour, lw=1.4,
        mfc="white" if open_ else look.colour, mec=look.colour if open_ else "white", zorder=4,
    )  # fmt: skip


def _reach(interval: Interval) -> list[list[float]] | None:
    if np.isnan(interval.low):
        return None
    return [[interval.mean - interval.low], [interval.high - interval.mean]]


def _interval(values: pd.Series, log: bool) -> Interval:
    """The mean's t interval; on the log scale that of the geometric mean."""
    if not log:
        return mean_interval(values)
    i = mean_interval(np.log(values))
    mean, low, high = np.exp([i.mean, i.low, i.high])
    return Interval(mean=mean, low=low, high=high, n=i.n, std=i.std)


def _neighbours(sizes: Sequence[float], all_sizes: Iterable[float]) -> list[list[float]]:
    """Runs of batch sizes with none of the study's between them: a line claims no more."""
    order = {float(size): i for i, size in enumerate(sorted(set(all_sizes)))}
    runs: list[list[float]] = []
    for size in sizes:
        if runs and order[size] == order[runs[-1][-1]] + 1:
            runs[-1].append(size)
        else:
            runs.append([size])
    return runs


def _mark_diverged(
    axes: Axes, points: pd.DataFrame, series: Mapping[tuple[str, str], Series]
) -> list[Line2D]:
    """A cross on the axis per cell with diverged trials; its legend entry if there is any."""
    diverged = points[points["status"] == "diverged"]
    cross: dict[str, Any] = {"ls": "none", "marker": "x", "ms": 7, "mew": 1.8, "clip_on": False}
    for key, rows in _by_series(diverged, series):
        for size, group in rows.groupby("global_batch_size"):
            at = (size * series[key].shift, 0.0)
            transform = axes.get_xaxis_transform()
            axes.plot(*at, transform=transform, color=series[key].colour, zorder=5, **cross)
            axes.annotate(
                str(len(group)), at, (0, 6), xycoords=transform, textcoords="offset points",
                ha="center", fontsize=9, color=series[key].colour,
            )  # fmt: skip
    if diverged.empty:
        return []
    return [Line2D([], [], color=FAINT, label="diverged (how many)", **cross)]


# ---------------------------------------------------------------------------- against each other


def sharpness_against_gap(
    cells: pd.DataFrame, series: Mapping[tuple[str, str], Series]
) -> Figure:
    """Sharpness ratio against generalization gap, a point per cell with both intervals.

    Batch sizes stand beside the points of series that ran at several.

    Args:
        cells: One row per cell off the baseline batch with `ratio`, `ratio_low`, `ratio_high` (1
            at the baseline batch) and `gap`, `gap_low`, `gap_high` (fractions of 1).
        series: From `series_of`.
    """
    with style():
        figure = Figure(figsize=(WIDTH, 4.4), layout="constrained")
        axes = figure.subplots()
        axes.set_yscale("log")
        axes.axhline(1, color=FAINT, lw=1, zorder=1)
        axes.axvline(0, color=FAINT, lw=1, zorder=1)
        axes.plot(0, 1, marker="*", ms=13, color=FAINT, mec="white", ls="none", zorder=3)
        axes.annotate("baseline batch", (0, 1), (9, 6), textcoords="offset points", color="#555555")
        for key, rows in _by_series(cells, series):
            _draw_cells(axes, rows, series[key])
        axes.set_xlabel("generalization gap (percentage points)")
        axes.set_ylabel("sharpness ratio")
        axes.grid(axis="x")
        _log_ticks(axes)
        _legend(figure, _handles(cells, series))
    return figure


def _draw_cells(axes: Axes, rows: pd.DataFrame, look: Series) -> None:
    rows = rows.sort_values("global_batch_size")
    axes.plot(100 * rows["gap"], rows["ratio"], color=look.colour, lw=1, alpha=0.35, zorder=2)
    for row in rows.itertuples():
        gap = _as_interval(100 * row.gap, 100 * row.gap_low, 100 * row.gap_high)
        ratio = _as_interval(row.ratio, row.ratio_low, row.ratio_high)
        _point(axes, gap.mean, ratio, look, x_interval=gap)
        if len(rows) > 1:
            axes.annotate(
                f"{row.global_batch_size:g}", (gap.mean, ratio.mean), (7, 5),
                textcoords="offset points", color=look.colour, fontsize=9,
            )  # fmt: skip


def _as_interval(mean: float, low: float, high: float) -> Interval:
    return Interval(mean=mean, low=low, high=high, n=0, std=float("nan"))


# --------------------------------------------------------------------------------- along training


def learning_curves(evaluations: pd.DataFrame) -> Figure:
    """Test accuracy and train loss against epoch: a line per name, mean over seeds, interval band.

    The accuracy axis leaves out the first rise, in which no difference could be seen.

    Args:
        evaluations: One row per record point and seed with `line` (its name; in order of
            appearance, coloured by viridis), `seed`, `epoch`, `test_accuracy`, `train_loss`.
    """
    lines = list(dict.fromkeys(evaluations["line"]))
    # The lightest fifth of viridis is too pale for a line on white.
    colours = mpl.colormaps["viridis"](np.linspace(0, 0.85, max(len(lines), 2)))
    with style():
        figure = Figure(figsize=(WIDTH, 5.6), layout="constrained")
        above, below = figure.subplots(2, sharex=True, height_ratios=(3, 2))
        below.set_yscale("log")
        handles = []
        for line, colour in zip(lines, colours, strict=False):
            rows = evaluations[evaluations["line"] == line]
            _draw_curve(above, rows, 100 * rows["test_accuracy"], colour, log=False)
            _draw_curve(below, rows, rows["train_loss"], colour, log=True)
            handles.append(Line2D([], [], color=colour, lw=2.5, label=str(line)))
        above.set_ylim(bottom=_after_the_rise(evaluations))
        above.set_ylabel(AXIS_LABELS["test_accuracy"])
        below.set_ylabel(AXIS_LABELS["train_loss"])
        below.set_xlabel("epoch")
        below.margins(x=0.01)
        _log_ticks(below)
        _legend(figure, handles)
    return figure


def _draw_curve(axes: Axes, rows: pd.DataFrame, values: pd.Series, colour: Any, log: bool) -> None:
    """Seeds of one batch size are recorded at the same steps, so they meet at equal epochs."""
    if log:
        values = values[values > 0]
    band = pd.DataFrame(
        {
            epoch: vars(_interval(group, log))
            for epoch, group in values.dropna().groupby(rows["epoch"])
        }
    ).T
    if band.empty:
        return
    axes.plot(band.index, band["mean"], color=colour, lw=1.6)
    axes.fill_between(band.index, band["low"], band["high"], color=colour, alpha=0.18, lw=0)


def _after_the_rise(evaluations: pd.DataFrame) -> float:
    """Where the accuracy axis begins: a little below all that came after a tenth of training."""
    late = evaluations[evaluations["epoch"] >= 0.1 * evaluations["epoch"].max()]
    values = 100 * late.groupby(["line", "epoch"])["test_accuracy"].mean()
    return float(values.min() - 0.08 * (values.max() - values.min()))


# --------------------------------------------------------------------------------- side by side


def arms_side_by_side(
    shares: pd.DataFrame,
    accuracies: pd.DataFrame,
    series: Mapping[tuple[str, str], Series],
    baseline_batch_size: float,
) -> Figure:
    """Two forests: the share of the gap that each arm closes, and the test accuracies behind it.

    Args:
        shares: One row per arm, settings and batch size with `share`, `share_low`, `share_high`
            (1 = the whole gap; NaN where not shown).
        accuracies: One row per cell, those of the baseline arm among them, with `mean`, `low`,
            `high` as fractions of 1: filled at the arm's batch, open at the baseline batch.
        series: From `series_of`.
        baseline_batch_size: Where the open markers are measured.
    """
    large = sorted(set(shares["global_batch_size"]))
    at_large = accuracies[accuracies["global_batch_size"].isin(large)]
    rows = list(at_large[[*SERIES, "global_batch_size"]].itertuples(index=False, name=None))
    with style():
        height = 1.9 + 0.62 * len(rows)
        figure = Figure(figsize=(WIDTH, height), layout="constrained")
        above, below = figure.subplots(
            2, height_ratios=(max(len(shares), 1) + 0.6, len(rows) + 0.6)
        )
        _draw_shares(above, shares, series, several=len(large) > 1)
        _draw_accuracies(below, rows, accuracies, series, baseline_batch_size, len(large) > 1)
        _legend(figure, _where_handles(large, baseline_batch_size))
    return figure


def _draw_shares(
    axes: Axes, shares: pd.DataFrame, series: Mapping[tuple[str, str], Series], several: bool
) -> None:
    for x, text in ((0, "as the baseline arm"), (100, "gap closed")):
        axes.axvline(x, color=FAINT, lw=1, ls="-" if x == 0 else "--", zorder=1)
        axes.annotate(
            text, (x, 1), (0, 3), xycoords=("data", "axes fraction"), ha="center", fontsize=9,
            textcoords="offset points", color="#555555",
        )  # fmt: skip
    axes.set_xlim(*_share_limits(shares))
    labels = []
    for y, row in enumerate(shares.itertuples()):
        look = series[row.arm, row.settings]
        labels.append(_row_label(look.label, row.global_batch_size, several))
        if np.isnan(row.share):
            axes.annotate("no share: see the table", (0, y), (6, -3), textcoords="offset points",
                          fontsize=9, color="#555555")  # fmt: skip
        else:
            interval = _as_interval(100 * row.share, 100 * row.share_low, 100 * row.share_high)
            _level_point(axes, y, interval, look)
    _name_rows(axes, labels)
    axes.set_xlabel("share of the gap closed (%)")


def _share_limits(shares: pd.DataFrame) -> tuple[float, float]:
    """All intervals, but no farther than -100 and 250 %: one wide interval hides all others."""
    bounds = 100 * shares[["share", "share_low", "share_high"]].to_numpy(dtype=float).ravel()
    bounds = np.append(bounds[np.isfinite(bounds)], [0.0, 100.0])
    low, high = max(bounds.min(), -100.0), min(bounds.max(), 250.0)
    return low - 0.06 * (high - low) - 4, high + 0.06 * (high - low) + 4


def _draw_accuracies(
    axes: Axes,
    rows: Sequence[tuple[str, str, float]],
    accuracies: pd.DataFrame,
    series: Mapping[tuple[str, str], Series],
    baseline_batch_size: float,
    several: bool,
) -> None:
    cells = accuracies.set_index([*SERIES, "global_batch_size"])[["mean", "low", "high"]]
    labels = []
    for y, (arm, settings, size) in enumerate(rows):
        look = series[arm, settings]
        labels.append(_row_label(look.label, size, several))
        means = []
        for batch, open_ in ((baseline_batch_size, True), (size, False)):
            if (arm, settings, batch) in cells.index:
                interval = _as_interval(*(100 * cells.loc[(arm, settings, batch)]))
                _level_point(axes, y, interval, look, open_=open_)
                means.append(interval.mean)
        axes.plot(means, [y] * len(means), color=look.colour, lw=1, alpha=0.35, zorder=1)
    _name_rows(axes, labels)
    axes.set_xlabel(AXIS_LABELS["test_accuracy"])


def _level_point(axes: Axes, y: float, x: Interval, look: Series, open_: bool = False) -> None:
    axes.errorbar(
        x.mean, y, xerr=_reach(x), marker=look.marker, ms=7, mew=1.3, color=look.colour, lw=1.6,
        mfc="white" if open_ else look.colour, mec=look.colour if open_ else "white", zorder=4,
    )  # fmt: skip


def _row_label(label: str, size: float, several: bool) -> str:
    return f"{label}, {size:g}" if several else label


def _name_rows(axes: Axes, labels: Sequence[str]) -> None:
    axes.set_yticks(range(len(labels)), labels)
    axes.set_ylim(len(labels) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.grid(visible=False, axis="y")
    axes.grid(visible=True, axis="x")


def _where_handles(large: Sequence[float], baseline_batch_size: float) -> list[Line2D]:
    size = f"batch {large[0]:g}" if len(large) == 1 else "the row's batch"
    look: dict[str, Any] = {"ls": "none", "marker": "o", "ms": 7, "color": "#555555"}
    return [
        Line2D([], [], label=size, mec="white", **look),
        Line2D([], [], label=f"batch {baseline_batch_size:g} (baseline)", mfc="white", **look),
    ]


# ------------------------------------------------------------------------------- axes and legends


def _by_series(
    rows: pd.DataFrame, series: Mapping[tuple[str, str], Series]
) -> Iterable[tuple[tuple[str, str], pd.DataFrame]]:
    """The rows of each series, last first, so that the first is drawn on top."""
    groups = {key: group for key, group in rows.groupby(SERIES)}
    return [(key, groups[key]) for key in reversed(series) if key in groups]


def _batch_axis(axes: Axes, sizes: Iterable[float]) -> None:
    """A logarithmic axis whose ticks are the study's batch sizes."""
    ticks = sorted({float(size) for size in sizes})
    axes.set_xscale("log", base=2)
    axes.set_xlim(ticks[0] / 2**0.5, ticks[-1] * 2**0.5)
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    # A digit is about .085 inches wide; labels that would touch are turned.
    inches = 4.2 / np.log2(2 * ticks[-1] / ticks[0])
    room = inches * np.diff(np.log2(ticks)).min() if len(ticks) > 1 else WIDTH
    if room < 0.085 * (len(f"{ticks[-1]:g}") + 1):
        axes.tick_params(axis="x", labelrotation=60)
    axes.set_xlabel("global_batch_size")


def _log_ticks(axes: Axes) -> None:
    """Plain numbers at 1, 2 and 5 where decades are few, at decades where they are many."""
    low, high = axes.get_ylim()
    decades = np.log10(high / low)
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if decades < 2.2 else (1.0,)))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: _plain(y)))


def _plain(value: float) -> str:
    if 1e-4 <= value < 1e6:
        return f"{value:,.0f}" if value >= 1 else f"{value:g}"
    return f"{value:.0e}"


def _handles(
    rows: pd.DataFrame, series: Mapping[tuple[str, str], Series]
) -> list[Line2D]:
    """Legend entries of the series that the rows hold; none for a single one."""
    present = set(zip(rows["arm"], rows["settings"], strict=True))
    shown = [look for key, look in series.items() if key in present]
    if len(shown) < 2:
        return []
    return [
        Line2D(
            [], [], color=look.colour, marker=look.marker, ls=look.line, lw=1.5, ms=6.5,
            mec="white", label=look.label,
        )
        for look in shown
    ]  # fmt: skip


def _method_handles(methods: pd.Series) -> list[Line2D]:
    if not {"paper", "best"} <= set(methods):
        return []
    grey: dict[str, Any] = {"color": FAINT, "marker": "o", "ms": 6.5}
    return [
        Line2D([], [], label="best found", mec="white", lw=1.5, **grey),
        Line2D([], [], label="paper's method", mfc="white", lw=1.0, ls="--", **grey),
    ]


def _legend(figure: Figure, handles: Sequence[Line2D]) -> None:
    """A legend above the axes, in as many columns as the names leave room for."""
    if not handles:
        return
    longest = max(len(str(handle.get_label())) for handle in handles)
    columns = min(len(handles), max(1, int(WIDTH / (0.085 * longest + 0.55))))
    figure.legend(
        handles=handles, loc="outside upper left", ncols=columns, frameon=False,
        borderpad=0, columnspacing=1.4, handlelength=1.8, handletextpad=0.6, numpoints=1,
    )  # fmt: skip
