from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis import choice
from analysis.gaps import by_cell, paired
from analysis.gaps.sharpness import sharpness_ratio
from analysis.gaps.subjects import subjects
from analysis.judged import arms as closing
from analysis.judged.gaps import largest_within, spoken_gap
from analysis.load import Study, load_study
from analysis.uncertainty import mean_interval, ratio_interval, seeds_needed
from tests.analysis.synthetic import LARGE, SMALL, WriteStudy, points_of, row_at
from trainables.results.schema import SCHEMA_VERSION


def _with_runs(folder: Path, *runs: dict[str, Any]) -> Study:
    """The study after runs that ended so: each as `batchgap run` records it."""
    first = {"block": 0, "global_batch_size": 512, "comparisons": []}
    (folder / "provenance.json").write_text(
        json.dumps({"schema_version": SCHEMA_VERSION, "runs": [first | run for run in runs]})
    )
    return load_study(folder)


def test_the_gap_is_baseline_minus_this_batch_paired_by_seed(study: WriteStudy) -> None:
    small, large = [0.95, 0.96, 0.97, 0.95, 0.96], [0.93, 0.95, 0.95, 0.92, 0.94]
    table = paired.generalization_gap(load_study(study(points_of({32: small, 512: large}))))
    row = row_at(table, 512)
    expected = mean_interval(np.subtract(small, large))
    assert len(table) == 1
    assert row["mean"] == pytest.approx(0.02)
    assert [row["low"], row["high"]] == pytest.approx([expected.low, expected.high])
    assert (row["n"], row["p"]) == (5, 0.0625)


def test_only_seeds_complete_at_both_batches_are_paired(study: WriteStudy) -> None:
    points = points_of({32: [0.9, 0.8, 0.7], 512: [0.8, 0.6, 0.4]})
    points[1]["status"] = "failed"  # 32, seed 1
    points[5]["status"] = "diverged"  # 512, seed 2
    points[5]["test_accuracy"] = 0.1
    points.append({"global_batch_size": 512, "seed": 3, "test_accuracy": 0.0})  # no partner
    loaded = load_study(study(points))
    row = row_at(paired.generalization_gap(loaded), 512)
    assert (row["n"], row["mean"]) == (1, pytest.approx(0.1))
    assert np.isnan(row["low"])
    assert paired.paired_gaps(loaded)["seed"].tolist() == [0]


def test_what_did_not_complete_is_counted_and_named_never_averaged(study: WriteStudy) -> None:
    points = points_of({32: [0.9] * 5, 512: [0.8] * 5})
    for point, status in zip(points[5:], ["diverged"] * 3 + ["failed", "planned"], strict=True):
        point["status"] = status
    loaded = load_study(study(points))
    row = row_at(by_cell.counts(loaded), 512)
    counts = row[["points", "complete", "diverged", "failed", "unfinished"]].tolist()
    assert counts == [5, 0, 3, 1, 1]
    assert row["remark"] == "3 of 5 diverged, 1 of 5 failed, 1 of 5 not run"
    assert row_at(by_cell.counts(loaded), 32)["remark"] == ""
    means = row_at(by_cell.cell_means(loaded, "test_accuracy"), 512)
    assert (means["n"], np.isnan(means["mean"])) == (0, True)
    assert row_at(paired.generalization_gap(loaded), 512)["n"] == 0


def test_points_repeated_in_several_blocks_count_once(study: WriteStudy) -> None:
    points = points_of({32: [0.9, 0.92], 512: [0.8, 0.81]})
    twice = [*points, *({**point, "block": 1} for point in points)]
    table = paired.generalization_gap(load_study(study(twice)))
    assert row_at(table, 512)[["points", "n"]].tolist() == [2, 2]


