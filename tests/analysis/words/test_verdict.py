from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from analysis.gaps.subjects import subjects
from analysis.judged.arms import share_of_gap_closed
from analysis.judged.gaps import spoken_gap
from analysis.load import load_study
from analysis.page.report import summary_text
from analysis.words.verdict import SEEDS_VARY, headline
from tests.analysis.synthetic import LARGE, SMALL, WOBBLE, WriteStudy, points_of
from trainables.results.schema import SCHEMA_VERSION


def _arm(name: str, gain: float, *, at_small: float | None = 0.0) -> list[dict[str, Any]]:
    """An arm that gains so much at 512 and, unless it did not run there, at 32."""
    accuracies = {512: [a + gain + w for a, w in zip(LARGE, WOBBLE, strict=True)]}
    if at_small is not None:
        accuracies[32] = [a + at_small - w for a, w in zip(SMALL, WOBBLE, strict=True)]
    ratio = 0.01 * (1 + sum(map(ord, name)) % 50)  # arms that differ resolve to other trials
    return points_of(accuracies, arm=name, discard_ratio=ratio)


def _headline(folder: Path) -> str:
    return headline(load_study(folder))


BOTH = points_of({32: SMALL, 512: LARGE})
GAP = (
    "At batch size 512 test accuracy is 2.04 points lower than at 32 "
    "(95 % interval 1.93 to 2.15, 5 seeds)"
)
UNTUNED = f"Untuned: one rate at every batch. {SEEDS_VARY}"


def test_a_study_like_the_quickstart_takes_two_short_paragraphs(quickstart: Path) -> None:
    text = _headline(quickstart)
    assert len(text.split()) <= 130
    assert text.count("\n\n") == 1
    assert text.startswith("At batch size 1000 test accuracy is 1.99 points lower than at 32 (95 %")
    assert ", 5 seeds). lars closes 60 % of the gap (49 to 72), sqrt 22 % (8 to 35); disc" in text
    assert "; discard recovers a share of the gap but did not run at 32; 3 comparisons at " in text
    sharpness = "the sharpness (ε 1e-3, full space, largest of 3 starts) is "
    assert f" at 98.33 % each. At 1000 {sharpness}" in text
    assert "). At 1000 the top Hessian eigenvalue is 27" in text
    assert text.endswith(f"\n\n{UNTUNED}")


def test_a_gap_alone(study: WriteStudy) -> None:
    assert _headline(study(BOTH)) == f"{GAP}.\n\n{UNTUNED}"
    search = {"fields": {"training.base_lr": [0.02]}, "optimize": "validation_accuracy"}
    tuned = "Tuned apart at every batch size: base lr, by validation accuracy."
    assert f"\n\n{tuned}" in _headline(study(BOTH, search=search))


def test_what_the_training_set_shows_is_said_with_its_interval(study: WriteStudy) -> None:
    def said(lower: float, spread: float) -> str:
        fits = [
            p | {"train_accuracy": 1 - (p["global_batch_size"] > 32) * (lower + spread * noise)}
            for p, noise in zip(BOTH, [-1, 2, 0, -2, 1] * 2, strict=True)
        ]
        return _headline(study(fits))

    assert f"{GAP}; train accuracy is lower too, by 1.00 (0.98 to 1.02)." in said(0.01, 1e-4)
    assert "train accuracy" not in said(0.001, 1e-2)  # not shown
    assert "train accuracy" not in said(-0.01, 1e-4)  # higher


def test_a_gap_that_is_not_shown_says_how_large_it_may_be(study: WriteStudy) -> None:
    points = points_of({32: [0.95, 0.93, 0.94, 0.95, 0.93], 512: [0.93, 0.95, 0.92, 0.94, 0.95]})
    found = load_study(study([*points, *_arm("remedy", 0.01)]))
    high = 100 * spoken_gap(found)["high"].iloc[0]
    text = headline(found)
    assert "At batch size 512 a gap to 32 is not shown: test accuracy is on average 0.20" in text
    assert f"; a loss of {high:.2f} points cannot be excluded." in text
    assert "remedy: not judged, the gap's own 95 % interval includes 0." in text
    for word in ("no gap", "the same", "closes", "recovers"):
        assert word not in text


