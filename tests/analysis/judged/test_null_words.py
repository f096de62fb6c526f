"""Sentences whose truth is known: data in which they are false must seldom produce them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from analysis.judged.arms import share_of_gap_closed
from analysis.judged.gaps import largest_within, spoken_gap
from analysis.load import Study, load_study
from analysis.uncertainty import mean_interval, moderated, paired_interval, ratio_interval
from analysis.words.verdict import headline

SEEDS = 5
STD = 0.002


def points(arms: int, sizes: tuple[int, ...] = (32, 1000)) -> list[dict[str, Any]]:
    return [
        {
            "arm": arm,
            "discard_ratio": 0.0 if arm == "baseline" else int(arm[3:]) / 100,
            "global_batch_size": size,
            "seed": seed,
            "test_accuracy": 0.9,
        }
        for arm in ["baseline", *(f"arm{i + 1}" for i in range(arms))]
        for size in sizes
        for seed in range(SEEDS)
    ]


def redrawn(study: Study, truth: dict[tuple[str, int], float], draw: np.random.Generator) -> Study:
    """The study with accuracies drawn anew around the truth by arm and batch size."""
    own = study.points
    keys = zip(own["arm"], own["global_batch_size"], strict=True)
    means = np.array([truth.get(key, truth.get(("any", key[1]), 0.9)) for key in keys])
    return replace(study, points=own.assign(test_accuracy=means + draw.normal(0, STD, len(own))))


def test_nine_arms_that_do_nothing_close_no_gap(study: Any) -> None:
    """Each at its own 95 % they would be said to close one in every fifth study or so."""
    loaded = load_study(study(points(9)))
    draw = np.random.default_rng(1)
    truth = {("any", 32): 0.95, ("any", 1000): 0.93}
    said = sum(" closes " in headline(redrawn(loaded, truth, draw)) for _ in range(30))
    assert said <= 2


def test_an_arm_that_closes_half_of_a_gap_is_found_among_four(study: Any) -> None:
    loaded = load_study(study(points(4)))
    draw = np.random.default_rng(2)
    truth = {("any", 32): 0.95, ("any", 1000): 0.93, ("arm2", 1000): 0.94}
    texts = [headline(redrawn(loaded, truth, draw)) for _ in range(20)]
    assert sum("arm2 closes" in text for text in texts) >= 15


def test_an_arm_that_lifts_every_batch_size_closes_none(study: Any) -> None:
    loaded = load_study(study(points(1)))
    draw = np.random.default_rng(3)
    truth = {("any", 32): 0.95, ("any", 1000): 0.93, ("arm1", 1000): 0.94, ("arm1", 32): 0.96}
    said = sum("arm1 closes" in headline(redrawn(loaded, truth, draw)) for _ in range(30))
    assert said <= 3


def test_no_difference_is_seldom_called_one(study: Any) -> None:
    loaded = load_study(study(points(0, (32, 250, 1000, 2500))))
    draw = np.random.default_rng(4)
    said = 0
    for _ in range(50):
        table = spoken_gap(redrawn(loaded, {}, draw))
        said += bool(table["shown"].any())  # of any of the three sizes: the largest comes first
    assert said <= 5


def test_a_batch_size_that_loses_a_point_is_not_within_one(study: Any) -> None:
    loaded = load_study(study(points(0, (32, 250))))
    draw = np.random.default_rng(5)
    truth = {("any", 32): 0.95, ("any", 250): 0.94}
    found = [largest_within(redrawn(loaded, truth, draw), "") for _ in range(50)]
    assert sum(within is not None and within.batch == 250 for within in found) <= 5
    near = [largest_within(redrawn(loaded, {}, draw), "") for _ in range(20)]
    assert sum(within is not None and within.batch == 250 for within in near) >= 18


def words(arms: np.ndarray, m: int, looks: int = 1) -> np.ndarray:
    """Whether each arm [m, n, (gain, gap, net gain)] is said to close the gap."""
    level = 1 - 0.05 / (m * looks)
    both, net = moderated(list(arms[..., :2])), moderated(list(arms[..., 2:]))
    found = []
    for own, spread, own_net in zip(arms, both, net, strict=True):
        ratio = ratio_interval(own[:, 0], own[:, 1], level, spread)
        gains = paired_interval(own[:, 0], 0, level, spread).low > 0
        nets = paired_interval(own[:, 2], 0, level, own_net).low > 0
        found.append(ratio.low is not None and ratio.low > 0 and gains and nets)
    return np.array(found)


def family(draw: np.random.Generator, m: int, gain: float, noise: np.ndarray) -> np.ndarray:
    """Arms that gain so many standard deviations beside a gap of ten, each with its own noise."""
    large, small = draw.normal(0, 1, 5), draw.normal(10, 1, 5)
    at_large = gain + noise[:, None] * draw.normal(0, 1, (m, 5))
    at_small = 10 + noise[:, None] * draw.normal(0, 1, (m, 5))
    gains = at_large - large
    gap = np.broadcast_to(small - large, gains.shape)
    return np.stack([gains, gap, gains - (at_small - small)], axis=-1)


@pytest.mark.parametrize("noisy", [1.0, 4.0])
@pytest.mark.parametrize("m", [4, 9])
def test_false_words_of_a_family_stay_below_their_level(m: int, noisy: float) -> None:
    draw = np.random.default_rng(6)
    noise = np.ones(m)
    noise[0] = noisy
    said = [words(family(draw, m, 0.0, noise), m).any() for _ in range(400)]
    assert np.mean(said) <= 0.05


def test_moderated_variances_keep_power_that_own_ones_lose() -> None:
    draw, m = np.random.default_rng(7), 4
    families = [family(draw, m, 3.5, np.ones(m)) for _ in range(200)]
    by_family = np.mean([words(found, m).mean() for found in families])
    own = np.mean([[words(arm[None], m)[0] for arm in found] for found in families])
    # `words` of one arm alone moderates nothing; its level is that of the family all the same.
    assert by_family > own + 0.1


def test_seeds_added_until_settled_are_paid_for() -> None:
    """A look at 3 to 8 seeds: without the correction a fifth of the studies find something."""
    draw = np.random.default_rng(8)
    plain = paid = 0
    for values in draw.normal(0, 1, (600, 8)):
        found = [mean_interval(values[:n]) for n in range(3, 9)]
        plain += any(interval.excludes_zero for interval in found)
        looks = range(1, 7)
        found = [mean_interval(values[: look + 2], 1 - 0.05 / look) for look in looks]
        paid += any(interval.excludes_zero for interval in found)
    assert plain / 600 > 0.12
    assert paid / 600 < plain / 600 - 0.04


def test_the_baseline_arm_itself_is_no_comparison(study: Any) -> None:
    loaded = load_study(study(points(2)))
    table = share_of_gap_closed(loaded)
    assert set(table["arm"]) == {"arm1", "arm2"} and set(table["comparisons"]) == {2}


def test_a_batch_size_that_kills_seeds_is_not_shown_to_lose_little(study: Any) -> None:
    found = points(0, (32, 250, 1000))
    for i, point in enumerate(found):
        point["test_accuracy"] += 1e-4 * (i % 3)
        if point["global_batch_size"] == 250 and point["seed"] > 2:
            point["status"] = "diverged"
    within = largest_within(load_study(study(found)), "")
    assert within is not None and (within.batch, within.failed) == (None, 250)


def test_arms_of_two_blocks_at_one_batch_size_are_one_family(study: Any) -> None:
    found = points(2)
    for point in found:
        point["block"] = 1 if point["arm"] == "arm2" else 0
    assert set(share_of_gap_closed(load_study(study(found)))["comparisons"]) == {2}


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({}, "Untuned: one rate at every batch."),
        ({"lr_scaling": "linear"}, "Untuned: rates scaled by the file's rule."),
    ],
)
def test_rates_that_follow_the_batch_are_not_called_one(
    study: Any, change: dict[str, Any], text: str
) -> None:
    assert text in headline(load_study(study([point | change for point in points(0)])))
