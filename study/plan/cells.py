"""How far the search of one cell is: what it tried, and which values won. Light."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from study.file.candidates import Values
from study.grid.settings import Setting
from trainables.config.trial import DONE, TrialConfig

Rows = Mapping[str, Mapping[str, Any]]
"""The final row of every trial that ended, by trial id."""
ENDED = (*DONE, "failed")
"""Statuses that a search goes on after; only complete trials can win."""


@dataclass(frozen=True, kw_only=True)
class Tried:
    """One point of a cell's search, with its seeds."""

    values: Values
    configs: Mapping[str, TrialConfig]
    """Its trials by id, a search seed each."""
    ended: bool
    stopped: bool
    """Whether the scheduler ended one of its trials early, and none of them died."""
    objective: float | None
    """Mean over the search's seeds; None unless all of them are complete."""

    @property
    def numbers(self) -> tuple[float, ...]:
        """The values without their names, in the order of the section."""
        return tuple(self.values.values())


@dataclass(frozen=True, kw_only=True)
class CellSearch:
    """How far the search of one cell is."""

    setting: Setting
    config: TrialConfig
    """Of the cell with the first of the searched values: what stands for its trials in costs."""
    tried: Sequence[Tried]
    to_ask: int
    """Points that are not known yet: an adaptive search asks for them as it learns."""
    extremes: Sequence[TrialConfig]
    """The cell at the ends of what it may ask for."""
    maximizes: bool

    @property
    def ended(self) -> bool:
        """Whether every point of the search has ended."""
        return not self.to_ask and all(tried.ended for tried in self.tried)

    @property
    def winner(self) -> Tried | None:
        """The point with the best objective, of equals the smallest value; None before the end."""
        return next(iter(self.ranked), None) if self.ended else None

    @property
    def ranked(self) -> list[Tried]:
        """The points with an objective, the best first, of equals the smaller value first."""
        known = [tried for tried in self.tried if tried.objective is not None]
        sign = -1 if self.maximizes else 1
        return sorted(known, key=lambda t: (sign * (t.objective or 0.0), t.numbers))

    @property
    def configs(self) -> list[TrialConfig]:
        """A trial of each point that is known, or may be asked for."""
        return [*(next(iter(tried.configs.values())) for tried in self.tried), *self.extremes]
