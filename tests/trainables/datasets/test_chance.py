"""What a network reaches that learned nothing."""

from __future__ import annotations

import math

import numpy as np
import pytest

from trainables.datasets.chance import accuracy_level, is_at_chance, levels, loss_level


def test_guessing_passes_the_level_about_once_in_a_thousand() -> None:
    level = accuracy_level([500, 300, 200])
    guesses = np.random.default_rng(0).binomial(1000, 0.5, 100_000) / 1000
    assert 0 < (guesses > level).mean() < 0.003


def test_the_loss_is_that_of_the_best_constant_prediction() -> None:
    counts = [70, 20, 10, 0]
    shares = np.array(counts) / 100
    guess = np.random.default_rng(0).dirichlet(np.ones(3), 1000)
    others = -(shares[:3] * np.log(guess)).sum(1)
    level = loss_level(counts)
    assert level <= others.min() and level == pytest.approx(others.min(), abs=0.01)
    assert loss_level([10] * 10) == pytest.approx(math.log(10))


def test_ten_percent_of_ten_classes_is_chance_and_twenty_is_not() -> None:
    level = levels("test", [1000] * 10)
    assert is_at_chance("test_accuracy", 0.1, level["test_accuracy"])
    assert is_at_chance("test_accuracy", 0.108, level["test_accuracy"])
    assert not is_at_chance("test_accuracy", 0.2, level["test_accuracy"])
    assert is_at_chance("test_loss", 2.35, level["test_loss"])
    assert not is_at_chance("test_loss", 2.2, level["test_loss"])


def test_a_split_without_examples_has_no_level() -> None:
    assert levels("validation", []) == levels("validation", [0, 0]) == {}
