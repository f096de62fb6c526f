"""Intervals over seeds, paired and unpaired tests, corrections for many comparisons.

Student t covers 95 % from three seeds on, bootstrap intervals only 75-90 % there, so means over
seeds carry t intervals, paired differences too, ratios Fieller's. All two-sided.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

LEVEL = 0.95
MIN_SEEDS = 5
"""Below so many seeds a result is called exploratory: three have been seen to mislead."""
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


def is_exploratory(n: int) -> bool:
    """Whether so few seeds allow no more than a first look."""
    return n < MIN_SEEDS


def mean_interval(values: ArrayLike, level: float = LEVEL) -> Interval:
    """Mean of independent values with Student's t interval: mean ± t_{n-1} s / sqrt(n).

    Args:
        values: [n], one per seed, finite.
        level: Confidence, 0 to 1.

    Returns:
        The interval; all NaN for n = 0, no bounds for n = 1.
    """
    x = np.asarray(values, dtype=float)
    n = len(x)
    if n < 2:
        nan = float("nan")
        return Interval(mean=float(x[0]) if n else nan, low=nan, high=nan, n=n, std=nan)
    mean, std = float(x.mean()), float(x.std(ddof=1))
    half = float(stats.t.ppf((1 + level) / 2, n - 1)) * std / n**0.5
    return Interval(mean=mean, low=mean - half, high=mean + half, n=n, std=std)


def paired_interval(first: ArrayLike, second: ArrayLike, level: float = LEVEL) -> Interval:
    """Mean of first - second, both [n] in the same order of seeds, with the paired t interval."""
    return mean_interval(np.subtract(first, second), level)


def ratio_interval(
    numerator: ArrayLike, denominator: ArrayLike, level: float = LEVEL
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
    """
    x, y = np.asarray(numerator, dtype=float), np.asarray(denominator, dtype=float)
    assert x.shape == y.shape, "a paired ratio needs the same seeds in both"
    n = len(x)
    if n < 2:
        ratio = float(x[0] / y[0]) if n and y[0] else float("nan")
        reason = "fewer than two pairs of seeds"
        return RatioInterval(ratio=ratio, low=None, high=None, n=n, reason=reason)
    a, b = float(x.mean()), float(y.mean())
    (s_xx, s_xy), (_, s_yy) = np.cov(x, y) / n
    t2 = float(stats.t.ppf((1 + level) / 2, n - 1)) ** 2
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
