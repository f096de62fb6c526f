"""Eigenvalues and trace of the Hessian."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from trainables.config.measures.measure import Passes, Recurring, TrialFacts
from trainables.config.ranges import Count, Example, Several

LANCZOS_STEPS = 10
"""Hessian-vector products per top eigenvalue; one costs about two gradients."""
BOTTOM_STEPS = 30
"""The same at least, where the bottom eigenvalue is waited for (17 to 47 were seen)."""


@dataclass(frozen=True, kw_only=True)
class Hessian(Recurring):
    """Top eigenvalues (Lanczos) and trace (Hutchinson) of the training loss's Hessian."""

    name: Literal["hessian"] = "hessian"
    eigenvalues: Annotated[Count, Example(1)] = 1
    bottom: bool = True
    """Whether the most negative eigenvalue is wanted too, at two to five times the steps."""
    gradient_variance: bool = False
    """Whether the variance of an example's gradient along the top eigenvector is wanted too."""
    trace_samples: Annotated[Several, Example(30)] = 30
    examples: Annotated[Count | None, Example(2000)] = None

    def once(self, facts: TrialFacts, examples: int) -> Passes:
        """Two gradients per Hessian-vector product, and for all examples' gradients along one."""
        steps = max(LANCZOS_STEPS * self.eigenvalues, BOTTOM_STEPS * self.bottom)
        products = steps + self.trace_samples + self.gradient_variance
        return Passes(gradient=2 * products * examples)
