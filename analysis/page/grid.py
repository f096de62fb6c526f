"""A table of text cell by cell, as the page sets it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import pandas as pd

WORD_COLUMNS = frozenset(
    [
        *("arm", "settings", "remark", "network", "status", "error", "measure", "with"),
        *("claim", "paper", "here", "direction", "source"),
        *("regime", "at the edge: widen", "word", "why no word", "seeds alive", "which reads"),
    ]
)
"""Columns that hold words, not numbers: set left and allowed to break."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One cell: its text, and what stands in brackets behind it, to be set below."""

    text: str
    interval: str = ""
    word: bool = False
    again: bool = False
    """The first cell of a row that repeats the one above."""


@dataclass(frozen=True, kw_only=True)
class Grid:
    """A table of the page, or why there is none (`absent`)."""

    columns: Sequence[str] = ()
    words: frozenset[str] = frozenset()
    rows: Sequence[Sequence[Cell]] = ()
    absent: str = ""


def grid(frame: pd.DataFrame, absent: str = "") -> Grid:
    """A table of text, cell by cell."""
    if frame.empty:
        return Grid(absent=absent)
    words = WORD_COLUMNS & set(frame.columns)
    rows: list[list[Cell]] = []
    for values in frame.itertuples(index=False, name=None):
        cells = [_cell(str(v), n in words) for n, v in zip(frame.columns, values, strict=True)]
        again = bool(rows) and rows[-1][0].text == cells[0].text
        rows.append([replace(cells[0], again=again), *cells[1:]])
    return Grid(columns=list(map(str, frame.columns)), words=words, rows=rows)


def _cell(text: str, word: bool) -> Cell:
    parts = None if word else re.fullmatch(r"([^\[(]*\S) ([\[(].*[\])])", text)
    return Cell(text=parts[1], interval=parts[2]) if parts else Cell(text=text, word=word)
