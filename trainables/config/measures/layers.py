"""Statistics of every layer along training."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Set
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from trainables.config.measures.measure import Passes, Recurring, TrialFacts
from trainables.config.ranges import Conflict, Count, Example, Positive, Whole


@dataclass(frozen=True, kw_only=True)
class LayerStatistics(Recurring):
    """Per layer along training: |w|, mean |g|, strides, trust ratio, and curvature radius."""

    is_recorded: ClassVar[bool] = True

    name: Literal["layers"] = "layers"
    every_epochs: Annotated[Positive, Example(1)] = 1.0
    curvature_samples: Annotated[Whole, Example(1)] = 0
    """Random vectors for the Hessian's diagonal at each record; 0 = no curvature radius."""
    examples: Annotated[Count | None, Example(2000)] = None
    """Curvature over a fixed sample of so many training examples."""

    @property
    def sample(self) -> tuple[str, int | None]:
        """Of the curvature."""
        return "examples", self.examples

    def conflicts(self) -> Iterator[Conflict]:
        """A sample for the curvature alone."""
        if self.examples is not None and self.curvature_samples == 0:
            message = (
                "has no effect without curvature_samples; add curvature_samples: 1 or leave it out"
            )
            yield Conflict(field="examples", message=message, at_key=True)

    def steps(self, optimizer_steps: int, steps_every: Callable[[float], Set[int]]) -> set[int]:
        """The first step too."""
        return {1, *super().steps(optimizer_steps, steps_every)}

    def cost(self, facts: TrialFacts) -> Passes:
        """Curvature: a gradient, and two more per random vector, at every record."""
        if self.curvature_samples == 0:
            return Passes()
        once = (1 + 2 * self.curvature_samples) * (self.examples or facts.num_train_examples)
        return Passes(gradient=len(self.records(facts)) * once)
