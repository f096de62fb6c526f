from __future__ import annotations

import json
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis.judged import arms as closing
from analysis.load import load_study
from analysis.page import arm_table, output, tables
from analysis.uncertainty import mean_interval
from analysis.wording import NONE
from tests.analysis.synthetic import WriteStudy
from trainables.results.schema import SCHEMA_VERSION

ALL = [
    tables.gap_table,
    tables.measure_table,
    arm_table.closing_table,
    tables.choice_table,
    tables.conditions_table,
    tables.keskar_table,
]
HOSTILE = "50 % of a_b & {c} <script>alert(1)</script> [bold] x"


def _texts(html: str) -> list[str]:
    """The cells of a table as a browser would show them."""
    found: list[str] = []
    parser = HTMLParser()
    parser.handle_data = lambda data: found.append(data.strip())  # type: ignore[method-assign]
    parser.feed(html)
    return [text for text in found if text]


def _row(table: pd.DataFrame, arm: str, batch: int, name: str = "batch size") -> pd.Series:
    return table[(table["arm"] == arm) & (table[name] == str(batch))].iloc[0]


@pytest.fixture
def small(study: WriteStudy) -> Path:
    """Three seeds with round numbers, one cell that diverged in part."""
    accuracies = {32: [0.95, 0.96, 0.97], 512: [0.93, 0.94, 0.95]}
    points = [
        {
            "global_batch_size": batch,
            "seed": seed,
            "test_accuracy": accuracy,
            "train_loss": 0.25,
            "paper_sharpness": batch * 2.0**seed,
            "subspace_sharpness": 3.0,
            "sharpness": batch * 4.0**seed,
        }
        for batch, values in accuracies.items()
        for seed, accuracy in enumerate(values)
    ]
    points.append({"global_batch_size": 512, "seed": 3, "status": "diverged"})
    return study(points)


def test_the_gap_table_reads_in_percent_and_points(small: Path) -> None:
    table = tables.gap_table(load_study(small))
    assert _row(table, "baseline", 32).to_dict() == {
        "arm": "baseline",
        "batch size": "32",
        "test accuracy, %": "96.00 ± 1.00",
        "gap, points": NONE,
        "train - test, points": "4.00 [1.52, 6.48]",
        "gap of sharpness best, ε 1e-3, full space": NONE,
        "train loss": "0.25",
        "n": "3",
        "remark": "",
    }
    large = _row(table, "baseline", 512)
    assert large["gap, points"] == "2.00 (all 3 equal)"
    assert large["remark"] == "1 of 4 diverged"
    assert large["gap of sharpness best, ε 1e-3, full space"].startswith(
        "3360.0 ["
    )  # 16 x, of the plain mean


def test_measures_stand_beside_the_train_loss_with_their_ratio(small: Path) -> None:
    table = tables.measure_table(load_study(small))
    large = _row(table, "baseline", 512)
    assert large["sharpness best, ε 1e-3, full space"] == "2050 (16 \N{MULTIPLICATION SIGN})"
    assert large["train loss"] == "0.25"
    assert "sharpness paper, ε 1e-3, full space" not in table
    assert "sharpness paper, ε 1e-3, full space" in tables.measure_table(load_study(small), "paper")


@pytest.mark.parametrize(
    ("values", "measure", "column", "shown"),
    [
        pytest.param(
            {32: [-3.0, 5.0], 512: [4.0, 9.0]},
            {
                "measure": "noise-scale",
                "quantity": "noise_scale",
                "method": "batches 32 and 512",
            },
            "noise scale, batches 32 and 512",
            ["1 (plain mean)", "6"],
            id="one of them",
        ),
        pytest.param(
            {32: [-1.0, -3.0], 512: [-4.0, 8.0]},
            {"measure": "hessian", "quantity": "hessian_bottom_eigenvalue", "method": "lanczos"},
            "Hessian bottom eigenvalue",
            ["-2 (plain mean)", "2 (plain mean)"],
            id="at each batch size",
        ),
    ],
)
def test_what_is_negative_stands_as_its_plain_mean_and_without_a_ratio(
    study: WriteStudy,
    values: dict[int, list[float]],
    measure: dict[str, str],
    column: str,
    shown: list[str],
) -> None:
    points, rows = [], []
    for batch, found in values.items():
        for seed, value in enumerate(found):
            point = {
                "global_batch_size": batch,
                "seed": seed,
                "trial_id": f"{batch:06}{seed:06}",
            }
            points.append(point)
            rows.append(measure | {"trial_id": point["trial_id"], "value": value, "at_end": True})
    table = tables.measure_table(load_study(study(points, measures=rows)))
    assert table[column].tolist() == shown