def test_gaps_are_formed_within_equal_settings_only(study: WriteStudy) -> None:
    points = [
        *points_of({32: [0.9, 0.9], 512: [0.8, 0.8]}, base_lr=0.02),
        *points_of({32: [0.7, 0.7], 512: [0.65, 0.65]}, base_lr=0.1),
        *points_of({512: [0.5, 0.5]}, base_lr=0.5),
    ]
    loaded = load_study(study(points))
    assert by_cell.axes(loaded) == ["base_lr"]
    table = paired.generalization_gap(loaded)
    assert table["settings"].tolist() == ["base_lr=0.02", "base_lr=0.1", "base_lr=0.5"]
    assert table["mean"].tolist()[:2] == pytest.approx([0.1, 0.05])
    assert table["n"].tolist() == [2, 2, 0]


def test_axes_are_what_varies_within_an_arm(study: WriteStudy) -> None:
    points = [
        *points_of({32: [0.9]}, epochs=1.0, ghost_batch_size=None),
        *points_of({32: [0.9]}, epochs=1.0, ghost_batch_size=16),
        *points_of({32: [0.9]}, epochs=1.0, lr_scaling="sqrt", arm="sqrt", ghost_batch_size=16),
    ]
    loaded = load_study(study(points))
    assert by_cell.axes(loaded) == ["ghost_batch_size"]
    settings = ["ghost_batch_size=none", "ghost_batch_size=16", "ghost_batch_size=16"]
    assert by_cell.counts(loaded)["settings"].tolist() == settings


def test_tables_keep_the_order_of_the_plan_with_batches_ascending(study: WriteStudy) -> None:
    points = [
        *points_of({512: [0.8], 32: [0.9], 128: [0.85]}),
        *points_of({512: [0.8], 32: [0.9]}, arm="a_remedy", discard_ratio=0.3),
    ]
    cells = by_cell.counts(load_study(study(points)))
    assert cells["arm"].tolist() == ["baseline"] * 3 + ["a_remedy"] * 2
    assert cells["global_batch_size"].tolist() == [32, 128, 512, 32, 512]


def test_train_test_gaps_are_positive_where_test_is_worse(study: WriteStudy) -> None:
    points = points_of({32: [0.9, 0.8]}, train_accuracy=1.0, train_loss=0.1, test_loss=0.4)
    loaded = load_study(study(points))
    assert row_at(paired.train_test_gap(loaded), 32)["mean"] == pytest.approx(0.15)
    assert row_at(paired.train_test_gap(loaded, loaded.loss), 32)["mean"] == pytest.approx(0.3)


def test_without_a_baseline_batch_size_there_are_no_pairs(study: WriteStudy) -> None:
    points = points_of({32: [0.9, 0.9], 512: [0.8, 0.8]})
    loaded = load_study(study(points, baseline_batch_size=None))
    assert paired.generalization_gap(loaded)["n"].tolist() == [0, 0]
    assert closing.share_of_gap_closed(loaded).empty
    assert choice.choice_table(loaded)["target_seconds"].isna().all()


# ------------------------------------------------------------------------------------------ arms


def _arms_study(study: WriteStudy, *arms: dict[str, Any]) -> pd.DataFrame:
    """A gap of 4 points over five seeds with pairwise noise, and the given arms' points."""
    noise = np.array([-2, -1, 0, 1, 2]) * 1e-3
    baseline = points_of({32: list(0.95 - noise / 2), 512: list(0.91 + noise)})
    points = [*baseline]
    for arm in arms:
        accuracies = {b: list(np.array(a) + 0 * noise) for b, a in arm.pop("accuracy").items()}
        points += points_of(accuracies, **arm)
    return closing.share_of_gap_closed(load_study(study(points)))


def test_the_share_closed_is_known_by_construction(study: WriteStudy) -> None:
    noise = np.array([-2, -1, 0, 1, 2]) * 1e-3
    small, large = 0.95 - noise / 2, 0.91 + noise
    half = (small + large) / 2  # closes half the gap, seed by seed
    arm = {"arm": "half", "discard_ratio": 0.3, "accuracy": {512: half, 32: small}}
    row = row_at(_arms_study(study, arm), 512, "half")
    assert [row["share"], row["share_low"], row["share_high"]] == pytest.approx([0.5] * 3)
    assert (row["gap"], row["gain"]) == (pytest.approx(0.04), pytest.approx(0.02))
    assert (row["baseline_gain"], row["net_gain"]) == (0, pytest.approx(0.02))
    assert row["gap_under_arm"] == pytest.approx(0.02)
    assert (row["standing"], row["reason"], row["exploratory"]) == ("closes", "", "")
    assert (row["comparisons"], row["looks"], row["level"]) == (1, 1, 0.95)
    survivors = row[["alive", "ended", "baseline_alive", "baseline_ended", "keeps_alive"]]
    assert survivors.tolist() == [5, 5, 5, 5, False]
    assert row["two_by_two"] is None  # of tuned arms only


