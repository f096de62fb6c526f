"""Gaps between batch sizes: paired by seed, every mean with its interval.

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

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd

from analysis.comparison import compared_with
from analysis.load import Study, but_for_when
from analysis.uncertainty import mean_interval, sign_flip_p
from analysis.wording import measure_label, setting
from trainables.results.schema import POINT_COLUMNS
from trainables.task import Metric, metric_of

BASELINE_ARM = "baseline"
CELL = ["arm", "settings", "global_batch_size"]
NAMED = {"name", "examples", "every_epochs", "sharpness_epsilon", "subspace_dim"}
"""Settings of a measure that its label names anyway, or that do not matter at the end."""


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


def cells(study: Study) -> pd.DataFrame:
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
    return _means(study, complete_values(study, column))


def train_test_gap(study: Study, metric: Metric | None = None) -> pd.DataFrame:
    """By how much the same trial is worse on test than on train; of the metric, or of the loss."""
    metric = metric or study.metric
    train, test = (complete_values(study, metric.column(s)) for s in ("train", "test"))
    return _means(study, train.assign(value=metric.advantage(train["value"], test["value"])))


def generalization_gap(study: Study) -> pd.DataFrame:
    """By how much the metric on the test set is better at the baseline batch; see `gap_of`."""
    return gap_of(study, study.test_metric)


def gap_of(study: Study, column: str) -> pd.DataFrame:
    """By how much a metric is better at the baseline batch than at this one, paired by seed.

    Returns:
        One row per cell off the baseline batch; `p` is the exact sign-flip permutation p.
    """
    pairs = paired_gaps(study, column)
    table = off_baseline(study, _means(study, pairs))
    return table.join(pairs.groupby(CELL)["value"].agg(sign_flip_p).rename("p"), on=CELL)


def paired_gaps(study: Study, column: str | None = None) -> pd.DataFrame:
    """The single pairs of `gap_of`: arm, settings, batch size, seed, trial_id and value."""
    column = column or study.test_metric
    pairs = _paired(study, complete_values(study, column))
    gap = metric_of(column).advantage(pairs["baseline"], pairs["value"])
    return pairs.assign(value=gap).drop(columns="baseline")


def complete_points(study: Study) -> pd.DataFrame:
    """CELL, seed and trial_id of the complete points, in order."""
    points = labelled_points(study)
    return points.loc[points["status"] == "complete", [*CELL, "seed", "trial_id"]]


def complete_values(study: Study, column: str) -> pd.DataFrame:
    """`complete_points` and their value: a column of `study.points`."""
    points = labelled_points(study)
    return complete_points(study).assign(value=points[column])


def _paired(study: Study, values: pd.DataFrame, *by: str) -> pd.DataFrame:
    """Values off the baseline batch beside their pair's at it, `baseline`: same seed, arm, `by`."""
    same = ["arm", "settings", "seed", *by]
    at_baseline = values["global_batch_size"] == study.baseline_batch_size
    baseline = values[at_baseline].rename(columns={"value": "baseline"})
    return values[~at_baseline].merge(baseline[[*same, "baseline"]], on=same)


def _means(study: Study, values: pd.DataFrame, *by: str) -> pd.DataFrame:
    """All cells, crossed with the values of `by`, and the mean of their values over seeds."""
    table = cells(study)
    for column in by:
        table = table.merge(values[[column]].drop_duplicates(), how="cross")
    finite = values[np.isfinite(values["value"].astype(float))]
    groups = finite.groupby([*CELL, *by], sort=False)["value"]
    intervals = {key: vars(mean_interval(group)) for key, group in groups}
    keys = table[[*CELL, *by]].itertuples(index=False, name=None)
    nothing = vars(mean_interval([]))
    rows = [intervals.get(key, nothing) for key in keys]
    return table.join(pd.DataFrame(rows, columns=[*nothing]))


def off_baseline(study: Study, table: pd.DataFrame) -> pd.DataFrame:
    """The rows of all batch sizes besides the baseline's."""
    return table[table["global_batch_size"] != study.baseline_batch_size].reset_index(drop=True)


# ------------------------------------------------------------------------------------ measures


def measure_values(study: Study) -> pd.DataFrame:
    """What was measured at the end of training: one row per trial and label.

    In the order in which the study file lists the measures. What an older algorithm measured stands
    under a label of its own, and only where today's has not measured it.

    Returns:
        Columns trial_id, label ("sharpness best, ε 1e-3, full space", "hessian_trace"; with the
        number of examples where it is not the same for all, and with settings that differ between
        two listings of one measure), quantity (sharpness, hessian_top_eigenvalue,
        hessian_bottom_eigenvalue, hessian_trace, `wording.NOISE`, `wording.BETWEEN`, ...), method,
        sharpness_epsilon, subspace_dim, examples, algorithm, value, start_loss, starts (the value
        from each of several starts, as JSON). Of several eigenvalues the outermost; of comparisons
        those with a trial at the baseline batch size. What was measured of single layers is no part
        of it: `analysis.layers` has that.
    """
    return _measure_values(study).copy(deep=False)