def test_the_opposite_direction_is_stated(study: WriteStudy) -> None:
    text = _headline(study(points_of({32: LARGE, 512: SMALL})))
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
        *points_of({512: [a + 0.01 for a in LARGE[:2]]}, arm="two", discard_ratio=0.9),
    ]
    found = load_study(study([*BOTH, *arms]))
    half, third = (share_of_gap_closed(found).set_index("arm").loc[a] for a in ("half", "third"))
    bounds = [f"{100 * r['share_low']:.0f} to {100 * r['share_high']:.0f}" for r in (half, third)]
    text = headline(found)
    assert "half closes 49 % of the gap ({}), third 34 % ({})".format(*bounds) in text
    assert "; lift recovers a share of the gap but cannot be said to close it;" in text
    assert "; alone recovers a share of the gap but did not run at 32;" in text
    assert "; idle has no share shown;" in text
    assert "; worse widens the gap;" in text
    assert "; 7 comparisons at 99.29 % each. two: not judged, 2 seeds." in text


def test_all_of_a_gap_may_be_closed(study: WriteStudy) -> None:
    whole = points_of({512: SMALL, 32: SMALL}, arm="whole", discard_ratio=0.3)
    text = _headline(study([*BOTH, *whole]))
    assert "whole closes 100 % of the gap (100 to 100); 1 comparison at 95 %." in text


def test_gains_that_are_all_equal_close_nothing(study: WriteStudy) -> None:
    constant = {512: [a + 0.01 for a in LARGE], 32: SMALL}
    arms = points_of(constant, arm="one", discard_ratio=0.1)
    text = _headline(study([*BOTH, *arms]))
    assert "one: not judged, all 5 differences equal." in text
    both = [*arms, *points_of(constant, arm="two", discard_ratio=0.2)]
    text = _headline(study([*BOTH, *both]))
    assert "one and two: not judged, all 5 differences equal." in text
    gap = _headline(study(points_of({32: [0.95] * 5, 512: [0.93] * 5})))
    assert "on average 2.00 points lower than at 32; all 5 differences equal." in gap
    assert "interval" not in gap.split("\n\n")[0]


def test_of_many_arms_the_best_are_named(study: WriteStudy) -> None:
    arms = [point for i in range(7) for point in _arm("abcdefg"[i], 0.004 + 0.002 * i)]
    text = _headline(study([*BOTH, *arms]))
    assert "g closes 78 % of the gap (" in text
    assert ", d 49 % (" in text
    assert ", 3 more less; 7 comparisons at 99.29 % each." in text
    assert " c 3" not in text


def test_the_largest_batch_size_is_named_though_arms_ran_at_a_smaller_one(
    study: WriteStudy,
) -> None:
    larger = points_of({2048: [a - 0.1 for a in LARGE]})
    assert _headline(study([*BOTH, *larger])).count("At batch size") == 1
    text = _headline(study([*BOTH, *larger, *_arm("half", 0.01)]))
    assert text.startswith("At batch size 2048 test accuracy is 12.04 points lower than at 32 (")
    assert f"5 seeds). {GAP}. half closes 49 % of the gap (" in text


def test_a_larger_batch_size_without_a_gap_silences_the_smaller(study: WriteStudy) -> None:
    noisy = [0.95, 0.953, 0.949, 0.951, 0.952]
    text = _headline(study([*BOTH, *points_of({2048: noisy}), *_arm("half", 0.01)]))
    assert text.startswith("At batch size 2048 a gap to 32 is not shown: test accuracy is on av")
    assert (
        "At batch size 512 test accuracy is on average 2.04 points lower than at 32 (95 % interval "
        "1.93 to 2.15, 5 seeds), not judged: larger batch sizes come first, and that of "
        "one is not shown." in text
    )


@pytest.mark.parametrize("seeds", [3, 4, 5])
def test_few_seeds_are_exploratory(study: WriteStudy, seeds: int) -> None:
    points = [point for point in [*BOTH, *_arm("half", 0.01)] if point["seed"] < seeds]
    text = _headline(study(points))
    assert "half closes " in text
    start = "Exploratory: at batch size 512" if seeds < 5 else "At batch size 512"
    assert text.startswith(f"{start} test accuracy is 2.0")
    assert ("; exploratory, 1 comparison at 95 %." in text) == (seeds < 5)