def test_the_share_has_fieller_s_interval(study: WriteStudy) -> None:
    noise = np.array([-2, -1, 0, 1, 2]) * 1e-3
    arm_large = 0.93 + np.array([1, -2, 1, 2, -1]) * 1e-3
    arm = {"arm": "noisy", "discard_ratio": 0.3, "accuracy": {512: arm_large}}
    row = row_at(_arms_study(study, arm), 512, "noisy")
    large, small = 0.91 + noise, 0.95 - noise / 2
    expected = ratio_interval(arm_large - large, small - large)
    bounds = [row["share"], row["share_low"], row["share_high"]]
    assert bounds == pytest.approx([expected.ratio, expected.low, expected.high])


def test_closing_needs_the_arm_at_the_baseline_batch(study: WriteStudy) -> None:
    arm = {"arm": "large_only", "discard_ratio": 0.3, "accuracy": {512: [0.93] * 5}}
    row = row_at(_arms_study(study, arm), 512, "large_only")
    assert row["share"] == pytest.approx(0.5)
    assert (row["standing"], row["reason"]) == ("open", "")
    assert row[["baseline_gain", "net_gain", "gap_under_arm"]].isna().all()


def test_no_share_where_the_gap_is_not_beyond_its_uncertainty(study: WriteStudy) -> None:
    points = [
        *points_of({32: [0.95, 0.90, 0.92], 512: [0.94, 0.93, 0.90]}),
        *points_of({512: [0.95, 0.95, 0.95]}, arm="arm", discard_ratio=0.3),
    ]
    row = row_at(closing.share_of_gap_closed(load_study(study(points))), 512, "arm")
    assert row[["share", "share_low", "share_high"]].isna().all()
    assert row["reason"] == "the gap's own 95 % interval includes 0"
    assert row["standing"] == "not judged"
    assert row["gain"] == pytest.approx(np.mean([0.01, 0.02, 0.05]))


def test_no_share_of_a_gap_that_points_the_other_way(study: WriteStudy) -> None:
    points = [
        *points_of({32: [0.90, 0.901, 0.902], 512: [0.95, 0.951, 0.951]}),
        *points_of({512: [0.96, 0.96, 0.96]}, arm="arm", discard_ratio=0.3),
    ]
    row = row_at(closing.share_of_gap_closed(load_study(study(points))), 512, "arm")
    assert np.isnan(row["share"])
    assert row["reason"] == "no gap to close: this batch is the more accurate one"


def test_shares_pair_the_seeds_that_all_three_have(study: WriteStudy) -> None:
    points = [
        *points_of({32: [0.95, 0.951, 0.952, 0.5], 512: [0.91, 0.912, 0.911]}),
        *points_of({512: [0.93, 0.931, 0.932, 0.9, 0.9]}, arm="arm", discard_ratio=0.3),
    ]
    row = row_at(closing.share_of_gap_closed(load_study(study(points))), 512, "arm")
    assert row["n"] == 3
    assert row["gap"] == pytest.approx(0.04)


