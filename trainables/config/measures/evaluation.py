"""Loss and accuracy along training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from trainables.config.measures.measure import Passes, Recurring, TrialFacts
from trainables.config.ranges import Count, Example, Positive


@dataclass(frozen=True, kw_only=True)
class Evaluation(Recurring):
    """Loss and accuracy on train, test and validation, recorded along training."""

    is_recorded: ClassVar[bool] = True

    name: Literal["evaluation"] = "evaluation"
    every_epochs: Annotated[Positive, Example(1)] = 1.0
    train_examples: Annotated[Count | None, Example(5000)] = None
    """Evaluate a fixed sample of so many along the way; the last record uses all."""

    @property
    def sample(self) -> tuple[str, int | None]:
        """Along the way; the last record uses all."""
        return "train_examples", self.train_examples

    def cost(self, facts: TrialFacts) -> Passes:
        """Losses on train and test at every record."""
        seen = (self.train_examples or facts.num_train_examples) + facts.num_test_examples
        times = len(self.records(facts) | {facts.optimizer_steps})
        return Passes(forward=times * seen)
