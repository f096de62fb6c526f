"""A published claim beside what was found here: the value that page, terminal and JSON show."""

from __future__ import annotations

import math
from dataclasses import dataclass

from analysis.judged.published import Published
from analysis.uncertainty import Number


@dataclass(frozen=True, kw_only=True)
class Claim:
    """One published claim, what was found here, and the word that it gets."""

    claim: str
    settings: str
    quantity: str
    """With its box and method: `sharpness, ε 1e-3, subspace 100, paper's method`."""
    paper: str
    """`77.26 ± 0.42 against 80.04 ± 0.12 (n = 5)`, or the direction in a word."""
    first: Number
    """Our mean of the first side."""
    second: Number
    estimate: Number
    """Difference of the two, paired by seed, of percentages; else their ratio, a geometric mean."""
    low: Number
    high: Number
    unit: str
    """fraction, times or slope: of the last there are no sides."""
    all_equal: bool
    """Whether every seed has the same difference, so that there is no interval."""
    train_estimate: Number
    """How much better the first side trains; none where the claim does not ask."""
    train_low: Number
    train_high: Number
    train_all_equal: bool
    n: int
    """Paired seeds."""
    word: str
    """Of `claim_words.word`; or why there is none."""
    direction: str
    """What the paper says of a claim that is judged; "" of others."""
    size: str
    """Of `claim_words.size`."""
    source: str
    trials: tuple[str, ...]


def source_text(claim: Published) -> str:
    """Who says so, where, and the claim's note."""
    note = f" ({claim['note']})" if claim["note"] else ""
    return f"{claim['source']}, {claim['where']}{note}"


def paper_text(claim: Published) -> str:
    """`77.26 ± 0.42 against 80.04 ± 0.12 (n = 5)`, or the direction in a word."""
    if math.isnan(claim["value"]):
        return "no result" if claim["direction"] == "remark" else str(claim["direction"])
    first = _with_spread(claim["value"], claim["spread"])
    second = _with_spread(claim["versus_value"], claim["versus_spread"])
    count = "" if math.isnan(claim["n"]) else f" (n = {claim['n']:g})"
    return f"{first} against {second}{count}"


def _with_spread(value: float, spread: float) -> str:
    return f"{value:g}" if math.isnan(spread) else f"{value:g} ± {spread:g}"
