"""What the figures share: looks of series, means with intervals, axes, legends.

Colours are those of Okabe & Ito 2008 (without yellow, which white paper swallows), told apart
under every common colour blindness, and never the only distinction; whatever is ordered is
coloured by viridis. Figures are 4.9 inches wide at 11 points, so that their text stays legible
when a telephone shows them at full width.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullLocator

from analysis.uncertainty import Interval, mean_interval

WIDTH = 4.9
"""Inches."""
ROW_NAME = 20
"""Characters of a row's name before it takes another line."""
COLOURS = ("#1a1a1a", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
MARKERS = {"o": 6.4, "s": 5.8, "D": 5.4, "^": 7.0, "v": 7.0, "P": 7.0, "X": 6.8, "<": 7.0, ">": 7.0}
"""Marker and the size, in points, at which all look equally large."""
LINES = ("-", "--", ":")
GREY = "#8a8a8a"
TEXT_GREY = "#555555"

STYLE: dict[str, Any] = {
    "font.family": "sans-serif",
    "font.size": 11,
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "axes.titlepad": 8,
    "axes.labelsize": 11,
    "xtick.labelsize": 10,
    "ytick.labelsize": 10,
    "legend.fontsize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#666666",
    "xtick.color": "#666666",
    "ytick.color": "#666666",
    "axes.titlecolor": "#222222",
    "axes.labelcolor": "#222222",
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
    "figure.constrained_layout.h_pad": 0.09,
    "text.parse_math": False,
}

Key = tuple[str, str]
"""Arm and settings."""


@dataclass(frozen=True, kw_only=True)
class Look:
    """How one series, an arm with one combination of settings, is drawn in every figure."""

    label: str
    colour: str
    marker: str
    line: str
    shift: float
    """Factor on the batch size, so that series do not hide each other."""


Looks = Mapping[Key, Look]


def style() -> AbstractContextManager[None]:
    """The look of all figures; drawing and saving belong inside, the rest of matplotlib not."""
    return mpl.rc_context(STYLE)  # type: ignore[arg-type] # rcParams are typed by literal


def looks_of(cells: pd.DataFrame) -> dict[Key, Look]:
    """One look per arm and settings, in order of appearance; the first stays on its tick.

    Args:
        cells: Frame with the columns `arm`, `settings` and `global_batch_size`.
    """
    keys: list[Key] = list(dict.fromkeys(zip(cells["arm"], cells["settings"], strict=True)))
    sizes = np.unique(cells["global_batch_size"].to_numpy(dtype=float))
    closest = float(np.min(sizes[1:] / sizes[:-1])) if len(sizes) > 1 else 2.0
    several_arms = len({arm for arm, _ in keys}) > 1
    # All series together stay clear of the next batch size.
    step = min(0.62 / max(len(keys) - 1, 1), 0.16)
    return {
        (arm, settings): Look(
            label=_label(arm, settings, several_arms),
            colour=COLOURS[i % len(COLOURS)],
            marker=list(MARKERS)[i % len(MARKERS)],
            line=LINES[i // len(COLOURS) % len(LINES)],
            shift=float(closest ** (i * step)),
        )
        for i, (arm, settings) in enumerate(keys)
    }


def _label(arm: str, settings: str, several_arms: bool) -> str:
    if not settings:
        return arm
    return f"{arm}: {settings}" if several_arms else settings


def by_series(rows: pd.DataFrame, looks: Looks) -> Iterator[tuple[Look, pd.DataFrame]]:
    """The rows of each series, the last first, so that the first is drawn on top."""
    groups = dict(list(rows.groupby(["arm", "settings"])))
    return ((looks[key], groups[key]) for key in list(looks)[::-1] if key in groups)


def ordered_colours(names: Sequence[str]) -> dict[str, str]:
    """Viridis for what is ordered, such as batch sizes."""
    # The lightest part is too pale for a line on white.
    colours = mpl.colormaps["viridis"](np.linspace(0, 0.87, max(len(names), 2)))
    return {name: to_hex(colour) for name, colour in zip(names, colours, strict=False)}


# --------------------------------------------------------------------------------------- means


def interval_of(values: pd.Series, log: bool = False) -> Interval:
    """The mean's t interval; on the log scale that of the geometric mean."""
    if not log:
        return mean_interval(values)
    logs = mean_interval(np.log(values))
    mean, low, high = np.exp([logs.mean, logs.low, logs.high])
    return Interval(mean=mean, low=low, high=high, n=logs.n, std=logs.std)


def known_interval(mean: float, low: float, high: float) -> Interval:
    """An interval that a table already holds."""
    return Interval(mean=mean, low=low, high=high, n=0, std=float("nan"))


def draw_point(
    axes: Axes,
    x: float | Interval,
    y: float | Interval,
    look: Look,
    *,
    hollow: bool = False,
) -> None:
    """A mean with its interval, upright, level or both."""
    axes.errorbar(
        x.mean if isinstance(x, Interval) else x,
        y.mean if isinstance(y, Interval) else y,
        xerr=_reach(x) if isinstance(x, Interval) else None,
        yerr=_reach(y) if isinstance(y, Interval) else None,
        marker=look.marker,
        markersize=MARKERS[look.marker],
        markeredgewidth=1.2 if hollow else 0.8,
        color=look.colour,
        markerfacecolor="white" if hollow else look.colour,
        markeredgecolor=look.colour if hollow else "white",
        linewidth=1.5,
        zorder=4,
    )


def _reach(interval: Interval) -> list[list[float]] | None:
    if np.isnan(interval.low):
        return None
    return [[interval.mean - interval.low], [interval.high - interval.mean]]


def draw_cells(
    axes: Axes,
    rows: pd.DataFrame,
    look: Look,
    all_sizes: Iterable[float],
    *,
    log: bool = False,
    hollow: bool = False,
) -> None:
    """Seeds as faint dots, a mean with its interval per batch size, lines between neighbours.

    Args:
        axes: Where to draw.
        rows: One series: `global_batch_size` and `value`, one row per seed.
        look: The series' look.
        all_sizes: The study's batch sizes.
        log: Geometric means.
        hollow: Open markers and a dashed line, for the second of two methods.
    """
    seeds: dict[str, Any] = {
        "linestyle": "none",
        "marker": "o",
        "markersize": 3,
        "markeredgewidth": 0,
    }
    sizes = rows["global_batch_size"] * look.shift
    axes.plot(sizes, rows["value"], color=look.colour, alpha=0.3, zorder=2, **seeds)
    cells = {
        float(size): interval_of(group["value"], log)
        for size, group in rows.groupby("global_batch_size")
    }
    line: dict[str, Any] = (
        {"linestyle": "--", "linewidth": 1.0} if hollow else {"linestyle": look.line}
    )
    for run in neighbours(sorted(cells), all_sizes):
        means = [cells[size].mean for size in run]
        xs = [size * look.shift for size in run]
        axes.plot(xs, means, color=look.colour, alpha=0.8, zorder=3, **line)
    for size, interval in cells.items():
        draw_point(axes, size * look.shift, interval, look, hollow=hollow)


def draw_curve(
    axes: Axes, xs: pd.Series, values: pd.Series, colour: str, log: bool = False, **line: Any
) -> None:
    """The mean of the values at each x, one per seed, as a line with its interval as a band."""
    groups = values.dropna().groupby(xs)
    band = pd.DataFrame([vars(interval_of(v, log)) | {"x": x} for x, v in groups])
    if not band.empty:
        axes.plot(band["x"], band["mean"], color=colour, linewidth=1.6, **line)
        axes.fill_between(
            band["x"], band["low"], band["high"], color=colour, alpha=0.2, linewidth=0
        )


def neighbours(sizes: Sequence[float], all_sizes: Iterable[float]) -> list[list[float]]:
    """Runs of batch sizes with none of the study's left out: a line claims no more."""
    order = {float(size): i for i, size in enumerate(sorted(set(all_sizes)))}
    runs: list[list[float]] = []
    for size in sizes:
        if runs and order[size] == order[runs[-1][-1]] + 1:
            runs[-1].append(size)
        else:
            runs.append([size])
    return runs


# ------------------------------------------------------------------------------- by batch size


def size_colours(rows: pd.DataFrame) -> dict[str, str]:
    """A colour of viridis for each batch size, by its name."""
    sizes = sorted(set(rows["global_batch_size"]))
    return ordered_colours([f"{size:g}" for size in sizes])


def of_size(rows: pd.DataFrame, name: str) -> pd.DataFrame:
    """The rows of a batch size."""
    return rows[rows["global_batch_size"] == float(name)]


def size_legend(figure: Figure, colours: Mapping[str, str]) -> None:
    """A legend of batch sizes."""
    lines = [handle(f"batch size {n}", color=c, linewidth=2.5) for n, c in colours.items()]
    legend_above(figure, lines)


# ---------------------------------------------------------------------------------------- axes


def fit_to_lines(axes: Axes) -> None:
    """Limits around the lines alone: bands over two or three seeds reach over many decades."""
    drawn = np.concatenate([np.asarray(line.get_ydata(), dtype=float) for line in axes.lines])
    axes.set_ylim(drawn.min() / 1.6, drawn.max() * 1.6)


def batch_axis(axes: Axes, sizes: Iterable[float], looks: Looks) -> None:
    """A logarithmic axis whose ticks are the study's batch sizes, with room for every series."""
    ticks = sorted({float(size) for size in sizes})
    axes.set_xscale("log", base=2)
    span = ticks[-1] / ticks[0]
    margin, last = 1.15 * span**0.05, max(look.shift for look in looks.values())
    axes.set_xlim(ticks[0] / margin, ticks[-1] * last * margin)
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    # A digit is about .09 inches wide; labels that would touch are turned.
    room = (
        0.75 * WIDTH * np.diff(np.log(ticks)).min() / np.log(2 * last * span) if span > 1 else WIDTH
    )
    if room < 0.09 * (len(f"{ticks[-1]:g}") + 1):
        axes.tick_params(axis="x", labelrotation=60)
    axes.set_xlabel("global_batch_size (examples)")


def log_axis(axes: Axes) -> None:
    """Plain numbers on a logarithmic y axis: 1, 2, 5 where decades are few, else decades."""
    axes.set_yscale("log")
    low, high = axes.get_ylim()
    few = high / low < 100
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if few else (1.0,)))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: _plain(y)))


