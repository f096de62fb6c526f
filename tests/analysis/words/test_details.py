from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from analysis.load import load_study
from analysis.uncertainty import mean_interval, seeds_needed
from analysis.words.details import details
from tests.analysis.synthetic import LARGE, SMALL, WOBBLE, WriteStudy, points_of
from trainables.task import ACCURACY


def _text(folder: Path) -> str:
    return "\n".join(details(load_study(folder)))


def _plus(values: list[float], gain: float, sign: float = 1) -> list[float]:
    return [value + gain + sign * wobble for value, wobble in zip(values, WOBBLE, strict=True)]


def test_a_gap_is_stated_with_its_size_interval_and_seeds(study: WriteStudy) -> None:
    text = _text(study(points_of({32: SMALL, 512: LARGE})))
    start = "against batch size 32, tested from the largest down, test accuracy at 512"
    limit = mean_interval(np.subtract(SMALL, LARGE), 0.9).high  # one-sided at 95 %
    assert (
        f"{start} is 2.04 points lower (95 % interval 1.93 to 2.15, 5 seeds; it loses at most "
        f"{ACCURACY.amount(limit)}, one-sided)." in text
    )
    assert "Exploratory" not in text
    assert "Untuned: one rate at every batch" in text


def test_a_difference_within_its_uncertainty_is_no_gap(study: WriteStudy) -> None:
    text = _text(study(points_of({32: [0.95, 0.93, 0.94], 512: [0.94, 0.95, 0.92]})))
    assert "at 512 is on average 0.33 points lower (95 % interval -" in text
    assert "3 seeds: a gap is not shown; it loses at most" in text
    assert "no gap" not in text
    assert "Exploratory: some comparisons rest on 3 paired seeds" in text


def test_data_against_the_expected_direction_are_stated(study: WriteStudy) -> None:
    text = _text(study(points_of({32: LARGE, 512: SMALL})))
    assert "at 512 is 2.04 points higher (95 % interval 1.93 to 2.15, 5 seeds; it gains at" in text
    assert "one-sided): the opposite of a gap." in text
    assert "The largest batch size shown to lose less than 1 point is 512 (tested upwards)." in text
    assert "lower" not in text


def test_one_seed_has_no_interval(study: WriteStudy) -> None:
    text = _text(study(points_of({32: [0.95], 512: [0.93]})))
    assert "is on average 2.00 points lower (not judged: 1 seed)" in text
    assert "rest on 1 paired seeds" in text


def test_what_the_training_set_shows_already_is_not_generalization(study: WriteStudy) -> None:
    points = points_of({32: SMALL, 512: LARGE})
    for point in points[5:]:
        point |= {"train_accuracy": 0.99 - point["seed"] / 1e4, "train_loss": 0.09}
    text = _text(study(points))
    assert "Train loss: 0.01 at 32, 0.09 at 512" in text
    assert "Train accuracy is lower by 1.02 points (1.00 to 1.04) at 512." in text
    for point in points[5:]:
        point |= {"train_accuracy": 1 - (point["seed"] - 2) / 1e4}  # 0 on average
    assert "Train accuracy is lower" not in _text(study(points))


def test_failures_and_divergences_are_counted(study: WriteStudy) -> None:
    points = points_of({32: SMALL, 512: LARGE})
    for point in points[5:8]:
        point["status"] = "diverged"
    text = _text(study(points))
    assert "10 points resolve to 10 trials: 7 complete, 3 diverged." in text
    assert "baseline at 512: 3 of 5 diverged" in text
    assert "rest on 2 paired seeds" in text


def test_of_many_cells_with_dead_trials_the_first_are_named(study: WriteStudy) -> None:
    points = points_of({2**i: [0.9, 0.9] for i in range(12)}, status="failed")
    text = _text(study(points))
    assert text.count("2 of 2 failed") == 8
    assert "; 4 more cells)" in text


def test_a_searched_study_is_not_called_untuned(study: WriteStudy) -> None:
    search = {"fields": {"training.base_lr": [0.02]}, "optimize": "validation_accuracy"}
    text = _text(study(points_of({32: SMALL, 512: LARGE}), search=search))
    assert "Untuned" not in text
    assert "Tuned apart at every batch size: base lr, by validation accuracy." in text


@pytest.mark.parametrize("baseline", [None, 64])
def test_no_gap_without_its_baseline(study: WriteStudy, baseline: int | None) -> None:
    text = _text(study(points_of({32: SMALL, 512: LARGE}), baseline_batch_size=baseline))
    assert "Generalization gap" not in text


def test_closes_is_said_of_an_arm_that_also_ran_at_the_baseline_batch(study: WriteStudy) -> None:
    half = [(a + b) / 2 for a, b in zip(SMALL, LARGE, strict=True)]
    both = points_of({32: SMALL, 512: half}, arm="remedy", discard_ratio=0.3)
    text = _text(study([*points_of({32: SMALL, 512: LARGE}), *both]))
    assert "5 seeds, 95 %);" in text  # one comparison has the level to itself
    assert "remedy at 512 closes 50 % of the gap" in text
    assert "at 32 it changes nothing." in text
    text = _text(study([*points_of({32: SMALL, 512: LARGE}), *both[5:]]))
    assert "remedy at 512 recovers 50 % of the gap" in text
    assert "It was not run at batch size 32" in text
    assert "closes 50" not in text


