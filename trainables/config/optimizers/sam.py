"""Sharpness-aware minimization."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from trainables.config.optimizers.optimizer import OptimizerSettings
from trainables.config.ranges import Example, NotNegative, Positive, Share


@dataclass(frozen=True, kw_only=True)
class SAM(OptimizerSettings):
    """Foret et al. 2021: the gradient at w + rho g / |g|, in SGD's step."""

    name: Literal["sam"] = "sam"
    rho: Annotated[Positive, Example(0.05)] = 0.05
    momentum: Annotated[Share, Example(0.9)] = 0.9
    weight_decay: Annotated[NotNegative, Example(0.0005)] = 0.0

    def gradients_per_step(self, num_parameters: int) -> float:
        """At the weights and beside them."""
        return 2.0
