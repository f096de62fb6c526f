"""A study whose metric is better where it is smaller says the same as its mirror image."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis import choice, scaling
from analysis.gaps import by_cell, paired
from analysis.judged.arms import share_of_gap_closed
from analysis.judged.correlation import correlations
from analysis.judged.gaps import spoken_gap
from analysis.load import Study, load_study
from analysis.page import tables
from analysis.page.arm_table import closing_table
from analysis.page.report import summary_text, write_report
from analysis.search.cells import tuned_sides
from analysis.words.details import details
from analysis.words.verdict import headline
from tests.analysis.conftest import quickstart_points, write_study
from tests.analysis.search.test_cells import SEARCH, tuned_points
from trainables.task import ABSOLUTE_ERROR, ACCURACY, SPLITS

NUMBERS = {"loss": "squared-error", "task": "regression"}


def mirrored(point: Mapping[str, Any]) -> dict[str, Any]:
    """An error of 1 - accuracy: every difference the same, and of the other sign."""
    errors = {
        ABSOLUTE_ERROR.column(split): 1 - point[ACCURACY.column(split)]
        for split in SPLITS
        if ACCURACY.column(split) in point
    }
    kept = {name: value for name, value in point.items() if "accuracy" not in name}
    absent = {"train_accuracy": None, ABSOLUTE_ERROR.column("train"): 0.0}
    curve = {"curve": [(e, 1 - a) for e, a in point["curve"]]} if "curve" in point else {}
    return absent | kept | errors | NUMBERS | curve


def with_curve(point: dict[str, Any]) -> dict[str, Any]:
    """Half of the way to what a network reaches that learned nothing, then all."""
    final = point.get("test_accuracy", 0.9)
    return point | {"curve": [(1.0, 0.5 + final / 2), (2.0, final)]}


@pytest.fixture(scope="module", params=["untuned", "tuned"])
def both(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A study of accuracies, and the same of errors."""
    folder = tmp_path_factory.mktemp("both")
    if request.param == "untuned":
        points = [with_curve(point) for point in quickstart_points()]
        settings: dict[str, Any] = {"target_test_accuracy": 0.94}
        theirs: dict[str, Any] = {"target_test_absolute_error": 1 - 0.94}
    else:
        points = tuned_points(gain=0.01)
        settings = {"search": SEARCH}
        theirs = {"search": SEARCH | {"optimize": "validation_absolute_error"}}
    errors = [mirrored(point) for point in points]
    return (
        load_study(write_study(folder / "ours", points, one_file_per_table=True, **settings)),
        load_study(write_study(folder / "theirs", errors, one_file_per_table=True, **theirs)),
    )


def same(ours: pd.DataFrame, theirs: pd.DataFrame) -> None:
    both = [table.drop(columns="two_by_two", errors="ignore") for table in (ours, theirs)]
    pd.testing.assert_frame_equal(*both, rtol=1e-9, atol=1e-12)


def test_gaps_and_shares_are_the_same(both: tuple[Study, Study]) -> None:
    ours, theirs = both
    assert (ours.metric, theirs.metric) == (ACCURACY, ABSOLUTE_ERROR)
    same(spoken_gap(ours), spoken_gap(theirs))
    same(share_of_gap_closed(ours), share_of_gap_closed(theirs))
    same(paired.train_test_gap(ours), paired.train_test_gap(theirs))
    assert share_of_gap_closed(ours)["standing"].isin(["closes", "lifts", "recovers"]).any()


def test_means_are_mirrored(both: tuple[Study, Study]) -> None:
    ours, theirs = (by_cell.cell_means(s, s.test_metric) for s in both)
    pd.testing.assert_series_equal(1 - ours["mean"], theirs["mean"], rtol=1e-9)
    pd.testing.assert_series_equal(1 - ours["low"], theirs["high"], rtol=1e-9, check_names=False)