@lru_cache(maxsize=1)
def _measure_values(study: Study) -> pd.DataFrame:
    rows = study.measures
    rows = rows[(rows["at_end"] == True) & rows["value"].notna()]  # noqa: E712 - nullable
    rows = rows[(rows["index"].fillna(0) == 0) & rows["layer"].isna()]
    others = rows["other_trial_id"]
    rows = rows[others.isna() | others.isin(partner_ids(study))]
    rows = _in_order(rows.assign(algorithm=rows["algorithm"].fillna(1)), study.listed_measures)
    name_examples = rows["examples"].nunique() > 1
    labels = [measure_label(row, name_examples) for row in rows.to_dict("records")]
    labels = _told_apart(labels, rows["parameters"].fillna("{}").tolist())
    columns = ["trial_id", "quantity", "method", "sharpness_epsilon", "subspace_dim", "examples"]
    rows = rows[[*columns, "algorithm", "value", "start_loss", "starts"]]
    return rows.assign(label=pd.Series(labels, index=rows.index, dtype=str)).drop_duplicates(
        ["trial_id", "label"], keep="last"
    )


def _in_order(rows: pd.DataFrame, listed: Sequence[str]) -> pd.DataFrame:
    """As listed, what is not listed last; without what a newer algorithm measured too."""
    places = {parameters: place for place, parameters in enumerate(listed)}
    parameters = rows["parameters"].fillna("{}")
    what = parameters.map({text: but_for_when(text) for text in parameters.unique()})
    rows = rows.assign(what=what, place=what.map(places).fillna(len(places)))
    one = rows.groupby(["trial_id", "measure", "what"], dropna=False)["algorithm"]
    kept = rows[rows["algorithm"] == one.transform("max")]
    return kept.sort_values(["place", "algorithm"], ascending=[True, False], kind="stable")


def _told_apart(labels: list[str], parameters: list[str]) -> list[str]:
    """Labels, with `, relative_radius 0.1` where one would stand for several settings."""
    ways: dict[str, dict[str, Any]] = {}
    for label, text in set(zip(labels, parameters, strict=True)):
        ways.setdefault(label, {})[text] = json.loads(text)
    suffixes: dict[tuple[str, str], str] = {}
    for label, settings in ways.items():
        keys = sorted({key for way in settings.values() for key in way} - NAMED)
        differ = [k for k in keys if len({json.dumps(w.get(k)) for w in settings.values()}) > 1]
        for text, way in settings.items():
            parts = [f", {k} {setting(way.get(k))}" for k in differ]
            suffixes[label, text] = "".join(parts)
    pairs = zip(labels, parameters, strict=True)
    return [label + suffixes[label, text] for label, text in pairs]


def partner_ids(study: Study) -> set[str]:
    """The trials at the baseline batch size, which measures between two compare with."""
    points = study.points
    return set(points.loc[points["global_batch_size"] == study.baseline_batch_size, "trial_id"])


def measure_means(study: Study, quantity: str) -> pd.DataFrame:
    """Mean of a measured quantity per cell and label, on the plain and on the log scale.

    Returns:
        mean ... n, and geometric_mean, geometric_low, geometric_high: exp of the logs' interval,
        NaN where a value is not positive.
    """
    values = _measured(study, quantity)
    table = _means(study, values, "label")
    positive = values.groupby([*CELL, "label"])["value"].transform("min") > 0
    logs = _means(study, values[positive].assign(value=np.log(values["value"][positive])), "label")
    return table.merge(
        np.exp(logs[["mean", "low", "high"]]).add_prefix("geometric_").join(logs[[*CELL, "label"]]),
        on=[*CELL, "label"],
        how="left",
    )


def measure_gap(study: Study, quantity: str) -> pd.DataFrame:
    """A measured quantity at this batch minus at the baseline batch, paired; per cell and label."""
    pairs = _paired(study, _measured(study, quantity), "label")
    differences = pairs.assign(value=pairs["value"] - pairs["baseline"])
    return off_baseline(study, _means(study, differences, "label"))


def measure_ratio(study: Study, quantity: str) -> pd.DataFrame:
    """A measured quantity at this batch over that at the baseline batch, paired, log scale.

    Returns:
        Per cell and label mean (geometric), low and high as ratios; std is that of the logs. Pairs
        with a value that is not positive have no logarithm: `left_out` counts them.
    """
    pairs = _paired(study, _measured(study, quantity), "label")
    usable = (pairs["value"] > 0) & (pairs["baseline"] > 0)
    logs = np.log(pairs["value"].where(usable) / pairs["baseline"].where(usable))
    table = off_baseline(study, _means(study, pairs.assign(value=logs), "label"))
    table[["mean", "low", "high"]] = np.exp(table[["mean", "low", "high"]])
    left_out = (~usable).groupby([pairs[c] for c in [*CELL, "label"]]).sum().rename("left_out")
    table = table.join(left_out, on=[*CELL, "label"])
    return table.fillna({"left_out": 0}).astype({"left_out": int})


def sharpness_gap(study: Study) -> pd.DataFrame:
    """`measure_gap` of the sharpness."""
    return measure_gap(study, "sharpness")


def sharpness_ratio(study: Study) -> pd.DataFrame:
    """`measure_ratio` of the sharpness."""
    return measure_ratio(study, "sharpness")


def _measured(study: Study, quantity: str) -> pd.DataFrame:
    """CELL, seed, trial_id, label and value of the complete points."""
    values = measure_values(study)
    wanted = values[values["quantity"] == quantity]
    return complete_points(study).merge(wanted, on="trial_id")
