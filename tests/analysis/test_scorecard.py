from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from analysis import scorecard
from analysis.load import load_study
from analysis.report import summary_text, write_report
from analysis.uncertainty import mean_interval

WriteStudy = Callable[..., Path]

HEAD = (
    "claim,network,layer,quantity,sharpness_epsilon,subspace_dim,arm,batch,versus_arm,versus_batch,"
    "direction,value,spread,versus_value,versus_spread,n,unit,source,where,note"
)
LARGE, SMALL = [0.90, 0.91, 0.92], [0.95, 0.95, 0.95]


@pytest.fixture
def claims(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Publishes claims as `mine`."""

    def write(*rows: str) -> None:
        folder = tmp_path / "published"
        folder.mkdir()
        (folder / "mine.csv").write_text("\n".join([HEAD, *rows]) + "\n")
        monkeypatch.setattr(scorecard, "FOLDER", folder)
        scorecard._published.cache_clear()

    return write


def claim(direction: str, quantity: str = "test_accuracy", **changes: Any) -> str:
    row = dict.fromkeys(HEAD.split(","), "") | {
        "claim": f"{quantity} is {direction}",
        "quantity": quantity,
        "arm": "baseline",
        "batch": "large",
        "versus_arm": "baseline",
        "versus_batch": "baseline",
        "direction": direction,
        "unit": "percent" if "accuracy" in quantity else "",
        "source": "A paper",
        "where": "Table 1",
    }
    return ",".join(str(value) for value in (row | changes).values())


def points(**columns: Any) -> list[dict[str, Any]]:
    return [
        {"global_batch_size": batch, "seed": seed, "test_accuracy": accuracy, **columns}
        for batch, values in {32: SMALL, 512: LARGE}.items()
        for seed, accuracy in enumerate(values)
    ]


def judged(study: WriteStudy, rows: list[dict[str, Any]]) -> list[str]:
    table = scorecard.scorecard(load_study(study(rows, reproduces=["mine"])))
    return list(table["direction"])


def test_a_claim_is_judged_by_the_paired_interval_alone(study: WriteStudy, claims: Any) -> None:
    claims(claim("lower"), claim("higher"), claim("equal"), claim("not lower"))
    interval = mean_interval(np.subtract(LARGE, SMALL))
    assert interval.high < 0
    assert judged(study, points()) == ["reproduced", "contradicted", "contradicted", "contradicted"]


def test_what_the_interval_does_not_show_is_not_shown(study: WriteStudy, claims: Any) -> None:
    claims(claim("lower"), claim("higher"), claim("equal"), claim("not lower"))
    rows = points()
    for row, accuracy in zip(rows[3:], [0.90, 0.95, 0.99], strict=True):
        row["test_accuracy"] = accuracy
    expected = ["not shown", "not shown", "not contradicted", "not contradicted"]
    assert judged(study, rows) == expected


def test_ratios_are_of_the_papers_own_sharpness(study: WriteStudy, claims: Any) -> None:
    claims(claim("higher", "sharpness", sharpness_epsilon=0.001, value=10, versus_value=2))
    rows = points(sharpness=1.0)
    factors = [4.0, 5.0, 6.0]
    for row in rows:
        row["paper_sharpness"] = factors[row["seed"]] if row["global_batch_size"] == 512 else 1.0
    table = scorecard.scorecard(load_study(study(rows, reproduces=["mine"])))
    (row,) = table.to_dict("records")
    interval = mean_interval(np.log(factors))
    assert row["direction"] == "reproduced"
    assert np.exp(interval.low) < 5 < np.exp(interval.high) and row["size"] == "within"
    assert row["paper"] == "10 against 2"
    assert row["here"].startswith("5 against 1: 4.93 times")


def test_the_papers_size_lies_within_the_interval_or_outside(
    study: WriteStudy, claims: Any
) -> None:
    claims(
        claim("lower", value=91, versus_value=95),
        claim("lower", value=80, versus_value=95),
        claim("lower"),
    )
    table = scorecard.scorecard(load_study(study(points(), reproduces=["mine"])))
    assert list(table["size"]) == ["within", "outside", ""]
    assert list(table["paper"]) == ["91 against 95", "80 against 95", "lower"]


def test_what_did_not_run_or_was_not_measured_is_said(study: WriteStudy, claims: Any) -> None:
    claims(
        claim("lower", versus_batch=64),
        claim("higher", "sharpness", sharpness_epsilon=0.001),
    )
    assert judged(study, points()) == ["not run", "not measured"]


def test_a_claim_on_another_network_stands_only_where_no_network_is_theirs(
    study: WriteStudy, claims: Any
) -> None:
    claims(claim("lower", network="f1"), claim("higher", network="c1"))
    assert judged(study, points(network="c1")) == ["contradicted"]


def test_without_their_networks_the_first_ones_claims_are_compared(
    study: WriteStudy, claims: Any
) -> None:
    claims(claim("lower", network="f1"), claim("higher", network="c1"))
    assert judged(study, points(network="mlp")) == ["reproduced"]


def test_the_page_and_the_terminal_have_it(study: WriteStudy, claims: Any) -> None:
    claims(claim("lower", value=91, versus_value=95))
    folder = study(points(), reproduces=["mine"], stand_ins=["Other <data> than theirs."])
    loaded = load_study(folder)
    page = write_report(loaded).read_text()
    assert "Beside the papers" in page and "91 against 95" in page
    assert "Other &lt;data&gt; than theirs." in page
    assert "test_accuracy is" in summary_text(loaded) and "reproduced" in summary_text(loaded)


def test_a_study_that_reproduces_nothing_has_no_such_section(study: WriteStudy) -> None:
    assert "Beside the papers" not in write_report(load_study(study(points()))).read_text()