def test_a_search_and_its_finals_choose_the_same(both: tuple[Study, Study]) -> None:
    ours, theirs = map(tuned_sides, both)
    assert ours.keys() == theirs.keys()
    for cell, side in ours.items():
        other = theirs[cell]
        assert (side.winner, side.bracket) == (other.winner, other.bracket)
        assert side.resolution == pytest.approx(other.resolution, abs=1e-12)


def test_steps_to_a_target_are_the_same(both: tuple[Study, Study]) -> None:
    if both[0].target is not None:
        same(*map(scaling.steps_to_target, both))
        assert np.isfinite(scaling.steps_to_target(both[0])["steps"]).any()


def test_the_time_to_near_the_baseline_is_that_of_an_error_as_near(tmp_path: Path) -> None:
    """99 % of an accuracy, 101 % of an error: reached from above."""
    points = [
        {"global_batch_size": size, "seed": seed, "curve": [(1.0, first), (2.0, 0.1)], **NUMBERS}
        | {"test_absolute_error": 0.1, "train_accuracy": None}
        for size, first in ((32, 0.1005), (512, 0.102))
        for seed in range(3)
    ]
    study = load_study(write_study(tmp_path / "study", points))
    found = choice.choice_table(study).set_index("global_batch_size")
    assert found["target_epoch"].to_dict() == {32: 1.0, 512: 2.0}
    assert "time to 101 % of baseline" in tables.choice_table(study)


def test_correlations_turn_their_sign_with_the_metric_alone(both: tuple[Study, Study]) -> None:
    ours, theirs = (
        correlations(s)
        .replace({"target": {s.test_metric: "metric"}})
        .set_index(["label", "target"])
        for s in both
    )
    assert (ours.index == theirs.index).all()
    signs = np.where(ours.index.get_level_values("target") == "metric", -1, 1)
    for column in ("tau", "tau_in_cells", "tau_of_means"):
        np.testing.assert_allclose(ours[column], signs * theirs[column], atol=1e-12)
    np.testing.assert_allclose(ours["p_in_cells"], theirs["p_in_cells"], atol=0.02)


MIRROR = {"lower": "higher", "higher": "lower"}
"""Of an error less is better."""


def words(text: str) -> list[str]:
    return re.findall(r"[a-z]+", text.lower())


def test_sentences_point_the_other_way_and_say_no_more(both: tuple[Study, Study]) -> None:
    ours, theirs = map(headline, both)
    plain = [w for w in words(ours) if w not in ("accuracy", "points", "point")]
    mirror = [w for w in words(theirs) if w not in ("absolute", "error")]
    turned = [MIRROR.get(word, word) for word in mirror]
    # Neither margin nor 99 % has a sentence of an error.
    assert plain == turned


def test_a_page_of_errors_speaks_of_no_accuracy(both: tuple[Study, Study], tmp_path: Path) -> None:
    _, theirs = both
    assert "accurac" not in summary_text(theirs).lower()
    assert "accurac" not in " ".join(details(theirs)).lower()
    for table in (tables.gap_table(theirs), tables.choice_table(theirs), closing_table(theirs)):
        assert not [name for name in table if "accurac" in name or "points" in name]
    page = write_report(theirs, tmp_path / "report.html").read_text()
    shown = page.partition("<summary>study.yaml")[0] + page.partition('id="words"')[2]
    assert [m for m in re.findall(r".{30}accurac.{20}", shown, re.IGNORECASE)] == []
    assert "test absolute error" in shown
    assert re.search(r"test_absolute_error(?! \()", shown)


def test_the_axis_has_the_unit_of_the_loss(both: tuple[Study, Study]) -> None:
    ours, theirs = both
    assert (ours.loss.unit, theirs.loss.unit) == ("nats", "")
    mixed = theirs.points.assign(
        loss=["squared-error", "cross-entropy"] * (len(theirs.points) // 2)
    )
    assert replace(theirs, points=mixed).loss.unit == ""
