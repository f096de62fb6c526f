"""The papers' numbers beside ours: the claims of `analysis.judged.claims` as a table of text."""

from __future__ import annotations

import math

import pandas as pd

from analysis.judged import claim_words
from analysis.judged.claim import Claim
from analysis.judged.claims import claims
from analysis.judged.gaps import all_equal_text
from analysis.load import Study
from analysis.wording import NONE, bounded, number

COLUMNS = ["claim", "settings", "quantity", "paper", "here"]
COLUMNS += ["train", "n", "direction", "size", "source"]


def scorecard(study: Study) -> pd.DataFrame:
    """Every claim of the tables that the study reproduces, beside what was found here.

    Returns:
        claim, settings, quantity, paper, here (texts), train (how much better the first side
        trains, in points; "" where the claim does not ask), n (paired seeds), direction (the word
        that the claim gets, or why it gets none), size (`claim_words.size`; "" without a word or a
        number of the paper's), source (with the claim's note).
    """
    rows = [
        {
            "claim": claim.claim,
            "settings": claim.settings,
            "quantity": claim.quantity,
            "paper": claim.paper,
            "here": here(claim),
            "train": _train(claim),
            "n": claim.n,
            "direction": claim.word,
            "size": claim.size,
            "source": claim.source,
        }
        for claim in claims(study)
    ]
    return pd.DataFrame(rows, columns=COLUMNS)


def compact_scorecard(study: Study) -> pd.DataFrame:
    """Claim with what is compared, what was found here, and the judgement, for a terminal."""
    rows = [
        {"claim": f"{c.claim} ({c.quantity})", "here": here(c), "direction": c.word}
        for c in claims(study)
    ]
    return pd.DataFrame(rows, columns=["claim", "here", "direction"])


def scorecard_note(study: Study) -> str:
    """How many claims are judged, and how many words chance alone would give; "" without claims."""
    found = claims(study)
    laws = [c.unit == "slope" for c in found]
    return claim_words.chance_note(
        [c.word for c in found],
        ["" if is_law else c.direction for c, is_law in zip(found, laws, strict=True)],
        sum(bool(c.direction) for c, is_law in zip(found, laws, strict=True) if is_law),
    )


def here(claim: Claim) -> str:
    """`77.3 against 80.1: -2.8 [-3.1, -2.5]`, the last a ratio where it is no percentage.

    Of a slope itself alone.
    """
    if not claim.n:
        return NONE
    if claim.unit == "slope":
        slope = bounded(claim.estimate, claim.low, claim.high)
        return "no slope" if math.isnan(claim.estimate) else f"slope {slope}"
    bounds = _bounds(claim.low, claim.high, claim.unit, claim.n if claim.all_equal else 0)
    if claim.unit == "fraction":
        first, second = 100 * claim.first, 100 * claim.second
        return f"{first:.2f} against {second:.2f}: {100 * claim.estimate:+.2f}{bounds}"
    sides = f"{number(claim.first)} against {number(claim.second)}"
    return f"{sides}: {number(claim.estimate)} times{bounds}"


def _train(claim: Claim) -> str:
    """`-0.02 [-0.05, 0.01]`, in points."""
    if math.isnan(claim.train_estimate):
        return ""
    equal = claim.n if claim.train_all_equal else 0
    bounds = _bounds(claim.train_low, claim.train_high, "fraction", equal)
    return f"{100 * claim.train_estimate:+.2f}{bounds}"


def _bounds(low: float, high: float, unit: str, equal: int) -> str:
    """` [-3.1, -2.5]`, or that so many differences are equal."""
    if equal:
        return f", {all_equal_text(equal)}"
    if math.isnan(low):
        return ""
    if unit == "fraction":
        return f" [{100 * low:+.2f}, {100 * high:+.2f}]"
    return f" [{number(low)}, {number(high)}]"
