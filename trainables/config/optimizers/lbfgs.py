"""L-BFGS."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from trainables.config.optimizers.optimizer import OptimizerSettings
from trainables.config.ranges import Count, Example


@dataclass(frozen=True, kw_only=True)
class LBFGS(OptimizerSettings):
    """L-BFGS with a strong Wolfe line search (Liu & Nocedal 1989), one iteration per step."""

    takes_differences: ClassVar[bool] = True
    searches_line: ClassVar[bool] = True

    name: Literal["lbfgs"] = "lbfgs"
    history_size: Annotated[Count, Example(10)] = 10

    @property
    def kept_per_parameter(self) -> int:
        """Differences of weights and of gradients, the latest direction and gradient."""
        return 2 * self.history_size + 2

    def gradients_per_step(self, num_parameters: int) -> float:
        """A gradient at the weights and at one step or more."""
        return 2.0
