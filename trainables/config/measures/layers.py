"""Statistics of every layer along training."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Set
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from trainables.config.measures.measure import Measure, Passes, TrialFacts
from trainables.config.ranges import Conflict, Count, Example, Positive, Whole


@dataclass(frozen=True, kw_only=True)
class LayerStatistics(Measure):
    """Per layer along training: |w|, mean |g|, strides, trust ratio, and curvature radius."""

    is_recorded: ClassVar[bool] = True

    name: Literal["layers"] = "layers"
    every_epochs: Annotated[Positive, Example(1)] = 1.0
    every_steps: Annotated[Count | None, Example(1)] = None
    """Instead of by epochs; the first step is always recorded."""
    curvature_samples: Annotated[Whole, Example(1)] = 0
    """Random vectors for the Hessian's diagonal at each record; 0 = no curvature radius."""
    examples: Annotated[Count | None, Example(2000)] = None
    """Curvature over a fixed sample of so many training examples."""

    @property
    def sample(self) -> tuple[str, int | None]:
        """Of the curvature."""
        return "examples", self.examples

    def conflicts(self) -> Iterator[Conflict]:
        """By steps or by epochs; a sample for the curvature alone."""
        # By value: the resolved study file writes defaults out.
        if self.every_steps is not None and self.every_epochs != LayerStatistics.every_epochs:
            message = f"cannot be combined with every_steps {self.every_steps}; keep one"
            yield Conflict(field="every_epochs", message=message, at_key=True)
        if self.examples is not None and self.curvature_samples == 0:
            message = (
                "has no effect without curvature_samples; add curvature_samples: 1 or leave it out"
            )
            yield Conflict(field="examples", message=message, at_key=True)

    def steps(self, optimizer_steps: int, steps_every: Callable[[float], Set[int]]) -> set[int]:
        """The steps that are recorded: the first one, and every so many steps or epochs.

        Args:
            optimizer_steps: the budget.
            steps_every: the steps at which records every so many epochs fall.
        """
        if self.every_steps is None:
            return {1, *steps_every(self.every_epochs)}
        return {1, *range(self.every_steps, optimizer_steps + 1, self.every_steps)}

    def records(self, facts: TrialFacts) -> int:
        """How many steps are recorded."""
        return len(self.steps(facts.optimizer_steps, facts.steps_every))

    def cost(self, facts: TrialFacts) -> Passes:
        """Curvature: a gradient, and two more per random vector, at every record."""
        if self.curvature_samples == 0:
            return Passes()
        once = (1 + 2 * self.curvature_samples) * (self.examples or facts.num_train_examples)
        return Passes(gradient=self.records(facts) * once)
