"""What a trial is about: what its labels are, what it minimizes, and what it is judged by.

A task's *metric* is what gaps, searches, targets and axes are about; its name, unit and direction
come from here. The functions behind the names are those of `trainables.methods.losses`. Loads
neither torch nor ray.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from trainables.config.training import SharedConfig

Labels = npt.NDArray[Any]
Levels = Mapping[str, float]
"""By `level_name`: what a network reaches that learned nothing."""

SPLITS = ("train", "test", "validation")
MOST_EMPTY_CLASSES = 1000
"""Labels beyond this and beyond the number of examples are taken for identifiers, not classes."""
STANDARD_DEVIATIONS = 3
"""By so many binomial ones an accuracy may exceed the largest class's share by luck."""


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A mean over the examples of a split; `accuracy` of the test set is `test_accuracy`."""

    name: str
    plural: str
    is_larger_better: bool
    scale: float = 1.0
    """Times which people read it: 100 where that is percent."""
    unit: str = ""
    """Of a value so scaled."""
    unit_of_difference: str = ""
    """Of a difference of two: points, not percent."""
    limit: float = math.inf
    """What no value exceeds."""
    example: float = 0.1
    """A value that a study may aim at."""
    margin: float | None = None
    """A loss that a batch size is asked to stay below, where nobody named another."""

    @property
    def stored_unit(self) -> str:
        """Of a value as the tables have it."""
        return self.unit if self.scale == 1 else "fraction"

    def column(self, split: str) -> str:
        """`test_accuracy`: the YAML key, the Parquet column and the axis label."""
        return f"{split}_{self.name}"

    def advantage(self, value: Any, other: Any) -> Any:
        """By how much the first is better than the second; of numbers, arrays and columns."""
        return value - other if self.is_larger_better else other - value

    def goodness(self, value: Any) -> Any:
        """The value, or what is smaller the better negated; twice it is the value again."""
        return value if self.is_larger_better else -value

    def direction(self, *, better: bool) -> str:
        """What a better value is, or a worse one: higher or lower."""
        return "higher" if better == self.is_larger_better else "lower"

    def amount(self, value: float, sign: str = "") -> str:
        """A value, or a difference, as people read it, without its unit: `95.67`, `0.123`.

        With the sign `+` also positive ones have theirs.
        """
        return f"{self.scale * value:{sign}{'.3g' if self.scale == 1 else '.2f'}}"

    def text(self, value: float) -> str:
        """`95.67 %`, `0.123`."""
        return f"{self.amount(value)} {self.unit}".rstrip()

    def difference(self, value: float, sign: str = "") -> str:
        """`2.03 points`, `0.012`."""
        return f"{self.amount(value, sign)} {self.unit_of_difference}".rstrip()


@dataclass(frozen=True, kw_only=True)
class Task:
    """One kind of question that networks answer."""

    name: str
    metric: Metric
    losses: tuple[str, ...]
    """Those of `training.loss` that it may minimize."""
    checked: Callable[[Labels, str], Labels]
    """One split's labels as they are kept.

    Raises:
        ValueError: They are no labels of this task; the second argument says whose.
    """
    check_together: Callable[[Mapping[str, Labels], str], None]
    """All splits' labels, by split and checked one by one.

    Raises:
        ValueError: They do not go together.
    """
    num_outputs: Callable[[Labels], int]
    """Of a network that answers: of the whole training set's labels."""
    num_answers: Callable[[int], int]
    """Constant ones that the search for the largest sharpness starts towards, of its outputs."""
    levels: Callable[[str, Labels], Levels]
    """At chance, of a split's labels: of its metric and of every loss."""


# --------------------------------------------------------------------------------------- metrics

LOSSES = {
    "cross-entropy": Metric(
        name="loss",
        plural="losses",
        is_larger_better=False,
        unit="nats",
        unit_of_difference="nats",
    ),
    "squared-error": Metric(name="loss", plural="losses", is_larger_better=False),
}
"""By `training.loss`; the column is `test_loss` whichever it is."""
DEFAULT_LOSS = SharedConfig.loss
UNLIKE_LOSSES = Metric(name="loss", plural="losses", is_larger_better=False)
"""Of trials that minimize different ones: a number without a unit."""

ACCURACY = Metric(
    name="accuracy",
    plural="accuracies",
    is_larger_better=True,
    scale=100,
    unit="%",
    unit_of_difference="points",
    limit=1,
    example=0.95,
    margin=0.01,
)
ABSOLUTE_ERROR = Metric(name="absolute_error", plural="absolute errors", is_larger_better=False)

METRICS = {metric.name: metric for metric in (LOSSES[DEFAULT_LOSS], ACCURACY, ABSOLUTE_ERROR)}
COLUMNS = tuple(metric.column(split) for split in SPLITS for metric in METRICS.values())
"""Of the tables; a task leaves those of others empty."""


def metric_of(column: str) -> Metric:
    """`test_accuracy` -> accuracy.

    Raises:
        KeyError: It is no metric of a split.
    """
    split, _, name = column.partition("_")
    if split not in SPLITS:
        raise KeyError(column)
    return METRICS[name]


