"""What every measure is to a study: when it is taken, what it refuses, what it costs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Set
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal, Self

from trainables import limits
from trainables.config.ranges import Conflict, Count, Example, Positive

Normalization = Literal["recalibrated", "running", "batch"]
WHEN = ("every_epochs", "every_steps")
"""How often a measure is taken: no part of what is measured."""


def too_few(batch_size: int, examples: int) -> str:
    """What to say of a batch that is larger than what it is drawn from."""
    return (
        f"{batch_size} must be at most the {examples} examples that batches are drawn from; "
        f"e.g. examples: {batch_size}"
    )


@dataclass(frozen=True, kw_only=True)
class TrialFacts:
    """What of a trial a measure's check and its cost depend on."""

    num_train_examples: int
    num_test_examples: int
    num_answers: int
    """Classes; what the search for the largest sharpness starts towards."""
    global_batch_size: int
    scheduled_batch_sizes: tuple[int, ...]
    """Those of the batch schedule, before the trial's own."""
    epochs: float
    optimizer_steps: int
    steps_every: Callable[[float], Set[int]]
    """The steps at which records every so many epochs fall."""
    num_others: int = 0
    """The trials that measures between two compare it with."""


@dataclass(frozen=True, kw_only=True)
class Passes:
    """Examples that a measure sends through the network, over all the times that it is taken."""

    forward: float = 0.0
    """For their losses alone."""
    gradient: float = 0.0
    """Forward and back."""


@dataclass(frozen=True, kw_only=True)
class Measure:
    """The settings of a measure. A kind adds fields, and says what is not as it is here."""

    name: str
    algorithm: ClassVar[int] = 1
    """How it is computed today; raised when its values change for unchanged settings. It is no
    setting and part of no trial's id, but of a measure's key: what an older algorithm found stays
    on record beside the new, and is averaged with it nowhere."""
    is_recorded: ClassVar[bool] = False
    """Recorded while a trial trains, in a table of its own; no kept weights give it later."""
    compares: ClassVar[bool] = False
    """Compares a trial with others, where there are others to compare with."""
    needs_others: ClassVar[bool] = False
    """Is nothing without them."""

    looks_at_examples: ClassVar[bool] = True
    """Sees training examples; else weights alone."""

    @property
    def sample(self) -> tuple[str, int | None]:
        """The field that limits the training examples that it looks at, and its value."""
        return "examples", getattr(self, "examples", None)

    def steps(self, optimizer_steps: int, steps_every: Callable[[float], Set[int]]) -> set[int]:
        """The steps along training after which it is taken; none where it is taken once.

        Args:
            optimizer_steps: the budget.
            steps_every: the steps at which records every so many epochs fall.
        """
        return set()

    @property
    def is_of_start(self) -> bool:
        """Whether it looks at the weights that training starts from."""
        return False

    def conflicts(self) -> Iterator[Conflict]:
        """What its settings refuse of each other."""
        yield from ()

    def check_data(self, num_train_examples: int) -> None:
        """Refuses a training set that it cannot be taken on.

        Raises:
            ValueError: naming the setting, the rule and a value that works.
        """
        field, examples = self.sample
        if (examples or 0) > num_train_examples:
            raise ValueError(
                f"{field} {examples} of measure {self.name}: the training set has "
                f"{num_train_examples} examples; at most that, or leave it out for all"
            )

    def check(self, facts: TrialFacts) -> None:
        """Refuses a trial that it cannot be taken of, on data that it accepts.

        Raises:
            ValueError: as `check_data` does.
        """

    def check_records(self, facts: TrialFacts) -> None:
        """Refuses very many records along training, before any step of them is counted out.

        Raises:
            LimitError: with how many.
        """

    def in_force(self, global_batch_size: int) -> Self:
        """With the training's own batch size where the settings leave it open."""
        return self

    def normalization(self, wanted: Normalization) -> Normalization:
        """By which statistics it is taken, given those of the trial's evaluations.

        It needs a function of the weights alone, which the statistics of a chunk are not; Keskar's
        batch statistics are for losses and accuracies only.
        """
        return "recalibrated" if wanted == "batch" else wanted

    def cost(self, facts: TrialFacts) -> Passes:
        """What it takes, over all the times that it is taken."""
        times = len(self.records(facts) | {facts.optimizer_steps})  # the last is the end's
        once = self.once(facts, self.sample[1] or facts.num_train_examples)
        return Passes(forward=times * once.forward, gradient=times * once.gradient)

    def records(self, facts: TrialFacts) -> set[int]:
        """The steps along training after which it is taken of a trial."""
        return self.steps(facts.optimizer_steps, facts.steps_every)

    def once(self, facts: TrialFacts, examples: int) -> Passes:
        """What it takes each time, of so many training examples."""
        raise NotImplementedError(f"measure {self.name} does not say what it costs")


@dataclass(frozen=True, kw_only=True)
class Recurring(Measure):
    """A measure that can be taken along training too; else once, at the end, from kept weights."""

    every_epochs: Annotated[Positive | None, Example(1)] = None
    every_steps: Annotated[Count | None, Example(100)] = None
    """Instead of by epochs: as many records of every batch size where all take as many steps."""

    def steps(self, optimizer_steps: int, steps_every: Callable[[float], Set[int]]) -> set[int]:
        """Every so many steps or epochs."""
        if self.every_steps is not None:
            return {*range(self.every_steps, optimizer_steps + 1, self.every_steps)}
        return set() if self.every_epochs is None else {*steps_every(self.every_epochs)}

    def check_records(self, facts: TrialFacts) -> None:
        """Refuses very many."""
        if self.every_steps is not None:
            limits.check("RECORDS", facts.optimizer_steps // self.every_steps)
        elif self.every_epochs is not None:
            limits.check("RECORDS", int(min(facts.epochs / self.every_epochs, 1e18)))