def test_arms_meet_the_baseline_arm_in_equal_settings(study: WriteStudy) -> None:
    points = []
    for network, gap in (("f1", 0.04), ("c1", 0.10)):
        small, large = [0.950, 0.951, 0.952], [0.950 - gap, 0.9511 - gap, 0.9519 - gap]
        points += points_of({32: small, 512: large}, network=network)
        noise = (1e-4, -2e-4, 1e-4)
        closed = [accuracy + gap / 2 + e for accuracy, e in zip(large, noise, strict=True)]
        points += points_of({512: closed}, network=network, arm="arm", discard_ratio=0.3)
    table = closing.share_of_gap_closed(load_study(study(points)))
    assert table["settings"].tolist() == ["network=f1", "network=c1"]
    assert table["baseline_settings"].tolist() == ["network=f1", "network=c1"]
    assert table["gap"].tolist() == pytest.approx([0.04, 0.10], abs=1e-3)
    assert table["share"].tolist() == pytest.approx([0.5, 0.5], abs=1e-2)


def test_an_arm_that_sets_an_axis_itself_meets_every_value_of_it(study: WriteStudy) -> None:
    points = [
        *points_of({32: [0.9501, 0.95, 0.9499], 512: [0.91] * 3}, base_lr=0.02),
        *points_of({32: [0.9601, 0.96, 0.9599], 512: [0.92] * 3}, base_lr=0.05),
        *points_of({512: [0.9301, 0.93, 0.9299]}, arm="arm", base_lr=0.4),
        *points_of({512: [0.9301, 0.93, 0.9299]}, arm="same", base_lr=0.05),
    ]
    table = closing.share_of_gap_closed(load_study(study(points)))
    matches = table[["arm", "baseline_settings", "share"]].to_records(index=False).tolist()
    assert matches == [
        ("arm", "base_lr=0.02", pytest.approx(0.5)),
        ("arm", "base_lr=0.05", pytest.approx(0.25)),
        ("same", "base_lr=0.05", pytest.approx(0.25)),
    ]


# ------------------------------------------------------------------------- what carries a word

BOTH = points_of({32: SMALL, 512: LARGE})
WOBBLE = np.array([1, -2, 0, 2, -1]) * 1e-4


def _arm(name: str, gain: float, at_small: float = 0.0) -> list[dict[str, Any]]:
    """An arm that gains so much at 512 and at 32, seed by seed a little more or less."""
    large, small = np.add(LARGE, gain) + WOBBLE, np.add(SMALL, at_small) - WOBBLE
    ratio = 0.01 * sum(map(ord, name))  # arms that differ resolve to other trials
    return points_of({32: list(small), 512: list(large)}, arm=name, discard_ratio=ratio)


def _dead(points: list[dict[str, Any]], *seeds: int, batch: int = 512) -> list[dict[str, Any]]:
    return [
        point | {"status": "diverged"}
        if point["seed"] in seeds and point["global_batch_size"] == batch
        else point
        for point in points
    ]


@pytest.mark.parametrize(
    ("seeds", "reason", "exploratory", "standing"),
    [
        (1, "not judged: 1 seed", "exploratory", "not judged"),
        (2, "not judged: 2 seeds", "exploratory", "not judged"),
        (3, "", "exploratory", "closes"),
        (4, "", "exploratory", "closes"),
        (5, "", "", "closes"),
    ],
)
def test_the_number_of_seeds_decides_what_may_be_said(
    study: WriteStudy, seeds: int, reason: str, exploratory: str, standing: str
) -> None:
    points = [point for point in [*BOTH, *_arm("half", 0.01)] if point["seed"] < seeds]
    loaded = load_study(study(points))
    gap, share = (
        row_at(spoken_gap(loaded), 512),
        row_at(closing.share_of_gap_closed(loaded), 512, "half"),
    )
    assert (gap["reason"], gap["exploratory"], gap["shown"]) == (reason, exploratory, not reason)
    found = (share["reason"], share["exploratory"], share["standing"])
    assert found == (reason, exploratory, standing)


def test_the_smallest_scale_carries_no_word_however_many_its_seeds(study: WriteStudy) -> None:
    points = [*BOTH, *_arm("half", 0.01)]
    loaded = load_study(study(points, name="synthetic-smoke"))
    gap, share = (
        row_at(spoken_gap(loaded), 512),
        row_at(closing.share_of_gap_closed(loaded), 512, "half"),
    )
    assert (gap["reason"], gap["shown"]) == ("not judged: smoke scale", False)
    assert (share["reason"], share["standing"]) == ("not judged: smoke scale", "not judged")
    assert largest_within(loaded, "") is None


