"""A tuned comparison: what an arm gains over the best that the baseline could be tuned to.

Each arm's search wins by chance too, so an arm is set against the baseline at every setting of its
finals (`analysis.search.finals`), and only the least of the lower ends counts, less what may hide
between two of the values tried. Upper ends are shown and carry no word. The rule was held against
simulated searches: docs/methods/tuned-comparison.md. Pure functions of arrays; larger is better
throughout.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from analysis.search.finals import MIN_SURVIVORS, Bracket, Values
from analysis.uncertainty import LEVEL, Interval, paired_interval, ratio_interval

Runs = NDArray[np.float64]
"""[n] the reported metric, one per seed of the study, NaN where the seed was lost."""
Reading = Literal[
    "helps at both",
    "helps at its own values, not at the baseline's",
    "helps at the baseline's values, not at its own",
    "the baseline gains as much by those values: it was badly tuned",
    "neither is shown",
]
HIDDEN_SHARE = 1 / 6
"""Of the larger drop to a neighbour: what a smooth curve may hide between two values tried."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Side:
    """One tuned cell: the reported metric at every setting that its finals ran."""

    winner: Values
    runs: Mapping[Values, Runs]
    lost: int = 0
    """Seeds that did not come through at the winner."""
    has_ended: bool = True
    """Whether all seeds at the winner have ended."""
    bracket: Bracket | None = None
    """Of a cell of the baseline arm whose finals were crossed."""

    @property
    def at_winner(self) -> Runs:
        """The metric at the search's own winner."""
        return self.runs[self.winner]

    @property
    def best(self) -> Values:
        """The best setting of the finals; without a bracket the winner."""
        return (self.bracket and self.bracket.best) or self.winner

    @property
    def is_bracketed(self) -> bool:
        """Whether nothing better can hide beyond the best's neighbours."""
        return self.bracket is not None and self.bracket.state == "bracketed"

    @property
    def resolution(self) -> float:
        """q: a sixth of the larger drop from the best setting to a neighbour, by the finals' means.

        On a parabola through three evenly spaced values whose middle one is the best, the top lies
        at most an eighth of the larger drop above it.
        """
        if self.bracket is None or not self.bracket.neighbours:
            return 0.0
        best = np.nanmean(self.runs[self.best])
        drops = [best - np.nanmean(self.runs[values]) for values in self.bracket.neighbours]
        return HIDDEN_SHARE * max(0.0, *map(float, drops))

    def rivals(self) -> Iterator[Runs]:
        """The metric at every setting that is to be beaten."""
        settings = self.bracket.settings if self.bracket else (self.winner,)
        for values in settings:
            runs = self.runs.get(values)
            if runs is not None and np.isfinite(runs).sum() >= min(MIN_SURVIVORS, len(runs)):
                yield runs


@dataclass(frozen=True, kw_only=True)
class Limited:
    """A difference or share by its limits; NaN where there is none."""

    mean: float
    """The least over the settings to be beaten."""
    low: float
    high: float
    n: int
    """The fewest seeds that any of the comparisons rests on."""


NOTHING = Limited(mean=float("nan"), low=float("nan"), high=float("nan"), n=0)


def advantage(own: Runs, other: Side, level: float = LEVEL) -> Limited:
    """What one training gains over the best that another could be tuned to.

    low = min over w of the lower end of own - other(w), less other's resolution; high is the upper
    end against other's own winner.

    Args:
        own: the credited side, at its own winner.
        other: the side to be beaten.
        level: of the paired two-sided t intervals, own variance.
    """
    found = [_paired(own, runs, level) for runs in other.rivals()]
    against_winner = _paired(own, other.at_winner, level)
    if not found:
        nan = float("nan")
        return Limited(mean=nan, low=nan, high=against_winner.high, n=0)
    return Limited(
        mean=min(interval.mean for interval in found),
        low=float(np.min([interval.low for interval in found])) - other.resolution,
        high=against_winner.high,
        n=min(interval.n for interval in found),
    )


