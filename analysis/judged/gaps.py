"""What may be spoken of: gaps with the limits that a sentence may give, and why there is no word.

One or two seeds, or the smallest scale, carry no word; three and four are exploratory. Gaps at
several batch sizes are tested from the largest down, until one includes 0. A batch size is never
"not worse": it loses at most so much.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import pandas as pd

from analysis.gaps import by_cell, paired
from analysis.gaps.by_cell import BASELINE_ARM, CELL
from analysis.judged.looks import block_of, looks, subject_of
from analysis.load import Study
from analysis.search import tuned
from analysis.search.cells import Cell, exploratory, tuned_sides, why_no_word
from analysis.uncertainty import (
    MIN_JUDGED,
    is_exploratory,
    level_of,
    paired_interval,
    seeds_needed,
    upper_limit,
)
from analysis.wording import counted

NONE = float("nan")


def not_judged(study: Study, n: int) -> str:
    """Why so many seeds carry no word; "" where they do."""
    if study.is_smoke:
        return "not judged: smoke scale"
    return f"not judged: {counted(n, 'seed')}" if n < MIN_JUDGED else ""


def all_equal_text(n: int) -> str:
    """What stands in place of an interval of width zero."""
    return f"all {n} differences equal"


def spoken_gap(study: Study, column: str | None = None) -> pd.DataFrame:
    """The generalization gap with the limits that a sentence may give: see `paired.gap_of`.

    low and high are of the level that the looks leave, of tuned cells those of `tuned.gap`.

    Returns:
        Per cell off the baseline batch also looks, level, at_most (the batch loses no more: the
        one-sided upper limit), reason (why no word is said of it, else ""), exploratory and shown:
        whether the gap may be spoken of. Batch sizes of one arm and settings are tested from the
        largest down, until one includes 0.
    """
    return _spoken(study, column or study.test_metric).copy()


@lru_cache(maxsize=16)
def _spoken(study: Study, column: str) -> pd.DataFrame:
    table = paired.gap_of(study, column)
    pairs = paired.paired_gaps(study, column).groupby(CELL)["value"].agg(list)
    blocks, subjects = block_of(study), subject_of(study)
    counts = by_cell.records(by_cell.counts(study))
    size = study.baseline_batch_size
    small = {(r["arm"], r["settings"]): r for r in counts if r["global_batch_size"] == size}
    rows = []
    for row in by_cell.records(table):
        cell = by_cell.cell_of(row)
        subject = subjects.get(row["settings"])
        looked = looks(study, [blocks[cell]], row["global_batch_size"], subject)
        seen = {"looks": looked, "level": level_of(looked), "exploratory": ""}
        limits = _limits(study, pairs.get(cell, []), level_of(looked))
        if lost := _lost_more(row, small.get(cell[:2])):
            limits["at_most"] = NONE
            # A loss among survivors is one all the same.
            limits["reason"] = limits["reason"] or ("" if limits["low"] > 0 else lost)
        if study.search and column == study.test_metric:
            limits |= _tuned_limits(study, cell, level_of(looked), limits)
        rows.append(row | seen | limits)
    columns = [*table.columns, "looks", "level", "at_most", "reason", "exploratory"]
    return _shown(pd.DataFrame(rows, columns=columns))


def _lost_more(row: Mapping[str, Any], small: Mapping[str, Any] | None) -> str:
    """Why a gap's mean has no word: survivors' means hide what the large batch lost."""
    own, other = ((r["complete"], r["diverged"]) for r in (row, small or row))
    if not dies_more(own, other):
        return ""
    return f"{row['diverged']} of {row['points']} seeds diverged"


def dies_more(own: tuple[int, int], other: tuple[int, int]) -> bool:
    """Whether a larger share of the first one's seeds diverged; (complete, diverged) of each."""
    (alive, lost), (others, died) = own, other
    return lost * (others + died) > died * (alive + lost) or bool(lost and not others + died)


def _limits(study: Study, values: Sequence[float], level: float) -> dict[str, Any]:
    found = paired_interval(values, 0, level)
    at_most = upper_limit(values, level)
    return {
        "low": found.low,
        "high": found.high,
        "at_most": NONE if found.all_equal else at_most,
        "exploratory": "exploratory" if is_exploratory(found.n) else "",
        "reason": not_judged(study, found.n)
        or (all_equal_text(found.n) if found.all_equal else ""),
    }