def test_differences_that_are_all_equal_have_no_interval_and_no_word(study: WriteStudy) -> None:
    loaded = load_study(study(points_of({32: [0.95] * 5, 512: [0.93] * 5})))
    gap = row_at(spoken_gap(loaded), 512)
    assert gap["mean"] == pytest.approx(0.02)
    assert gap[["low", "high", "at_most"]].isna().all()
    assert (gap["reason"], gap["shown"]) == ("all 5 differences equal", False)
    for arms in ("a", "ab"):  # a family of equal ones lends no variance
        points = [*BOTH]
        for i, arm in enumerate(arms):
            constant = {32: SMALL, 512: [a + 0.01 for a in LARGE]}
            points += points_of(constant, arm=arm, discard_ratio=0.1 + i / 10)
        share = row_at(closing.share_of_gap_closed(load_study(study(points))), 512, "a")
        assert (share["standing"], share["reason"]) == ("not judged", "all 5 differences equal")
        assert share[["share", "gain_low", "gain_high"]].isna().all()


def test_arms_beside_each_other_share_one_level_and_lend_their_variance(study: WriteStudy) -> None:
    noisy = LARGE + np.array([1, -2, 0, 2, -1]) * 1e-3
    three = points_of({512: list(noisy)}, arm="three", discard_ratio=0.9)
    points = [*BOTH, *_arm("one", 0.01), *_arm("two", 0.0), *three]
    table = closing.share_of_gap_closed(load_study(study(points)))
    gains = [WOBBLE, WOBBLE, noisy - np.array(LARGE)]
    own = [np.var(gain, ddof=1) for gain in gains]
    for arm, variance in zip(("one", "two", "three"), own, strict=True):
        row = row_at(table, 512, arm)
        assert (row["comparisons"], row["level"]) == (3, pytest.approx(1 - 0.05 / 3))
        # d0 = m - 1 = 2 degrees of freedom of the family's mean beside the four of its own.
        moderated = (2 * np.mean(own) + 4 * variance) / 6
        half = stats.t.ppf(1 - 0.05 / 3 / 2, 6) * (moderated / 5) ** 0.5
        assert row["gain_high"] - row["gain"] == pytest.approx(half)
        assert row["gain"] - row["gain_low"] == pytest.approx(half)


def test_arms_at_another_batch_size_are_another_family(study: WriteStudy) -> None:
    elsewhere = points_of({128: SMALL}) + points_of({128: LARGE}, arm="two", discard_ratio=0.4)
    table = closing.share_of_gap_closed(
        load_study(study([*BOTH, *_arm("one", 0.01), *elsewhere])),
    )
    assert set(table["comparisons"]) == {1}


def test_a_comparison_that_the_file_no_longer_has_still_counts(study: WriteStudy) -> None:
    folder = study([*BOTH, *_arm("half", 0.01)])
    alone = row_at(closing.share_of_gap_closed(load_study(folder)), 512, "half")
    found = _with_runs(
        folder,
        {"seeds": 5, "comparisons": ["half", "gone"]},
        {"seeds": 5, "comparisons": ["gone as well"]},
        {"seeds": 5, "comparisons": ["elsewhere"], "global_batch_size": 1024},
        {"seeds": 5, "comparisons": ["of another block"], "block": 1},
    )
    row = row_at(closing.share_of_gap_closed(found), 512, "half")
    assert (row["comparisons"], row["looks"]) == (3, 1)
    assert row["level"] == pytest.approx(1 - 0.05 / 3)
    assert row["gain_low"] < alone["gain_low"] < alone["gain_high"] < row["gain_high"]


