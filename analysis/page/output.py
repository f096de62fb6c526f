"""Tables of text as plain text and as LaTeX."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain, zip_longest
from textwrap import wrap

import pandas as pd

from analysis.wording import NONE, TIMES

MAX_WIDTH = 20
"""Characters of a column of plain text; longer cells take several lines."""
ROW_NAMES = ("network", "arm", "settings", "batch size", "LB")
"""Columns that name a row: repeated where a table is too wide to be one block."""
LATEX = {"±": r"$\pm$", TIMES: r"$\times$", "ε": r"$\varepsilon$", NONE: "--"}


def to_text(table: pd.DataFrame, width: int = 80) -> str:
    """A table as plain text, at most `width` characters wide.

    Long cells take several lines; columns that do not fit beside each other follow in further
    blocks, each of which begins with the columns that name the row.
    """
    names = [name for name in table if name in ROW_NAMES]
    blocks: list[list[str]] = [list(names)]
    for name in table.columns.drop(names):
        wider = [*blocks[-1], name]
        if len(wider) > len(names) + 1 and sum(_width(table[n]) + 2 for n in wider) > width:
            blocks.append([*names, name])
        else:
            blocks[-1].append(name)
    return "\n".join(_block(table[names]) for names in blocks)


def _width(column: pd.Series) -> int:
    # A heading may be folded at its words; cells of usual length may not.
    return min(max(len(text) for text in [*str(column.name).split(), *column]), MAX_WIDTH)


def _block(table: pd.DataFrame) -> str:
    widths = [_width(table[name]) for name in table]
    rows = [_wrapped(row, widths) for row in table.itertuples(index=False)]
    rule = "  ".join("-" * width for width in widths)
    return "\n".join([*_wrapped([*table.columns], widths), rule, *chain(*rows)]) + "\n"


def _wrapped(cells: Iterable[str], widths: Sequence[int]) -> list[str]:
    parts = [wrap(cell, width) for cell, width in zip(cells, widths, strict=True)]
    return [
        "  ".join(part.ljust(width) for part, width in zip(line, widths, strict=True)).rstrip()
        for line in zip_longest(*parts, fillvalue="")
    ]


def to_latex(table: pd.DataFrame) -> str:
    """A table as LaTeX (booktabs), its text escaped."""
    style = table.style.hide(axis="index").format(escape="latex")
    text: str = style.format_index(escape="latex", axis=1).to_latex(hrules=True)
    for sign, command in LATEX.items():
        text = text.replace(sign, command)
    return text
