"""LAMB."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from trainables.config.optimizers.optimizer import OptimizerSettings
from trainables.config.ranges import Example, NotNegative, Positive, Share


@dataclass(frozen=True, kw_only=True)
class LAMB(OptimizerSettings):
    """You et al. 2020: w <- w - lr |w| / |u| u, u Adam's step + weight_decay w."""

    decays_within_ratio: ClassVar[bool] = True

    name: Literal["lamb"] = "lamb"
    beta1: Annotated[Share, Example(0.9)] = 0.9
    beta2: Annotated[Share, Example(0.999)] = 0.999
    epsilon: Annotated[Positive, Example(1e-8)] = 1e-6
    weight_decay: Annotated[NotNegative, Example(0.0005)] = 0.01
    adapt_vectors: bool = False

    @property
    def kept_per_parameter(self) -> int:
        """The averages of the gradient and of its square."""
        return 2
