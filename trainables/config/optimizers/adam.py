"""Adam and AdamW."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from trainables.config.optimizers.optimizer import OptimizerSettings
from trainables.config.ranges import Example, NotNegative, Positive, Share


@dataclass(frozen=True, kw_only=True)
class Adam(OptimizerSettings):
    """Kingma & Ba 2015; weight decay, if any, is added to the gradient."""

    name: Literal["adam"] = "adam"
    beta1: Annotated[Share, Example(0.9)] = 0.9
    beta2: Annotated[Share, Example(0.999)] = 0.999
    epsilon: Annotated[Positive, Example(1e-8)] = 1e-8
    weight_decay: Annotated[NotNegative, Example(0.0005)] = 0.0

    @property
    def kept_per_parameter(self) -> int:
        """The averages of the gradient and of its square."""
        return 2


@dataclass(frozen=True, kw_only=True)
class AdamW(OptimizerSettings):
    """Loshchilov & Hutter 2019: Adam with decoupled weight decay."""

    name: Literal["adamw"] = "adamw"
    beta1: Annotated[Share, Example(0.9)] = 0.9
    beta2: Annotated[Share, Example(0.999)] = 0.999
    epsilon: Annotated[Positive, Example(1e-8)] = 1e-8
    weight_decay: Annotated[NotNegative, Example(0.0005)] = 0.01

    @property
    def kept_per_parameter(self) -> int:
        """The averages of the gradient and of its square."""
        return 2
