"""Published claims on the slope of the distance below 2 / lr (`analysis.judged.edge`).

Three directions: `lower` than `versus_value` (a slope of 0: d falls as the batch grows), `equal` to
it (-1: d goes as 1 / B), and `no law`, of a control that must fail: reproduced where the slope's
interval includes 0, or R^2 < .5, or no eigenvalue comes to half of 2 / lr.
"""

from __future__ import annotations

import math

from analysis.judged import claim_words
from analysis.judged.claim import Claim, source_text
from analysis.judged.claim_words import NOT_JUDGED, NOT_MEASURED
from analysis.judged.edge import HALF, EdgeSlope, edge_slopes
from analysis.judged.gaps import not_judged
from analysis.judged.published import Published
from analysis.load import Study
from analysis.uncertainty import Interval
from analysis.wording import number

SLOPE = "edge_slope"
NO_LAW = "no law"


def slope_claim(study: Study, claim: Published, settings: str) -> Claim:
    """A claim on the slope of one arm, at one combination of settings."""
    series = (claim["arm"], settings)
    slopes = edge_slopes(study)
    found = next((slope for slope in slopes if (slope.arm, slope.settings) == series), None)
    word, n = (NOT_MEASURED, 0) if found is None else (_word(study, claim, found), found.n)
    nan = math.nan
    is_judged = not word.startswith((NOT_JUDGED, NOT_MEASURED))
    return Claim(
        claim=claim["claim"],
        settings=settings,
        quantity=SLOPE,
        paper=NO_LAW if claim["direction"] == NO_LAW else f"slope {claim['value']:g}",
        first=nan,
        second=nan,
        estimate=found.estimate if found else nan,
        low=found.low if found else nan,
        high=found.high if found else nan,
        unit="slope",
        all_equal=False,
        train_estimate=nan,
        train_low=nan,
        train_high=nan,
        train_all_equal=False,
        n=n,
        word=word,
        direction=claim["direction"] if is_judged else "",
        size="",
        source=source_text(claim),
        trials=found.trials if found else (),
    )


def _word(study: Study, claim: Published, found: EdgeSlope) -> str:
    if claim["direction"] == NO_LAW:
        return _control(study, found)
    if found.reason:
        return _not_judged(found)
    versus = claim["versus_value"]
    apart = Interval(
        mean=found.estimate - versus,
        low=found.low - versus,
        high=found.high - versus,
        n=found.n,
        std=math.nan,
    )
    if claim["direction"] == "equal" and not apart.excludes_zero:
        bounds = f"{number(found.low)} to {number(found.high)}"
        return _qualified(f"compatible, {bounds} not excluded", found)
    return claim_words.word(claim["direction"], apart, is_percent=False)


def _not_judged(found: EdgeSlope) -> str:
    return f"{NOT_JUDGED}: {found.reason.removeprefix(f'{NOT_JUDGED}: ')}"


def _control(study: Study, found: EdgeSlope) -> str:
    """Of a series that must have no law."""
    if found.largest_share >= HALF and found.reason:
        return _not_judged(found)
    if why := not_judged(study, found.n):
        return why
    return _qualified("contradicted" if found.has_law else "reproduced", found)


def _qualified(word: str, found: EdgeSlope) -> str:
    return word + (f" ({found.exploratory})" if found.exploratory else "")
