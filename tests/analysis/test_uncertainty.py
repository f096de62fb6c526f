from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from analysis.uncertainty import (
    holm,
    is_exploratory,
    mean_interval,
    paired_interval,
    ratio_interval,
    sign_flip_p,
)

NUMBERS = st.floats(-100, 100, allow_nan=False).map(lambda x: round(x, 3))


@pytest.mark.parametrize("n", [3, 5, 10])
def test_the_t_interval_covers_95_percent_at_few_seeds(n: int) -> None:
    draw = np.random.default_rng(n)
    intervals = [mean_interval(draw.normal(1.0, 2.0, n)) for _ in range(2000)]
    covered = np.mean([i.low <= 1.0 <= i.high for i in intervals])
    assert abs(covered - 0.95) < 0.02  # four standard errors of 2000 draws


def test_the_t_interval_by_hand() -> None:
    interval = mean_interval([1.0, 2.0, 3.0])
    half = 4.302653 / 3**0.5  # t_{2, .975} and s = 1
    assert interval.mean == 2.0
    assert interval.std == 1.0
    assert [interval.low, interval.high] == pytest.approx([2 - half, 2 + half])
    assert not interval.excludes_zero
    assert mean_interval([10.0, 11.0, 12.0]).excludes_zero


def test_too_few_values_give_no_bounds() -> None:
    assert np.isnan(mean_interval([]).mean)
    single = mean_interval([3.0])
    assert (single.mean, single.n) == (3.0, 1)
    assert np.isnan([single.low, single.high, single.std]).all()
    assert not single.excludes_zero


def test_paired_differences_use_the_pairs() -> None:
    first, second = np.array([5.0, 7.0, 9.0]), np.array([4.0, 6.1, 7.9])
    paired = paired_interval(first, second)
    unpaired = stats.ttest_ind(first, second, equal_var=False)
    assert paired == mean_interval(first - second)
    assert paired.excludes_zero
    assert unpaired.pvalue > 0.05


@given(st.lists(st.tuples(NUMBERS, NUMBERS), min_size=3, max_size=8))
def test_fieller_holds_exactly_the_ratios_that_no_t_test_rejects(
    pairs: list[tuple[float, float]],
) -> None:
    x, y = np.array(pairs).T
    interval = ratio_interval(x, y)
    bounded = mean_interval(y).excludes_zero
    if abs(abs(mean_interval(y).low) - 0) < 1e-6 or abs(mean_interval(y).high) < 1e-6:
        return  # bounded or not hangs on rounding
    assert (interval.low is not None) == bounded
    if interval.low is None or interval.high is None:
        assert interval.reason
        return
    width = interval.high - interval.low
    assert interval.low <= interval.ratio + 1e-9 and interval.ratio <= interval.high + 1e-9
    for share in (-0.5, -0.01, 0.01, 0.5, 0.99, 1.01, 1.5):
        if width < 1e-3:
            continue
        r = interval.low + share * width
        assert mean_interval(x - r * y).excludes_zero == (not 0 < share < 1)


def test_fieller_covers_a_ratio_as_often_as_it_says() -> None:
    draw = np.random.default_rng(1)
    covered = []
    for _ in range(2000):
        shared = draw.normal(0, 0.3, 5)
        numerator = 0.4 + shared + draw.normal(0, 0.2, 5)
        interval = ratio_interval(numerator, 2.0 + shared)
        assert interval.low is not None and interval.high is not None
        covered.append(interval.low <= 0.2 <= interval.high)
    assert abs(np.mean(covered) - 0.95) < 0.02


def test_a_ratio_over_a_denominator_around_zero_has_no_bounds() -> None:
    interval = ratio_interval([1.0, 1.1, 0.9], [0.1, -0.1, 0.05])
    assert (interval.low, interval.high) == (None, None)
    assert interval.reason == "the denominator's own interval includes 0"
    assert ratio_interval([1.0], [2.0]).reason == "fewer than two pairs of seeds"
    assert ratio_interval([], []).n == 0


@given(st.lists(NUMBERS, min_size=2, max_size=7))
def test_the_permutation_p_is_the_share_of_sign_flips_at_least_as_far(values: list[float]) -> None:
    means = [np.mean(np.multiply(values, s)) for s in product((1, -1), repeat=len(values))]
    extreme = [abs(mean) >= abs(np.mean(values)) - 1e-12 for mean in means]
    assert sign_flip_p(values) == pytest.approx(np.mean(extreme))


@pytest.mark.parametrize(("n", "smallest"), [(3, 0.25), (5, 0.0625), (6, 0.03125)])
def test_the_smallest_permutation_p(n: int, smallest: float) -> None:
    assert sign_flip_p(np.arange(1.0, n + 1)) == smallest


def test_the_permutation_p_beyond_enumeration_is_drawn_and_repeats() -> None:
    values = np.random.default_rng(0).normal(0.3, 1, 40)
    assert sign_flip_p(values) == sign_flip_p(values)
    assert sign_flip_p(values) == pytest.approx(stats.ttest_1samp(values, 0).pvalue, abs=0.01)
    assert sign_flip_p([1.0]) == 1.0
    assert np.isnan(sign_flip_p([]))


def test_holm_by_its_definition() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.9]) == pytest.approx([1.0, 1.0])
    adjusted = holm([0.01, float("nan"), 0.03])
    assert adjusted[[0, 2]] == pytest.approx([0.02, 0.03])
    assert np.isnan(adjusted[1])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_never_lowers_a_p(p: list[float]) -> None:
    assert (holm(p) >= np.array(p) - 1e-12).all()
    # Holm rejects as Bonferroni does at least: the smallest p is multiplied by their number.
    assert holm(p).min() == pytest.approx(min(1, len(p) * min(p)))


def test_fewer_than_five_seeds_are_exploratory() -> None:
    assert [n for n in range(8) if is_exploratory(n)] == [0, 1, 2, 3, 4]
