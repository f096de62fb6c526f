"""One row per point, everything final in it, as people read it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from analysis.gaps.points import points, points_of, write_points
from analysis.load import load_study
from tests.analysis.synthetic import WriteStudy
from tests.analysis.synthetic import points_of as of

HEAD = ["block", "arm", "global_batch_size", "seed", "trial_id", "status"]


def test_a_row_holds_a_point_s_outcome_and_its_measures(study: WriteStudy) -> None:
    written = of({32: [0.95, 0.96], 512: [0.93, 0.92]}, sharpness=3.0, hessian_trace=7.0)
    table = points(study(written))
    assert table.columns[:6].tolist() == HEAD
    assert table["test_accuracy"].tolist() == [0.95, 0.96, 0.93, 0.92]
    assert table["sharpness best, ε 1e-3, full space"].tolist() == [3.0] * 4
    assert table["hessian_trace"].tolist() == [7.0] * 4
    assert not [name for name in table if "absolute_error" in name]  # another task's


def test_a_trial_of_two_points_stands_in_both_rows(study: WriteStudy) -> None:
    shared = {"global_batch_size": 32, "seed": 0, "trial_id": "a" * 12, "hessian_trace": 2.0}
    table = points(study([shared, {**shared, "arm": "sqrt"}]))
    assert table["arm"].tolist() == ["baseline", "sqrt"]
    assert table["hessian_trace"].tolist() == [2.0, 2.0]


def test_what_did_not_end_is_a_row_without_numbers(study: WriteStudy) -> None:
    written = of({32: [0.95], 512: [0.9]})
    written[1] |= {"status": "planned"}
    table = points(study(written)).set_index("global_batch_size")
    assert table["status"].to_dict() == {32: "complete", 512: "planned"}
    assert pd.isna(table.loc[512, "test_accuracy"])


def test_axes_of_the_grid_are_columns(study: WriteStudy) -> None:
    schedule = [{"until_epoch": 1.0, "global_batch_size": 32, "peak_lr": 0.1}]
    written = [
        {"global_batch_size": 64, "seed": 0, "base_lr": rate, "batch_schedule": phases}
        for rate, phases in ((0.1, []), (0.2, schedule))
    ]
    table = points(study(written))
    assert table.columns[:4].tolist() == ["block", "arm", "base_lr", "batch_schedule"]
    assert table["batch_schedule"].tolist() == ["[]", "[[1 32 0.1]]"]


@pytest.mark.parametrize("form", ["parquet", "csv"])
def test_what_is_written_is_what_is_read(form: Any, study: WriteStudy, tmp_path: Path) -> None:
    loaded = load_study(study(of({32: [0.95, 0.96], 512: [0.93, 0.92]}, hessian_trace=7.0)))
    path = write_points(loaded, tmp_path / "out", form)
    back = pd.read_parquet(path) if form == "parquet" else pd.read_csv(path)
    own = points_of(loaded)
    assert back.columns.tolist() == own.columns.tolist()
    assert back["test_accuracy"].tolist() == own["test_accuracy"].tolist()


def test_a_study_without_any_result_has_its_rows(study: WriteStudy) -> None:
    written = [point | {"status": "planned"} for point in of({32: [0.9], 512: [0.9]})]
    assert points(study(written))["status"].tolist() == ["planned"] * 2