@pytest.mark.parametrize(("seeds", "counted"), [(1, "1 seed"), (2, "2 seeds")])
def test_one_or_two_seeds_carry_no_word(study: WriteStudy, seeds: int, counted: str) -> None:
    measured = [p | {"hessian_top_eigenvalue": 1.0 * p["global_batch_size"]} for p in BOTH]
    points = [point for point in [*measured, *_arm("half", 0.01)] if point["seed"] < seeds]
    text = _headline(study(points))
    mean = "2.00" if seeds == 1 else "1.95"
    assert f"is on average {mean} points lower than at 32; not judged: {counted}." in text
    assert "interval" not in text.split("\n\n")[0]
    for word in (" is lower", "closes", "recovers"):
        assert word not in text
    if seeds == 2:
        assert "half: not judged, 2 seeds." in text
        assert "eigenvalue is on average 16 times that at 32; not judged: 2 seeds." in text


def _smoke_points() -> list[dict[str, Any]]:
    measured = [
        p | {"hessian_top_eigenvalue": p["global_batch_size"] * (1 + p["seed"] / 100)} for p in BOTH
    ]
    fits = [p | {"train_accuracy": 1 - p["global_batch_size"] / 1e4} for p in measured]
    return [*fits, *_arm("half", 0.01), *_arm("worse", -0.01), *_arm("idle", 0.0)]


JUDGED = ["closes", "recovers", "widens", " is lower", "lower too", "reproduced", "contradicted"]
JUDGED += ["not shown", "keeps", "interval", " is larger"]


def test_the_smallest_scale_gets_no_word(study: WriteStudy) -> None:
    found = load_study(study(_smoke_points(), name="keskar-smoke", reproduces=["keskar-table2"]))
    text, last = headline(found).split("\n\n")
    assert last == UNTUNED
    assert "lower than at 32; not judged: smoke scale." in text
    assert "half, worse and idle: not judged, smoke scale." in text
    assert "on average 16 times that at 32; not judged: smoke scale." in text
    assert [word for word in JUDGED if word in text] == []
    summary = summary_text(found)
    assert not any(word in summary for word in ("closes", "widens", "reproduced", "contradicted"))
    loud = headline(load_study(study(_smoke_points())))
    assert {"closes", "widens", "interval"} <= {word for word in JUDGED if word in loud}


def test_the_smallest_scale_gets_no_word_over_several_settings(study: WriteStudy) -> None:
    points = [p | {"base_lr": rate} for rate in (0.01, 0.02) for p in _smoke_points()]
    text = _headline(study(points, name="sweep-smoke")).split("\n\n")[0]
    assert "smoke scale" in text
    assert [word for word in JUDGED if word in text] == []
    assert "0 of" not in text


def test_looks_and_comparisons_that_are_gone_are_paid_for_and_said(study: WriteStudy) -> None:
    folder = study([*BOTH, *_arm("half", 0.01)])
    there = {"block": 0, "global_batch_size": 512}
    runs = [there | {"seeds": 3, "comparisons": ["half", "gone"]}]
    runs += [there | {"seeds": 5, "comparisons": ["half"]}]
    (folder / "provenance.json").write_text(
        json.dumps({"schema_version": SCHEMA_VERSION, "runs": runs})
    )
    text = _headline(folder)
    assert "is 2.04 points lower than at 32 (97.5 % interval " in text
    assert ", 5 seeds, 2 looks). half closes 49 % of the gap (" in text
    assert "; 2 comparisons at 98.75 % each, 2 looks." in text


def test_an_arm_that_lost_more_seeds_than_the_baseline_gets_no_word_on_its_mean(
    study: WriteStudy,
) -> None:
    lost = _arm("half", 0.01)
    lost[4] |= {"status": "diverged"}
    text = _headline(study([*BOTH, *lost, *_arm("lives", 0.01)]))
    assert "half: not judged, 1 of 5 seeds diverged at 512." in text
    assert "half closes" not in text and "lives closes 49 %" in text
    assert "Seeds alive: half 4 of 5 and the baseline 5 of 5." in text


def test_what_keeps_training_alive_is_said(study: WriteStudy) -> None:
    """Eight seeds, five of which the baseline lost: the three left are exploratory."""
    small, large = (values * 2 for values in (SMALL, LARGE))
    points = points_of({32: small[:8], 512: large[:8]})
    more = points_of(
        {32: small[:8], 512: [a + 0.01 for a in large[:8]]}, arm="x", discard_ratio=0.1
    )
    for point in points[8:14]:
        point["status"] = "diverged"
    text = _headline(study([*points, *more]))
    assert "Seeds alive: x 8 of 8 and the baseline 2 of 8; x keeps training alive." in text
    points[13] |= {"status": "complete"}
    points[12] |= {"status": "complete"}
    assert "keeps" not in _headline(study([*points, *more]))  # 8 against 4: p = .077


