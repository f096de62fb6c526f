"""The density of the Hessian's eigenvalues."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from trainables.config.measures.measure import Passes, Recurring, TrialFacts
from trainables.config.ranges import Count, Example, Several


@dataclass(frozen=True, kw_only=True)
class Spectrum(Recurring):
    """The Hessian's eigenvalue density by stochastic Lanczos quadrature."""

    name: Literal["spectrum"] = "spectrum"
    lanczos_steps: Annotated[Several, Example(40)] = 40
    vectors: Annotated[Count, Example(4)] = 4
    examples: Annotated[Count | None, Example(2000)] = None

    def once(self, facts: TrialFacts, examples: int) -> Passes:
        """Two gradients per Hessian-vector product."""
        return Passes(gradient=2 * self.lanczos_steps * self.vectors * examples)
