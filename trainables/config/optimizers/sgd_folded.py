"""SGD with the rate inside its velocity."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, Literal, Self

from trainables.config.optimizers.optimizer import OptimizerSettings
from trainables.config.ranges import Example, NotNegative, Share


@dataclass(frozen=True, kw_only=True)
class SGDFolded(OptimizerSettings):
    """v <- momentum v + lr (g + weight_decay w);  w <- w - v (Goyal et al. 2017, equation 10).

    `momentum_correction` multiplies v by this rate over the last one, as their section 3 asks.
    """

    has_sgd_noise: ClassVar[bool] = True

    name: Literal["sgd-folded"] = "sgd-folded"
    momentum: Annotated[Share, Example(0.9)] = 0.9
    weight_decay: Annotated[NotNegative, Example(0.0005)] = 0.0
    momentum_correction: bool = True

    @property
    def divides_by_previous_rate(self) -> bool:
        """To correct the velocity, where there is one."""
        return self.momentum_correction and self.momentum > 0

    def without_moot(self) -> Self:
        """Without momentum there is none to correct."""
        if self.momentum:
            return self
        return replace(self, momentum_correction=SGDFolded.momentum_correction)