@pytest.mark.parametrize("more", [[], points_of({64: LARGE})])
def test_an_arm_that_lives_where_all_of_the_baseline_died_is_told(
    study: WriteStudy, more: list[dict[str, Any]]
) -> None:
    points = [p | {"status": "diverged"} if p["global_batch_size"] == 512 else p for p in BOTH]
    text = _headline(study([*points, *more, *_arm("half", 0.01)]))
    assert "half 5 of 5 and the baseline 0 of 5; half keeps training alive." in text


def test_several_arms_that_live_keep_training_alive(study: WriteStudy) -> None:
    points = [p | {"status": "diverged"} if p["global_batch_size"] == 512 else p for p in BOTH]
    text = _headline(study([*points, *_arm("half", 0.01), *_arm("third", 0.007)]))
    assert (
        "At batch size 512 all 5 seeds of the baseline diverged. Seeds alive: half 5 of 5," in text
    )
    assert "and the baseline 0 of 5; half and third keep training alive." in text


def test_each_network_has_its_paragraph(study: WriteStudy) -> None:
    points = []
    for block, (network, gain) in enumerate((("f1", 0.01), ("c1", 0.0))):
        own = [*BOTH, *_arm("half", gain)]
        points += [point | {"network": network, "block": block} for point in own]
    found = load_study(study(points))
    first, second, last = headline(found).split("\n\n")
    assert first.startswith(f"f1: {GAP}. half closes 49 % of the gap (")
    assert second == f"c1: {GAP}. half has no share shown; 1 comparison at 95 %."
    assert last == UNTUNED
    for paragraph, (name, part) in zip((first, second), subjects(found), strict=True):
        assert paragraph == f"{name}: {headline(part).split(chr(10))[0]}"


def test_each_data_set_has_its_paragraph_whatever_is_missing_of_it(study: WriteStudy) -> None:
    other = [point | {"data": "digits", "block": 1} for point in BOTH[:5]]
    first, second, last = _headline(study([*BOTH, *other])).split("\n\n")
    assert first == f"mnist-5k: {GAP}."
    assert second.startswith("digits: There is no gap to form: batch size 32 is the only one.")
    assert last == UNTUNED


def test_what_has_no_result_is_counted(study: WriteStudy) -> None:
    statuses = ["diverged", "diverged", "failed", "planned"]
    points = [*BOTH, *points_of({1024: [0.1] * 5})]
    for point, status in zip(points[11:], statuses, strict=True):
        point["status"] = status
    text = _headline(study(points))
    assert text.startswith("At batch size 1024")
    assert "Of 15 trials 2 diverged and 1 failed: no mean has them." in text
    assert "Not finished: 1 of 15 trials have no result yet." in text


def test_where_every_large_batch_diverged_the_next_one_is_told(study: WriteStudy) -> None:
    text = _headline(study([*BOTH, *points_of({1024: [0.1] * 5}, status="diverged")]))
    assert text.startswith(GAP)
    assert "Of 15 trials 5 diverged" in text


def test_curvature_that_is_not_shown_to_change(study: WriteStudy) -> None:
    values = [1.0, 2.0, 1.5, 1.2, 1.1, 1.5, 1.0, 1.3, 2.0, 1.0]
    points = [p | {"sharpness": v} for p, v in zip(BOTH, values, strict=True)]
    unclear = "the sharpness (ε 1e-3, full space, largest of 3 starts) is not shown to differ from"
    assert f"At 512 {unclear} that at 32 (" in _headline(study(points))
    rates = [1.0, 1.1, 0.9, 1.05, 0.95] * 2
    points = [
        p | {"hessian_top_eigenvalue": p["global_batch_size"] * rate ** (p["seed"] - 2)}
        for p, rate in zip(points, rates, strict=True)
    ]
    assert "the top Hessian eigenvalue is 16 times that at 32 in each of 5 seeds" in _headline(
        study(points)
    )


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
        points += points_of(pair, base_lr=0.01 * (i + 1), hessian_top_eigenvalue=1.0)
        points += points_of(half, base_lr=0.01 * (i + 1), arm="half", discard_ratio=0.3)
    text = _headline(study(points))
    assert "is lower in 5 of 6 settings and higher in 1 (95 % intervals, gaps -2.04 to 2.04" in text
    assert "closed by half in 5 of 6 comparisons (6 comparisons at 99.17 % each)." in text
    assert "At 512 the top Hessian eigenvalue is larger than at 32 in 0 of 6 settings." in text
