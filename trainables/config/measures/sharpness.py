"""Keskar's sharpness."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from trainables.config.measures.box_search import search
from trainables.config.measures.measure import Passes, Recurring, TrialFacts
from trainables.config.ranges import Count, Example, Positive

PAPER_GRADIENTS = 15
"""Those of Keskar's 10 iterations of L-BFGS-B, and what SciPy's routine takes besides."""


@dataclass(frozen=True, kw_only=True)
class Sharpness(Recurring):
    """Keskar et al. 2017, Metric 2.1; `subspace_dim: null` is the full space."""

    algorithm: ClassVar[int] = 2
    """1 had two random starts; 2 has one for each class."""
    name: Literal["sharpness"] = "sharpness"
    sharpness_epsilon: Annotated[Positive, Example(0.001)] = 1e-3
    subspace_dim: Annotated[Count | None, Example(100)] = None
    examples: Annotated[Count | None, Example(2000)] = None

    def once(self, facts: TrialFacts, examples: int) -> Passes:
        """The paper's method and the search, over the same examples."""
        return search(facts.num_answers, examples, besides=PAPER_GRADIENTS)
