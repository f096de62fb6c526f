"""Sharpness relative to each weight."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from trainables.config.measures.box_search import search
from trainables.config.measures.measure import Passes, Recurring, TrialFacts
from trainables.config.ranges import Count, Example, Positive


@dataclass(frozen=True, kw_only=True)
class AdaptiveSharpness(Recurring):
    """Kwon et al. 2021: the loss's largest rise within a box relative to each weight."""

    algorithm: ClassVar[int] = 2
    """As of sharpness."""
    name: Literal["adaptive-sharpness"] = "adaptive-sharpness"
    relative_radius: Annotated[Positive, Example(0.01)] = 1e-2
    examples: Annotated[Count | None, Example(2000)] = None

    def once(self, facts: TrialFacts, examples: int) -> Passes:
        """The search of the box."""
        return search(facts.num_answers, examples)
