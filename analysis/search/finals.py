"""Which settings the finals of a tuned comparison run, and whether the best of them is bracketed.

The winner of a search is drawn with noise, and two arms draw apart: an arm may win by the draw of a
better rate. So each arm is run at its own winner and at the baseline's, and the baseline also at
every arm's winner and at both neighbours of the best of these, until the best has both beside it.
`study` asks this module what to run, `analysis` what may be said: one rule. Loads neither pandas
nor scipy.
"""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Literal

Values = tuple[float, ...]
"""One setting of the searched fields, in the order of the search's section."""
State = Literal["waiting", "bracketed", "edge", "cliff", "dead", "several fields"]

MIN_SURVIVORS = 3
"""A setting of which fewer seeds came through is left out: so few would flatter it at will."""
MAX_INSERTED = 2
"""Settings that are put between the best and a neighbour that died."""
DIGITS = 4
"""Significant digits of a value that is drawn or put between two: more would be unreadable."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How one setting ended in the finals."""

    planned: int
    """Its seeds."""
    objective: Sequence[float]
    """The search's objective, of the seeds that completed."""


@dataclass(frozen=True, kw_only=True)
class Bracket:
    """The settings W of one baseline cell's finals, and its best."""

    settings: tuple[Values, ...]
    """W, in the order in which they joined."""
    best: Values | None
    """s: of W the one with the best mean objective, ties to the smaller value."""
    neighbours: tuple[Values, ...]
    """Of s, among all values tried; of W, and alive."""
    state: State
    """bracketed: nothing better can be hidden beyond the neighbours, but on a kinked curve."""


def bracket(
    tried: Iterable[Values],
    first: Sequence[Values],
    outcome: Callable[[Values], Outcome | None],
    *,
    maximizes: bool,
    is_at_chance: Callable[[float], bool] = lambda _: False,
    is_whole: bool = False,
) -> Bracket:
    """Follow the rule as far as outcomes are known.

    W begins with `first`. With one searched field, both neighbours of its best among the values
    tried are added until nothing is; where a neighbour is dead, the geometric mean of the two
    stands between them, at most twice.

    Args:
        tried: the values that the baseline's search tried.
        first: the baseline's winner, then the arms' (with several fields also the runners-up).
        outcome: how a setting ended in the baseline's finals; None while it has not.
        maximizes: whether more of the objective is better.
        is_at_chance: whether an objective is what a network that learned nothing reaches: as dead
            as divergence.
        is_whole: whether the field takes whole numbers only.
    """
    grid = sorted({*tried, *first})
    ends = (grid[0], grid[-1])
    settings, inserted = list(dict.fromkeys(first)), 0

    def mean(values: Values) -> float | None:
        """The mean objective of a setting; None where it is dead, or has not ended."""
        found = outcome(values)
        if found is None or len(found.objective) < max(min(MIN_SURVIVORS, found.planned), 1):
            return None
        objective = fmean(found.objective)
        return None if is_at_chance(objective) else objective

    def ended(state: State, best: Values | None = None) -> Bracket:
        beside = _neighbours(grid, best) if best and len(best) == 1 else []
        return Bracket(
            settings=tuple(settings),
            best=best,
            neighbours=tuple(v for v in beside if v in settings and mean(v) is not None),
            state=state,
        )

    while True:
        if any(outcome(values) is None for values in settings):
            return ended("waiting")
        means = {v: found for v in settings if (found := mean(v)) is not None}
        if not means:
            return ended("dead")
        best = min(means, key=lambda v: (-means[v] if maximizes else means[v], v))
        if len(best) > 1:
            return ended("several fields", best)
        beside = _neighbours(grid, best)
        if new := [v for v in beside if v not in settings]:
            settings += new
            continue
        if best in ends and best[0] != 0:  # no field that can be searched goes below 0
            return ended("edge", best)
        dead = [v for v in beside if v not in means]
        if not dead:
            return ended("bracketed", best)
        between = [_between(best[0], v[0], is_whole) for v in dead]
        if inserted + len(dead) > MAX_INSERTED or any(v in grid for v in between):
            return ended("cliff", best)
        for values in between:
            insort(grid, values)
        settings += between
        inserted += len(between)


def is_at_end(values: Values, tried: Iterable[Values]) -> bool:
    """Whether any of the values is the smallest or the largest one that its field was tried at.

    0 is no end: none of the fields that can be searched goes below it.
    """
    fields = zip(*{*tried, values}, strict=True)
    return any(
        min(known) < max(known) and value != 0 and value in (min(known), max(known))
        for value, known in zip(values, fields, strict=True)
    )


def beyond(tried: Iterable[Values], *, is_high: bool) -> tuple[float, float]:
    """Two rates to go on with where the best lies at an end, by the ratio of the last two there."""
    ordered = sorted(values[0] for values in {*tried})
    near, far = (ordered[-2], ordered[-1]) if is_high else (ordered[1], ordered[0])
    return rounded(far * (far / near)), rounded(far * (far / near) ** 2)


def rounded(value: float) -> float:
    """A number to `DIGITS` significant digits."""
    return float(f"{value:.{DIGITS}g}")


def _neighbours(grid: Sequence[Values], values: Values) -> list[Values]:
    """The next smaller and the next larger of what was tried."""
    at = bisect_left(grid, values)
    return [*grid[max(at - 1, 0) : at], *grid[at + 1 : at + 2]]


def _between(one: float, other: float, is_whole: bool) -> Values:
    """The geometric mean of two values, where one is not positive the arithmetic."""
    both_positive = one > 0 and other > 0
    value = math.sqrt(one * other) if both_positive else (one + other) / 2
    return (float(round(value)),) if is_whole else (rounded(value),)
