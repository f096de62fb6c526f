"""AdaGrad."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from trainables.config.optimizers.optimizer import OptimizerSettings
from trainables.config.ranges import Example, NotNegative, Positive


@dataclass(frozen=True, kw_only=True)
class AdaGrad(OptimizerSettings):
    """Duchi, Hazan & Singer 2011: v <- v + g^2;  w <- w - lr g / (sqrt(v) + epsilon)."""

    name: Literal["adagrad"] = "adagrad"
    epsilon: Annotated[Positive, Example(1e-8)] = 1e-10
    weight_decay: Annotated[NotNegative, Example(0.0005)] = 0.0

    @property
    def kept_per_parameter(self) -> int:
        """The sum of the gradient's squares."""
        return 1
