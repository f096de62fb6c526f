"""How often the loss rises steeply along a random direction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from trainables.config.measures.measure import Passes, Recurring, TrialFacts
from trainables.config.ranges import Count, Example, Positive


@dataclass(frozen=True, kw_only=True)
class RandomDirections(Recurring):
    """Share of random directions along which the loss rises steeply (Keskar et al. 2017)."""

    name: Literal["random-directions"] = "random-directions"
    directions: Annotated[Count, Example(100)] = 100
    relative_radius: Annotated[Positive, Example(0.01)] = 0.5
    """Length of the step, relative to |x|."""
    steep_rise: Annotated[Positive, Example(0.1)] = 0.1
    """A rise of the loss by so much or more is steep."""
    examples: Annotated[Count | None, Example(2000)] = None

    def once(self, facts: TrialFacts, examples: int) -> Passes:
        """A loss per direction, and one at the solution."""
        return Passes(forward=(self.directions + 1) * examples)
