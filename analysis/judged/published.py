"""The papers' numbers and claims: `analysis/published/NAME.csv`."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.load import Study

FOLDER = Path(__file__).parents[1] / "published"
WORDS = ("claim", "network", "layer", "quantity", "arm", "batch", "versus_arm", "versus_batch")
"""Columns that hold text even where they look like numbers."""
TEXTS = ("direction", "trains_as_well", "unit", "source", "where", "note")

Published = dict[str, Any]
"""A row of one of the files."""


def published(name: str) -> pd.DataFrame:
    """The claims of one file, an absent text as "".

    Columns: claim, network ("" = any), layer (of statistics of layers), quantity,
    sharpness_epsilon, subspace_dim, arm, batch, versus_arm, versus_batch (`baseline`, `large` or a
    number), direction (of the first side against the second: higher, lower, not lower or equal;
    remark where the paper shows no result), trains_as_well (yes where the claim is about networks
    that train equally well: it generalizes worse, its minimum is sharper), value, spread,
    versus_value, versus_spread (both values or neither; absent = the claim is its direction), n
    (the paper's runs), unit (percent, slope or none), source, where, note. Of a slope value is the
    paper's and versus_value what the claim holds it against; its direction may be `no law`.
    """
    return _published(name).copy()


@cache
def _published(name: str) -> pd.DataFrame:
    texts = dict.fromkeys((*WORDS, *TEXTS), str)
    table = pd.read_csv(FOLDER / f"{name}.csv", dtype=texts)
    return table.fillna(dict.fromkeys(texts, ""))


def beside_paper(study: Study) -> bool:
    """Whether a paper's numbers of sharpness stand beside the study's."""
    tables = [published(name) for name in study.reproduces]
    has = [table.loc[table["quantity"] == "sharpness", "value"].notna().any() for table in tables]
    return any(has)
