"""What was measured: told apart by definition, averaged and compared on the scale it has."""

from __future__ import annotations

import numpy as np
import pytest

from analysis.gaps.measured import definitions, measure_means, measure_ratio, measure_values
from analysis.gaps.sharpness import sharpness_gap, sharpness_ratio
from analysis.load import load_study
from analysis.uncertainty import mean_interval
from tests.analysis.synthetic import WriteStudy, points_of, row_at
from trainables.config.identity import parameters_text
from trainables.config.measures.random_directions import RandomDirections


def test_the_sharpness_ratio_is_averaged_on_the_log_scale(study: WriteStudy) -> None:
    points = points_of({32: [0.9] * 3, 512: [0.8] * 3})
    for point, sharpness in zip(points, [1.0, 2.0, 4.0, 10.0, 200.0, 400.0], strict=True):
        point["sharpness"] = sharpness
    loaded = load_study(study(points))
    (sharpness,) = definitions(loaded)
    ratio = row_at(sharpness_ratio(loaded), 512)
    logs = mean_interval(np.log([10.0, 100.0, 100.0]))
    assert ratio["mean"] == pytest.approx((10 * 100 * 100) ** (1 / 3))
    bounds = [ratio["low"], ratio["high"]]
    assert bounds == pytest.approx([np.exp(logs.low), np.exp(logs.high)])
    assert row_at(sharpness_gap(loaded), 512)["mean"] == pytest.approx((9 + 198 + 396) / 3)
    means = row_at(measure_means(loaded, sharpness), 32)
    assert [means["mean"], means["geometric_mean"]] == pytest.approx([7 / 3, 2.0])


def test_values_without_a_logarithm_are_counted_not_averaged(study: WriteStudy) -> None:
    points = points_of({32: [0.9] * 3, 512: [0.8] * 3})
    for point, value in zip(points, [1.0, -1.0, 1.0, 4.0, 4.0, 9.0], strict=True):
        point["hessian_trace"] = value
    loaded = load_study(study(points))
    (trace,) = definitions(loaded)
    ratio = row_at(measure_ratio(loaded, trace), 512)
    assert (ratio["n"], ratio["left_out"]) == (2, 1)
    assert ratio["mean"] == pytest.approx(6.0)
    means = measure_means(loaded, trace)
    assert np.isnan(row_at(means, 32)["geometric_mean"])
    assert row_at(means, 32)["mean"] == pytest.approx(1 / 3)


def test_measures_are_told_apart_by_method_and_space(study: WriteStudy) -> None:
    names = ("sharpness", "paper_sharpness", "subspace_sharpness", "hessian_top_eigenvalue")
    points = points_of({32: [0.9]}, **{name: i + 1.0 for i, name in enumerate(names)})
    loaded = load_study(study(points))
    assert measure_values(loaded).set_index("label")["value"].to_dict() == {
        "sharpness best, ε 1e-3, full space": 1,
        "sharpness paper, ε 1e-3, full space": 2,
        "sharpness best, ε 1e-3, subspace 100": 3,
        "hessian_top_eigenvalue": 4,
    }
    found = [(d.quantity, d.method, d.what) for d in definitions(loaded)]
    assert found == [
        ("sharpness", "best", "ε 1e-3, full space"),
        ("sharpness", "paper", "ε 1e-3, full space"),
        ("sharpness", "best", "ε 1e-3, subspace 100"),
        ("hessian_top_eigenvalue", "lanczos", ""),
    ]
    assert [measure_means(loaded, d)["mean"].tolist() for d in definitions(loaded)] == [
        [1.0],
        [2.0],
        [3.0],
        [4.0],
    ]


def test_the_number_of_examples_is_named_where_it_tells_measures_apart(study: WriteStudy) -> None:
    row = {"measure": "hessian", "quantity": "hessian_trace", "trial_id": "a" * 12, "at_end": True}
    point = points_of({32: [0.9]}, trial_id="a" * 12)
    for sizes, labels in (
        ([500, 1000], ["hessian_trace, 500 examples", "hessian_trace, 1000 examples"]),
        ([500], ["hessian_trace"]),
    ):
        rows = [row | {"value": 1.0, "examples": size} for size in sizes]
        loaded = load_study(study(point, measures=rows))
        assert measure_values(loaded)["label"].tolist() == labels


def test_noise_scales_are_told_apart_by_how_they_were_estimated(study: WriteStudy) -> None:
    row = {"measure": "noise-scale", "quantity": "gradient_squared_norm", "trial_id": "a" * 12}
    methods = ["batches 32 and 512", "batches 32 and 2500", "full-gradient"]
    rows = [row | {"method": method, "value": 1.0, "at_end": True} for method in methods]
    loaded = load_study(study(points_of({32: [0.9]}, trial_id="a" * 12), measures=rows))
    labels = [f"gradient_squared_norm, {method}" for method in methods]
    assert measure_values(loaded)["label"].tolist() == labels


def test_settings_tell_a_measure_that_was_taken_in_two_ways_apart(study: WriteStudy) -> None:
    row = {"measure": "random-directions", "trial_id": "a" * 12, "value": 1.0, "at_end": True}
    rows = [
        row | {"quantity": quantity, "parameters": parameters_text(RandomDirections(**asked))}
        for quantity, ways in {
            "steep_share": (
                {},
                {"relative_radius": 0.1},
                {"relative_radius": 0.1, "directions": 9},
            ),
            "median_rise": ({"examples": 5},),
        }.items()
        for asked in ways
    ]
    loaded = load_study(study(points_of({32: [0.9]}, trial_id="a" * 12), measures=rows))
    assert measure_values(loaded)["label"].tolist() == [
        "steep_share, directions 100, relative_radius 0.5",
        "steep_share, directions 100, relative_radius 0.1",
        "steep_share, directions 9, relative_radius 0.1",
        "median_rise",
    ]


def test_both_averages_of_the_batch_sharpness_are_kept(study: WriteStudy) -> None:
    row = {"measure": "batch-sharpness", "quantity": "batch_sharpness", "trial_id": "a" * 12}
    methods = ["mean of ratios", "ratio of means"]
    rows = [row | {"method": method, "value": 1.0, "at_end": True} for method in methods]
    loaded = load_study(study(points_of({32: [0.9]}, trial_id="a" * 12), measures=rows))
    labels = [f"batch_sharpness, {method}" for method in methods]
    assert measure_values(loaded)["label"].tolist() == labels


def test_of_several_eigenvalues_the_outermost_at_the_end_counts(study: WriteStudy) -> None:
    row = {"measure": "hessian", "quantity": "hessian_top_eigenvalue", "trial_id": "a" * 12}
    rows = [
        row | {"index": 1, "value": 3.0, "at_end": True},
        row | {"index": 0, "value": 5.0, "at_end": True},
        row | {"index": 0, "value": 9.0, "at_end": False},
        row | {"index": 0, "value": None, "at_end": True, "error": "stopped"},
    ]
    loaded = load_study(study(points_of({32: [0.9]}, trial_id="a" * 12), measures=rows))
    assert measure_values(loaded)["value"].tolist() == [5.0]