def test_looks_widen_the_level_of_gaps_and_shares(study: WriteStudy) -> None:
    folder = study([*BOTH, *_arm("half", 0.01)])
    runs = [
        {"seeds": 3, "comparisons": ["half"]},
        {"seeds": 5, "comparisons": ["half"]},
        {"seeds": 5, "comparisons": ["half"]},  # the same seeds again are no further look
        {"seeds": 4, "comparisons": ["half"], "global_batch_size": 1024},
    ]
    found = _with_runs(folder, *runs)
    gap = row_at(spoken_gap(found), 512)
    expected = mean_interval(np.subtract(SMALL, LARGE), 0.975)
    assert (gap["looks"], gap["level"]) == (2, 0.975)
    assert [gap["low"], gap["high"]] == pytest.approx([expected.low, expected.high])
    assert gap["at_most"] == pytest.approx(mean_interval(np.subtract(SMALL, LARGE), 0.95).high)
    share = row_at(closing.share_of_gap_closed(found), 512, "half")
    assert (share["comparisons"], share["looks"], share["level"]) == (1, 2, 0.975)


def test_gaps_are_tested_from_the_largest_batch_down_until_one_includes_0(
    study: WriteStudy,
) -> None:
    none = [0.95, 0.953, 0.949, 0.951, 0.952]
    far = [a - 0.01 for a in (LARGE[1:] + LARGE[:1])]
    for sizes, shown in (
        ({128: LARGE, 512: LARGE, 1024: far}, [True, True, True]),
        ({128: LARGE, 512: none, 1024: far}, [False, False, True]),
        ({128: LARGE, 512: far, 1024: none}, [False, False, False]),
    ):
        table = spoken_gap(load_study(study(points_of({32: SMALL, **sizes}))))
        assert table["shown"].tolist() == shown
        assert (table["low"] > 0).sum() == 3 - (none in sizes.values())


def test_a_batch_size_of_which_nothing_ran_silences_none(study: WriteStudy) -> None:
    points = [*BOTH, *points_of({1024: LARGE}, status="diverged")]
    assert spoken_gap(load_study(study(points)))["shown"].tolist() == [True, False]


def test_an_arm_that_lost_more_seeds_than_the_baseline_gets_no_word(study: WriteStudy) -> None:
    six = points_of({32: [*SMALL, 0.951], 512: [*LARGE, 0.930]})
    arm = [
        *_arm("half", 0.01),
        {**_arm("half", 0.01)[5], "seed": 5, "test_accuracy": 0.9405},
        {**_arm("half", 0.01)[0], "seed": 5, "test_accuracy": 0.9511},
    ]

    def row(baseline: list[dict[str, Any]], own: list[dict[str, Any]]) -> pd.Series:
        table = closing.share_of_gap_closed(load_study(study([*baseline, *own])))
        return row_at(table, 512, "half")

    assert row(six, arm)["standing"] == "closes"
    lost = row(six, _dead(arm, 5))
    assert (lost["n"], lost["gain_low"] > 0, lost["net_gain_low"] > 0) == (5, True, True)
    assert (lost["standing"], lost["reason"]) == ("not judged", "1 of 6 seeds diverged at 512")
    counts = lost[["alive", "ended", "baseline_alive", "baseline_ended"]].tolist()
    assert counts == [5, 6, 6, 6]
    assert row(_dead(six, 5), _dead(arm, 5))["standing"] == "closes"  # both lost one


@pytest.mark.parametrize(
    ("lost", "own_lost", "arms", "keeps"),
    [
        ([0, 1, 2, 3, 4], [], 1, True),  # 5 of 5 against 0 of 5: p = .0079
        ([0, 1, 2, 3, 4], [], 6, True),  # below .05 / 6 = .0083
        ([0, 1, 2, 3, 4], [], 7, False),
        ([0, 1, 2, 3], [], 1, True),  # against 1 of 5: p = .048
        ([0, 1, 2, 3], [], 2, False),
        ([0, 1, 2], [], 1, False),  # against 2 of 5: p = .17
        ([], [0, 1, 2, 3, 4], 1, False),  # it is the arm that dies
    ],
)
def test_keeps_alive_is_said_where_fisher_s_exact_test_says_so(
    study: WriteStudy, lost: list[int], own_lost: list[int], arms: int, keeps: bool
) -> None:
    points = _dead(BOTH, *lost)
    for i in range(arms):
        points += _dead(_arm("abcdefg"[i], 0.01), *own_lost)
    row = row_at(closing.share_of_gap_closed(load_study(study(points))), 512, "a")
    assert row["comparisons"] == arms
    assert bool(row["keeps_alive"]) == keeps
    assert (row["alive"], row["baseline_alive"]) == (5 - len(own_lost), 5 - len(lost))


