"""Stochastic gradient descent."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, Literal, Self

from trainables.config.optimizers.optimizer import OptimizerSettings
from trainables.config.ranges import Conflict, Example, NotNegative, Share


@dataclass(frozen=True, kw_only=True)
class SGD(OptimizerSettings):
    """v <- momentum v + g + weight_decay w;  w <- w - lr v (torch's form, rate outside v)."""

    has_sgd_noise: ClassVar[bool] = True

    name: Literal["sgd"] = "sgd"
    momentum: Annotated[Share, Example(0.9)] = 0.0
    nesterov: bool = False
    weight_decay: Annotated[NotNegative, Example(0.0005)] = 0.0
    decay_normalization: bool = True
    """Decay the parameters of normalization too; Goyal et al. 2017, section 5.1, do not."""

    def conflicts(self) -> Iterator[Conflict]:
        """Nesterov's step is one of momentum."""
        if self.nesterov and self.momentum == 0:
            message = "nesterov needs momentum above 0, e.g. momentum: 0.9"
            yield Conflict(field="nesterov", message=message)

    def without_moot(self) -> Self:
        """Without decay, which parameters decay is moot."""
        if self.weight_decay:
            return self
        return replace(self, decay_normalization=SGD.decay_normalization)
