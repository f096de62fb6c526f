"""The recorded results: every exhibit has one, and the table of all says what the folders hold."""

from __future__ import annotations

import re

import pytest

from analysis.load import load_study
from analysis.words.scorecard import scorecard
from study.file.document import read
from study.grid.spec import PRESETS
from trainables.installation import SOURCE_TREE

RESULTS = SOURCE_TREE / "docs" / "results"
FOLDERS = sorted(path.name for path in RESULTS.iterdir() if path.is_dir())
Row = tuple[str, str, str, str]


def table() -> dict[str, list[tuple[Row, str]]]:
    """Per folder the rows of the table of all exhibits: claim, paper, here, word; and why."""
    rows: dict[str, list[tuple[Row, str]]] = {name: [] for name in FOLDERS}
    for line in (RESULTS / "README.md").read_text().splitlines():
        if match := re.match(r"\| \[`([\w-]+)`\]\(([\w-]+)/report\.html\) \| ", line):
            assert match[1] == match[2]
            cells = [cell.strip() for cell in line.strip("|").split(" | ")]
            _, claim, paper, here, word, why = cells
            rows[match[1]].append(((claim, paper, here, word), why))
    return rows


def test_every_preset_that_reproduces_something_has_a_result() -> None:
    presets = {p.stem for p in PRESETS.glob("*.yaml") if read(p).values.get("reproduces")}
    recorded = {re.sub(r"-cpu(-c1)?$", "", name) for name, rows in table().items() if rows}
    assert presets <= recorded


def test_every_row_says_why() -> None:
    rows = [(name, row, why) for name, found in table().items() for row, why in found]
    assert [(name, row) for name, row, why in rows if not re.fullmatch(r"[A-Z.].+\.", why)] == []


def test_no_folder_names_a_machine_s_paths() -> None:
    for path in (*RESULTS.glob("*/study.yaml"), *RESULTS.glob("*/provenance.json")):
        assert not re.search(r"/(home|root|work|tmp)/", path.read_text()), path


@pytest.mark.slow
@pytest.mark.parametrize("name", FOLDERS)
def test_the_table_of_all_exhibits_says_what_the_folder_holds(name: str) -> None:
    found = [
        (f"{row.claim} ({row.quantity})", row.paper, row.here, row.direction)
        for row in scorecard(load_study(RESULTS / name)).itertuples()
    ]
    assert [row for row, _ in table()[name]] == found


@pytest.mark.slow
@pytest.mark.parametrize("name", FOLDERS)
def test_a_folder_is_whole(name: str) -> None:
    assert not [
        problem for problem in load_study(RESULTS / name).problems if "set aside" in problem
    ]
