"""Which settings the finals of a tuned comparison run, and how the rule ends."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest

from analysis.search.finals import Bracket, Outcome, Values, beyond, bracket, is_at_end, rounded

GRID = [0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28]


def one(*values: float) -> list[Values]:
    return [(value,) for value in values]


def followed(
    objective: Callable[[float], float | Sequence[float]],
    first: Sequence[float],
    tried: Sequence[float] = GRID,
    planned: int = 3,
    **options: Any,
) -> tuple[Bracket, list[list[float]]]:
    """The rule at its end, and the settings that each wave ran."""
    known: dict[Values, Outcome] = {}
    waves: list[list[float]] = []
    while True:
        found = bracket(one(*tried), one(*first), known.get, **{"maximizes": True, **options})
        waiting = [values for values in found.settings if values not in known]
        if not waiting:
            return found, waves
        assert found.state == "waiting" and found.best is None
        waves.append([value for (value,) in waiting])
        for values in waiting:
            result = objective(values[0])
            runs = [result] * planned if isinstance(result, float | int) else result
            known[values] = Outcome(planned=planned, objective=runs)


def peak(best: float, dies_above: float = math.inf) -> Callable[[float], float | list[float]]:
    """A parabola in the logarithm, and a cliff."""
    return lambda v: [] if v > dies_above else 1 - math.log(v / best) ** 2 / 10


def test_the_best_is_followed_until_both_neighbours_ran() -> None:
    found, waves = followed(peak(0.08), [0.02])
    assert waves == [[0.02], [0.01, 0.04], [0.08], [0.16]]
    assert (found.state, found.best) == ("bracketed", (0.08,))
    assert found.neighbours == ((0.04,), (0.16,))


def test_with_the_arms_winners_it_takes_about_four_settings_of_eight() -> None:
    found, waves = followed(peak(0.08), [0.08, 0.16])
    assert waves == [[0.08, 0.16], [0.04]]
    assert found.settings == tuple(one(0.08, 0.16, 0.04)) and found.state == "bracketed"


def test_nothing_is_added_before_all_settings_have_ended() -> None:
    known = {(0.08,): Outcome(planned=3, objective=[1.0, 1.0, 1.0])}
    found = bracket(one(*GRID), one(0.08, 0.16), known.get, maximizes=True)
    assert found.state == "waiting"
    assert found.settings == ((0.08,), (0.16,))


@pytest.mark.parametrize(("best", "end"), [(0.001, 0.01), (9, 1.28)])
def test_a_best_at_an_end_is_an_edge(best: float, end: float) -> None:
    found, _ = followed(peak(best), [0.08])
    assert (found.state, found.best) == ("edge", (end,))
    assert len(found.neighbours) == 1


def test_zero_is_no_edge() -> None:
    found, _ = followed(lambda v: 1 - v, [1.0], tried=[0, 1, 2, 4])
    assert (found.state, found.best) == ("bracketed", (0,))
    assert found.neighbours == ((1.0,),)


def test_beside_a_dead_neighbour_means_are_put_twice_at_most() -> None:
    found, waves = followed(peak(0.085, dies_above=0.13), [0.08])
    assert waves == [[0.08], [0.04, 0.16], [rounded(math.sqrt(0.08 * 0.16))]]
    assert found.state == "bracketed" and found.best == (0.08,)
    found, waves = followed(peak(0.2, dies_above=0.09), [0.08])
    middle = rounded(math.sqrt(0.08 * 0.16))
    assert waves[2:] == [[middle], [rounded(math.sqrt(0.08 * middle))]]
    assert (found.state, found.best) == ("cliff", (0.08,))


def test_dead_on_both_sides_is_a_cliff_after_one_mean_on_each() -> None:
    found, waves = followed(lambda v: 1.0 if v == 0.08 else [], [0.08])
    assert waves[1:] == [[0.04, 0.16], [0.05657, 0.1131]]
    assert found.state == "cliff"


def test_at_chance_is_as_dead_as_divergence() -> None:
    found, waves = followed(
        lambda v: 0.1 if v > 0.09 else peak(0.2)(v), [0.08], is_at_chance=lambda v: v <= 0.12
    )
    assert found.state == "cliff" and len(waves) == 4
    found, _ = followed(lambda v: 0.1, [0.08], is_at_chance=lambda v: v <= 0.12)
    assert (found.state, found.best, found.neighbours) == ("dead", None, ())


def test_whole_numbers_stay_whole_and_none_lies_between_two_that_follow() -> None:
    found, waves = followed(
        lambda v: 1.0 if v == 8 else [], [8], tried=[2, 4, 8, 16, 32], is_whole=True
    )
    assert waves[1:] == [[4, 16], [6, 11]] and found.state == "cliff"
    found, waves = followed(lambda v: 1.0 if v == 2 else [], [2], tried=[1, 2, 3], is_whole=True)
    assert waves == [[2], [1, 3]] and found.state == "cliff"


def test_survivors_count_from_three_on_and_fewer_leave_a_setting_dead() -> None:
    three: Mapping[float, list[float]] = {0.04: [0.9, 0.9, 0.9], 0.08: [0.8] * 5, 0.02: [0.7] * 5}
    found, _ = followed(lambda v: three.get(v, [0.1] * 5), [0.08], planned=5)
    assert (found.state, found.best) == ("bracketed", (0.04,))
    two = {**three, 0.04: [0.9, 0.9]}
    found, _ = followed(lambda v: two.get(v, [0.1] * 5), [0.08], planned=5)
    assert found.best == (0.08,) and found.neighbours == ((0.05657,), (0.16,))


def test_where_fewer_seeds_are_planned_all_of_them_must_live() -> None:
    found, _ = followed(lambda v: [0.9] if v == 0.16 else [0.5, 0.5], [0.08], planned=2)
    assert found.best != (0.16,)
    found, _ = followed(peak(0.08), [0.08], planned=1)
    assert found.state == "bracketed"


def test_ties_go_to_the_smaller_value_and_losses_are_minimized() -> None:
    found, _ = followed(lambda v: 0.5, [0.08])
    assert (found.state, found.best) == ("edge", (0.01,))
    found, _ = followed(lambda v: math.log(v / 0.16) ** 2, [0.08], maximizes=False)
    assert (found.state, found.best) == ("bracketed", (0.16,))


def test_of_several_fields_nothing_is_added() -> None:
    tried = [(rate, momentum) for rate in (0.1, 0.2) for momentum in (0.5, 0.9)]
    known = dict.fromkeys(tried, Outcome(planned=1, objective=[0.5]))
    found = bracket(tried, [(0.2, 0.5), (0.1, 0.9)], known.get, maximizes=True)
    assert found.settings == ((0.2, 0.5), (0.1, 0.9)) and found.state == "several fields"
    assert found.best == (0.1, 0.9) and found.neighbours == ()


def test_ends_and_what_lies_beyond_them() -> None:
    assert is_at_end((0.01,), one(*GRID)) and is_at_end((1.28,), one(*GRID))
    assert not is_at_end((0.02,), one(*GRID)) and not is_at_end((0,), one(0, 1))
    two = [(0.01, 0.5), (0.02, 0.9), (0.04, 0.7)]  # of several fields any
    assert is_at_end((0.02, 0.9), two) and not is_at_end((0.02, 0.7), two)
    assert beyond(one(*GRID), is_high=True) == (2.56, 5.12)
    assert beyond(one(*GRID), is_high=False) == (0.005, 0.0025)
    assert beyond(one(0, 0.1, 0.2), is_high=True) == (0.4, 0.8)
