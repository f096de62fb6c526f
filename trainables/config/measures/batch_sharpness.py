"""Curvature of a batch's loss along its own gradient."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Annotated, Literal, Self

from trainables.config.measures.measure import Passes, Recurring, TrialFacts, too_few
from trainables.config.ranges import Conflict, Count, Example, Several


@dataclass(frozen=True, kw_only=True)
class BatchSharpness(Recurring):
    """Andreyev & Beneventano 2024: curvature of a batch's loss along its own gradient."""

    name: Literal["batch-sharpness"] = "batch-sharpness"
    batches: Annotated[Several, Example(50)] = 50
    batch_size: Annotated[Count | None, Example(256)] = None
    """Default: the trial's global batch size in force."""
    examples: Annotated[Count | None, Example(2000)] = None

    def conflicts(self) -> Iterator[Conflict]:
        """Batches lie within the examples."""
        size, most = self.batch_size, self.examples
        if size is not None and most is not None and size > most:
            yield Conflict(field="batch_size", message=too_few(size, most))

    def check(self, facts: TrialFacts) -> None:
        """Batches, by default the trial's own, are drawn from the training set."""
        most = self.examples or facts.num_train_examples
        along = facts.scheduled_batch_sizes if self.records(facts) else ()
        size = self.batch_size or max(facts.global_batch_size, *along, 0)
        if size > most:
            whose = "batch_size" if self.batch_size else "global_batch_size"
            raise ValueError(
                f"{whose} {size} of measure {self.name}: batches are drawn "
                f"from {most} examples; give a batch_size of at most {most}"
                + ("" if self.examples is None else ", or leave examples out for all")
            )

    def in_force(self, global_batch_size: int) -> Self:
        """With the trial's own batch size by default."""
        return self if self.batch_size else replace(self, batch_size=global_batch_size)

    def once(self, facts: TrialFacts, examples: int) -> Passes:
        """Per batch a gradient, its graph, and a backward pass through that; the loss of all."""
        size = self.batch_size or facts.global_batch_size
        return Passes(forward=examples, gradient=4 * self.batches * size)
