"""Tuned arms from a results folder: what is said of them, and why nothing is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from analysis.judged.arms import share_of_gap_closed
from analysis.judged.gaps import spoken_gap
from analysis.load import Study, load_study
from analysis.page.arm_table import closing_table
from analysis.search.cells import tuned_sides
from analysis.words.details import details
from analysis.words.tuning import tuned_text
from analysis.words.verdict import headline

DEAD = {"status": "diverged", "test_accuracy": 0.1, "validation_accuracy": 0.1}
RATES = [0.005, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64]
SEARCH: dict[str, Any] = {
    "fields": {"training.base_lr": RATES},
    "method": "grid",
    "seeds": 1,
    "optimize": "validation_accuracy",
    "finals": "crossed",
}
TOP = {("baseline", 32): 0.95, ("warmup", 32): 0.95, ("baseline", 1000): 0.93}
BEST = {"baseline": 0.08, "warmup": 0.16}


def accuracy(arm: str, size: int, rate: float, gain: float, best: dict[str, float]) -> float:
    top = TOP.get((arm, size), 0.93 + gain)
    return top - 0.01 * np.log2(rate / best[arm]) ** 2


def tuned_points(
    gain: float = 0.0,
    best: dict[str, float] = BEST,
    winners: dict[str, float] | None = None,
    seeds: int = 5,
    noise: float = 0.001,
) -> list[dict[str, Any]]:
    """A search of two arms at two batch sizes, and finals of the baseline at every rate.

    Args:
        gain: of warmup at 1000.
        best: the rate that is truly best, by arm.
        winners: what the search is to have found, where noise led it elsewhere.
        seeds: of the finals.
        noise: standard deviation.
    """
    draw = np.random.default_rng(0)
    won = best | (winners or {})
    found = []
    for arm, warmup in (("baseline", 0.0), ("warmup", 1.0)):
        for size in (32, 1000):
            common = {"arm": arm, "warmup_epochs": warmup, "global_batch_size": size}
            for rate in RATES:
                value = accuracy(arm, size, rate, gain, won)
                row = {"stage": "search", "seed": 1_000_000, "validation_accuracy": value}
                found.append(common | row | {"base_lr": rate, "test_accuracy": 0.5})
            crossed = RATES if arm == "baseline" else [won["warmup"], won["baseline"]]
            for rate in dict.fromkeys(crossed):
                for seed in range(seeds):
                    value = accuracy(arm, size, rate, gain, best) + draw.normal(0, noise)
                    stage = "final" if rate == won[arm] else "crossed"
                    row = {"stage": stage, "seed": seed, "base_lr": rate}
                    metrics = {"test_accuracy": value, "validation_accuracy": value}
                    found.append(common | row | metrics)
    return found


def loaded(write: Any, points: list[dict[str, Any]], **changes: Any) -> Study:
    return load_study(write(points, search=SEARCH | changes))


def row(study: Study, size: int = 1000) -> dict[str, Any]:
    table = share_of_gap_closed(study)
    (found,) = table[table["global_batch_size"] == size].to_dict("records")
    return found


def altered(points: list[dict[str, Any]], wanted: dict[str, Any], change: dict[str, Any]) -> Any:
    def changed() -> Iterator[dict[str, Any]]:
        for point in points:
            hit = all(point.get(key) == value for key, value in wanted.items())
            yield point | change if hit else point

    return list(changed())


def test_an_arm_that_wins_by_its_draw_alone_gets_no_credit(study: Any) -> None:
    """Warmup does nothing, but its search found the better rate: the baseline runs there too."""
    same = {"baseline": 0.08, "warmup": 0.08}
    found = loaded(study, tuned_points(best=same, winners={"baseline": 0.04}))
    own = row(found)
    assert own["standing"] == "unclear" and own["gain_low"] < 0
    assert own["gain_high"] > 0.005  # own winner against own winner: what was said before
    assert own["two_by_two"].reading.startswith("the baseline gains as much")
    assert "warmup has no gain shown" in headline(found)
    assert "recovers" not in headline(found) and "closes" not in headline(found)


def test_an_arm_that_makes_a_larger_rate_usable_recovers_a_share(study: Any) -> None:
    found = loaded(study, tuned_points(gain=0.01))
    own = row(found)
    assert own["standing"] == "recovers"
    assert 0.2 < own["share_low"] < 0.5
    assert f"warmup recovers at least {100 * own['share_low']:.0f} % of the gap" in headline(found)
    assert "closes" not in headline(found)
    table = closing_table(found).set_index("batch size").loc["1000"]
    assert table["gap closed, %"] == f"at least {100 * own['share_low']:.0f}"
    assert any("At the arm's best values" in text for text in details(found))


def test_only_the_winners_enter_the_means(study: Any) -> None:
    found = loaded(study, tuned_points())
    assert set(found.points["base_lr"]) == {0.08, 0.16}
    assert len(tuned_sides(found)["baseline", "", 1000].runs) == 8


def test_the_gap_between_tuned_sizes_has_the_limits_of_both(study: Any) -> None:
    gap = spoken_gap(loaded(study, tuned_points())).set_index(["arm", "global_batch_size"])
    baseline = gap.loc["baseline", 1000]
    assert baseline["shown"] and 0.01 < baseline["low"] < 0.02 < baseline["at_most"]


UNEQUAL = [p for p in tuned_points() if not (p["arm"] == "warmup" and p["base_lr"] == 0.005)]
LOST = altered(
    tuned_points(gain=0.01),
    {"arm": "warmup", "base_lr": 0.16, "seed": 3, "global_batch_size": 1000},
    DEAD,
)
WAITING = altered(
    tuned_points(gain=0.01),
    {"arm": "baseline", "base_lr": 0.04, "stage": "crossed", "global_batch_size": 1000},
    {"status": "planned"},
)


@pytest.mark.parametrize(
    ("points", "search", "reason"),
    [
        (UNEQUAL, {}, "unequal draws"),
        (tuned_points(0.01), {"finals": "own"}, "not bracketed"),
        (LOST, {}, "lost a seed"),
        (WAITING, {}, "the finals have not ended"),
        (
            tuned_points(0.01, {"baseline": 0.08, "warmup": 0.64}),
            {},
            "run 1.28 and 2.56",
        ),
        (tuned_points(0.01, {"baseline": 0.005, "warmup": 0.01}), {}, "run 0.0025 and 0.00125"),
        (tuned_points(0.01, seeds=2), {}, "2 seeds"),
    ],
    ids=["unequal", "own", "lost", "waiting", "high end", "low end", "two seeds"],
)
def test_where_no_word_may_be_said(
    study: Any, points: list[dict[str, Any]], search: dict[str, Any], reason: str
) -> None:
    found = loaded(study, points, **search)
    own = row(found)
    assert own["standing"] == "not judged" and reason in own["reason"]
    text = headline(found)
    assert "recovers" not in text and "closes" not in text and reason in text


def test_the_list_to_go_on_with_is_yaml_that_repeats_nothing(study: Any) -> None:
    found = loaded(study, tuned_points(0.01, {"baseline": 0.005, "warmup": 0.64}))
    text = "{training.base_lr: [0.00125, 0.0025, 5e-3, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, "
    assert text + "1.28, 2.56]}" in tuned_text(found)
    assert "To go on" not in tuned_text(loaded(study, tuned_points()))


def test_gaps_of_other_metrics_are_not_those_of_the_test_accuracy(study: Any) -> None:
    gap = spoken_gap(loaded(study, tuned_points()), "train_accuracy")
    assert set(gap["mean"]) == {0.0} and not gap["shown"].any()


def test_a_cliff_beside_the_best_is_no_bracket(study: Any) -> None:
    points = tuned_points(0.01)
    for rate in (0.16, 0.32, 0.64):
        wanted = {"arm": "baseline", "base_lr": rate, "stage": "crossed"}
        points = altered(points, wanted, DEAD)
    for rate in (0.1131, 0.09512):  # what `finals` puts between, dead too
        for seed in range(5):
            point = {"arm": "baseline", "warmup_epochs": 0.0, "stage": "crossed", "seed": seed}
            both = [point | {"global_batch_size": size, "base_lr": rate} for size in (32, 1000)]
            points += [one | DEAD for one in both]
    assert "a cliff beside the best" in row(loaded(study, points))["reason"]


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"method": "optuna"}, "searched unequally"),
        ({"scheduler": "asha"}, "stopped early"),
        ({"finals": "own"}, "not crossed"),
    ],
)
def test_what_qualifies_a_search_is_said(study: Any, changes: dict[str, Any], text: str) -> None:
    found = loaded(study, tuned_points(0.01), **changes)
    assert text in tuned_text(found)
    if "finals" not in changes:
        assert row(found)["exploratory"] == "exploratory search"


def test_a_search_of_few_candidates_is_exploratory(study: Any) -> None:
    points = [point for point in tuned_points(0.01) if point["base_lr"] != 0.005]
    found = loaded(study, points)
    assert row(found)["exploratory"] == "exploratory search"
    assert "7 candidates in 1 field" in tuned_text(found)
    assert "exploratory search" in headline(found)


def test_a_rate_that_was_drawn_badly_is_no_death_of_the_baseline(study: Any) -> None:
    dead = {"arm": "baseline", "stage": "final", "global_batch_size": 1000}
    points = altered(tuned_points(0.01), dead, DEAD)
    assert not row(loaded(study, points))["keeps_alive"]  # it lives at the other rates
    own = [point for point in points if point["stage"] != "crossed"]
    assert not row(loaded(study, own, finals="own"))["keeps_alive"]
    everywhere = altered(points, dead | {"stage": "crossed"}, DEAD)
    assert row(loaded(study, everywhere))["keeps_alive"]


def test_unfinished_finals_are_neither_lost_nor_dead(study: Any) -> None:
    final = {"arm": "warmup", "stage": "final", "global_batch_size": 1000, "seed": 3}
    found = loaded(study, altered(tuned_points(0.01), final, {"status": "interrupted"}))
    assert row(found)["reason"] == "the finals have not ended" and not row(found)["two_by_two"]
    crossed = {"arm": "warmup", "stage": "crossed", "global_batch_size": 1000}
    waiting = loaded(study, altered(tuned_points(0.01), crossed, {"status": "planned"}))
    assert row(waiting)["two_by_two"] is None


def test_one_candidate_carries_no_word(study: Any) -> None:
    points = [point for point in tuned_points(0.01) if point["base_lr"] == 0.08]
    points = altered(points, {"arm": "warmup", "stage": "crossed"}, {"stage": "final"})
    assert row(loaded(study, points))["reason"] == "one candidate only"


def test_values_beyond_are_named_of_rates_alone(study: Any) -> None:
    points = tuned_points(0.01, {"baseline": 0.08, "warmup": 0.64})
    moved = [
        {k: v for k, v in point.items() if k != "base_lr"} | {"momentum": point["base_lr"]}
        for point in points
    ]
    fields = {"training.optimizer.momentum": RATES}
    found = loaded(study, moved, fields=fields)
    assert row(found)["reason"] == "open at the edge: widen the search"
    assert "To go on" not in tuned_text(found)


def test_what_was_tuned_on_is_said_where_there_is_no_gap_too(study: Any) -> None:
    points = [point for point in tuned_points() if point["global_batch_size"] == 32]
    text = headline(loaded(study, points, optimize="test_accuracy"))
    assert "no gap to form" in text and "on the test set, which flatters" in text
