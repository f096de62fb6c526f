"""Conclusions as values: they are what the tables say, and JSON holds all of them."""

from __future__ import annotations

import json
import math
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from pydantic import TypeAdapter

from analysis import conclusions as values
from analysis.conclude import at, conclusions, gaps, shares
from analysis.conclusions import Conclusions, json_schema, to_json
from analysis.gaps import by_cell
from analysis.judged.arms import share_of_gap_closed
from analysis.judged.claims import Claim
from analysis.judged.gaps import spoken_gap
from analysis.load import Study, load_study
from analysis.search.tuned import TwoByTwo
from tests.analysis.conftest import quickstart_points, write_study
from tests.analysis.search.test_cells import SEARCH, tuned_points

RESULTS = Path(__file__).parents[2] / "docs" / "results"
FOLDERS = sorted(path.name for path in RESULTS.iterdir() if path.is_dir())
PAGE = Path(__file__).parents[2] / "docs" / "conclusions.md"


def through_json(study: Study) -> Conclusions:
    """Valid against the schema, without a number that JSON has not, and the same again."""
    text = to_json(conclusions(study))
    found = json.loads(text, parse_constant=pytest.fail)
    jsonschema.validate(found, json_schema())
    again = TypeAdapter(Conclusions).validate_json(text)
    assert to_json(again) == text
    return again


@pytest.fixture(scope="module")
def quickstart_study(quickstart: Path) -> Study:
    return load_study(quickstart)


def test_gaps_and_shares_are_what_the_tables_say(quickstart_study: Study) -> None:
    found = through_json(quickstart_study).subjects[0]
    table = spoken_gap(quickstart_study)
    assert len(found.gaps) == len(table)
    for gap, row in zip(found.gaps, by_cell.records(table), strict=True):
        assert (gap.arm, gap.settings, gap.global_batch_size) == by_cell.cell_of(row)
        numbers = (gap.estimate, gap.low, gap.high, gap.at_most)
        wanted = [row[name] for name in ("mean", "low", "high", "at_most")]
        assert numbers == pytest.approx(wanted, nan_ok=True)
        assert (gap.n, gap.shown, gap.reason) == (row["n"], row["shown"], row["reason"])
        assert gap.unit == "fraction"
    for share, row in zip(
        found.shares, by_cell.records(share_of_gap_closed(quickstart_study)), strict=True
    ):
        assert share.standing == row["standing"] and share.level == row["level"]
        assert share.gain.low == pytest.approx(row["gain_low"], nan_ok=True)
        assert share.estimate == pytest.approx(row["share"], nan_ok=True)


def test_every_value_names_the_trials_that_it_rests_on(quickstart_study: Study) -> None:
    points = quickstart_study.points

    def ids(*cells: tuple[str, int]) -> set[str]:
        pairs = zip(points["arm"], points["global_batch_size"], strict=True)
        wanted = [pair in cells for pair in pairs]
        return set(points.loc[wanted, "trial_id"])

    (gap,) = at(gaps(quickstart_study), 1000)
    assert set(gap.trials) == ids(("baseline", 32), ("baseline", 1000)) and len(gap.trials) == 10
    sqrt = next(share for share in shares(quickstart_study) if share.arm == "sqrt")
    assert set(sqrt.trials) == ids(("sqrt", 1000), ("baseline", 1000), ("baseline", 32))
    for ratio in conclusions(quickstart_study).subjects[0].ratios:
        assert len(ratio.trials) == 2 * ratio.n


def test_a_tuned_gap_names_both_winners(tmp_path: Path) -> None:
    folder = write_study(
        tmp_path / "tuned", tuned_points(gain=0.01), one_file_per_table=True, search=SEARCH
    )
    found = through_json(load_study(folder)).subjects[0]
    (own,) = at(found.gaps, 1000)
    assert isinstance(own, values.TunedGap)
    assert (own.winner, own.baseline_winner) == ((0.08,), (0.08,))
    (share,) = [share for share in found.shares if share.global_batch_size == 1000]
    assert share.standing == "recovers" and share.two_by_two is not None
    assert math.isnan(share.high) and share.low > 0


@pytest.mark.parametrize("settings", [{"name": "s-smoke"}, {"baseline_batch_size": None}])
def test_where_nothing_is_said_the_reason_stands(study: Any, settings: dict[str, Any]) -> None:
    found = through_json(load_study(study(quickstart_points(), **settings)))
    for subject in found.subjects:
        assert all(gap.reason or not gap.n for gap in subject.gaps)
        assert all(share.standing == "not judged" and share.reason for share in subject.shares)


def test_a_study_that_has_not_begun_has_conclusions(study: Any) -> None:
    points = [point | {"status": "planned"} for point in quickstart_points(seeds=1)]
    found = through_json(load_study(study(points)))
    assert found.trials == {"planned": len(points)}
    assert [subject.focus for subject in found.subjects] == [None]


@pytest.mark.slow
@pytest.mark.parametrize("name", FOLDERS)
def test_every_recorded_result_is_valid(name: str) -> None:
    found = through_json(load_study(RESULTS / name))
    assert found.study == name and found.subjects


def test_every_field_is_described() -> None:
    kinds = [kind for kind in vars(values).values() if isinstance(kind, type)]
    kinds = [kind for kind in kinds if is_dataclass(kind)] + [Claim, TwoByTwo]
    assert len(kinds) >= 12
    text = PAGE.read_text()
    missing = {f.name for kind in kinds for f in fields(kind) if f"`{f.name}`" not in text}
    assert not missing