def gap(small: Side, large: Side, level: float = LEVEL) -> Limited:
    """small - large, each held against the best that the other could be tuned to.

    low = what small, at its own winner, gains at least over any setting of large; high = what it
    gains at most, any setting of small over large at its own winner. Both less, or plus, the
    other's resolution.
    """
    own = _paired(small.at_winner, large.at_winner, level)
    low = advantage(small.at_winner, large, level).low
    high = -advantage(large.at_winner, small, level).low
    return Limited(mean=own.mean, low=low, high=high, n=own.n)


def loses_at_most(small: Side, large: Side, level: float = LEVEL) -> float:
    """One-sided upper limit of small - large: the most over all settings of small, and what hides.

    NaN where the small side is not bracketed.
    """
    if not small.is_bracketed:
        return float("nan")
    return -advantage(large.at_winner, small, 2 * level - 1).low


def share(arm: Runs, large: Side, small: Side, level: float = LEVEL) -> Limited:
    """At least how much of a gap an arm recovers: the least of Fieller's lower ends over w.

    Per seed (arm - large(w) - q) / (small(s0) + q0 - large(w) - q), q and q0 the resolutions of the
    two sides. There is none where a denominator is not shown to exceed 0.
    """
    nan = float("nan")
    best = small.runs[small.best] + small.resolution
    shares = []
    for runs in large.rivals():
        known = np.isfinite(arm) & np.isfinite(runs) & np.isfinite(best)
        floor = (runs + large.resolution)[known]
        found = ratio_interval(arm[known] - floor, best[known] - floor, level)
        if found.low is None or np.mean(best[known] - floor) <= 0:
            return Limited(mean=nan, low=nan, high=nan, n=found.n)
        shares.append((found.ratio, found.low, found.n))
    if not shares:
        return Limited(mean=nan, low=nan, high=nan, n=0)
    means, lows, counts = zip(*shares, strict=True)
    return Limited(mean=min(means), low=min(lows), high=nan, n=min(counts))


# --------------------------------------------------------------------------------- two by two


@dataclass(frozen=True, kw_only=True)
class TwoByTwo:
    """Arm and baseline, each at both winners: a description, and no credit."""

    at_own: tuple[float, float]
    """Arm and baseline at the arm's winner; NaN where too few seeds came through."""
    at_baseline: tuple[float, float]
    """Arm and baseline at the baseline's winner."""
    reading: Reading
    is_same: bool
    """Whether both have the same winner."""


def two_by_two(arm: Side, baseline: Side, level: float = LEVEL) -> TwoByTwo | None:
    """The four means and what they look like; None where not all four have ended."""
    own, theirs = arm.winner, baseline.winner
    if not (arm.has_ended and baseline.has_ended):
        return None
    if theirs not in arm.runs or own not in baseline.runs:
        return None
    helps_own = _paired(arm.runs[own], baseline.runs[own], level).low > 0
    helps_there = _paired(arm.runs[theirs], baseline.runs[theirs], level).low > 0
    died = _survivors(baseline.runs[own]) < min(MIN_SURVIVORS, len(baseline.runs[own]))
    gains = _paired(baseline.runs[own], baseline.runs[theirs], level).low > 0
    return TwoByTwo(
        at_own=(_mean(arm.runs[own]), _mean(baseline.runs[own])),
        at_baseline=(_mean(arm.runs[theirs]), _mean(baseline.runs[theirs])),
        reading=_reading(helps_own or died, helps_there, gains),
        is_same=own == theirs,
    )


def _reading(helps_own: bool, helps_there: bool, baseline_gains: bool) -> Reading:
    if helps_own and helps_there:
        return "helps at both"
    if helps_own:
        return "helps at its own values, not at the baseline's"
    if helps_there:
        return "helps at the baseline's values, not at its own"
    if baseline_gains:
        return "the baseline gains as much by those values: it was badly tuned"
    return "neither is shown"


def _paired(first: Runs, second: Runs, level: float) -> Interval:
    known = np.isfinite(first) & np.isfinite(second)
    return paired_interval(first[known], second[known], level)


def _survivors(runs: Runs) -> int:
    return int(np.isfinite(runs).sum())


def _mean(runs: Runs) -> float:
    enough = _survivors(runs) >= min(MIN_SURVIVORS, len(runs))
    return float(np.nanmean(runs)) if enough and _survivors(runs) else float("nan")
