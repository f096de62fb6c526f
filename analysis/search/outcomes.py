"""What a search found: per cell its budget, the values that won, and whether they lie on an edge.

A cell's final trials are trained with its winner's values, so these name the winner; the search's
own trials say what it was chosen by. They enter no other table.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import pandas as pd

from analysis.gaps.by_cell import (
    CELL,
    in_order,
    labelled_points,
    with_settings,
)
from analysis.load import Study
from analysis.search.cells import ENDED

EDGE_SHARE = 0.05
"""A value in the outer 5 % of a range, on its scale, counts as its edge."""


def search_outcomes(study: Study) -> pd.DataFrame:
    """How the search of each cell ended.

    Returns:
        Per cell that was searched, in the tables' order: arm, settings, global_batch_size; points
        (tried so far), died (of these, the ones with a seed that diverged or failed), stopped (the
        others that the scheduler ended early); the columns of `study.searched` with the winner's
        values (NaN without one) and `objective`, its mean over the search's seeds; edge, the
        columns whose value lies on the edge of what was searched; remark, why there is no winner.
    """
    return _outcomes(study).copy()


@lru_cache(maxsize=1)  # a study never changes
def _outcomes(study: Study) -> pd.DataFrame:
    columns = [*CELL, "points", "died", "stopped", *study.searched, "objective", "edge", "remark"]
    tried = with_settings(study, study.search_points)
    won = labelled_points(study).drop_duplicates(CELL).set_index(CELL)
    groups = tried.groupby(CELL, sort=False) if len(tried) else ()
    rows = [_outcome(study, key, group, won) for key, group in groups]
    return in_order(pd.DataFrame(rows, columns=columns))


def _outcome(
    study: Study, key: tuple[Any, ...], tried: pd.DataFrame, won: pd.DataFrame
) -> dict[str, Any]:
    searched, optimize = list(study.searched), study.search["optimize"]
    points = tried.groupby(searched, sort=False).agg(
        ended=("status", lambda states: states.isin(ENDED).all()),
        complete=("status", lambda states: states.eq("complete").all()),
        died=("status", lambda states: states.isin(["diverged", "failed"]).any()),
        objective=(optimize, "mean"),
    )
    row = {
        **dict(zip(CELL, key, strict=True)),
        "points": len(points),
        "died": int((points["ended"] & points["died"]).sum()),
        "stopped": int((points["ended"] & ~points["complete"] & ~points["died"]).sum()),
        "objective": math.nan,
        "edge": (),
        "remark": "",
    }
    if key not in won.index:
        all_died = points["ended"].all() and not points["complete"].any()
        return row | {"remark": "every point died" if all_died else "the search has not ended"}
    values = tuple(won.loc[key, searched])
    at = values if len(values) > 1 else values[0]
    return row | {
        **dict(zip(searched, values, strict=True)),
        "objective": points["objective"].get(at, math.nan),
        "edge": edges(study, dict(zip(searched, values, strict=True)), tried),
    }


def edges(study: Study, values: Mapping[str, float], tried: pd.DataFrame) -> tuple[str, ...]:
    """The columns whose value lies on the edge of what was searched: better ones may lie beyond.

    The edge is the smallest or largest value that the cell tried, and the outer 5 % of a range. 0
    is no edge at the low end: none of the fields that can be searched goes below it.

    Args:
        study: one that searches.
        values: by column.
        tried: the points of the cell's search.
    """
    spaces = {name.rpartition(".")[2]: space for name, space in study.search["fields"].items()}
    return tuple(
        name
        for name, value in values.items()
        if _is_extreme(value, tried[name]) or _is_outer(value, spaces[name])
    )


def _is_extreme(value: float, tried: pd.Series) -> bool:
    low, high = tried.min(), tried.max()
    return bool(low < high and (value == high or (value == low and value > 0)))


def _is_outer(value: float, space: Sequence[float] | Mapping[str, Any]) -> bool:
    if not isinstance(space, Mapping):
        return False
    low, high = space["low"], space["high"]
    scale = math.log if space.get("log") else float
    share = (scale(value) - scale(low)) / (scale(high) - scale(low))
    return share >= 1 - EDGE_SHARE or (share <= EDGE_SHARE and low > 0)