def test_a_gain_at_every_batch_size_is_not_closing(study: WriteStudy) -> None:
    lifted = {32: _plus(SMALL, 0.01, -1), 512: _plus(LARGE, 0.01)}
    points = [*points_of({32: SMALL, 512: LARGE}), *points_of(lifted, arm="lift", optimizer="adam")]
    text = _text(study(points))
    assert "lift at 512 recovers 49 % of the gap" in text
    assert "cannot be said to close it" in text
    assert "lift at 512 closes" not in text


def test_arms_that_widen_the_gap_or_have_none_to_close_say_so(study: WriteStudy) -> None:
    worse = points_of({512: _plus(LARGE, -0.01)}, arm="worse", discard_ratio=0.3)
    text = _text(study([*points_of({32: SMALL, 512: LARGE}), *worse]))
    assert "worse at 512 widens the gap: -49 % of the gap" in text
    flat = points_of({32: [0.95, 0.93, 0.94], 512: [0.94, 0.95, 0.92]})
    text = _text(study([*flat, *points_of({512: [0.95] * 3}, arm="remedy", discard_ratio=0.3)]))
    assert "no share of a gap is given: the gap's own 95 % interval includes 0." in text


def test_differences_that_are_all_equal_are_no_certainty(study: WriteStudy) -> None:
    gap = {32: [a + 0.02 for a in LARGE], 512: LARGE}
    text = _text(study(points_of(gap)))
    assert "at 512 is on average 2.00 points lower (all 5 differences equal)." in text
    assert "interval" not in text.split("Train loss")[0]
    constant = points_of({512: [a + 0.01 for a in LARGE]}, arm="constant", discard_ratio=0.3)
    text = _text(study([*points_of({32: SMALL, 512: LARGE}), *constant]))
    assert "constant at 512 changes test accuracy by +1.00 points, 5 seeds, 95 %; no share" in text
    assert "of a gap is given: all 5 differences equal." in text


def test_the_largest_batch_size_within_a_point_is_named_with_the_seeds_it_takes(
    study: WriteStudy,
) -> None:
    near, wide = _plus(SMALL, -0.002), [0.953, 0.933, 0.951, 0.960, 0.941]
    text = _text(study(points_of({32: SMALL, 64: near, 512: wide, 1024: near})))
    needed = seeds_needed(5, float(np.std(np.subtract(SMALL, wide), ddof=1)), 0.01)
    assert (
        "The largest batch size shown to lose less than 1 point is 64 (tested upwards; about "
        f"{needed} seeds could show it of 512, at the spread seen)." in text
    )
    shown_to_lose_more = _text(study(points_of({32: SMALL, 512: LARGE})))
    assert "No batch size is shown to lose less than 1 point" in shown_to_lose_more
    assert "could show it" not in shown_to_lose_more


def test_what_arms_share_is_said_beside_each(study: WriteStudy) -> None:
    arms = [
        *points_of(
            {32: _plus(SMALL, 0, -1), 512: _plus(LARGE, 0.01)}, arm="one", discard_ratio=0.3
        ),
        *points_of({32: _plus(SMALL, 0, -1), 512: _plus(LARGE, 0.0)}, arm="two", discard_ratio=0.4),
    ]
    text = _text(study([*points_of({32: SMALL, 512: LARGE}), *arms]))
    assert "one at 512 closes 49 % of the gap (" in text
    assert "two at 512: no share is shown to be closed: 0 % of the gap (-" in text
    assert text.count("5 seeds, 2 comparisons, 97.5 %)") == 2
    assert "share one level, 1 - .05 / (comparisons x looks)" in text


def test_what_the_seeds_vary_is_said_at_the_end(quickstart: Path) -> None:
    last = details(load_study(quickstart))[-1]
    assert "The seeds vary initialization and order;" in last
    assert last.endswith("one training subset and one test set, whose draw adds to every interval.")


def test_a_study_like_the_quickstart_reads_as_a_whole(quickstart: Path) -> None:
    text = _text(quickstart)
    assert text.count("It falls") == 1
    assert "It falls from 512 to 1000, while the train loss rises" in text
    assert "Hessian top eigenvalue, against batch size 32:" in text
    assert "paper's 10 iterations" not in text  # only beside the paper's own numbers
    assert "lars at 1000 closes 60 % of the gap (" in text
    assert text.count("3 comparisons, 98.33 %)") == 3
    assert "Hessian trace -0.7" in text
    assert "learning rate per example (2e-5 to 6.25e-4)" in text
    assert text.count("Sharpness (ε 1e-3, full space, largest of 3 starts) at 1000: ") == 1
    assert "nan" not in text


def test_a_measure_that_does_not_go_with_accuracy_is_said_not_to(study: WriteStudy) -> None:
    points = points_of({32: SMALL, 512: LARGE})
    for point, sharpness in zip(points, [5, 1, 8, 3, 9, 2, 7, 4, 6, 5.5], strict=True):
        point["sharpness"] = sharpness
    text = _text(study(points))
    assert "no association is shown" in text
    assert "which may be no change" in text


def test_many_settings_are_counted(study: WriteStudy) -> None:
    points = []
    for i in range(6):
        pair = {32: SMALL, 512: LARGE} if i else {32: LARGE, 512: SMALL}
        points += points_of(pair, base_lr=0.01 * (i + 1))
    text = _text(study(points))
    assert "at 512 lower in 5 of 6 settings and higher in 1 (95 % intervals" in text


def test_a_study_that_has_not_begun_says_so(study: WriteStudy) -> None:
    text = _text(study(points_of({32: SMALL, 512: LARGE}, status="planned")))
    assert "10 points resolve to 10 trials: 10 not run." in text
    assert "Generalization gap" not in text