def _plain(value: float) -> str:
    return f"{value:g}" if 1e-4 < value < 1e5 else f"{value:.0e}"


def named_rows(axes: Axes, labels: Sequence[str]) -> None:
    """A forest's y axis: one name per row, the first on top."""
    axes.set_yticks(range(len(labels)), [textwrap.fill(label, ROW_NAME) for label in labels])
    axes.set_ylim(len(labels) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.grid(visible=False, axis="y")
    axes.grid(visible=True, axis="x")


def beside(
    axes: Axes,
    text: str,
    at: tuple[float, float],
    offset: tuple[float, float],
    coordinates: Any = "data",
    **properties: Any,
) -> None:
    """Small text at some points' distance from a place."""
    look: dict[str, Any] = {"color": TEXT_GREY, "fontsize": 9.5} | properties
    axes.annotate(text, at, offset, xycoords=coordinates, textcoords="offset points", **look)


# ------------------------------------------------------------------------------------- legends


def series_handles(rows: pd.DataFrame, looks: Looks) -> list[Line2D]:
    """Legend entries of the series that the rows hold; none where there is but one."""
    present = set(zip(rows["arm"], rows["settings"], strict=True))
    shown = [look for key, look in looks.items() if key in present]
    entries = [
        handle(look.label, color=look.colour, marker=look.marker, linestyle=look.line)
        for look in shown
    ]
    return entries if len(shown) > 1 else []


def handle(label: str, *, hollow: bool = False, **properties: Any) -> Line2D:
    """One legend entry."""
    edge: dict[str, Any] = {"markerfacecolor": "white"} if hollow else {"markeredgecolor": "white"}
    size = {"markersize": MARKERS.get(properties.get("marker", ""), 7.0)}
    return Line2D([], [], label=label, **(size | edge | properties))


def legend_above(figure: Figure, handles: Sequence[Line2D]) -> None:
    """A legend above the axes, in as many columns as its names leave room for.

    The figure grows by the legend's height, so that the axes keep theirs.
    """
    if not handles:
        return
    for entry in handles:
        entry.set_label(textwrap.fill(str(entry.get_label()), 46))
    lines = [str(entry.get_label()).split("\n") for entry in handles]
    longest = max(len(line) for label in lines for line in label)
    columns = min(len(handles), max(1, int(WIDTH / (0.085 * longest + 0.55))))
    rows = math.ceil(len(handles) / columns) * max(map(len, lines))
    width, height = figure.get_size_inches()
    figure.set_size_inches(width, height + 0.2 * rows)
    figure.legend(
        handles=handles,
        loc="outside upper left",
        ncols=columns,
        frameon=False,
        borderpad=0,
        columnspacing=1.4,
        handlelength=1.8,
        handletextpad=0.6,
        numpoints=1,
    )