def test_keskar_s_form_puts_small_beside_large(small: Path) -> None:
    table = tables.keskar_table(load_study(small))
    assert table.columns.tolist() == [
        *["network", "arm", "LB", "train, %: SB", "train, %: LB", "test, %: SB", "test, %: LB"],
        *["sharpness ε 1e-3, full space: SB", "sharpness ε 1e-3, full space: LB", "remark"],
    ]
    row = _row(table, "baseline", 512, "LB")
    assert (row["test, %: SB"], row["test, %: LB"]) == ("96.00 ± 1.00", "94.00 ± 1.00")
    assert row["sharpness ε 1e-3, full space: SB"] == "75 ± 49"
    best = tables.keskar_table(load_study(small), "best")
    assert "sharpness ε 1e-3, subspace 100: LB" in best


def test_the_digits_follow_the_spread(study: WriteStudy) -> None:
    row = {"mean": 74.6667, "std": 48.88}
    assert tables.deviation(row) == "75 ± 49"
    assert tables.deviation({"mean": 37.0, "std": 6.13}) == "37.0 ± 6.1"
    assert tables.deviation({"mean": 2.31e-4, "std": 1.2e-5}) == "2.31e-4 ± 1.2e-5"
    assert tables.deviation({"mean": 0.5, "std": float("nan")}) == "0.5"
    assert tables.deviation(None) == NONE


@pytest.mark.parametrize(
    ("seeds", "looks", "text"),
    [
        (5, 1, None),  # no p below .0625 at five
        (6, 1, "0.0312"),  # enumerated
        (6, 2, None),  # .031 is not below .05 / 2
        (7, 2, "0.0156"),
        (30, 1, "< 4e-5"),  # drawn: a bound
    ],
)
def test_a_permutation_p_is_shown_where_it_could_reach_the_level(
    study: WriteStudy, seeds: int, looks: int, text: str | None
) -> None:
    points = [
        {"global_batch_size": b, "seed": s, "test_accuracy": 0.9 - b / 1e4 + s / 1e6 / b}
        for b in (32, 512)
        for s in range(seeds)
    ]
    folder = study(points)
    first = {"block": 0, "global_batch_size": 512, "comparisons": []}
    runs = [first | {"seeds": seeds - look} for look in range(looks)]
    (folder / "provenance.json").write_text(
        json.dumps({"schema_version": SCHEMA_VERSION, "runs": runs})
    )
    table = tables.gap_table(load_study(folder))
    assert ("permutation p" in table) == (text is not None)
    assert text is None or table["permutation p"].iloc[-1] == text


def test_the_terminal_s_shares_are_empty_without_arms(study: WriteStudy) -> None:
    points = [
        {"global_batch_size": b, "seed": s, "test_accuracy": 0.9} for b in (32, 512) for s in (0, 1)
    ]
    assert arm_table.compact_closing_table(load_study(study(points))).empty


def test_the_choice_says_what_was_not_reached(small: Path) -> None:
    table = tables.choice_table(load_study(small))
    assert _row(table, "baseline", 512)["time to 99 % of baseline"] == "not reached (0 of 4)"
    assert _row(table, "baseline", 32)["time to 99 % of baseline"] == "4 s (2 of 3)"
    assert "peak memory" not in table  # a machine that does not say
    assert "loses at most, points" not in table  # of equal differences there is no limit


def test_the_choice_says_what_a_batch_size_loses_at_most(study: WriteStudy) -> None:
    differences = np.array([0.020, 0.018, 0.021, 0.019, 0.022])
    points = [
        {"global_batch_size": batch, "seed": seed, "test_accuracy": 0.95 - lost}
        for batch, losses in ((32, 0 * differences), (512, differences), (1024, -differences))
        for seed, lost in enumerate(losses)
    ]
    table = tables.choice_table(load_study(study(points)))
    limit = 100 * mean_interval(differences, 0.9).high  # one-sided at 95 %
    low = 100 * mean_interval(differences, 0.9).low
    at_most = table.set_index("batch size")["loses at most, points"]
    assert at_most.to_dict() == {"32": NONE, "512": f"{limit:.2f}", "1024": f"{-low:.2f}"}


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("synthetic", "keeps alive"),
        ("synthetic-smoke", None),
    ],
)
def test_an_arm_that_lives_where_the_baseline_died_has_its_word(
    study: WriteStudy, name: str, word: str | None
) -> None:
    points = [
        {"arm": arm, "discard_ratio": ratio, "global_batch_size": batch, "seed": seed}
        | {"test_accuracy": 0.9, "status": "diverged" if (ratio, batch) == (0, 512) else "complete"}
        for arm, ratio in (("baseline", 0.0), ("lives", 0.3))
        for batch in (32, 512)
        for seed in range(5)
    ]
    table = arm_table.closing_table(load_study(study(points, name=name)))
    assert table["seeds alive"].tolist() == ["5 of 5, baseline 0 of 5"]
    assert table.get("word", pd.Series([None])).tolist() == [word]


