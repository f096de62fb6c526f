"""CBLR: a rate for every layer from the curvature of the loss."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, Literal, Self

from trainables.config.optimizers.optimizer import OptimizerSettings
from trainables.config.ranges import Count, Example, NotNegative, Positive, Share


@dataclass(frozen=True, kw_only=True)
class CBLR(OptimizerSettings):
    """LARS with lambda = trust_coefficient median(R), R = |(1 + g^2)^(3/2) / h|.

    Gao & Zhong 2020, section 4: the curvature radius of the loss along each weight, h the Hessian's
    diagonal on the batch.
    """

    takes_differences: ClassVar[bool] = True
    decays_within_ratio: ClassVar[bool] = True

    name: Literal["cblr"] = "cblr"
    trust_coefficient: Annotated[Positive, Example(0.001)] = 1e-3
    momentum: Annotated[Share, Example(0.9)] = 0.9
    weight_decay: Annotated[NotNegative, Example(0.0005)] = 0.0
    adapt_vectors: bool = False
    curvature: Literal["hutchinson", "exact"] = "hutchinson"
    """How h is found: from random vectors, or weight by weight (small networks only)."""
    curvature_samples: Annotated[Count, Example(1)] = 1
    """Random vectors per step."""

    def without_moot(self) -> Self:
        """Exact curvature draws nothing."""
        if self.curvature == "hutchinson":
            return self
        return replace(self, curvature_samples=CBLR.curvature_samples)

    def gradients_per_step(self, num_parameters: int) -> float:
        """Two per vector, of which `exact` takes one for each weight."""
        is_exact = self.curvature == "exact"
        return 1 + 2 * (num_parameters if is_exact else self.curvature_samples)
