"""Conservative training."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, Literal, Self

from trainables.config.optimizers.optimizer import OptimizerSettings
from trainables.config.ranges import Count, Example, Positive, Share


@dataclass(frozen=True, kw_only=True)
class Conservative(OptimizerSettings):
    """Keskar et al. 2017, section 4: min over x of f_B(x) + proximal_weight / 2 |x - x_k|^2.

    Solved inexactly on each batch by `inner_steps` steps of Adam, whose averages go on from batch
    to batch.
    """

    name: Literal["conservative"] = "conservative"
    proximal_weight: Annotated[Positive, Example(0.001)] = 1e-3
    inner_steps: Annotated[Count, Example(3)] = 3
    beta1: Annotated[Share, Example(0.9)] = 0.9
    beta2: Annotated[Share, Example(0.999)] = 0.999
    epsilon: Annotated[Positive, Example(1e-8)] = 1e-8

    @property
    def kept_per_parameter(self) -> int:
        """The averages of the gradient and of its square."""
        return 2

    def without_moot(self) -> Self:
        """The pull begins with the second inner step."""
        if self.inner_steps > 1:
            return self
        return replace(self, proximal_weight=Conservative.proximal_weight)

    def gradients_per_step(self, num_parameters: int) -> float:
        """One per inner step."""
        return float(self.inner_steps)