# --------------------------------------------------------------------------------------- at chance


def level_name(column: str, loss: str | None = None) -> str:
    """What a level is called: the column, and of a loss that is not the default which it is."""
    is_loss = column.endswith("_loss")
    return f"{column} {loss}" if is_loss and loss not in (None, DEFAULT_LOSS) else column


def is_at_chance(column: str, value: float, level: float) -> bool:
    """Whether a metric is no better than what a network reaches that learned nothing."""
    return not metric_of(column).advantage(value, level) > 0


# -------------------------------------------------------------------------------- classification


def _classes(labels: Labels, what: str) -> Labels:
    if labels.ndim != 1:
        raise ValueError(f"{what}: labels have shape {labels.shape}; one per example, [N]")
    if labels.dtype.kind not in "iu":
        raise ValueError(
            f"{what}: labels have type {labels.dtype}; use integers, 0 to classes - 1, none "
            "missing, or for numbers to predict set data.task: regression"
        )
    if labels.min() < 0:
        raise ValueError(
            f"{what}: {np.count_nonzero(labels < 0)} labels are negative (example "
            f"{labels.argmin()} has {labels.min()}); number the classes from 0"
        )
    return np.ascontiguousarray(labels, dtype=np.int64)


def _num_classes(labels: Labels) -> int:
    """Classes are numbered from 0: one more than the largest label."""
    return int(labels.max()) + 1


def _check_classes(labels: Mapping[str, Labels], what: str) -> None:
    train = labels["train"]
    last = _num_classes(train) - 1
    if last >= max(len(train), MOST_EMPTY_CLASSES):
        raise ValueError(
            f"{what}, train: the largest label of {len(train)} examples is {last}; labels number "
            "the classes from 0 without gaps"
        )
    for split, others in labels.items():
        if others.max() > last:
            raise ValueError(
                f"{what}: {split} has label {others.max()}, but the training labels end at {last}; "
                "a class that is tested must be trained"
            )


def _class_levels(split: str, labels: Labels) -> Levels:
    """p + 3 sqrt(p (1 - p) / N) with the largest class's share p; the best constant prediction.

    Of cross-entropy that is -sum p log p, of half the squared error (1 - sum p^2) / 2.
    """
    if not len(labels):
        return {}
    shares = np.bincount(labels) / len(labels)
    largest = float(shares.max())
    deviation = math.sqrt(largest * (1 - largest) / len(labels))
    known = shares[shares > 0]
    return {
        f"{split}_accuracy": largest + STANDARD_DEVIATIONS * deviation,
        f"{split}_loss": float(-(known * np.log(known)).sum()),
        level_name(f"{split}_loss", "squared-error"): float(1 - (known**2).sum()) / 2,
    }


CLASSIFICATION = Task(
    name="classification",
    metric=ACCURACY,
    losses=("cross-entropy", "squared-error"),
    checked=_classes,
    check_together=_check_classes,
    num_outputs=_num_classes,
    num_answers=lambda outputs: outputs,
    levels=_class_levels,
)

# ------------------------------------------------------------------------------------- regression


def _numbers(labels: Labels, what: str) -> Labels:
    if labels.ndim not in (1, 2) or labels.dtype.kind != "f":
        raise ValueError(
            f"{what}: labels have type {labels.dtype} and shape {labels.shape}; a regression takes "
            "floats, [N] or [N, outputs]"
        )
    kept = np.ascontiguousarray(labels.reshape(len(labels), -1), dtype=np.float32)
    finite = np.isfinite(kept).all(axis=1)
    if not finite.all():
        raise ValueError(
            f"{what}: {np.count_nonzero(~finite)} labels are not finite in float32, the first is "
            f"example {finite.argmin()}; remove or repair them"
        )
    return kept


def _check_numbers(labels: Mapping[str, Labels], what: str) -> None:
    widths = {split: own.shape[1] for split, own in labels.items()}
    if len(set(widths.values())) > 1:
        raise ValueError(f"{what}: numbers to predict per example differ between splits: {widths}")


def _number_levels(split: str, labels: Labels) -> Levels:
    """Of the best constant prediction: the median's absolute, the mean's half squared error."""
    if not len(labels):
        return {}
    exact = labels.astype(np.float64)
    from_median = np.abs(exact - np.median(exact, axis=0)).mean(axis=1)
    from_mean = ((exact - exact.mean(axis=0)) ** 2).sum(axis=1) / 2
    return {
        f"{split}_absolute_error": float(from_median.mean()),
        level_name(f"{split}_loss", "squared-error"): float(from_mean.mean()),
    }


REGRESSION = Task(
    name="regression",
    metric=ABSOLUTE_ERROR,
    losses=("squared-error",),
    checked=_numbers,
    check_together=_check_numbers,
    num_outputs=lambda labels: labels.shape[1],
    num_answers=lambda _: 2,
    levels=_number_levels,
)

TASKS = {task.name: task for task in (CLASSIFICATION, REGRESSION)}
"""All tasks, by `data.task`."""


def task_named(name: str | None) -> Task:
    """Of a results folder; those that were written before there were two name none."""
    return TASKS[name] if name else CLASSIFICATION
