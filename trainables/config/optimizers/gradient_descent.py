"""Gradient descent with a backtracking line search."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from trainables.config.optimizers.optimizer import OptimizerSettings
from trainables.config.ranges import Count, Example, Inside


@dataclass(frozen=True, kw_only=True)
class GradientDescent(OptimizerSettings):
    """w <- w - t g, t backtracked from the rate until Armijo's condition holds."""

    searches_line: ClassVar[bool] = True

    name: Literal["gradient-descent"] = "gradient-descent"
    sufficient_decrease: Annotated[Inside, Example(0.0001)] = 1e-4
    backtracking: Annotated[Inside, Example(0.5)] = 0.5
    max_backtracks: Annotated[Count, Example(20)] = 20

    def gradients_per_step(self, num_parameters: int) -> float:
        """A gradient, and the loss at one step or more."""
        return 2.0
