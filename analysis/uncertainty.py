"""Intervals over seeds, tests, corrections for many comparisons, and how much a word takes.

What a word takes of seeds, candidates and levels stands here and nowhere else; the rules and what
they were simulated on: docs/methods/what-may-be-said.md.

Student t covers 95 % from three seeds on, bootstrap intervals only 75-90 % there, so means over
seeds carry t intervals, paired differences too, ratios Fieller's. All two-sided.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Annotated

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import BeforeValidator, WithJsonSchema
from scipy import stats

Number = Annotated[
    float,
    BeforeValidator(lambda value: math.nan if value is None else value),
    WithJsonSchema({"anyOf": [{"type": "number"}, {"type": "null"}]}),
]
"""NaN, in JSON null, where there is none."""

LEVEL = 0.95
MIN_SEEDS = 5
"""Below so many seeds a result is called exploratory: three have been seen to mislead."""
MIN_JUDGED = 3
"""Below so many nothing is said at all."""
MIN_CANDIDATES = 8
"""Per searched field; below so many a search is exploratory."""
MAX_ARMS = 9
"""Arms up to which the rule of tuned comparisons was held against simulation."""
MAX_PRIOR = 4
"""Most degrees of freedom that a family of comparisons lends to each of its variances."""
SPREAD_LEVEL = 0.8
"""Of the upper limit of a standard deviation that a number of seeds is planned by."""
MAX_SEEDS = 10_000
SAME = 1e-12
"""Differences of accuracies that differ by less are equal: rounding of fractions of 1."""
MAX_EXACT_PAIRS = 16
"""2^16 sign flips are enumerated; above, as many are drawn."""
SMALLEST_DRAWN_P = 2 / (2**MAX_EXACT_PAIRS + 1)
"""Two-sided: what `sign_flip_p` gives where no flip that was drawn came as far."""


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A mean and where it may lie; `low` and `high` are NaN where n is too small to say."""

    mean: float
    low: float
    high: float
    n: int
    std: float
    """Sample standard deviation; NaN below n = 2."""

    @property
    def all_equal(self) -> bool:
        """Whether all values are one: then a width of zero is no certainty, and none is given."""
        return self.n > 1 and self.std == 0 and math.isnan(self.low)

    @property
    def excludes_zero(self) -> bool:
        """Whether zero lies outside; False without an interval."""
        return bool(self.low > 0 or self.high < 0)


@dataclass(frozen=True, kw_only=True)
class RatioInterval:
    """A ratio of means; `low` and `high` are None where `reason` says why it has no interval."""

    ratio: float
    low: float | None
    high: float | None
    n: int
    reason: str = ""


@dataclass(frozen=True, kw_only=True, eq=False)
class Spread:
    """How far single seeds scatter, and how well that is known."""

    covariance: NDArray[np.float64]
    """[q, q] of the q values of one seed."""
    degrees: int
    """Degrees of freedom."""

    def of(self, i: int) -> Spread:
        """That of the i-th value alone."""
        return Spread(covariance=self.covariance[i : i + 1, i : i + 1], degrees=self.degrees)


def is_exploratory(n: int) -> bool:
    """Whether so few seeds allow no more than a first look."""
    return n < MIN_SEEDS


def level_of(looks: int, comparisons: int = 1) -> float:
    """1 - .05 / (comparisons x looks): for the word and for the interval beside it."""
    return 1 - (1 - LEVEL) / (comparisons * looks)


@cache
def t_quantile(level: float, degrees: int) -> float:
    """Student's t that a two-sided interval of this level ends at."""
    return float(stats.t.ppf((1 + level) / 2, degrees))


def mean_interval(
    values: ArrayLike, level: float = LEVEL, spread: Spread | None = None
) -> Interval:
    """Mean of independent values with Student's t interval: mean ± t s / sqrt(n).

    Args:
        values: [n], one per seed, finite.
        level: Confidence, 0 to 1.
        spread: s^2 and its degrees of freedom, where they are not the values' own: of its
            covariance the first.

    Returns:
        The interval; all NaN for n = 0, no bounds for n = 1.
    """
    x = np.asarray(values, dtype=float)
    n = len(x)
    if n < 2:
        nan = float("nan")
        return Interval(mean=float(x[0]) if n else nan, low=nan, high=nan, n=n, std=nan)
    mean, std = float(x.mean()), float(x.std(ddof=1))
    if spread is None:
        half = t_quantile(level, n - 1) * std / n**0.5
    else:
        half = t_quantile(level, spread.degrees) * float(spread.covariance[0, 0] / n) ** 0.5
    return Interval(mean=mean, low=mean - half, high=mean + half, n=n, std=std)


def paired_interval(
    first: ArrayLike, second: ArrayLike, level: float = LEVEL, spread: Spread | None = None
) -> Interval:
    """Mean of first - second, both [n] in the same order of seeds, with the paired t interval.

    Differences that are all equal have no bounds: their width of zero is that of coarse counts,
    unless a family lends its variance.
    """
    differences = np.subtract(first, second)
    found = mean_interval(differences, level, spread)
    if len(differences) < 2 or np.ptp(differences) > SAME:
        return found
    if spread is not None and spread.covariance[0, 0] > SAME**2:
        return found
    nan = float("nan")
    return Interval(mean=found.mean, low=nan, high=nan, n=found.n, std=0.0)


