"""Which word a published claim gets from our interval, and what chance alone would give.

Nothing is taken for shown that the interval does not show: a claim of equality is compatible or
contradicted, never proved, and the largest difference that is not excluded stands beside it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from analysis.judged.gaps import all_equal_text
from analysis.uncertainty import LEVEL, Interval, is_exploratory, t_quantile
from analysis.wording import counted, number, percent_level

NOT_JUDGED = "not judged"
NOT_RUN, NOT_MEASURED = "not run", "not measured"
REMARK = "no result published"
"""Of a remark of the paper's without a result: there is nothing to judge."""
NO_ERROR = "paper gives no error"
UNIT = 0.01
"""Published means and spreads are rounded to two decimals."""


def word(direction: str, found: Interval, is_percent: bool) -> str:
    """The word for a claim of three seeds and more.

    higher, lower: reproduced, not shown, contradicted. equal, not lower: contradicted, or
    compatible with what is not excluded. 3 and 4 seeds add "(exploratory)". Differences that are
    all equal carry no word, a claim of equality included: a width of zero is that of coarse counts.
    """
    if found.all_equal:
        return f"{NOT_JUDGED}: {all_equal_text(found.n)}"
    words = {"equal": _equal, "not lower": _not_lower}.get(direction)
    text = words(found, is_percent) if words else _directed(direction, found)
    return text + (" (exploratory)" if is_exploratory(found.n) else "")


def _directed(direction: str, found: Interval) -> str:
    if not found.excludes_zero:
        return "not shown"
    return "reproduced" if (found.mean > 0) == (direction == "higher") else "contradicted"


def _equal(found: Interval, is_percent: bool) -> str:
    if found.excludes_zero:
        return "contradicted"
    largest = max(-found.low, found.high)
    size = f"{_points(largest)} points" if is_percent else f"{number(math.exp(largest))} times"
    return f"compatible, differences up to {size} not excluded"


def _not_lower(found: Interval, is_percent: bool) -> str:
    if found.high < 0:
        return "contradicted"
    if found.low >= 0:
        return f"compatible: not lower at {percent_level(LEVEL)}"
    if is_percent:
        return f"compatible, up to {_points(-found.low)} points lower not excluded"
    return f"compatible, down to {number(math.exp(found.low))} times not excluded"


def underfits(train: Interval) -> str:
    """Why a claim about equally good training is not judged; "" where it may be.

    Args:
        train: The metric on the training set, the claim's first side less the second's. Shown to
            be lower where its 95 % interval lies below 0, or where it is lower by as much at every
            seed.
    """
    if not (train.high < 0 or (train.all_equal and train.mean < 0)):
        return ""
    return f"{NOT_JUDGED}: underfits (train {number(-100 * train.mean, 2)} points lower)"


def size(claim: Mapping[str, Any], found: Interval, is_percent: bool) -> str:
    """Whether the paper's difference or ratio is compatible with ours: "within", "outside".

    Both have an error. Ours has s^2 / n, the paper's the sum over its two means of s_i^2 / n (of a
    difference), or s_i^2 / (n a_i^2) (of the logarithm of their ratio, by the delta method): the
    paper's pairing is unknown. What rounding to two decimals hides is added: s_i is half a unit at
    least, a_i has a variance of unit^2 / 12. "outside" where the two differ by more than t standard
    errors, at 95 %, with Welch's degrees of freedom.

    Returns:
        "" where the paper gives no numbers, "paper gives no error" where these have no spread.
    """
    means = (claim["value"], claim["versus_value"])
    if any(map(math.isnan, means)) or math.isnan(found.low):
        return ""
    spreads, n = (claim["spread"], claim["versus_spread"]), claim["n"]
    if any(map(math.isnan, spreads)) or not n > 1:
        return NO_ERROR
    theirs = (means[0] - means[1]) / 100 if is_percent else math.log(means[0] / means[1])
    scales = (100.0, 100.0) if is_percent else means
    variances = [
        (max(s, UNIT / 2) ** 2 / n + UNIT**2 / 12) / scale**2
        for s, scale in zip(spreads, scales, strict=True)
    ]
    ours, their = found.std**2 / found.n, sum(variances)
    degrees = (ours + their) ** 2 / (ours**2 / (found.n - 1) + their**2 / (n - 1))
    limit = t_quantile(LEVEL, int(degrees)) * (ours + their) ** 0.5
    return "within" if abs(found.mean - theirs) <= limit else "outside"


def chance_note(words: Sequence[str], directions: Sequence[str], laws: int = 0) -> str:
    """How many claims there are, how many are judged, and what chance alone would say of them.

    If a directed claim's difference were nothing, its two-sided 95 % interval would contradict it
    in 2.5 % of studies and reproduce it in 2.5 %; one of "not lower" is contradicted in 2.5 %, one
    of equality in 5 %. Of claims that are truer than that fewer are contradicted. The expectation
    is their sum, whether they share trials or not.

    Args:
        words: One per claim.
        directions: What each judged claim says of a difference; "" of those that are not judged.
        laws: How many further judged claims are of laws: that nothing is different makes them
            neither true nor false.
    """
    if not len(words):
        return ""
    judged = [direction for direction in directions if direction]
    tail = (1 - LEVEL) / 2
    directed = sum(direction in ("higher", "lower") for direction in judged)
    contradicted = tail * sum(2 if direction == "equal" else 1 for direction in judged)
    claims = f"{counted(len(words), 'claim')}, fixed beforehand, {percent_level(LEVEL)} each"
    if not judged and not laws:
        return f"{claims}: none is judged."
    apart = f", {laws} of them on laws" if laws else ""
    claims = f"{claims}; {len(judged) + laws} judged{apart}."
    if not judged:
        return claims
    text = (
        f"{claims} Were nothing different anywhere, chance would contradict about "
        f"{number(contradicted, 2)} of {'the others' if laws else 'these'}"
    )
    return text + (f" and reproduce {number(tail * directed, 2)}." if directed else ".")


def _points(fraction: float) -> str:
    return f"{100 * fraction:.2f}"
