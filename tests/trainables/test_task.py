"""Tasks: what is at chance, what labels must look like, and that every name has its function."""

from __future__ import annotations

import math
from typing import get_args, get_type_hints

import numpy as np
import pytest
import torch

from study.file.search_config import OptimizedMetric
from trainables.config.data import DataConfig
from trainables.config.training import SharedConfig
from trainables.methods import losses
from trainables.task import (
    ACCURACY,
    CLASSIFICATION,
    COLUMNS,
    LOSSES,
    METRICS,
    REGRESSION,
    SPLITS,
    TASKS,
    is_at_chance,
    level_name,
    metric_of,
)


def labels(*counts: int) -> np.ndarray:
    return np.repeat(np.arange(len(counts)), counts)


def level(column: str, *counts: int) -> float:
    return CLASSIFICATION.levels("test", labels(*counts))[column]


def test_every_loss_and_metric_has_a_function_and_every_task_its_place() -> None:
    assert losses.LOSSES.keys() == LOSSES.keys()
    assert losses.METRICS.keys() | {"loss"} == METRICS.keys()
    assert get_args(get_type_hints(SharedConfig)["loss"]) == tuple(LOSSES)
    assert get_args(get_type_hints(DataConfig)["task"]) == tuple(TASKS)
    for task in TASKS.values():
        assert task.losses and set(task.losses) <= LOSSES.keys()
        assert METRICS[task.metric.name] is task.metric
    searched = {column for column in COLUMNS if not column.startswith("train")}
    assert set(get_args(OptimizedMetric)) == searched


def test_a_column_names_its_metric() -> None:
    for metric in METRICS.values():
        assert all(metric_of(metric.column(split)) == metric for split in SPLITS)
    for column in ("optimizer_step", "test_seconds", "accuracy"):
        with pytest.raises(KeyError):
            metric_of(column)


def test_an_advantage_points_where_the_metric_is_better() -> None:
    assert ACCURACY.advantage(0.9, 0.8) == pytest.approx(0.1)
    assert METRICS["absolute_error"].advantage(0.9, 0.8) == pytest.approx(-0.1)
    assert METRICS["loss"].advantage(np.array([1.0]), np.array([3.0])).tolist() == [2.0]


def test_values_as_people_read_them() -> None:
    assert ACCURACY.text(0.95674) == "95.67 %"
    assert ACCURACY.difference(0.02041) == "2.04 points"
    assert (ACCURACY.amount(-0.004), ACCURACY.amount(0.004, "+")) == ("-0.40", "+0.40")
    assert METRICS["absolute_error"].text(0.0123456) == "0.0123"
    assert METRICS["loss"].text(2.302585) == "2.3 nats"


# --------------------------------------------------------------------------------------- at chance


def test_guessing_passes_the_level_about_once_in_a_thousand() -> None:
    highest = level("test_accuracy", 500, 300, 200)
    guesses = np.random.default_rng(0).binomial(1000, 0.5, 100_000) / 1000
    assert 0 < (guesses > highest).mean() < 0.003


@pytest.mark.parametrize("loss", LOSSES)
def test_the_loss_is_that_of_the_best_constant_prediction(loss: str) -> None:
    shares = np.array([0.7, 0.2, 0.1])
    guess = np.random.default_rng(0).dirichlet(np.ones(3), 1000)
    if loss == "cross-entropy":
        others = -(shares * np.log(guess)).sum(1)
    else:
        targets = np.eye(3)
        others = ((guess[:, None] - targets) ** 2).sum(2) @ shares / 2
    lowest = level(level_name("test_loss", loss), 70, 20, 10)
    assert lowest <= others.min() and lowest == pytest.approx(others.min(), abs=0.01)


def test_ten_percent_of_ten_classes_is_chance_and_twenty_is_not() -> None:
    counts = [1000] * 10
    assert level("test_loss", *counts) == pytest.approx(math.log(10))
    assert is_at_chance("test_accuracy", 0.1, level("test_accuracy", *counts))
    assert is_at_chance("test_accuracy", 0.108, level("test_accuracy", *counts))
    assert not is_at_chance("test_accuracy", 0.2, level("test_accuracy", *counts))
    assert is_at_chance("test_loss", 2.35, level("test_loss", *counts))
    assert not is_at_chance("test_loss", 2.2, level("test_loss", *counts))


def test_a_regression_is_at_chance_where_a_constant_is_as_good() -> None:
    draw = np.random.default_rng(0)
    targets = draw.standard_normal((999, 2)).astype(np.float32) * [1, 3]
    found = REGRESSION.levels("test", targets)
    for constant in draw.standard_normal((200, 2)):
        error = np.abs(targets - constant).mean()
        square = ((targets - constant) ** 2).sum(1).mean() / 2
        assert is_at_chance("test_absolute_error", error, found["test_absolute_error"])
        assert is_at_chance("test_loss", square, found["test_loss squared-error"])
    assert not is_at_chance("test_absolute_error", 0.5, found["test_absolute_error"])


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_a_split_without_examples_has_no_level(task) -> None:
    empty = np.zeros((0, 2)) if task is REGRESSION else np.zeros(0, dtype=np.int64)
    assert task.levels("validation", empty) == {}


# ------------------------------------------------------------------------------------------ labels


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (np.arange(3), "floats"),
        (np.zeros((3, 1, 1)), "floats"),
        (np.array([1.0, np.nan]), "1 labels are not finite .* example 1"),
        (np.array([1.0, 1e300]), "not finite in float32"),
    ],
)
def test_numbers_to_predict_are_finite_floats(wrong: np.ndarray, message: str) -> None:
    with np.errstate(over="ignore"), pytest.raises(ValueError, match=f"mine: .*{message}"):
        REGRESSION.checked(wrong, "mine")


def test_numbers_to_predict_have_one_width_in_all_splits() -> None:
    kept = REGRESSION.checked(np.arange(3.0), "mine")
    assert kept.shape == (3, 1) and kept.dtype == np.float32
    with pytest.raises(ValueError, match=r"mine: .* differ between splits"):
        REGRESSION.check_together({"train": kept, "test": np.zeros((2, 2))}, "mine")


def test_floats_are_no_classes_and_the_message_names_the_way_out() -> None:
    with pytest.raises(ValueError, match=r"labels have type float64; .*data\.task: regression"):
        CLASSIFICATION.checked(np.arange(3.0), "mine")


# --------------------------------------------------------------------------------------- functions


def test_the_functions_are_the_formulas() -> None:
    draw = np.random.default_rng(0)
    outputs, targets = draw.standard_normal((2, 7, 3))
    classes = draw.integers(3, size=7)
    one_hot = np.eye(3)[classes]
    found, wanted = torch.from_numpy(outputs), torch.from_numpy(targets)

    def check(function, labels, expected) -> None:
        np.testing.assert_allclose(function(found, torch.as_tensor(labels)), expected, rtol=1e-13)

    check(losses.squared_error, classes, ((outputs - one_hot) ** 2).sum(1) / 2)
    check(losses.squared_error, wanted, ((outputs - targets) ** 2).sum(1) / 2)
    check(losses.absolute_error, wanted, np.abs(outputs - targets).mean(1))
    check(losses.accuracy, classes, outputs.argmax(1) == classes)
    check(losses.squared_error, wanted.float(), ((outputs - targets.astype("f4")) ** 2).sum(1) / 2)
