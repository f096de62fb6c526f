from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from analysis.load import load_study
from analysis.verdict import headline

WriteStudy = Callable[..., Path]
SMALL = [0.950, 0.951, 0.952, 0.950, 0.952]
LARGE = [0.930, 0.932, 0.931, 0.929, 0.931]


def _points(accuracies: dict[int, list[float]], **changes: Any) -> list[dict[str, Any]]:
    return [
        {"global_batch_size": batch, "seed": seed, "test_accuracy": accuracy, **changes}
        for batch, values in accuracies.items()
        for seed, accuracy in enumerate(values)
    ]


def _arm(name: str, gain: float, *, at_small: float | None = 0.0) -> list[dict[str, Any]]:
    """An arm that gains so much at 512 and, unless it did not run there, at 32."""
    accuracies = {512: [a + gain for a in LARGE]}
    if at_small is not None:
        accuracies[32] = [a + at_small for a in SMALL]
    ratio = 0.01 * (1 + sum(map(ord, name)) % 50)  # arms that differ resolve to other trials
    return _points(accuracies, arm=name, discard_ratio=ratio)


def _headline(folder: Path) -> str:
    return headline(load_study(folder))


BOTH = _points({32: SMALL, 512: LARGE})
GAP = (
    "At batch size 512 test accuracy is 2.04 points lower than at 32 "
    "(95 % interval 1.93 to 2.15, 5 seeds)"
)


def test_a_study_like_the_quickstart_takes_one_short_paragraph(quickstart: Path) -> None:
    text = _headline(quickstart)
    assert len(text.split()) <= 100
    assert text.startswith("At batch size 1000 test accuracy is 1.99 points lower than at 32 (95 %")
    assert ", part of it underfitting (train accuracy 0.89 points lower). lars closes 60 %" in text
    assert "; none closes all of it; discard recovers a share of the gap but did not" in text
    assert "The top Hessian eigenvalue is 27" in text
    assert text.endswith("Untuned: one rate at every batch.")


def test_a_gap_alone(study: WriteStudy) -> None:
    assert _headline(study(BOTH)) == f"{GAP}. Untuned: one rate at every batch."
    search = {"fields": {"training.base_lr": [0.02]}, "optimize": "validation_accuracy"}
    tuned = "Tuned apart at every batch size: base lr, by validation accuracy."
    assert _headline(study(BOTH, search=search)) == f"{GAP}. {tuned}"


def test_the_training_set_may_explain_part_or_all_of_a_gap(study: WriteStudy) -> None:
    for lower, said in ((0.01, ", part of it underfitting"), (0.03, "may explain all of it")):
        fits = {32: 1.0, 512: 1 - lower}
        points = [
            p | {"train_accuracy": fits[p["global_batch_size"]] - p["seed"] / 1e5} for p in BOTH
        ]
        assert said in _headline(study(points))


def test_no_gap_says_so_and_leaves_arms_nothing_to_close(study: WriteStudy) -> None:
    points = _points({32: [0.95, 0.93, 0.94, 0.95, 0.93], 512: [0.94, 0.95, 0.92, 0.94, 0.95]})
    text = _headline(study([*points, *_arm("remedy", 0.01)]))
    assert "shows no gap to batch size 32 beyond its uncertainty (0.00 points" in text
    assert "The arms have no gap to close that is beyond its uncertainty." in text
    assert "remedy" not in text


def test_the_opposite_direction_is_stated(study: WriteStudy) -> None:
    text = _headline(study(_points({32: LARGE, 512: SMALL})))
    assert "2.04 points higher than at 32 (95 % interval 1.93 to 2.15, 5 seeds)" in text
    assert ": the opposite of a gap." in text
    assert "lower" not in text


def test_arms_are_told_apart_by_what_may_be_said_of_them(study: WriteStudy) -> None:
    arms = [
        *_arm("half", 0.01),
        *_arm("third", 0.007),
        *_arm("lift", 0.01, at_small=0.01),
        *_arm("alone", 0.01, at_small=None),
        *_arm("worse", -0.01),
        *_arm("idle", 0.0),
    ]
    text = _headline(study([*BOTH, *arms]))
    assert "half closes 49 % of the gap (46 to 52 %), third 34 % (33 to 36)" in text
    assert "; lift recovers a share of the gap but cannot be said to close it;" in text
    assert "; alone recovers a share of the gap but did not run at 32;" in text
    assert "; idle closes no share beyond uncertainty;" in text
    assert "; worse widens the gap." in text
    assert "none closes all of it" in text


def test_all_of_a_gap_may_be_closed(study: WriteStudy) -> None:
    whole = _points({512: SMALL, 32: SMALL}, arm="whole", discard_ratio=0.3)
    text = _headline(study([*BOTH, *whole]))
    assert "whole closes 100 % of the gap (100 to 100 %)." in text


