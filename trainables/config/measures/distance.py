"""How far a solution lies from its start, and from other solutions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from trainables.config.measures.measure import Passes, Recurring, TrialFacts


@dataclass(frozen=True, kw_only=True)
class Distance(Recurring):
    """|x - x0| from the weights that training started from, and |x - x'| between two solutions."""

    compares: ClassVar[bool] = True
    looks_at_examples: ClassVar[bool] = False

    name: Literal["distance"] = "distance"

    def once(self, facts: TrialFacts, examples: int) -> Passes:
        """Weights alone."""
        return Passes()
