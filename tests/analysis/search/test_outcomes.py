"""What a search found: winners, deaths, edges, and that its trials enter no other table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from analysis.gaps import by_cell, paired
from analysis.load import Study, load_study
from analysis.page.report import summary_text, write_report
from analysis.page.search_tables import search_table
from analysis.search.outcomes import edges, search_outcomes
from analysis.words.tuning import tuned_text

SEARCH: dict[str, Any] = {
    "fields": {"training.base_lr": [0.01, 0.02, 0.05]},
    "method": "grid",
    "seeds": 1,
    "optimize": "validation_accuracy",
}
BEST = {32: 0.01, 512: 0.02}


def tried(size: int, rate: float, **outcome: Any) -> dict[str, Any]:
    accuracy = 0.9 - abs(rate - BEST[size])
    return {
        "stage": "search",
        "global_batch_size": size,
        "base_lr": rate,
        "seed": 1_000_000,
        "validation_accuracy": accuracy,
        "test_accuracy": 0.5,
    } | outcome


def finals(size: int) -> list[dict[str, Any]]:
    return [
        {
            "stage": "final",
            "global_batch_size": size,
            "base_lr": BEST[size],
            "seed": seed,
            "test_accuracy": 0.95 - size / 10_000 + seed / 1000,
        }
        for seed in range(5)
    ]


def all_points() -> list[dict[str, Any]]:
    searched = [tried(size, rate) for size in BEST for rate in (0.01, 0.02, 0.05)]
    return searched + [point for size in BEST for point in finals(size)]


Write = Any


def loaded(write: Write, points: list[dict[str, Any]], search: dict[str, Any] = SEARCH) -> Study:
    return load_study(write(points, search=search))


def test_only_final_trials_enter_the_gap(study: Write) -> None:
    found = loaded(study, all_points())
    gap = paired.generalization_gap(found)
    assert list(gap["n"]) == [5]
    assert gap["mean"].iloc[0] == pytest.approx(0.048)
    assert by_cell.axes(found) == []  # though the rates of the two batch sizes differ
    assert len(found.trials) == 10 and len(found.search_points) == 6


def test_the_winner_and_the_edge_of_every_cell(study: Write) -> None:
    table = search_outcomes(loaded(study, all_points()))
    assert list(table["global_batch_size"]) == [32, 512]
    assert list(table["base_lr"]) == [0.01, 0.02]
    assert list(table["objective"]) == pytest.approx([0.9, 0.9])
    assert list(table["edge"]) == [("base_lr",), ()]
    text = tuned_text(loaded(study, all_points()))
    assert text.startswith(
        "Tuned apart at every batch size: base lr, by validation accuracy; in 1 of 2 cells the "
        "best lies at the edge of what was searched, or near it. "
    )
    assert (
        "To go on: search with method: grid and fields: {training.base_lr: [0.0025, 5e-3," in text
    )
    assert text.endswith(
        " Finals were not crossed with the baseline's best values: no arm gets a word. An "
        "exploratory search: 3 candidates in 1 field, where 8 a field are asked."
    )


RATES = [0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.8]


@pytest.mark.parametrize(
    ("rates", "settings", "said"),
    [
        (RATES, {}, []),
        (RATES[:7], {}, ["An exploratory search: 7 candidates in 1 field, where 8 a field are as"]),
        (RATES, {"finals": "own"}, ["Finals were not crossed with the baseline's best values"]),
        (RATES, {"method": "optuna"}, ["they were searched unequally, an exploratory search"]),
        (RATES, {"scheduler": "asha"}, ["Trials that fell behind were stopped early"]),
    ],
)
def test_what_qualifies_a_search_is_said(
    study: Write, rates: list[float], settings: dict[str, Any], said: list[str]
) -> None:
    points = [tried(size, rate) for size in BEST for rate in rates]
    points += [point for size in BEST for point in finals(size)]
    search = SEARCH | {"fields": {"training.base_lr": RATES}, "finals": "crossed"} | settings
    text = tuned_text(loaded(study, points, search))
    reservations = [
        "exploratory search",
        "Finals were not crossed",
        "searched unequally",
        "stopped early",
        "Unequal draws",
    ]
    found = [words for words in reservations if words in text]
    assert all(words in text for words in said)
    assert bool(found) == bool(said)


def test_cells_that_drew_apart_are_said_to(study: Write) -> None:
    others = {32: RATES, 512: [*RATES[:-1], 0.7]}
    points = [tried(size, rate) for size in BEST for rate in others[size]]
    points += [point for size in BEST for point in finals(size)]
    text = tuned_text(loaded(study, points, SEARCH | {"finals": "crossed"}))
    assert text.endswith(
        "Unequal draws: each cell tried values of its own, and no arm gets a word."
    )


def test_a_search_on_the_test_set_is_said_plainly(study: Write) -> None:
    text = tuned_text(loaded(study, all_points(), SEARCH | {"optimize": "test_accuracy"}))
    assert "on the test set, which flatters every accuracy" in text


def test_cells_without_a_winner_are_shown_with_the_reason(study: Write) -> None:
    points = [point for point in all_points() if point["global_batch_size"] == 32]
    points += [tried(512, rate, status="diverged") for rate in (0.01, 0.02)]
    table = search_outcomes(loaded(study, points))
    assert list(table["remark"]) == ["", "every point died"]
    assert list(table["died"]) == [0, 2]
    unfinished = [*points[:-1], tried(512, 0.02, status="planned")]
    assert list(search_outcomes(loaded(study, unfinished))["remark"]) == [
        "",
        "the search has not ended",
    ]
    assert "1 of 2 cells have no winner: baseline at 512 (the search has not ended)" in tuned_text(
        loaded(study, unfinished)
    )


def test_a_point_that_lost_a_seed_died(study: Write) -> None:
    points = all_points()
    lost = [tried(32, 0.02, seed=1_000_001, status="diverged")]
    table = search_outcomes(loaded(study, points + lost))
    assert list(table["died"]) == [1, 0]


LOG = {"low": 0.001, "high": 1, "log": True}


@pytest.mark.parametrize(
    ("space", "values", "value", "is_edge"),
    [
        ([0.01, 0.02, 0.05], [0.01, 0.02, 0.05], 0.05, True),
        ([0.01, 0.02, 0.05], [0.01, 0.02, 0.05], 0.02, False),
        ([0.05, 0.01, 0.02], [0.05, 0.01, 0.02], 0.01, True),
        ([0.01, 0.02, 0.05], [0.01, 0.02], 0.02, True),  # the largest that was tried so far
        ([0.05], [0.05], 0.05, False),  # nothing was chosen
        ([0, 0.5, 0.9], [0, 0.5, 0.9], 0, False),  # nothing lies below
        ([0, 0.5, 0.9], [0, 0.5, 0.9], 0.9, True),
        (LOG, [0.01, 0.1, 0.8, 0.9], 0.8, True),  # of a range the outer 5 % too
        (LOG, [0.01, 0.1, 0.8], 0.1, False),
        (LOG, [0.01, 0.1, 0.2], 0.2, True),  # well within the range, but nothing larger was tried
        (LOG, [0.01, 0.1, 0.2], 0.01, True),
        (LOG, [0.001, 0.0012, 0.1], 0.0012, True),
        ({"low": 0.5, "high": 0.95}, [0.55, 0.6, 0.7], 0.6, False),
        ({"low": 0.5, "high": 0.95}, [0.55, 0.94, 0.945], 0.94, True),
        ({"low": 0, "high": 5}, [0, 0.01, 1], 0.01, False),
        ({"low": 0, "high": 5}, [0, 0.01, 1], 0, False),
    ],
)
def test_the_edge(
    study: Write, space: Any, values: list[float], value: float, is_edge: bool
) -> None:
    search = SEARCH | {"fields": {"training.base_lr": space}}
    found = loaded(study, all_points(), search)
    tried_points = pd.DataFrame({"base_lr": values})
    assert edges(found, {"base_lr": value}, tried_points) == (("base_lr",) if is_edge else ())


def test_a_winner_is_held_against_what_its_own_cell_tried(study: Write) -> None:
    """.02 is in the middle of what was tried at 512, and the largest that was tried at 32."""
    points = [tried(32, rate) for rate in (0.01, 0.02)]
    points += [tried(512, rate) for rate in (0.01, 0.02, 0.05)]
    points += [point | {"base_lr": 0.02} for size in BEST for point in finals(size)]
    table = search_outcomes(loaded(study, points))
    assert list(table["edge"]) == [("base_lr",), ()]


def test_the_report_shows_the_search(results_folder: Write, tmp_path: Path) -> None:
    found = loaded(results_folder, all_points())
    assert "Tuned apart at every batch size" in summary_text(found).replace("\n", " ")
    page = write_report(found, tmp_path / "r.html").read_text()
    assert "What the search found" in page and "Steps to the target" not in page
    assert "10 of 10 trials complete" in page and "not finished" not in page
    assert list(search_table(found)["at the edge: widen"]) == ["base lr", ""]


def test_a_report_without_a_search_has_no_section_on_it(
    results_folder: Write, tmp_path: Path
) -> None:
    found = load_study(results_folder([point for size in BEST for point in finals(size)]))
    assert found.search_points.empty
    assert "Tuning" not in write_report(found, tmp_path / "r.html").read_text()
