"""How far a solution lies from its start, and from other solutions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from trainables.config.measures.measure import Measure, Passes, TrialFacts
from trainables.config.ranges import Example, Positive


@dataclass(frozen=True, kw_only=True)
class Distance(Measure):
    """|x - x0| from the weights that training started from, and |x - x'| between two solutions."""

    compares: ClassVar[bool] = True
    looks_at_examples: ClassVar[bool] = False

    name: Literal["distance"] = "distance"
    every_epochs: Annotated[Positive | None, Example(1)] = None

    def once(self, facts: TrialFacts, examples: int) -> Passes:
        """Weights alone."""
        return Passes()
