"""Curvature beside 2 / lr as the report shows it: which rows, which words, when at all."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from analysis.load import Study, load_study
from analysis.page.edge_exhibits import distance_table, edge_exhibits, slope_table
from analysis.page.report import write_report
from tests.analysis.synthetic import WriteStudy, edge_points

Written = Callable[..., Study]


def law(size: int, seed: int) -> float:
    return float(1.2 * size ** (-1 + 0.05 * (seed - 2)))


@pytest.fixture
def written(study: WriteStudy) -> Written:
    def of(**changes: Any) -> Study:
        points, rows = edge_points(law, **changes)
        batch = {"quantity": "batch_sharpness", "method": "mean of ratios"}
        noise = {"quantity": "top_gradient_variance", "method": "all examples"}
        more = [row | what for row in rows for what in (batch, noise)]
        return load_study(study(points, measures=[*rows, *more]))

    return of


def test_every_curvature_that_was_recorded_has_its_figure(written: Written) -> None:
    study = written()
    names = ["edge", "edge_variance", "edge_distances"]
    assert [e.name for e in edge_exhibits(study)] == names
    for exhibit in edge_exhibits(study):
        assert "n = 5" in exhibit.caption
    page = write_report(study).read_text()
    for name in names:
        assert page.count(f'id="figure-{name}"') == 1
    assert page == write_report(study).read_text()


def test_the_tables_hold_what_the_figure_shows(written: Written) -> None:
    study = written()
    cells, series = distance_table(study), slope_table(study)
    assert cells["2 / lr"].unique().tolist() == ["40"]
    assert cells["of 2 / lr"].iloc[0].startswith("0.3") and len(cells) == 6
    (row,) = series.to_dict("records")
    assert row["slope"].startswith("-1 [") and row["batch sizes"] == "2, 4, 8 and 20"


def test_without_momentum_there_is_one_level_and_without_sgd_none(written: Written) -> None:
    def caption(**point: Any) -> str:
        return edge_exhibits(written(**point))[0].caption

    assert "momentum" in caption(momentum=0.9) and "2 / lr" in caption(momentum=0.9)
    assert "With momentum" not in caption(momentum=0.0)
    assert "No level is drawn" in caption(optimizer="adam")


def test_other_optimizers_have_no_distance(written: Written) -> None:
    study = written(optimizer="adam")
    assert "edge_distances" not in [e.name for e in edge_exhibits(study)]
    assert distance_table(study).empty and slope_table(study).empty


def test_one_moment_is_no_curve_along_training(study: WriteStudy) -> None:
    points, rows = edge_points(law)
    only_end = [row for row in rows if row["at_end"]]
    assert not edge_exhibits(load_study(study(points, measures=only_end)))
    (edge, distances) = edge_exhibits(load_study(study(points, measures=rows)))
    assert "Batch sharpness" not in edge.caption and distances.name == "edge_distances"
