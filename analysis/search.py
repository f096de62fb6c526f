"""What a search found: per cell its budget, the values that won, and whether they lie on an edge.

A cell's final trials are trained with its winner's values, so these name the winner; the search's
own trials say what it was chosen by. They enter no other table.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

import pandas as pd

from analysis.gaps import BASELINE_ARM, CELL, in_order, labelled_points, records, with_settings
from analysis.load import Study
from analysis.tuned_cells import ENDED, MIN_CANDIDATES, next_candidates, too_few, tried_values
from analysis.wording import MAX_NAMES, NONE, counted, listed, number, setting, words

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


# ------------------------------------------------------------------------------------------ text


def search_table(study: Study) -> pd.DataFrame:
    """`search_outcomes` as text; columns that are empty in every row are left out."""
    table = pd.DataFrame(
        [
            {
                "arm": row["arm"],
                "settings": row["settings"],
                "batch size": str(row["global_batch_size"]),
                "points": str(row["points"]),
                "died": str(row["died"]) if row["died"] else "",
                "stopped": str(row["stopped"]) if row["stopped"] else "",
                **{f"best {words(name)}": _value(row[name]) for name in study.searched},
                words(study.search["optimize"]): number(row["objective"], 4),
                "at the edge: widen": listed([words(n) for n in row["edge"]])
                if row["edge"]
                else "",
                "remark": row["remark"],
            }
            for row in records(search_outcomes(study))
        ],
        dtype=object,
    )
    return table.loc[:, [not table[name].isin(["", NONE]).all() for name in table]]


def _value(value: float) -> str:
    return NONE if pd.isna(value) else setting(float(value))


def tuned_text(study: Study) -> str:
    """On what the study was tuned, and what that leaves open; or that it was not."""
    if not study.search:
        return f"Untuned: {_rates(study)}."
    outcomes = search_outcomes(study)
    optimize = study.search["optimize"]
    names = listed([words(name) for name in study.searched])
    said = f"Tuned apart at every batch size: {names}, by {words(optimize)}"
    if optimize.startswith("test"):
        said += f", that is on the test set, which flatters every {words(study.metric.name)} here"
    edge = int(outcomes["edge"].map(bool).sum())
    if edge:
        said += f"; in {edge} of {counted(len(outcomes), 'cell')} the best lies at the edge of "
        said += "what was searched, or near it"
    lacking = outcomes[outcomes["remark"] != ""]
    if len(lacking):
        named = [
            f"{row['arm']} at {row['global_batch_size']} ({row['remark']})"
            for row in records(lacking)[:MAX_NAMES]
        ]
        said += f"; {len(lacking)} of {counted(len(outcomes), 'cell')} have no winner: "
        said += ", ".join([*named, *(["..."] if len(lacking) > MAX_NAMES else [])])
    return " ".join([f"{said}.", *_reservations(study)])


def _rates(study: Study) -> str:
    """What the baseline arm's rates do as the batch grows."""
    points = labelled_points(study)
    own = points[points["arm"] == BASELINE_ARM]
    if own["lr_scaling"].ne("none").any():
        return "rates scaled by the file's rule"
    if own["base_lr"].nunique() > 1:
        return "the same rates at every batch"
    return "one rate at every batch"


def _reservations(study: Study) -> Iterator[str]:
    """What of a search takes its comparisons their words, or qualifies them."""
    search, tried = study.search, list(tried_values(study).values())
    if more := next_candidates(study):
        yield f"To go on: search with method: grid and fields: {{{more}}}."
    if search.get("method") == "optuna":
        yield (
            "Beyond the shared candidates Optuna tried values of its own in each cell: they were "
            "searched unequally, an exploratory search."
        )
    elif len(set(tried)) > 1 and len({*map(len, tried)}) == 1:
        yield "Unequal draws: each cell tried values of its own, and no arm gets a word."
    if search.get("finals") != "crossed":
        yield "Finals were not crossed with the baseline's best values: no arm gets a word."
    if search.get("scheduler") == "asha":
        yield "Trials that fell behind were stopped early: an exploratory search."
    if (fewest := too_few(study)) is not None:
        yield (
            f"An exploratory search: {counted(fewest, 'candidate')} in "
            f"{counted(len(study.searched), 'field')}, where {MIN_CANDIDATES} a field are asked."
        )
