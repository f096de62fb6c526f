"""How often a comparison was looked at, and beside how many others: what its level pays for.

Seeds that are added until a comparison is settled settle it one way or the other: with a look at
each of 3 to 8 seeds a difference of nothing is called one in 13 % of studies
(docs/methods/what-may-be-said.md). `batchgap run` therefore records, at its end, how many seeds a
block and batch size had completed and which arms were compared there; looks and comparisons share
what a word may be wrong by, whatever the study file says by now.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from analysis.gaps import by_cell
from analysis.gaps.by_cell import CELL
from analysis.load import Study
from trainables.results.schema import SUBJECT

Subject = tuple[str, ...] | None
"""Network and data of a comparison, as `subject_of` has them."""


def looks(study: Study, blocks: Iterable[int], batch: int, subject: Subject) -> int:
    """Distinct numbers of seeds that were complete at the ends of runs; at least 1."""
    return max(len({run["seeds"] for run in _runs(study, set(blocks), batch, subject)}), 1)


def comparisons(
    study: Study, blocks: Iterable[int], batch: int, subject: Subject, present: int
) -> int:
    """All comparisons ever recorded there, or those that are present, whichever are more."""
    runs = _runs(study, set(blocks), batch, subject)
    return max(len({name for run in runs for name in run["comparisons"]}), present, 1)


def block_of(study: Study) -> dict[tuple[Any, ...], int]:
    """The block of the study file that each cell stands in."""
    points = by_cell.labelled_points(study).drop_duplicates(CELL)
    return {by_cell.cell_of(row): int(row["block"]) for row in by_cell.records(points)}


def subject_of(study: Study) -> dict[str, tuple[str, ...]]:
    """Network and data of each of the baseline arm's settings."""
    points = by_cell.labelled_points(study)
    own = points[points["arm"] == by_cell.BASELINE_ARM].drop_duplicates("settings")
    return {row["settings"]: _named(row) for row in by_cell.records(own)}


def _runs(study: Study, blocks: set[int], batch: int, subject: Subject) -> list[Mapping[str, Any]]:
    return [
        run
        for run in study.runs
        if run["block"] in blocks
        and run["global_batch_size"] == batch
        and (subject is None or "network" not in run or _named(run) == subject)
    ]


def _named(row: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple("" if pd.isna(row.get(name)) else str(row[name]) for name in SUBJECT)
