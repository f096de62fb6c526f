"""One figure of the page with its caption, or the sentence that says why there is none."""

from __future__ import annotations

import io
import re
import warnings
from dataclasses import dataclass

import matplotlib as mpl
import pandas as pd
from markupsafe import Markup, escape
from matplotlib.figure import Figure

from analysis.figures.drawing import style
from analysis.gaps.by_cell import CELL


@dataclass(frozen=True, kw_only=True)
class Exhibit:
    """One figure of the report, or why there is none (`absent`)."""

    name: str
    title: str = ""
    caption: str = ""
    svg: str = ""
    absent: str = ""


def exhibit(name: str, title: str, caption: str, figure: Figure) -> Exhibit:
    """A figure drawn."""
    return Exhibit(name=name, title=title, caption=caption, svg=svg(figure, name, title))


def svg(figure: Figure, name: str, label: str) -> Markup:
    """A figure as inline SVG: the same bytes every time, text as text, no size of its own."""
    file = io.StringIO()
    settings = {"svg.hashsalt": name, "svg.fonttype": "none"}
    with style(), mpl.rc_context(settings), warnings.catch_warnings():  # type: ignore[arg-type]
        # Text stays text: the reader's fonts draw it, whatever matplotlib's own font lacks.
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    text = file.getvalue()
    text = text[text.index("<svg") :]
    # One page holds several drawings: ids that nothing refers to would only collide.
    used = set(re.findall(r'(?:url\(#|href="#)([^")]+)', text))
    text = re.sub(r' id="([^"]+)"', lambda m: m[0] if m[1] in used else "", text)
    text = re.sub(r"<metadata>.*?</metadata>", "", text, count=1, flags=re.DOTALL)
    text = re.sub(r'(<svg[^>]*?) width="[^"]+" height="[^"]+"', r"\1", text, count=1)
    return Markup(text.replace("<svg", f'<svg role="img" aria-label="{escape(label)}"', 1))


def seeds_text(points: pd.DataFrame) -> str:
    """`n = 5` or `n = 3 to 5`: complete seeds per cell."""
    counts = points[points["status"] == "complete"].groupby(CELL).size()
    if counts.empty:
        return "n = 0"
    return n_text(counts)


def n_text(counts: pd.Series) -> str:
    """`n = 5` or `n = 3 to 5`."""
    low, high = counts.min(), counts.max()
    return f"n = {high}" if low == high else f"n = {low} to {high}"


def series_text(points: pd.DataFrame) -> str:
    """Which series a figure of one series shows, and of how many seeds."""
    settings = points["settings"].iloc[0]
    series = f"{points['arm'].iloc[0]}: {settings}" if settings else f"arm {points['arm'].iloc[0]}"
    return f"Series: {series}, {seeds_text(points)}."
