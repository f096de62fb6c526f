"""Steps to a target, the regimes, and the critical batch size."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from analysis.load import Study, load_study
from analysis.page.report import write_report
from analysis.page.search_tables import critical_table, steps_table
from analysis.scaling import (
    critical_batches,
    first_passes,
    fit_critical_batch,
    regime,
    steps_to_target,
)

Write = Any
SEARCH = {"fields": {"training.base_lr": [0.01, 0.02, 0.05]}, "optimize": "validation_accuracy"}


def point(size: int, curve: list[tuple[float, float]], **more: Any) -> dict[str, Any]:
    """A trial of two epochs of 5,000 examples, with its accuracies by epoch."""
    return {"global_batch_size": size, "seed": 0, "curve": curve} | more


def loaded(write: Write, points: list[dict[str, Any]], **settings: Any) -> Study:
    return load_study(write(points, target_test_accuracy=0.9, **settings))


def test_the_first_record_at_the_goal_counts_and_the_one_before_is_named(study: Write) -> None:
    curve = [(0.5, 0.8), (1.0, 0.9), (1.5, 0.85), (2.0, 0.95)]
    found = first_passes(loaded(study, [point(50, curve)]))
    assert (found["steps"].item(), found["after"].item()) == (100, 50)


def test_not_reached_is_shown_and_never_dropped(study: Write) -> None:
    points = [point(50, [(2.0, 0.95)]), point(500, [(1.0, 0.5), (2.0, 0.89)])]
    table = steps_to_target(loaded(study, points))
    assert list(table["steps"]) == [200, math.inf]
    assert list(steps_table(loaded(study, points))["least steps"]) == [
        "200 (after 0)",
        "not reached",
    ]


def test_a_mean_over_seeds_is_given_only_where_all_reached_it(study: Write) -> None:
    fast, slow, never = [(1.0, 0.9)], [(1.0, 0.5), (2.0, 0.9)], [(2.0, 0.5)]
    points = [
        *(point(50, curve, seed=seed) for seed, curve in enumerate([fast, slow])),
        *(point(500, curve, seed=seed) for seed, curve in enumerate([fast, never])),
    ]
    table = steps_to_target(loaded(study, points))
    assert table["mean"].iloc[0] == 150 and math.isnan(table["mean"].iloc[1])
    assert list(table["finals_reached"]) == [2, 1]


def test_the_least_over_search_and_final_trials_with_its_edge(study: Write) -> None:
    searched = [
        point(50, [(0.5, 0.9)], stage="search", base_lr=0.05, seed=1_000_000),
        point(50, [(1.5, 0.9)], stage="search", base_lr=0.02, seed=1_000_000),
        point(500, [(2.0, 0.5)], stage="search", base_lr=0.02, seed=1_000_000, status="diverged"),
        point(500, [(2.0, 0.5)], stage="search", base_lr=0.05, seed=1_000_000, status="failed"),
    ]
    points = [*searched, point(50, [(1.0, 0.9)], base_lr=0.02, stage="final")]
    table = steps_to_target(loaded(study, points, search=SEARCH))
    assert list(table["steps"]) == [50, math.inf]
    assert list(table["trials"]) == [3, 1]  # one failed: it had no chance
    assert table["base_lr"].iloc[0] == 0.05 and table["edge"].iloc[0] == ("base_lr",)
    assert table["mean"].iloc[0] == 100


@pytest.mark.parametrize(
    ("slope", "name"),
    [
        (-1.0, "perfect scaling"),
        (-0.75, "perfect scaling"),
        (-0.5, "diminishing returns"),
        (-0.25, "maximal parallelism"),
        (0.3, "maximal parallelism"),
        (math.nan, ""),
    ],
)
def test_the_regimes(slope: float, name: str) -> None:
    assert regime(slope) == name


def test_slopes_are_those_to_the_next_smaller_batch_of_the_series(study: Write) -> None:
    epochs = {10: 0.2, 100: 0.2, 1000: 2.0}  # 100, 10 and 10 steps
    points = [
        point(size, [(e, 0.9), (2.0, 0.95)], arm=arm)
        for arm in ("baseline", "other")
        for size, e in epochs.items()
    ]
    table = steps_to_target(loaded(study, points))
    assert list(table["regime"]) == ["", "perfect scaling", "maximal parallelism"] * 2
    assert table["slope"].iloc[1] == pytest.approx(-1)


# ------------------------------------------------------------------------------ critical batch size


def test_the_fit_finds_the_curve_that_the_steps_lie_on() -> None:
    sizes = [8, 32, 128, 512, 2048]
    steps = [300 * (1 + 200 / size) for size in sizes]
    fit = fit_critical_batch(sizes, steps)
    assert fit is not None
    assert (fit.minimum_steps, fit.critical_batch_size) == pytest.approx((300, 200), rel=1e-5)
    assert fit.critical_low == pytest.approx(fit.critical_high, rel=1e-3)
    assert fit.steps(np.array([200.0])) == pytest.approx([600], rel=1e-5)


def test_its_interval_covers_as_often_as_it_says() -> None:
    sizes = np.array([8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096])
    draw, covered = np.random.default_rng(0), 0
    for _ in range(300):
        steps = 300 * (1 + 200 / sizes) * np.exp(draw.normal(0, 0.1, len(sizes)))
        fit = fit_critical_batch(list(sizes), list(steps))
        assert fit is not None
        covered += fit.critical_low <= 200 <= fit.critical_high
    assert 0.91 <= covered / 300 <= 0.985


def test_where_only_one_regime_was_seen_there_is_a_bound_and_no_number() -> None:
    sizes = [8, 32, 128]
    perfect = fit_critical_batch(sizes, [8000 / size for size in sizes])
    flat = fit_critical_batch(sizes, [100, 100, 100])
    assert perfect is not None and perfect.critical_batch_size == math.inf
    assert flat is not None and flat.critical_batch_size == 0
    assert fit_critical_batch([8, 32], [10, 5]) is None


def test_the_report_sets_the_noise_scale_beside_it(results_folder: Write, tmp_path: Path) -> None:
    sizes = (10, 50, 100, 500)
    points = []
    for size in sizes:
        steps = 10 * (1 + 100 / size)
        epoch = round(steps) * size / 5000
        points.append(point(size, [(epoch, 0.9), (2.0, 0.95)], trial_id=f"t{size}"))
    measures = [
        {"trial_id": f"t{size}", "measure": "noise-scale", "quantity": "noise_scale"}
        | {"method": "two-batch", "index": 0, "value": 80.0 + size, "at_end": True}
        for size in sizes
    ]
    found = loaded(results_folder, points, measures=measures, baseline_batch_size=10)
    fit = critical_batches(found)["baseline", ""]
    assert fit.critical_batch_size == pytest.approx(100, rel=0.1)
    assert critical_table(found)["B_simple"].item() == "90 to 580"
    page = write_report(found, tmp_path / "r.html").read_text()
    assert "Optimizer steps to a test accuracy of 90.0 %" in page
    assert "figure-steps" in page and "Critical batch size" in page


def test_no_one_reaching_the_target_is_a_sentence(results_folder: Write, tmp_path: Path) -> None:
    found = loaded(results_folder, [point(32, [(2.0, 0.5)]), point(64, [(2.0, 0.5)])])
    page = write_report(found, tmp_path / "r.html").read_text()
    assert "No trial reached a test accuracy of 90.0 %." in page