def test_loses_at_most_is_the_one_sided_limit(study: WriteStudy) -> None:
    row = row_at(spoken_gap(load_study(study(BOTH))), 512)
    gaps_by_seed = np.subtract(SMALL, LARGE)
    limit = gaps_by_seed.mean() + stats.t.ppf(0.95, 4) * stats.sem(gaps_by_seed)
    assert row["at_most"] == pytest.approx(limit)
    assert stats.ttest_1samp(gaps_by_seed, limit, alternative="less").pvalue == pytest.approx(0.05)


def test_the_largest_batch_within_a_margin_is_tested_upwards(study: WriteStudy) -> None:
    near, noisy = list(SMALL - WOBBLE - 0.002), [0.953, 0.933, 0.951, 0.960, 0.941]
    loaded = load_study(study(points_of({32: SMALL, 64: near, 128: near, 512: LARGE})))
    within = largest_within(loaded, "")
    assert within is not None
    assert (within.margin, within.batch, within.failed, within.seeds) == (0.01, 128, 512, None)
    wider, tighter = largest_within(loaded, "", 0.025), largest_within(loaded, "", 0.001)
    assert wider is not None and (wider.batch, wider.failed) == (512, None)
    assert tighter is not None and (tighter.batch, tighter.failed) == (None, 64)
    blocked = load_study(study(points_of({32: SMALL, 64: noisy, 128: near})))
    within = largest_within(blocked, "")
    assert within is not None and (within.batch, within.failed) == (None, 64)  # not 128
    spread = float(np.std(np.subtract(SMALL, noisy), ddof=1))
    assert within.seeds == seeds_needed(5, spread, 0.01) > 5


def test_the_numbers_of_a_network_are_the_same_in_its_part_as_in_the_whole(
    study: WriteStudy,
) -> None:
    points = []
    for block, network in enumerate(("f1", "c1")):
        own = [*BOTH, *_arm("one", 0.01 - block / 500), *_arm("two", 0.0)][: 30 - 10 * block]
        points += [point | {"network": network, "block": block} for point in own]
    whole = load_study(study(points))
    parts = subjects(whole)
    assert [name for name, _ in parts] == ["f1", "c1"]
    assert [len(part.points) for _, part in parts] == [30, 20]
    _assert_parts_agree(whole)


def test_that_holds_where_one_block_crosses_the_networks(study: WriteStudy) -> None:
    points = [
        point | {"network": network}
        for network in ("f1", "c1")
        for point in [*BOTH, *_arm("one", 0.01), *_arm("two", 0.0)]
    ]
    _assert_parts_agree(load_study(study(points)))


def _assert_parts_agree(whole: Study) -> None:
    for name, part in subjects(whole):
        for table in (spoken_gap, closing.share_of_gap_closed):
            all_rows, own = table(whole), table(part)
            there = all_rows[all_rows["settings"] == f"network={name}"].reset_index(drop=True)
            named = ["settings", "baseline_settings"]  # one network needs no name
            assert len(own)
            pd.testing.assert_frame_equal(
                own.drop(columns=named, errors="ignore"),
                there.drop(columns=named, errors="ignore"),
            )


# ------------------------------------------------------------------------------------ to choose


