"""The jackknife against the standard error of a mean, and the spread of a ratio over seeds."""

from __future__ import annotations

import math

import numpy as np
import pytest

from trainables.measures.jackknife import jackknife


def test_for_a_mean_it_is_the_standard_error_of_the_mean() -> None:
    drawn = np.random.default_rng(0).exponential(size=(30, 2))
    expected = drawn.std(axis=0, ddof=1) / math.sqrt(30)
    np.testing.assert_allclose(jackknife(drawn, lambda means: means), expected, rtol=1e-12)


def test_for_a_ratio_it_is_the_spread_of_the_ratio_over_seeds() -> None:
    def ratio(means: np.ndarray) -> np.ndarray:
        return (means[..., 0] / (1 + means[..., 1]))[..., None]

    found, errors = [], []
    for seed in range(400):
        drawn = np.random.default_rng(seed).exponential((1, 2), size=(40, 2))
        found.append(ratio(drawn.mean(axis=0)))
        errors.append(jackknife(drawn, ratio))
    spread = np.std(found, ddof=1)
    assert np.sqrt(np.mean(np.square(errors))) == pytest.approx(spread, rel=0.1)
