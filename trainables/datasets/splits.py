"""Examples in arrays: what every data source returns, checked, and parts held out of it.

A user's loader builds it with `from trainables.datasets.splits import Splits`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from trainables.task import CLASSIFICATION, Task

Array = npt.NDArray[Any]
Pair = tuple[Array, Array]

VALIDATION_SEED = 20170209
"""Which examples are held out: the same in every trial, whatever its seed."""


@dataclass(frozen=True, kw_only=True)
class Splits:
    """Inputs [N, ...] (uint8 in 0..255, or float) and labels per split.

    Labels are integers [N] from 0, or of a regression floats, [N] or [N, outputs].

    Arrays of NumPy, or anything that NumPy converts (torch tensors on the CPU). Inputs of uint8 are
    divided by 255 when a batch is drawn; floats are used as they are.
    """

    train: tuple[Any, Any]
    test: tuple[Any, Any]
    validation: tuple[Any, Any] | None = None


def checked(splits: Splits, what: str, task: Task = CLASSIFICATION) -> Splits:
    """The splits as contiguous arrays: inputs uint8 or float32, labels as the task keeps them.

    Args:
        splits: As a source or a user made them.
        what: How errors call the data, for example `data.load 'my_module:load'`.
        task: What its labels are.

    Raises:
        ValueError: Lengths or shapes differ, a split is empty, inputs have another type or are not
            finite, labels are not those of the task, or lie beyond the training set's.
    """
    train = _checked_pair(splits.train, f"{what}, train", task)
    held = {"test": splits.test, "validation": splits.validation}
    pairs = {
        name: _checked_pair(pair, f"{what}, {name}", task)
        for name, pair in held.items()
        if pair is not None or name == "test"
    }
    task.check_together({"train": train[1]} | {name: pair[1] for name, pair in pairs.items()}, what)
    for name, pair in pairs.items():
        _check_same_kind(train, pair, name, what)
    return Splits(train=train, test=pairs["test"], validation=pairs.get("validation"))


def select(splits: Splits, train_examples: int | None, validation_examples: int) -> Splits:
    """Keep the first `train_examples`, then hold `validation_examples` of them out.

    The held-out examples are balanced over classes as far as the counts allow, each class keeps at
    least one training example, and both parts keep the order of the data. Numbers to predict are
    one class.

    Args:
        splits: Checked splits.
        train_examples: None keeps all.
        validation_examples: 0 leaves `splits.validation` as it is.

    Raises:
        ValueError: A number that the data cannot serve; the text names one that works.
    """
    inputs, labels = splits.train
    if train_examples is not None:
        if not 1 <= train_examples <= len(labels):
            raise ValueError(
                f"data.train_examples is {train_examples}, but the data has {len(labels)} training "
                f"examples; use 1 to {len(labels)}"
            )
        inputs, labels = inputs[:train_examples], labels[:train_examples]
    if validation_examples == 0:
        return Splits(train=(inputs, labels), test=splits.test, validation=splits.validation)
    if splits.validation is not None:
        raise ValueError(
            f"data.validation_examples is {validation_examples}, but the data brings "
            f"{len(splits.validation[1])} validation examples of its own; use 0"
        )
    held = _held_out(_class_of(labels), validation_examples)
    return Splits(
        train=(inputs[~held], labels[~held]),
        test=splits.test,
        validation=(inputs[held], labels[held]),
    )


# ------------------------------------------------------------------------------------- holding out


def _class_of(labels: Array) -> Array:
    return labels if labels.dtype.kind == "i" else np.zeros(len(labels), dtype=np.int64)


def _held_out(labels: Array, validation_examples: int) -> npt.NDArray[np.bool_]:
    """Mask [N] of the examples held out, class-balanced, drawn with `VALIDATION_SEED`."""
    _, counts = np.unique(labels, return_counts=True)
    most = int(counts.sum()) - len(counts)
    if not 0 < validation_examples <= most:
        raise ValueError(
            f"data.validation_examples is {validation_examples}, but of {len(labels)} training "
            f"examples in {len(counts)} classes, each keeping one, 0 to {most} can be held out"
        )
    shares = _balanced_shares(counts - 1, validation_examples)
    drawn = np.random.Generator(np.random.Philox(VALIDATION_SEED)).permutation(len(labels))
    by_class = drawn[np.argsort(labels[drawn], kind="stable")]
    rank_in_class = np.arange(len(labels)) - np.repeat(np.cumsum(counts) - counts, counts)
    held = np.zeros(len(labels), dtype=bool)
    held[by_class[rank_in_class < np.repeat(shares, counts)]] = True
    return held


def _balanced_shares(available: Array, total: int) -> Array:
    """Shares that sum to `total`, at most `available`, as equal as that allows."""
    shares = np.zeros_like(available)
    while (missing := total - int(shares.sum())) > 0:
        room = np.flatnonzero(shares < available)
        level = missing // len(room)
        if level == 0:
            shares[room[:missing]] += 1
        else:
            shares[room] = np.minimum(shares[room] + level, available[room])
    return shares


# ---------------------------------------------------------------------------------------- checking


def _checked_pair(pair: Any, what: str, task: Task) -> Pair:
    if not isinstance(pair, tuple | list) or len(pair) != 2:
        raise ValueError(f"{what}: expected a pair (inputs, labels), got {type(pair).__name__}")
    inputs, labels = (
        _as_array(part, f"{what} {name}")
        for part, name in zip(pair, ("inputs", "labels"), strict=True)
    )
    if not labels.ndim or inputs.ndim < 2 or len(inputs) != len(labels):
        raise ValueError(
            f"{what}: inputs have shape {inputs.shape} and labels {labels.shape}; they must be "
            "[N, ...] and [N] with one N"
        )
    if inputs.size == 0:
        raise ValueError(f"{what}: is empty (inputs of shape {inputs.shape})")
    return _checked_inputs(inputs, what), task.checked(labels, what)


def _as_array(part: Any, what: str) -> Array:
    try:
        return np.asarray(part)
    except (TypeError, RuntimeError, ValueError) as error:  # a tensor on a GPU, ragged lists
        raise ValueError(f"{what}: NumPy cannot read them: {error}") from error


def _checked_inputs(inputs: Array, what: str) -> Array:
    if inputs.dtype not in (np.uint8, np.float32, np.float64):
        raise ValueError(
            f"{what}: inputs have type {inputs.dtype}; use uint8 (0..255), float32 or float64"
        )
    if inputs.dtype == np.uint8:
        return np.ascontiguousarray(inputs)
    with np.errstate(over="ignore"):  # what float32 cannot hold is found just below
        inputs = np.ascontiguousarray(inputs, dtype=np.float32)
    finite = np.isfinite(inputs).reshape(len(inputs), -1).all(axis=1)
    if not finite.all():
        raise ValueError(
            f"{what}: {np.count_nonzero(~finite)} examples hold values that are not finite in "
            f"float32, the first is example {finite.argmin()}; remove or repair them"
        )
    return inputs


def _check_same_kind(train: Pair, other: Pair, name: str, what: str) -> None:
    """The other split has the training set's example shape and type."""
    for rule, ours, theirs in (
        ("examples of shape", train[0].shape[1:], other[0].shape[1:]),
        ("inputs of type", train[0].dtype, other[0].dtype),
    ):
        if ours != theirs:
            raise ValueError(
                f"{what}: {name} has {rule} {theirs}, train {ours}; make them the same"
            )