def test_time_to_target_shows_what_never_got_there(study: WriteStudy) -> None:
    points = points_of({32: [0.9, 0.9, 0.9], 512: [0.9, 0.9, 0.5]})
    curves = {
        32: [[(0.5, 0.5), (1.0, 0.892), (2.0, 0.9)]] * 3,
        512: [[(1.0, 0.5), (2.0, 0.9)], [(1.0, 0.895), (1.5, 0.1), (2.0, 0.9)], [(2.0, 0.5)]],
    }
    for point in points:
        point["curve"] = curves[point["global_batch_size"]][point["seed"]]
    table = choice.choice_table(load_study(study(points)))
    small, large = row_at(table, 32), row_at(table, 512)
    assert (small["target_epoch"], small["target_seconds"]) == (1.0, 2.0)
    assert (small["target_reached"], small["target_trials"]) == (3, 3)
    assert (large["target_reached"], large["target_trials"]) == (2, 3)
    assert large["target_epoch"] == 2.0  # the median of 2, 1 and never
    points[3]["curve"] = [(2.0, 0.5)]
    large = row_at(choice.choice_table(load_study(study(points))), 512)
    assert large["target_seconds"] == np.inf
    assert large["target_reached"] == 1


def test_a_diverged_trial_counts_as_not_reached(study: WriteStudy) -> None:
    points = points_of({32: [0.9, 0.9], 512: [0.9, 0.9]})
    points[3] |= {"status": "diverged", "curve": [(1.0, 0.1)]}
    row = row_at(choice.choice_table(load_study(study(points))), 512)
    assert (row["target_reached"], row["target_trials"], row["n"]) == (1, 2, 1)


def test_costs_come_from_the_timing_pass_where_there_was_one(study: WriteStudy) -> None:
    points = points_of({32: [0.9], 128: [0.9], 512: [0.9]}, training_seconds=6.0)
    for point, shared in zip(points, [1, 2, 2], strict=True):
        point |= {"concurrent_trials": shared, "peak_memory_bytes": 2**20, "trial_id": f"{shared}"}
        point["trial_id"] = f"{point['global_batch_size']:012d}"
    timing = {"trial_id": f"{512:012d}", "seconds_per_epoch": 1.5, "peak_memory_bytes": 2**21}
    table = choice.choice_table(load_study(study(points, timings=[timing])))
    assert table["timing"].tolist() == ["alone", "shared machine", "exclusive"]
    assert table["seconds_per_epoch"].tolist() == [3.0, 3.0, 1.5]
    assert table["peak_memory_bytes"].tolist() == [2**20, 2**20, 2**21]
    assert table["optimizer_steps"].tolist() == [312, 78, 20]


def test_conditions_are_recorded_per_cell(study: WriteStudy) -> None:
    table = choice.conditions(load_study(study(points_of({32: [0.9], 512: [0.8]}))))
    assert table["lr_per_example"].tolist() == pytest.approx([0.02 / 32, 0.02 / 512])
    assert table["optimizer_steps_resolved"].tolist() == [312, 20]


def test_a_study_like_the_quickstart(quickstart: Path) -> None:
    loaded = load_study(quickstart)
    gap = paired.generalization_gap(loaded)
    assert row_at(gap, 1000)["low"] < 0.02 < row_at(gap, 1000)["high"]
    shares = closing.share_of_gap_closed(loaded).set_index("arm")
    assert shares.loc["sqrt", "share_low"] < 0.25 < shares.loc["sqrt", "share_high"]
    assert shares.loc["lars", "share_low"] < 0.6 < shares.loc["lars", "share_high"]
    standings = {"sqrt": "closes", "lars": "closes", "discard": "open"}
    assert shares["standing"].to_dict() == standings
    assert set(shares["comparisons"]) == {3}
    assert shares["level"].tolist() == pytest.approx([1 - 0.05 / 3] * 3)
    assert closing.focus(loaded) == 1000


def test_a_study_that_has_not_begun_has_tables(study: WriteStudy) -> None:
    points = points_of({32: [0.9], 512: [0.8]}, status="planned")
    loaded = load_study(study(points))
    assert by_cell.counts(loaded)["remark"].tolist() == ["1 of 1 not run"] * 2
    assert paired.generalization_gap(loaded)["n"].tolist() == [0]
    assert sharpness_ratio(loaded) is None
    assert choice.choice_table(loaded)["n"].tolist() == [0, 0]
    assert len(choice.conditions(loaded)) == 2
