"""A study's tuned cells: what their finals ran, and why nothing is said where nothing may be.

`analysis.search.tuned` is the rule on arrays; here a study's points become its sides.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from analysis.gaps import by_cell
from analysis.gaps.by_cell import BASELINE_ARM, CELL
from analysis.load import Study
from analysis.search.finals import Bracket, Outcome, Values, beyond, bracket, is_at_end
from analysis.search.tuned import Side
from analysis.uncertainty import MAX_ARMS, MIN_CANDIDATES, is_exploratory
from analysis.wording import number
from trainables.config.trial import DONE
from trainables.results.schema import POINT_COLUMNS
from trainables.task import is_at_chance, level_name, metric_of

Cell = tuple[Any, ...]
ENDED = (*DONE, "failed")
"""Statuses of trials that have ended, with a result or without."""
RATE = "base_lr"
"""The searched field that may be anything above 0, so that further values can be named."""


@lru_cache(maxsize=8)  # a study never changes
def tuned_sides(study: Study) -> Mapping[Cell, Side]:
    """The cells whose search has a winner, by cell; the test set's metric, more is better.

    Empty where nothing was searched.
    """
    if not study.search:
        return {}
    finals = _by_cell(study, pd.concat([study.points, study.crossed_points]))
    won = _by_cell(study, study.points)
    winners = {cell: _values(study, rows.iloc[0]) for cell, rows in won.items()}
    seeds = sorted(set(study.points["seed"]))
    sides = {}
    for cell, winner in winners.items():
        rows = finals[cell]
        sides[cell] = Side(
            winner=winner,
            runs=_runs(study, rows, seeds),
            lost=int((_have_ended(won[cell]) & won[cell]["status"].ne("complete")).sum()),
            has_ended=bool(_have_ended(won[cell]).all()),
            bracket=_bracket(study, cell, rows, winners),
        )
    return sides


@lru_cache(maxsize=8)
def tried_values(study: Study) -> Mapping[Cell, tuple[Values, ...]]:
    """The values that each cell's search tried, ascending."""
    groups = _by_cell(study, study.search_points)
    return {
        cell: tuple(sorted({_values(study, row) for row in by_cell.records(rows)}))
        for cell, rows in groups.items()
    }


def _by_cell(study: Study, points: pd.DataFrame) -> dict[Cell, pd.DataFrame]:
    if points.empty:
        return {}
    return dict(iter(by_cell.with_settings(study, points).groupby(CELL, sort=False)))


def _values(study: Study, row: Mapping[str, Any]) -> Values:
    return tuple(float(row[name]) for name in study.searched)


def _settings(study: Study, rows: pd.DataFrame) -> Iterator[tuple[Values, pd.DataFrame]]:
    for key, own in rows.groupby(list(study.searched), sort=False):
        yield tuple(map(float, key)), own.drop_duplicates("seed")


def _runs(
    study: Study, rows: pd.DataFrame, seeds: Iterable[int]
) -> dict[Values, NDArray[np.float64]]:
    """The metric by setting and seed, NaN where the seed died; crossed ones once all ended."""
    found = {}
    for values, own in _settings(study, rows):
        if own["stage"].eq("crossed").all() and not _have_ended(own).all():
            continue
        complete = own[own["status"] == "complete"].set_index("seed")[study.test_metric]
        by_seed = complete.reindex(list(seeds)).to_numpy(dtype=float)
        found[values] = study.metric.goodness(by_seed)
    return found


def _bracket(
    study: Study, cell: Cell, rows: pd.DataFrame, winners: Mapping[Cell, Values]
) -> Bracket | None:
    """The bracket of a baseline cell; None of an arm's, and where nothing was crossed."""
    arm, settings, batch = cell
    tried = tried_values(study).get(cell, ())
    if arm != BASELINE_ARM or study.search.get("finals") != "crossed" or not tried:
        return None
    matching = by_cell.matching_settings(study)
    others = [
        values
        for (other, own, size), values in winners.items()
        if size == batch and settings in matching[other, own] and other != BASELINE_ARM
    ]
    optimize = study.search["optimize"]
    outcomes = {values: _outcome(own, optimize) for values, own in _settings(study, rows)}
    several = len(study.searched) > 1
    first = [winners[cell], *others, *(outcomes if several else ())]
    return bracket(
        tried,
        first,
        outcomes.get,
        maximizes=metric_of(optimize).is_larger_better,
        is_at_chance=lambda value: _is_at_chance(study, rows, optimize, value),
        is_whole=all(pa.types.is_integer(POINT_COLUMNS[name]) for name in study.searched),
    )


