"""What every optimizer is to a study: its constants, what it refuses, what a step costs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Self

from trainables.config.ranges import Conflict


@dataclass(frozen=True, kw_only=True)
class OptimizerSettings:
    """The constants of an optimizer. A kind adds fields, and says what is not as it is here."""

    name: str
    takes_differences: ClassVar[bool] = False
    """Takes the loss's curvature from differences of gradients, which must be exact."""
    searches_line: ClassVar[bool] = False
    """Decides on a step by the loss of the whole batch."""
    decays_within_ratio: ClassVar[bool] = False
    """Weight decay is inside a layer's ratio, so that what it takes per epoch is not known."""
    has_sgd_noise: ClassVar[bool] = False
    """Its noise is that of Smith & Le 2018."""

    @property
    def divides_by_previous_rate(self) -> bool:
        """Whether a rate of 0 before a step cannot be."""
        return False

    @property
    def kept_per_parameter(self) -> int:
        """Numbers kept for each parameter between two steps, at most: of momentum, one."""
        return int(hasattr(self, "momentum"))

    def conflicts(self) -> Iterator[Conflict]:
        """What its constants refuse of each other."""
        yield from ()

    def without_moot(self) -> Self:
        """With what another constant switches off at its default: it is no other training."""
        return self

    def gradients_per_step(self, num_parameters: int) -> float:
        """Gradients of the global batch that a step takes; of line searches, the fewest."""
        return 1.0
