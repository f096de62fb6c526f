"""Eigenvalues and trace of the Hessian."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from trainables.config.measures.measure import Measure, Passes, TrialFacts
from trainables.config.ranges import Count, Example, Positive, Several

LANCZOS_STEPS = 10
"""Hessian-vector products per top eigenvalue; one costs about two gradients."""
BOTTOM_STEPS = 30
"""The same at least, where the bottom eigenvalue is waited for (17 to 47 were seen)."""


@dataclass(frozen=True, kw_only=True)
class Hessian(Measure):
    """Top eigenvalues (Lanczos) and trace (Hutchinson) of the training loss's Hessian."""

    name: Literal["hessian"] = "hessian"
    eigenvalues: Annotated[Count, Example(1)] = 1
    bottom: bool = True
    """Whether the most negative eigenvalue is wanted too, at two to five times the steps."""
    trace_samples: Annotated[Several, Example(30)] = 30
    examples: Annotated[Count | None, Example(2000)] = None
    every_epochs: Annotated[Positive | None, Example(1)] = None

    def once(self, facts: TrialFacts, examples: int) -> Passes:
        """Two gradients per Hessian-vector product."""
        steps = max(LANCZOS_STEPS * self.eigenvalues, BOTTOM_STEPS * self.bottom)
        return Passes(gradient=2 * (steps + self.trace_samples) * examples)