def moderated(samples: Sequence[NDArray[np.float64]]) -> list[Spread]:
    """Covariances of a family of comparisons, each drawn towards the family's mean.

    (d0 mean + (n - 1) own) / (d0 + n - 1) with d0 + n - 1 degrees of freedom, the mean over the
    family weighted by n - 1, d0 = min(4, m - 1) for a comparison of five seeds and more, 0 below
    (after Smyth 2004, whose d0 is estimated: five seeds are too few for that). Own variances cost
    half of the power at n = 5, one pooled variance gives 11 % of false words where one arm is
    noisier.

    Args:
        samples: m times [n_i, q]: per comparison, q values of each of its seeds.
    """
    known = [sample for sample in samples if len(sample) > 1]
    own = [np.atleast_2d(np.cov(sample, rowvar=False)) for sample in known]
    weights = np.array([len(sample) - 1.0 for sample in known])
    mean = np.tensordot(weights, np.array(own), 1) / weights.sum() if known else np.zeros((1, 1))
    spreads, covariances = [], iter(own)
    for sample in samples:
        n = len(sample)
        if n < 2:
            spreads.append(Spread(covariance=np.full_like(mean, np.nan), degrees=1))
            continue
        prior = min(MAX_PRIOR, len(known) - 1) if n >= MIN_SEEDS else 0
        both = prior * mean + (n - 1) * next(covariances)
        spreads.append(Spread(covariance=both / (prior + n - 1), degrees=prior + n - 1))
    return spreads


def upper_limit(values: ArrayLike, level: float = LEVEL) -> float:
    """What the mean is at most, one-sided: mean + t s / sqrt(n); NaN below two values."""
    found = mean_interval(values, 2 * level - 1)
    return found.high


def seeds_needed(n: int, std: float, margin: float) -> int | None:
    """About how many seeds could show that a difference of 0 is below a margin.

    The least N with t s / sqrt(N) < margin, one-sided at 95 %, s the upper 80 % limit of a standard
    deviation seen over n seeds. The difference seen plays no part: chosen by it, too few seeds
    would do.

    Returns:
        N; None below two seeds, or beyond 10,000.
    """
    if n < 2:
        return None
    s = std * ((n - 1) / float(stats.chi2.ppf(1 - SPREAD_LEVEL, n - 1))) ** 0.5
    for count in range(2, MAX_SEEDS):
        if t_quantile(2 * LEVEL - 1, count - 1) * s / count**0.5 < margin:
            return count
    return None


def ratio_interval(
    numerator: ArrayLike,
    denominator: ArrayLike,
    level: float = LEVEL,
    spread: Spread | None = None,
) -> RatioInterval:
    """Ratio of two means over the same seeds with Fieller's interval (1954).

    It holds every r for which a t test does not reject mean(numerator - r denominator) = 0, that is
    (b^2 - t^2 s_yy) r^2 - 2 (a b - t^2 s_xy) r + (a^2 - t^2 s_xx) <= 0 with the means a, b, their
    covariances s, and t of n - 1 degrees of freedom. It is bounded exactly if the denominator's own
    interval excludes zero; otherwise no bounds are given.

    Args:
        numerator: [n], one per seed.
        denominator: [n], the same seeds in the same order.
        level: Confidence, 0 to 1.
        spread: Covariance of the two, and its degrees of freedom, if not the values' own.
    """
    x, y = np.asarray(numerator, dtype=float), np.asarray(denominator, dtype=float)
    assert x.shape == y.shape, "a paired ratio needs the same seeds in both"
    n = len(x)
    if n < 2:
        ratio = float(x[0] / y[0]) if n and y[0] else float("nan")
        reason = "fewer than two pairs of seeds"
        return RatioInterval(ratio=ratio, low=None, high=None, n=n, reason=reason)
    a, b = float(x.mean()), float(y.mean())
    covariance = np.cov(x, y) if spread is None else spread.covariance
    (s_xx, s_xy), (_, s_yy) = covariance / n
    t2 = t_quantile(level, n - 1 if spread is None else spread.degrees) ** 2
    square, middle, constant = b * b - t2 * s_yy, a * b - t2 * s_xy, a * a - t2 * s_xx
    if square <= 0:
        reason = "the denominator's own interval includes 0"
        ratio = a / b if b else float("nan")
        return RatioInterval(ratio=ratio, low=None, high=None, n=n, reason=reason)
    # Not negative in exact arithmetic: r = a / b always satisfies the inequality.
    root = max(middle * middle - square * constant, 0.0) ** 0.5
    low, high = float((middle - root) / square), float((middle + root) / square)
    return RatioInterval(ratio=a / b, low=low, high=high, n=n)


def sign_flip_p(differences: ArrayLike) -> float:
    """Two-sided permutation p of mean(differences) = 0 under random signs; exact to 16 pairs.

    The smallest possible value is 2 / 2^n: .25 at 3 pairs, .0625 at 5, .031 at 6.

    Args:
        differences: [n], one per pair.

    Returns:
        p; NaN without a pair.
    """
    x = np.asarray(differences, dtype=float)
    if len(x) < 2:
        return 1.0 if len(x) else float("nan")  # SciPy takes no single observation
    result = stats.permutation_test(
        (x,),
        np.mean,
        permutation_type="samples",
        vectorized=True,
        n_resamples=2**MAX_EXACT_PAIRS,
        rng=np.random.default_rng(0),
    )
    return float(result.pvalue)


def holm(p_values: Sequence[float]) -> NDArray[np.float64]:
    """Holm 1979: p values adjusted so that the chance of any false rejection stays below alpha.

    Sorted ascending, the i-th of m (from 0) becomes the largest of (m - j) p_j over j <= i, at
    most 1. NaN stays NaN and does not count.
    """
    p = np.asarray(p_values, dtype=float)
    known = np.flatnonzero(~np.isnan(p))
    order = known[np.argsort(p[known])]
    adjusted = p.copy()
    adjusted[order] = np.minimum(
        np.maximum.accumulate(p[order] * np.arange(len(order), 0, -1)), 1.0
    )
    return adjusted
