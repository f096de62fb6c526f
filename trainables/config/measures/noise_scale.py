"""The gradient's noise scale."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Literal

from trainables.config.measures.measure import Passes, Recurring, TrialFacts, too_few
from trainables.config.ranges import Conflict, Count, Example, Several


@dataclass(frozen=True, kw_only=True)
class NoiseScale(Recurring):
    """McCandlish et al. 2018, appendix A.1: B_simple = tr(Sigma) / |G|^2 from two batch sizes."""

    name: Literal["noise-scale"] = "noise-scale"
    small_batch_size: Annotated[Count, Example(32)] = 32
    large_batch_size: Annotated[Several, Example(512)] = 512
    pairs: Annotated[Several, Example(100)] = 100
    """How many batches of each size are drawn."""
    examples: Annotated[Count | None, Example(2000)] = None

    def conflicts(self) -> Iterator[Conflict]:
        """Two sizes, the larger within the examples."""
        small, large = self.small_batch_size, self.large_batch_size
        if small >= large:
            message = f"{small} must be smaller than large_batch_size {large}; e.g. {large // 2}"
            yield Conflict(field="small_batch_size", message=message)
        if self.examples is not None and large > self.examples:
            yield Conflict(field="large_batch_size", message=too_few(large, self.examples))

    def check_data(self, num_train_examples: int) -> None:
        """The larger batch is drawn from the training set."""
        super().check_data(num_train_examples)
        most = num_train_examples
        if self.large_batch_size > most:
            raise ValueError(
                f"large_batch_size {self.large_batch_size} of measure {self.name}: the "
                f"training set has {most} examples; at most that, e.g. "
                f"{{small_batch_size: {max(most // 16, 1)}, large_batch_size: {most}}}"
            )

    def once(self, facts: TrialFacts, examples: int) -> Passes:
        """Every batch's gradient, and that of all."""
        drawn = self.pairs * (self.small_batch_size + self.large_batch_size)
        return Passes(gradient=drawn + examples)
