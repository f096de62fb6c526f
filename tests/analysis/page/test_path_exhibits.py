"""Curves between two solutions: which ones are drawn, and what the drawing says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text
from scipy import stats

from analysis.figures.drawing import looks_of
from analysis.figures.interpolation import MAX_CELLS, parametric_plots
from analysis.gaps import by_cell
from analysis.load import Study, load_study
from analysis.page import tables
from analysis.page.exhibits import exhibits
from analysis.page.path_exhibits import curves_between
from analysis.page.report import write_report
from tests.analysis.synthetic import WriteStudy
from trainables.task import ACCURACY, LOSSES

ALPHAS = (-1.0, 0.0, 0.5, 1.0, 2.0)
SEEDS = 3
SIZES = (32, 1000)


def _points(sizes: tuple[int, ...] = SIZES) -> list[dict[str, Any]]:
    return [
        {
            "global_batch_size": size,
            "seed": seed,
            "trial_id": f"{size:06d}{seed:06d}",
            "test_accuracy": 0.95 - size / 1e5,
            "requires": [] if size == 32 else [f"000032{seed:06d}"],
        }
        for size in sizes
        for seed in range(SEEDS)
    ]


def _curve(seed: int, size: int = 1000, **changes: Any) -> list[dict[str, Any]]:
    """A loss with its lowest point at 0, and an accuracy, for train and test."""
    shared = {
        "trial_id": f"{size:06d}{seed:06d}",
        "other_trial_id": f"000032{seed:06d}",
        "measure": "interpolation",
        "method": "linear",
        "parameters": "{}",
        "at_end": True,
    }
    return [
        shared
        | {"quantity": f"{split}_{kind}", "x": alpha, "value": value * (1 + 0.1 * seed)}
        | changes
        for split in ("train", "test")
        for alpha in ALPHAS
        for kind, value in (("loss", 0.01 + alpha**2), ("accuracy", 0.8 - 0.1 * abs(alpha)))
    ]


def _curves(**changes: Any) -> list[dict[str, Any]]:
    return [row for seed in range(SEEDS) for row in _curve(seed, **changes)]


@pytest.fixture
def loaded(study: WriteStudy) -> Callable[..., Study]:
    def written(curves: list[dict[str, Any]], sizes: tuple[int, ...] = SIZES, **more: Any) -> Study:
        return load_study(study(_points(sizes), curves=curves, **more))

    return written


def _between(study: Study, path: str = "linear") -> pd.DataFrame:
    return curves_between(study, by_cell.labelled_points(study), path)


# ---------------------------------------------------------------------------------- which curves


def test_a_curve_belongs_to_the_cell_of_its_trial(loaded):
    found = _between(loaded(_curves()))
    assert set(found["global_batch_size"]) == {1000} and set(found["seed"]) == set(range(SEEDS))
    assert len(found) == SEEDS * 4 * len(ALPHAS)


def test_curves_to_what_is_no_partner_now_are_left_out(loaded):
    """A study whose baseline batch size was changed keeps the files of the old comparison."""
    old = _curves(other_trial_id="000064000000")
    assert len(_between(loaded(_curves() + old))) == len(_between(loaded(_curves())))


def test_of_several_settings_the_first_is_drawn(loaded):
    more = _curves(parameters='{"points": 3}')
    assert len(_between(loaded(_curves() + more))) == SEEDS * 4 * len(ALPHAS)


def test_paths_are_told_apart(loaded):
    study = loaded(_curves() + _curves(method="curvilinear"))
    assert {"linear", "curvilinear"} <= exhibits(study).keys()
    assert "linear" not in exhibits(loaded(_curves(method="curvilinear")))
    assert "sin(alpha" in exhibits(study)["curvilinear"].caption


# ----------------------------------------------------------------------------------- the drawing


def _figure(study: Study) -> Any:
    looks = looks_of(by_cell.labelled_points(study))
    figure = parametric_plots(_between(study), looks, 32, ACCURACY, LOSSES["cross-entropy"])
    FigureCanvasAgg(figure).draw()
    return figure


def test_lines_are_means_over_seeds_of_losses_on_the_log_scale(loaded):
    loss, accuracy = _figure(loaded(_curves())).axes
    (line,) = (line for line in loss.lines if line.get_linestyle() == "-" and len(line._x) > 2)
    assert tuple(line.get_xdata()) == ALPHAS
    logs = np.log([0.26 * (1 + 0.1 * seed) for seed in range(SEEDS)])
    assert line.get_ydata()[2] == pytest.approx(np.exp(logs.mean()))
    band = loss.collections[0].get_paths()[0].vertices
    low, high = np.exp(stats.t.interval(0.95, SEEDS - 1, loc=logs.mean(), scale=stats.sem(logs)))
    assert np.isclose(band[:, 1], low).any() and np.isclose(band[:, 1], high).any()
    assert loss.get_yscale() == "log" and accuracy.get_yscale() == "linear"
    assert accuracy.lines[0].get_ydata()[1] == pytest.approx(100 * 0.8 * 1.1)


def test_both_solutions_are_marked_with_their_batch_sizes(loaded):
    figure = _figure(loaded(_curves()))
    texts = [text.get_text() for text in figure.findobj(Text) if text.get_visible()]
    assert {"batch 32", "batch 1000", "train", "test", "alpha"} <= set(texts)
    for axes in figure.axes:
        upright = {line.get_xdata()[0] for line in axes.lines if len(line.get_xdata()) == 2}
        assert upright == {0, 1}


def test_every_seed_is_within_the_axes_and_what_is_not_finite_is_left_out(loaded):
    curves = _curves()
    curves[0]["value"] = float("inf")
    loss, _ = _figure(loaded(curves)).axes
    low, high = loss.get_ylim()
    assert 0 < low < 0.01 and 4 < high < 10


def test_a_single_seed_has_no_band_but_a_line(loaded):
    loss, _ = _figure(loaded(_curve(0))).axes
    assert any(len(line.get_xdata()) == len(ALPHAS) for line in loss.lines)


def test_many_cells_are_cut_and_the_caption_says_so(loaded):
    sizes = tuple(64 * 2**i for i in range(MAX_CELLS + 1))
    study = loaded([row for size in sizes for row in _curve(0, size=size)], (32, *sizes))
    assert len(_figure(study).axes) == 2 * MAX_CELLS
    assert f"The first {MAX_CELLS} of {MAX_CELLS + 1};" in exhibits(study)["linear"].caption


# --------------------------------------------------------------------------------------- the page


def test_the_report_shows_what_was_measured_and_nothing_else(loaded, tmp_path):
    page = write_report(loaded(_curves()), tmp_path / "with.html").read_text(encoding="utf-8")
    assert page.count("Between two solutions") == 1 and 'id="figure-linear"' in page
    assert "figure-curvilinear" not in page and "batch size 32, x_LB at the panel" in page
    page = write_report(loaded([]), tmp_path / "without.html").read_text(encoding="utf-8")
    assert "Between two solutions" not in page


def _value(seed: int, quantity: str, method: str, value: float, **more: Any) -> dict[str, Any]:
    row = {"trial_id": f"001000{seed:06d}", "other_trial_id": f"000032{seed:06d}", "at_end": True}
    row |= {"measure": "interpolation", "quantity": quantity, "method": method}
    return row | {"value": value, "index": 0} | more


def test_distances_and_curvatures_stand_in_the_table_of_measures(loaded):
    measures = [
        row
        for seed in range(SEEDS)
        for row in (
            _value(seed, "distance_ratio", "weights", 4.0),
            _value(seed, "path_curvature", "at alpha 0", -0.5 + 0.25 * seed, examples=40),
            _value(seed, "path_curvature", "at alpha 1", 3.0, examples=40),
            _value(seed, "loss_barrier", "linear", 0.0, examples=40),
            _value(seed, "distance_between", "weights", 9.0, other_trial_id="000064000000"),
        )
    ]
    table = tables.measure_table(loaded([], measures=measures))
    row = table[table["batch size"] == "1000"].iloc[0].to_dict()
    assert row["distance ratio"] == "4" and row["path curvature, at alpha 1"] == "3"
    assert row["path curvature, at alpha 0"] == "-0.25 (plain mean)"
    assert row["loss barrier, linear"] == "0 (plain mean)"
    assert "distance between" not in table  # of a partner that is none any more
