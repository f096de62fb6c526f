from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from analysis.uncertainty import (
    Spread,
    holm,
    is_exploratory,
    mean_interval,
    moderated,
    paired_interval,
    ratio_interval,
    seeds_needed,
    sign_flip_p,
    upper_limit,
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


def test_differences_that_are_all_equal_have_no_bounds() -> None:
    equal = paired_interval([0.95, 0.93, 0.91], [0.93, 0.91, 0.89])  # but for rounding
    assert equal.all_equal and equal.std == 0
    assert equal.mean == pytest.approx(0.02)
    assert np.isnan([equal.low, equal.high]).all() and not equal.excludes_zero
    assert not paired_interval([0.95, 0.93, 0.91], [0.93, 0.91, 0.8899]).all_equal
    assert not paired_interval([0.95], [0.93]).all_equal  # one is not equal to another


def test_of_equal_differences_a_family_s_variance_makes_an_interval() -> None:
    lent = Spread(covariance=np.array([[4e-4]]), degrees=6)
    found = paired_interval([0.95, 0.93, 0.91], [0.93, 0.91, 0.89], spread=lent)
    half = stats.t.ppf(0.975, 6) * 0.02 / 3**0.5
    assert [found.low, found.high] == pytest.approx([0.02 - half, 0.02 + half])
    none = Spread(covariance=np.zeros((1, 1)), degrees=6)
    assert paired_interval([0.95, 0.93, 0.91], [0.93, 0.91, 0.89], spread=none).all_equal


# ------------------------------------------------------------------------------------- families


@given(st.lists(st.tuples(NUMBERS, NUMBERS), min_size=2, max_size=8))
def test_a_comparison_that_stands_alone_keeps_its_own_variance(
    pairs: list[tuple[float, float]],
) -> None:
    sample = np.array(pairs)
    (spread,) = moderated([sample])
    assert spread.degrees == len(sample) - 1
    assert spread.covariance == pytest.approx(np.cov(sample, rowvar=False))
    own, x = mean_interval(sample[:, 1]), sample[:, 1]
    alone = mean_interval(x, spread=spread.of(1))
    assert [alone.low, alone.high] == pytest.approx([own.low, own.high])


def test_moderated_variances_by_hand() -> None:
    """Three comparisons lend two degrees of freedom to those of five seeds, none to that of three.

    Sums of squares 10, 40 and 2 with 4, 4 and 2 degrees of freedom: variances 2.5, 10 and 1, and a
    mean, weighted by the degrees, of 52 / 10.
    """
    first = np.array([-2.0, -1.0, 0.0, 1.0, 2.0])[:, None]
    samples = [first, 2 * first, np.array([[-1.0], [0.0], [1.0]])]
    spreads = moderated(samples)
    assert [spread.degrees for spread in spreads] == [6, 6, 2]
    found = [spread.covariance[0, 0] for spread in spreads]
    assert found == pytest.approx([(2 * 5.2 + 10) / 6, (2 * 5.2 + 40) / 6, 1.0])


def test_a_family_lends_four_degrees_at_most() -> None:
    draw = np.random.default_rng(3)
    samples = [draw.normal(0, 1, (5, 2)) for _ in range(9)]
    spreads = moderated(samples)
    assert {spread.degrees for spread in spreads} == {8}
    own = [np.cov(sample, rowvar=False) for sample in samples]
    for spread, covariance in zip(spreads, own, strict=True):
        expected = (4 * np.mean(own, axis=0) + 4 * covariance) / 8
        assert spread.covariance == pytest.approx(expected)
        assert spread.of(1).covariance == pytest.approx(expected[1:, 1:])


def test_comparisons_without_two_seeds_lend_nothing() -> None:
    first = np.array([-2.0, -1.0, 0.0, 1.0, 2.0])[:, None]
    one, empty, own = moderated([first[:1], first[:0], first])
    assert (own.degrees, own.covariance[0, 0]) == (4, 2.5)
    for spread in (one, empty):
        assert np.isnan(spread.covariance).all()
        assert not mean_interval([1.0], spread=spread).excludes_zero
    assert all(np.isnan(spread.covariance).all() for spread in moderated([first[:1], first[:0]]))


def test_fieller_by_the_family_s_covariance() -> None:
    """With Fieller's own covariance handed in nothing changes; a wider one widens."""
    x, y = np.array([0.5, 0.7, 0.6, 0.4, 0.65]), np.array([2.0, 2.2, 2.1, 1.9, 1.95])
    (spread,) = moderated([np.stack([x, y], axis=1)])
    assert ratio_interval(x, y, 0.975, spread) == ratio_interval(x, y, 0.975)
    wider = Spread(covariance=4 * spread.covariance, degrees=spread.degrees)
    plain, wide = ratio_interval(x, y), ratio_interval(x, y, spread=wider)
    assert plain.low is not None and wide.low is not None
    assert plain.high is not None and wide.high is not None
    assert wide.low < plain.low < plain.high < wide.high


# --------------------------------------------------------------------------------- at most so much


def test_the_one_sided_limit_by_hand() -> None:
    assert upper_limit([1.0, 2.0, 3.0]) == pytest.approx(2 + 2.919986 / 3**0.5)  # t_{2, .95}
    draw = np.random.default_rng(4)
    held = [upper_limit(draw.normal(1.0, 2.0, 5)) >= 1 for _ in range(2000)]
    assert abs(np.mean(held) - 0.95) < 0.02


@pytest.mark.parametrize("n", [2, 3, 5, 10])
@pytest.mark.parametrize(("std", "margin"), [(0.002, 0.01), (0.01, 0.01), (0.01, 0.003)])
def test_the_seeds_needed_by_brute_force(n: int, std: float, margin: float) -> None:
    s = std * ((n - 1) / stats.chi2(n - 1).ppf(0.2)) ** 0.5  # true spread below it in 80 %

    def shows(count: int) -> bool:
        return bool(stats.t(count - 1).ppf(0.95) * s / count**0.5 < margin)

    expected = next((count for count in range(2, 2000) if shows(count)), None)
    found = seeds_needed(n, std, margin)
    assert found == expected
    assert found is not None and shows(found) and (found == 2 or not shows(found - 1))


def test_the_upper_limit_of_the_spread_lies_above_it_in_four_of_five_samples() -> None:
    """What `seeds_needed` plans by: at a margin of one it is the least N for the limit of s."""
    draw = np.random.default_rng(5)
    enough = seeds_needed(10_000, 1.0, 0.5)  # s as good as known
    counts = [seeds_needed(5, float(np.std(draw.normal(0, 1, 5), ddof=1)), 0.5) for _ in range(500)]
    assert enough is not None
    assert abs(np.mean([c is not None and c >= enough for c in counts]) - 0.8) < 0.08


def test_no_number_of_seeds_is_known_from_one_or_for_a_hair() -> None:
    assert seeds_needed(1, 0.01, 0.01) is None
    assert seeds_needed(5, 1.0, 1e-4) is None