def _tuned_limits(
    study: Study, cell: Cell, level: float, said: Mapping[str, Any]
) -> dict[str, Any]:
    """Of a gap between two batch sizes whose values a search chose; arms' gaps stay as they are."""
    sides = tuned_sides(study)
    arm, settings, _ = cell
    beside = (arm, settings, study.baseline_batch_size)
    if arm != BASELINE_ARM or cell not in sides or beside not in sides:
        return {}
    limited = tuned.gap(sides[beside], sides[cell], level)
    is_bounded = limited.low <= limited.high  # not where all differences to a setting are equal
    reason = said["reason"] or _why_no_gap_word(study, beside, cell)
    reason = reason or ("" if is_bounded else "no interval is known")
    return {
        "low": limited.low,
        "high": limited.high,
        "at_most": NONE if reason else tuned.loses_at_most(sides[beside], sides[cell], level),
        "exploratory": exploratory(study, 1, limited.n),
        "reason": reason,
    }


def _why_no_gap_word(study: Study, small: Cell, large: Cell) -> str:
    """Each side of a gap between tuned batch sizes is to be bracketed."""
    for cell in (large, small):
        if why := why_no_word(study, cell, cell):
            return f"not judged: {why}, at batch size {cell[-1]}"
    return ""


def _shown(table: pd.DataFrame) -> pd.DataFrame:
    """Whether each gap may be spoken of: it excludes 0, and so do those tested at larger sizes."""
    shown = pd.Series(False, index=table.index)
    for _, rows in table.groupby(["arm", "settings"], sort=False):
        for index, row in rows.sort_values("global_batch_size", ascending=False).iterrows():
            if row["n"] == 0 or row["reason"]:
                continue  # nothing was tested there
            if not (row["low"] > 0 or row["high"] < 0):
                break
            shown[index] = True
    return table.assign(shown=shown)


# ------------------------------------------------------------------------------------- not worse


@dataclass(frozen=True, kw_only=True)
class Within:
    """The largest batch size that is shown to lose less than a margin."""

    margin: float
    batch: int | None
    """None where none is shown."""
    failed: int | None
    """The first batch size that is not."""
    loses_more: bool
    """Whether that one is shown to lose more."""
    seeds: int | None
    """About how many seeds could show it of a batch that loses nothing; None where unknown."""
    exploratory: str


def largest_within(study: Study, settings: str, margin: float | None = None) -> Within | None:
    """Test the baseline arm's batch sizes upwards, ending at the first that fails.

    "Not shown to be worse" would reward few seeds: it picks a batch that truly loses more in 91 %
    of studies at five. The number of seeds goes by the spread alone (`seeds_needed`).

    Returns:
        None where no batch size above the baseline's has a limit, or the metric no margin.
    """
    margin = margin or study.metric.margin
    table = by_cell.baseline_arm(spoken_gap(study), settings).sort_values("global_batch_size")
    larger = table[table["global_batch_size"] > (study.baseline_batch_size or 0)]
    known = by_cell.records(larger[larger["n"] > 0])
    if margin is None or not any(row["reason"] == "" for row in known):
        return None
    batch = failed = needed = None
    loses_more = False
    for row in known:
        if row["reason"] or not row["at_most"] < margin:
            failed = row["global_batch_size"]
            if row["reason"]:
                break
            loses_more = bool(row["low"] > margin)
            needed = None if loses_more else _seeds(row, margin)
            break
        batch = row["global_batch_size"]
    words = {row["exploratory"] for row in known} - {""}
    return Within(
        margin=margin,
        batch=batch,
        failed=failed,
        loses_more=loses_more,
        seeds=needed,
        exploratory=max(words, default="", key=len),
    )


def _seeds(row: Mapping[str, Any], margin: float) -> int | None:
    """How many seeds could show it; None where it is not for want of seeds."""
    needed = seeds_needed(row["n"], row["std"], margin)
    return None if (needed or 0) <= row["n"] else needed
