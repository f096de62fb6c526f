"""The loss over a random plane."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge, Le

from trainables.config.measures.measure import Measure, Passes, TrialFacts
from trainables.config.ranges import Conflict, Count, Example, Positive


@dataclass(frozen=True, kw_only=True)
class Landscape(Measure):
    """Li et al. 2018: the loss over a plane of two filter-normalized random directions."""

    name: Literal["landscape"] = "landscape"
    points: Annotated[int, Ge(3), Le(1000), Example(25)] = 21
    """Along each axis; odd, so that the solution itself is one."""
    reach: Annotated[Positive, Example(1)] = 1.0
    """The axes go from -reach to reach, in norms of the filters."""
    examples: Annotated[Count | None, Example(2000)] = None

    def conflicts(self) -> Iterator[Conflict]:
        """The solution itself is a point."""
        if self.points % 2 == 0:
            message = (
                f"{self.points} must be odd, so that the solution itself is one of them; "
                f"e.g. {self.points + 1}"
            )
            yield Conflict(field="points", message=message)

    def once(self, facts: TrialFacts, examples: int) -> Passes:
        """A loss per point."""
        return Passes(forward=self.points**2 * examples)
