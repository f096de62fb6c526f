"""Points by cell: who ran, how it ended, whom it is compared with, and means over seeds.

A *cell* is one arm, one combination of settings and one batch size; its points differ in the seed
alone. Gaps are formed between cells that are equal in everything but the batch size. Only complete
trials enter a mean; all others are counted in the cell's row and named in its `remark`.

Every table has one row per cell, in the plan's order with batch sizes ascending, that begins with
    arm, settings ("" or e.g. "base_lr=0.02, network=f1": the values of `axes(study)`),
    global_batch_size, points (seeds planned), complete, diverged, failed, unfinished (counts),
    remark ("" or e.g. "3 of 5 diverged, 1 of 5 failed");
means over seeds add mean, low, high (95 % Student t), n and std. Metrics and their gaps are in the
unit of the tables (an accuracy a fraction of 1); a gap is positive where this batch is the worse. A
cell without values stays in the table: its mean is NaN and its n is 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd

from analysis.gaps.comparison import compared_with
from analysis.load import Study
from analysis.uncertainty import mean_interval
from analysis.wording import setting
from trainables.results.schema import POINT_COLUMNS

BASELINE_ARM = "baseline"
CELL = ["arm", "settings", "global_batch_size"]


# --------------------------------------------------------------------------------------- cells


def axes(study: Study) -> list[str]:
    """The point columns besides seed and batch size that vary within an arm: the grid's axes.

    What a search chose apart for every cell is no axis: points of two batch sizes differ in it.
    """
    no_axes = ("seed", "global_batch_size", *study.searched)
    columns = [c for c in POINT_COLUMNS if c not in no_axes]
    rows = study.points
    if study.search:  # a cell without a winner has none but these
        rows = pd.concat([rows, study.search_points])[["arm", *columns]].drop_duplicates()
    varies = rows.groupby("arm")[columns].nunique(dropna=False).gt(1).any()
    return [column for column in columns if varies[column]]


def with_settings(study: Study, points: pd.DataFrame) -> pd.DataFrame:
    """Points of a study with the column `settings` that names their cell."""
    texts = [[f"{c}={setting(v)}" for v in points[c]] for c in axes(study)]
    settings = [", ".join(parts) for parts in zip(*texts, strict=True)] if texts else ""
    return points.assign(settings=settings)


def in_order(table: pd.DataFrame) -> pd.DataFrame:
    """Rows of cells by arm and settings as they come, batch sizes ascending."""
    order = (
        table["global_batch_size"],
        pd.factorize(table["settings"])[0],
        pd.factorize(table["arm"])[0],
    )
    return table.iloc[np.lexsort(order)].reset_index(drop=True)


def labelled_points(study: Study) -> pd.DataFrame:
    """`study.points` with their `settings`, each cell and seed once, in the tables' order."""
    return _labelled(study).copy(deep=False)


@lru_cache(maxsize=1)  # every table of a report begins with these; a study never changes
def _labelled(study: Study) -> pd.DataFrame:
    points = with_settings(study, study.points).drop_duplicates([*CELL, "seed"])
    order = (
        points["seed"],
        points["global_batch_size"],
        pd.factorize(points["settings"])[0],
        pd.factorize(points["arm"])[0],
    )
    return points.iloc[np.lexsort(order)].reset_index(drop=True)


def first_key(points: pd.DataFrame) -> tuple[str, str]:
    """Arm and settings of the series that the plan begins with."""
    first = points.iloc[0]
    return str(first["arm"]), str(first["settings"])


def first_series(points: pd.DataFrame) -> pd.DataFrame:
    """The points of that series."""
    arm, settings = first_key(points)
    return points[(points["arm"] == arm) & (points["settings"] == settings)]


def first_complete(study: Study) -> pd.DataFrame:
    """The complete points of the study's first series."""
    first = first_series(labelled_points(study))
    return first[first["status"] == "complete"]


def counts(study: Study) -> pd.DataFrame:
    """The cells with their counts: the columns that every table here begins with."""
    return _counted(study).copy(deep=False)


