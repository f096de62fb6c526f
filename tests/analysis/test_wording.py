from __future__ import annotations

import pytest

from analysis.wording import (
    NONE,
    counted,
    listed,
    number,
    p_value,
    percent_level,
    setting,
)


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [
        (0.000233, 2, "2.3e-4"),
        (0.0652, 2, "0.065"),
        (0.24, 2, "0.24"),
        (0.001, 3, "1e-3"),
        (0.02, 3, "0.02"),
        (-0.0003, 3, "-3e-4"),
        (16421.0, 3, "16400"),
        (2048.0, 3, "2050"),
        (1234567, 3, "1.23e6"),
        (15.08, 3, "15.1"),
        (0, 3, "0"),
        (None, 3, NONE),
        (float("nan"), 3, NONE),
        (float("inf"), 3, "inf"),
    ],
)
def test_numbers_have_the_digits_that_say_something(
    value: float | None, digits: int, text: str
) -> None:
    assert number(value, digits) == text


@pytest.mark.parametrize(
    ("p", "is_bound", "text"),
    [
        (0.0625, False, "0.0625"),
        (0.0002, False, "< 0.001"),
        (0.0024, True, "< 0.003"),
        (0.002, True, "< 0.003"),  # a bound must lie above
        (0.0095, True, "< 0.01"),
        (3.05e-5, True, "< 4e-5"),
        (float("nan"), False, NONE),
    ],
)
def test_a_p_that_no_permutation_reached_is_a_bound(p: float, is_bound: bool, text: str) -> None:
    assert p_value(p, is_bound) == text


def test_settings_read_as_a_study_file_has_them() -> None:
    assert setting(0.005) == "5e-3"
    assert setting(0.1) == "0.1"
    assert setting(None) == "none"
    assert setting(((1.0, 32, None),)) == "[[1 32 none]]"


@pytest.mark.parametrize(
    ("m", "text"), [(1, "95 %"), (2, "97.5 %"), (3, "98.33 %"), (4, "98.75 %"), (9, "99.44 %")]
)
def test_a_level_reads_as_it_is_shared(m: int, text: str) -> None:
    assert percent_level(1 - 0.05 / m) == text


def test_what_is_counted_has_its_number() -> None:
    assert [counted(n, "seed") for n in (0, 1, 2)] == ["0 seeds", "1 seed", "2 seeds"]
    assert [listed([*"abc"[:n]]) for n in (1, 2, 3)] == ["a", "a and b", "a, b and c"]
