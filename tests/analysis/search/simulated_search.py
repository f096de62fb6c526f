"""Searches whose truth is known: what a tuned comparison says of arms that do nothing, and of one.

Accuracy is a curve of the rate's decade u, in points, plus noise of standard deviation s; every
draw of a rate, and every seed of the finals, is noise anew. Candidates are shared, finals crossed
with `analysis.search.finals`, the word is that of `analysis.search.tuned`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analysis.search.finals import Outcome, Values, bracket, is_at_end
from analysis.search.tuned import Side, advantage, share

Curve = Callable[[float], float]
"""Points below the top at a distance from the best decade; -inf where training dies."""
WIDTH = 2.1
"""Decades that the candidates span."""
DROP = 8.0
"""Points lost one decade beside the best, on the parabola."""
GAP = 2.0
"""Points that the best of the small batch lies above the best of the large."""
CHANCE = 10.0


def parabola(distance: float) -> float:
    return -DROP * distance**2


def quartic(distance: float) -> float:
    return -DROP * 4 * distance**4


def cliff(distance: float) -> float:
    """A parabola beyond whose best, by a fifth of a decade, training dies."""
    return parabola(distance) if distance < 0.2 else -np.inf


def kink(distance: float) -> float:
    return -DROP / 2 * abs(distance)


@dataclass(frozen=True, kw_only=True)
class Arm:
    """How an arm differs from the baseline."""

    shift: float = 0.0
    """Decades that its best rate lies higher."""
    gain: float = 0.0
    """Points that its best is better."""
    noise: float = 1.0
    """Its standard deviation, in those of the baseline."""


NULL_ARMS: Mapping[str, Arm] = {
    "null": Arm(),
    "shifted .15": Arm(shift=0.15),
    "shifted .35": Arm(shift=0.35),
    "noisy": Arm(noise=3.0),
}


@dataclass(frozen=True, kw_only=True)
class Setup:
    """One kind of study."""

    curve: Curve = parabola
    candidates: int = 8
    seeds: int = 5
    std: float = 0.2
    loss: float = 0.0
    """Probability that a seed of the baseline diverges, at any rate."""


class Cell:
    """One arm at one batch size."""

    def __init__(self, setup: Setup, arm: Arm, top: float, best: float, draw: np.random.Generator):
        self._setup, self._arm, self._top, self._best, self._draw = setup, arm, top, best, draw
        self.runs: dict[Values, NDArray[np.float64]] = {}
        self._objectives: dict[Values, NDArray[np.float64]] = {}

    def _noise(self, size: int) -> NDArray[np.float64]:
        return self._draw.normal(0, self._setup.std * self._arm.noise, size)

    def _mean(self, values: Values) -> float:
        found = self._setup.curve(values[0] - self._best - self._arm.shift)
        return max(self._top + self._arm.gain + found, CHANCE)

    def winner(self, grid: list[Values]) -> Values:
        """The candidate with the best of one noisy validation each."""
        found = {v: self._mean(v) + self._noise(1)[0] for v in grid}
        return min(found, key=lambda v: (-found[v], v))

    def outcome(self, values: Values, loss: float = 0.0) -> Outcome:
        """Runs a setting in the finals, once."""
        if values not in self.runs:
            size = self._setup.seeds
            alive = self._draw.random(size) >= loss
            both = [self._mean(values) + self._noise(size) for _ in range(2)]
            self.runs[values], self._objectives[values] = (np.where(alive, x, np.nan) for x in both)
        objectives = self._objectives[values]
        return Outcome(planned=len(objectives), objective=objectives[np.isfinite(objectives)])


def words(setup: Setup, arms: Mapping[str, Arm], seed: int) -> dict[str, tuple[bool, float]]:
    """Of one study: whether each arm is credited, and the share it is credited with."""
    draw = np.random.default_rng(seed)
    grid: list[Values] = [(u,) for u in np.linspace(0, WIDTH, setup.candidates)]
    best = draw.uniform(0.4, WIDTH - 0.75)
    cells = {name: Cell(setup, arm, 90, best, draw) for name, arm in arms.items()}
    large, small = (Cell(setup, Arm(), top, best, draw) for top in (90, 90 + GAP))
    winners = {name: cell.winner(grid) for name, cell in cells.items()}
    side = _baseline_side(large, grid, winners, setup.loss)
    small_side = _baseline_side(small, grid, {}, 0.0)
    found = {}
    for name, cell in cells.items():
        cell.outcome(winners[name])
        own = cell.runs[winners[name]]
        open_ = is_at_end(winners[name], grid) or not side.is_bracketed
        of_gap = share(own, side, small_side)
        credited = not open_ and advantage(own, side).low > 0 and of_gap.low > 0
        found[name] = (bool(credited), of_gap.low)
    return found


def _baseline_side(
    cell: Cell, grid: list[Values], winners: Mapping[str, Values], loss: float
) -> Side:
    winner = cell.winner(grid)
    found = bracket(
        grid,
        [winner, *winners.values()],
        lambda values: cell.outcome(values, loss),
        maximizes=True,
        is_at_chance=lambda value: value <= CHANCE + 1,
    )
    return Side(winner=winner, runs=cell.runs, bracket=found)


def rates(setup: Setup, arms: Mapping[str, Arm], studies: int) -> dict[str, float]:
    """Share of studies in which each arm gets a word; "any": in which any of them does."""
    found = [words(setup, arms, seed) for seed in range(studies)]
    by_arm = {name: float(np.mean([study[name][0] for study in found])) for name in arms}
    return {**by_arm, "any": float(np.mean([any(w for w, _ in s.values()) for s in found]))}