@lru_cache(maxsize=1)
def _counted(study: Study) -> pd.DataFrame:
    points = labelled_points(study)
    counts = pd.crosstab([points[c] for c in CELL], points["status"])
    ended = counts.reindex(columns=["complete", "diverged", "failed"], fill_value=0)
    others = counts.drop(columns=["complete", "diverged", "failed"], errors="ignore")
    total = counts.sum(axis=1)
    unfinished = others.sum(axis=1).astype(int)
    table = ended.assign(unfinished=unfinished, remark=_remarks(counts, total))
    table.insert(0, "points", total)
    return points[CELL].drop_duplicates(ignore_index=True).join(table, on=CELL)


def _remarks(counts: pd.DataFrame, total: pd.Series) -> list[str]:
    first = ["diverged", "failed"]
    statuses = [s for s in first if s in counts] + [
        s for s in counts if s not in ("complete", *first)
    ]
    return [
        ", ".join(
            f"{row[s]} of {n} {'not run' if s == 'planned' else s}" for s in statuses if row[s]
        )
        for row, n in zip(counts.to_dict("records"), total, strict=True)
    ]


def matching_settings(study: Study) -> dict[tuple[str, str], list[str]]:
    """The baseline arm's settings that each arm and settings is compared with.

    `comparison.compared_with` has the rule; its axes are those of the study, as texts.
    """
    names = axes(study)
    settings = labelled_points(study).drop_duplicates(["arm", "settings"])
    keys = list(zip(settings["arm"], settings["settings"], strict=True))
    values = settings[names].map(setting).to_dict("records")
    places = [i for i, (arm, _) in enumerate(keys) if arm == BASELINE_ARM]
    baseline = [values[i] for i in places]
    return {
        key: [keys[places[i]][1] for i in compared_with(own, baseline)]
        for key, own in zip(keys, values, strict=True)
    }


def cell_of(row: Mapping[str, Any]) -> tuple[Any, ...]:
    """The cell that a row of any table is about: arm, settings, batch size."""
    return tuple(row[name] for name in CELL)


def records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """A table's rows as mappings."""
    rows: list[dict[str, Any]] = table.to_dict("records")
    return rows


def baseline_arm(table: pd.DataFrame, settings: str | None = None) -> pd.DataFrame:
    """The rows of the baseline arm, of one combination of settings or of all."""
    rows = table[table["arm"] == BASELINE_ARM]
    return rows if settings is None else rows[rows["settings"] == settings]


# --------------------------------------------------------------------------------------- means


def cell_means(study: Study, column: str) -> pd.DataFrame:
    """Mean over seeds of one column of `study.points` (train_loss, ...)."""
    return means_of(study, complete_values(study, column))


def complete_points(study: Study) -> pd.DataFrame:
    """CELL, seed and trial_id of the complete points, in order."""
    points = labelled_points(study)
    return points.loc[points["status"] == "complete", [*CELL, "seed", "trial_id"]]


def complete_values(study: Study, column: str) -> pd.DataFrame:
    """`complete_points` and their value: a column of `study.points`."""
    points = labelled_points(study)
    return complete_points(study).assign(value=points[column])


def means_of(study: Study, values: pd.DataFrame) -> pd.DataFrame:
    """All cells, and the mean over seeds of the values that they have."""
    table = counts(study)
    finite = values[np.isfinite(values["value"].astype(float))]
    groups = finite.groupby(CELL, sort=False)["value"]
    intervals = {key: vars(mean_interval(group)) for key, group in groups}
    keys = table[CELL].itertuples(index=False, name=None)
    nothing = vars(mean_interval([]))
    rows = [intervals.get(key, nothing) for key in keys]
    return table.join(pd.DataFrame(rows, columns=[*nothing]))


def off_baseline(study: Study, table: pd.DataFrame) -> pd.DataFrame:
    """The rows of all batch sizes besides the baseline's."""
    return table[table["global_batch_size"] != study.baseline_batch_size].reset_index(drop=True)
