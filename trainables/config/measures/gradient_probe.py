"""Mean gradients against batch size."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Literal

from trainables.config.measures.measure import WHEN, Passes, Recurring, TrialFacts, too_few
from trainables.config.ranges import Conflict, Count, Example, Several


@dataclass(frozen=True, kw_only=True)
class GradientProbe(Recurring):
    """Mean |g| of every layer against batch size at fixed weights, with the fit of its law."""

    name: Literal["gradient-probe"] = "gradient-probe"
    at: Literal["end", "start"] = "end"
    """The trained weights, or those that training starts from."""
    batch_sizes: Annotated[tuple[Count, ...], Example([32, 256])] = (32, 64, 128, 256, 512, 1024)
    draws: Annotated[Several, Example(20)] = 20
    """Batches drawn of each size."""
    examples: Annotated[Count | None, Example(2000)] = None

    @property
    def is_of_start(self) -> bool:
        """As asked for."""
        return self.at == "start"

    def conflicts(self) -> Iterator[Conflict]:
        """Two or more sizes, within the examples; records along training are not of the start."""
        sizes = self.batch_sizes
        if len(sizes) < 2 or len(set(sizes)) < len(sizes):
            message = f"{list(sizes)} must hold two or more different sizes, e.g. [32, 256]"
            yield Conflict(field="batch_sizes", message=message)
        elif self.examples is not None and max(sizes) > self.examples:
            yield Conflict(field="batch_sizes", message=too_few(max(sizes), self.examples))
        for field in WHEN:
            if self.at == "start" and getattr(self, field) is not None:
                message = (
                    "has no meaning with at: start, where there is one set of weights; leave it out"
                )
                yield Conflict(field=field, message=message, at_key=True)

    def check_data(self, num_train_examples: int) -> None:
        """The largest batch is drawn from the training set."""
        super().check_data(num_train_examples)
        most = num_train_examples
        if max(self.batch_sizes) > most:
            fitting = sorted({*(n for n in self.batch_sizes if n < most), most})
            raise ValueError(
                f"batch_sizes {list(self.batch_sizes)} of measure {self.name}: the training "
                f"set has {most} examples; at most that, e.g. {fitting}"
            )

    def once(self, facts: TrialFacts, examples: int) -> Passes:
        """Every batch's gradient."""
        return Passes(gradient=self.draws * sum(self.batch_sizes))