def test_of_many_arms_the_best_are_named(study: WriteStudy) -> None:
    arms = [point for i in range(7) for point in _arm("abcdefg"[i], 0.004 + 0.002 * i)]
    text = _headline(study([*BOTH, *arms]))
    assert "g closes 78 %" in text
    assert "d 49 %" in text
    assert ", 3 more less;" in text
    assert " c 3" not in text


def test_the_batch_size_is_that_of_the_arms(study: WriteStudy) -> None:
    larger = _points({2048: [a - 0.1 for a in LARGE]})
    assert _headline(study([*BOTH, *larger])).startswith("At batch size 2048")
    assert _headline(study([*BOTH, *larger, *_arm("half", 0.01)])).startswith("At batch size 512")


@pytest.mark.parametrize(("seeds", "said"), [(3, "Exploratory: 3 paired seeds."), (5, "Untuned")])
def test_few_seeds_are_exploratory(study: WriteStudy, seeds: int, said: str) -> None:
    text = _headline(study([point for point in BOTH if point["seed"] < seeds]))
    assert said in text
    assert ("Exploratory" in text) == (seeds < 5)


def test_one_seed_has_no_interval(study: WriteStudy) -> None:
    text = _headline(study([point for point in BOTH if point["seed"] == 0]))
    assert "is 2.00 points lower than at 32 (one seed: no interval)." in text
    assert "Exploratory: 1 paired seed." in text


def test_what_has_no_result_is_counted(study: WriteStudy) -> None:
    statuses = ["diverged", "diverged", "failed", "planned"]
    points = [*BOTH, *_points({1024: [0.1] * 5})]
    for point, status in zip(points[11:], statuses, strict=True):
        point["status"] = status
    text = _headline(study(points))
    assert text.startswith("At batch size 1024")
    assert "Of 15 trials 2 diverged and 1 failed: no mean has them." in text
    assert "Not finished: 1 of 15 trials have no result yet." in text


def test_where_every_large_batch_diverged_the_next_one_is_told(study: WriteStudy) -> None:
    text = _headline(study([*BOTH, *_points({1024: [0.1] * 5}, status="diverged")]))
    assert text.startswith(GAP)
    assert "Of 15 trials 5 diverged" in text


def test_curvature_that_is_not_shown_to_change(study: WriteStudy) -> None:
    values = [1.0, 2.0, 1.5, 1.2, 1.1, 1.5, 1.0, 1.3, 2.0, 1.0]
    points = [p | {"sharpness": v} for p, v in zip(BOTH, values, strict=True)]
    assert "Sharpness is not shown to differ from that at 32 (" in _headline(study(points))
    points = [p | {"hessian_top_eigenvalue": p["global_batch_size"] * 1.0} for p in points]
    assert "eigenvalue is 16 times that at 32 (16 to 16)." in _headline(study(points))


def test_without_a_gap_to_form_the_reason_is_given(study: WriteStudy) -> None:
    alone = _headline(study(BOTH[:5]))
    assert alone.startswith("There is no gap to form: batch size 32 is the only one. Test accuracy")
    nameless = _headline(study(BOTH, baseline_batch_size=None))
    assert nameless.startswith("No gap is formed: the study names no baseline_batch_size.")
    assert "Test accuracy is 95.10 % in baseline at 32 and 93.06 % in baseline at 512." in nameless
    missing = _headline(study(BOTH, baseline_batch_size=64))
    assert "no seed is complete both at the baseline batch size 64 and at another" in missing


def test_a_study_that_has_not_begun(study: WriteStudy) -> None:
    text = _headline(study([point | {"status": "planned"} for point in BOTH]))
    assert text.startswith("No gap can be formed")
    assert text.endswith("Not finished: 10 of 10 trials have no result yet.")


def test_of_several_settings_the_counts_are_given(study: WriteStudy) -> None:
    points = []
    for i in range(6):
        pair = {32: SMALL, 512: LARGE} if i else {32: LARGE, 512: SMALL}
        half = {32: pair[32], 512: [(a + b) / 2 for a, b in zip(SMALL, LARGE, strict=True)]}
        points += _points(pair, base_lr=0.01 * (i + 1), hessian_top_eigenvalue=1.0)
        points += _points(half, base_lr=0.01 * (i + 1), arm="half", discard_ratio=0.3)
    text = _headline(study(points))
    assert "lower than at 32 in 5 of 6 settings and higher in 1, each with its 95 %" in text
    assert "(gaps -2.04 to 2.04 points)" in text
    assert "A share of the gap is closed by half in 5 of 6 comparisons." in text
    assert "The top Hessian eigenvalue is larger than at 32 in 0 of 6 settings." in text