def test_shares_are_shown_as_whole_percents(quickstart: Path) -> None:
    table = arm_table.closing_table(load_study(quickstart))
    share = _row(table, "lars", 1000)["gap closed, %"]
    row = closing.share_of_gap_closed(load_study(quickstart)).set_index("arm").loc["lars"]
    assert share == "60 [49, 72]"  # wider than at 95 %: three arms share the level
    whole = [f"{100 * row[name]:.0f}" for name in ("share", "share_low", "share_high")]
    assert share == "{} [{}, {}]".format(*whole)
    assert table.set_index("arm")["word"].to_dict() == {
        "sqrt": "closes",
        "lars": "closes",
        "discard": "recovers",
    }
    assert _row(table, "discard", 1000)["gain at 32, points"] == NONE
    assert "why no word" not in table and "seeds alive" not in table


def test_the_table_of_arms_says_the_word_or_why_there_is_none(study: WriteStudy) -> None:
    draw = np.random.default_rng(0)

    def cells(arm: str, ratio: float, gain: float, seeds: int, lost: int = 0) -> list[Any]:
        return [
            {
                "arm": arm,
                "discard_ratio": ratio,
                "global_batch_size": batch,
                "seed": seed,
                "test_accuracy": 0.95 - (batch > 32) * (0.02 - gain) + draw.normal(0, 1e-4),
                "status": "diverged" if batch > 32 and seed < lost else "complete",
            }
            for batch in (32, 512)
            for seed in range(seeds)
        ]

    points = [*cells("baseline", 0, 0, 4), *cells("half", 0.1, 0.01, 4)]
    points += [*cells("two", 0.2, 0.01, 2), *cells("dies", 0.3, 0.01, 4, lost=1)]
    points += [*cells("idle", 0.4, 0.0, 4), *cells("worse", 0.5, -0.01, 4)]
    table = arm_table.closing_table(load_study(study(points))).set_index("arm")
    assert table["word"].to_dict() == {
        "half": "closes (exploratory)",
        "two": "",
        "dies": "",
        "idle": "not shown (exploratory)",
        "worse": "widens (exploratory)",
    }
    assert table["why no word"].to_dict() == {
        "half": "",
        "two": "not judged: 2 seeds",
        "dies": "1 of 4 seeds diverged at 512",
        "idle": "",
        "worse": "",
    }
    assert table["seeds alive"].to_dict() == dict.fromkeys(table.index, "") | {
        "dies": "3 of 4, baseline 4 of 4"
    }


@pytest.mark.parametrize("make", ALL)
def test_plain_text_keeps_to_80_columns_and_loses_nothing(
    make: Callable[..., pd.DataFrame], quickstart: Path
) -> None:
    table = make(load_study(quickstart))
    text = output.to_text(table)
    assert max(map(len, text.splitlines())) <= 80
    for name in table:
        for cell in [str(name), *table[name]]:
            assert all(word in text for word in cell.split())


def test_wide_tables_follow_in_blocks_that_repeat_the_row_s_name() -> None:
    table = pd.DataFrame({"arm": ["long arm"], **{f"column{i}": ["0123456789"] for i in range(12)}})
    text = output.to_text(table, width=40)
    assert text.count("long arm") == 6
    assert max(map(len, text.splitlines())) <= 40


@pytest.mark.parametrize("make", ALL)
def test_a_study_that_has_not_begun_has_every_table(
    make: Callable[..., pd.DataFrame], study: WriteStudy
) -> None:
    points = [{"global_batch_size": b, "seed": 0, "status": "planned"} for b in (32, 512)]
    table = make(load_study(study(points)))
    assert isinstance(output.to_text(table), str)
    assert isinstance(output.to_latex(table), str)


def test_latex_is_escaped() -> None:
    latex = output.to_latex(pd.DataFrame({"a_b": [HOSTILE, "1.0 ± 0.1"]}))
    assert r"a\_b" in latex
    assert r"50 \% of a\_b \& \{c\}" in latex
    assert r"1.0 $\pm$ 0.1" in latex
    assert r"\toprule" in latex


def test_plain_text_takes_brackets_as_they_are() -> None:
    assert "[bold]" in output.to_text(pd.DataFrame({"arm": [HOSTILE]}))


@pytest.mark.parametrize(
    ("size", "text"),
    [(3 * 2**20, "3 MiB"), (1.5 * 2**30, "1.5 GiB"), (None, NONE), (float("nan"), NONE)],
)
def test_memory(size: float | None, text: str) -> None:
    assert tables.memory(size) == text