def _outcome(rows: pd.DataFrame, optimize: str) -> Outcome | None:
    if not _have_ended(rows).all():
        return None
    complete = rows.loc[rows["status"] == "complete", optimize].dropna()
    return Outcome(planned=len(rows), objective=complete.tolist())


def _have_ended(rows: pd.DataFrame) -> pd.Series:
    return rows["status"].isin(ENDED)


def _is_at_chance(study: Study, rows: pd.DataFrame, metric: str, value: float) -> bool:
    loss = rows["loss"].iloc[0] if "loss" in rows else None
    level = study.chance.get(rows["data"].iloc[0], {}).get(level_name(metric, loss))
    return level is not None and is_at_chance(metric, value, level)


# ------------------------------------------------------------------------- what may not be said


def why_no_word(study: Study, arm: Cell, baseline: Cell) -> str:
    """Why a tuned arm, or a tuned gap, gets no word; "" where it may get one.

    Args:
        study: one that searches.
        arm: the cell that is to be credited.
        baseline: the cell that it is held against.
    """
    sides, tried = tuned_sides(study), tried_values(study)
    if arm not in sides or baseline not in sides:
        return "no winner yet"
    adaptive = study.search.get("method") == "optuna"
    if not adaptive and tried.get(arm) != tried.get(baseline):
        return "unequal draws: the two searched different values"
    own, side = sides[arm], sides[baseline]
    if not (own.has_ended and side.has_ended):
        return "the finals have not ended"
    if own.lost:
        return "lost a seed at its own best"
    if len(tried.get(arm, ())) < 2:
        return "one candidate only"
    if is_at_end(own.winner, tried.get(arm, ())):
        return _open(study, own.winner, tried[arm])
    return _why_not_bracketed(study, side, tried.get(baseline, ()))


def _why_not_bracketed(study: Study, side: Side, tried: tuple[Values, ...]) -> str:
    found = side.bracket
    if found is None:
        return "not bracketed: its finals were not crossed with others"
    if found.best and is_at_end(found.best, tried):
        return _open(study, found.best, tried)
    reasons = {
        "waiting": "the finals have not ended",
        "dead": "no setting of the baseline came through",
        "cliff": "a cliff beside the best value of the baseline",
    }
    return reasons.get(found.state, "")


def _open(study: Study, best: Values, tried: tuple[Values, ...]) -> str:
    if study.searched != (RATE,):  # other numbers have rules and kinds of their own
        return "open at the edge: widen the search"
    first, second = beyond(tried, is_high=best == max(tried))
    return f"open at the edge: run {number(first, 4)} and {number(second, 4)}"


def next_candidates(study: Study) -> str:
    """The list to go on with where a best value lies at an end, as YAML; "" where none does.

    With the values that were tried, so that nothing is run twice.
    """
    tried = tried_values(study)
    ends = [
        (values, tried[cell])
        for cell, side in tuned_sides(study).items()
        for values in (side.winner, side.best)
        if is_at_end(values, tried.get(cell, ()))
    ]
    if not ends or study.searched != (RATE,):
        return ""
    known = max((grid for _, grid in ends), key=len)
    low = {v for best, grid in ends if best == min(grid) for v in beyond(grid, is_high=False)}
    high = {v for best, grid in ends if best == max(grid) for v in beyond(grid, is_high=True)}
    values = [*sorted(low), *(value for (value,) in known), *sorted(high)]
    (field,) = study.search["fields"]
    return f"{field}: [{', '.join(number(value, 4) for value in values)}]"


def lived(study: Study, cell: Cell) -> tuple[int, int] | None:
    """Most seeds of a baseline cell that lived at one setting of its finals, and of how many.

    None where the finals were not crossed: a rate that was drawn badly is no death of the baseline.
    """
    side = tuned_sides(study).get(cell)
    if side is None or side.bracket is None:
        return None
    runs = [side.runs[values] for values in side.bracket.settings if values in side.runs]
    return max(((int(np.isfinite(own).sum()), len(own)) for own in runs), default=None)


def too_few(study: Study) -> int | None:
    """The fewest candidates that a cell tried, where these are too few; None where enough."""
    fewest = min(map(len, tried_values(study).values()), default=0)
    return fewest if fewest < MIN_CANDIDATES * len(study.searched) else None


def exploratory(study: Study, arms: int, n: int) -> str:
    """`exploratory`, `exploratory search` or "": what qualifies a word of a tuned comparison."""
    search = study.search
    unequal = search.get("method") == "optuna" or search.get("scheduler") == "asha"
    if too_few(study) is not None or unequal or len(study.searched) > 1:
        return "exploratory search"
    return "exploratory" if arms > MAX_ARMS or is_exploratory(n) else ""
