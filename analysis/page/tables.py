"""A study's numbers as tables of text.

Metrics and their gaps have the task's units, an accuracy percent and points: mean ± standard
deviation over seeds where the literature has that form, mean [95 % interval] elsewhere. A dash
stands for what was not run or not measured, never for zero. Columns that are empty in every row are
left out.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, Literal

import pandas as pd

from analysis import choice
from analysis.gaps import by_cell, measured, paired
from analysis.gaps.sharpness import first_sharpness, sharpness_gap
from analysis.judged import correlation
from analysis.judged.gaps import spoken_gap
from analysis.load import Study
from analysis.uncertainty import MAX_EXACT_PAIRS, SAME, SMALLEST_DRAWN_P
from analysis.wording import NONE, TIMES, headed, number, p_value, signed, whole, words
from analysis.words.scorecard import scorecard
from trainables.task import Metric

CONDITION_WORDS = {
    "peak_lr": "peak lr",
    "scaled_warmup_epochs": "warmup, epochs",
    "optimizer_steps_resolved": "step budget",
    "effective_batch_size": "effective batch",
    "lr_per_example": "lr / batch",
    "weight_decay_per_epoch": "weight decay per epoch",
    "momentum_half_life_examples": "momentum half-life, examples",
}

Row = Mapping[str, Any]
Method = Literal["best", "paper"]


# --------------------------------------------------------------------------------------- tables


def gap_table(study: Study) -> pd.DataFrame:
    """The gaps per cell: generalization, train against test, sharpness; train loss beside them.

    The sharpness gap (this batch minus the baseline batch) is that of the study's sharpness; there
    is no column where none was measured.
    """
    metric = study.metric
    gap = _by_cell(spoken_gap(study))
    within = _by_cell(paired.train_test_gap(study))
    first, sharpness = first_sharpness(study), sharpness_gap(study)
    by_label = {first.label: _by_cell(sharpness)} if first and sharpness is not None else {}
    loss = _by_cell(by_cell.cell_means(study, "train_loss"))
    return table_of(
        {
            **row_head(row),
            headed(words(study.test_metric), metric.unit): level(row, metric),
            headed("gap", metric.unit_of_difference): _gap(gap.get(cell), metric),
            "permutation p": _sign_flip_p(gap.get(cell, {})),
            headed(_train_test(metric), metric.unit_of_difference): interval(
                within[cell], metric.amount
            ),
            **{
                f"gap of {words(label)}": interval(rows.get(cell), "{:.1f}".format)
                for label, rows in by_label.items()
            },
            "train loss": number(loss[cell]["mean"], 2),
            **row_tail(row),
        }
        for cell, row in _by_cell(by_cell.cell_means(study, study.test_metric)).items()
    )


def measure_table(study: Study, method: Method = "best") -> pd.DataFrame:
    """What was measured, per cell: geometric mean and (ratio to the baseline batch).

    Some quantities need not be positive (an estimate of the noise scale, a barrier, a curvature);
    where one is not, the plain mean stands, and says so, and there is no ratio.
    """
    measures = [
        (
            definition.label,
            _by_cell(measured.measure_means(study, definition)),
            _by_cell(measured.measure_ratio(study, definition)),
        )
        for definition in _definitions(study, method)
    ]
    return table_of(
        {
            **row_head(row),
            "train loss": number(row["mean"], 2),
            **{
                words(label): _with_ratio(means.get(cell, {}), ratios.get(cell))
                for label, means, ratios in measures
            },
            **row_tail(row),
        }
        for cell, row in _by_cell(by_cell.cell_means(study, "train_loss")).items()
    )


def choice_table(study: Study) -> pd.DataFrame:
    """What each batch size gives and costs: `choice.choice_table` as text.

    "loses at most" is the one-sided upper limit of the gap.
    """
    metric, share = study.metric, choice.target_share(study.metric)
    gap = _by_cell(spoken_gap(study))
    return table_of(
        {
            **row_head(row),
            headed(words(study.test_metric), metric.unit): bounded(row, "test_metric", metric),
            headed("loses at most", metric.unit_of_difference): _at_most(
                gap.get(by_cell.cell_of(row)), metric
            ),
            "steps": whole(row["optimizer_steps"]),
            "seconds per epoch": number(row["seconds_per_epoch"]),
            "timing": row["timing"],
            "peak memory": memory(row["peak_memory_bytes"]),
            f"time to {100 * share:.0f} % of baseline": _target(row),
            **row_tail(row),
        }
        for row in by_cell.records(choice.choice_table(study))
    )


def conditions_table(study: Study) -> pd.DataFrame:
    """What follows from the batch size by other ways, per cell."""
    return table_of(
        {**row_head(row), **{word: _exact(row[name]) for name, word in CONDITION_WORDS.items()}}
        for row in by_cell.records(choice.conditions(study))
    )


def keskar_table(study: Study, method: Method = "paper") -> pd.DataFrame:
    """The form of Keskar et al. 2017, Tables 2-4: the small batch (SB) beside a large one (LB).

    One row per arm, settings and large batch size: the metric on train and test, and each
    sharpness, full space or random subspace, as mean ± standard deviation over seeds.
    """
    metric = study.metric
    columns: list[tuple[str, Mapping[tuple[Any, ...], Row], Callable[[Row | None], str]]] = [
        (
            headed(split, metric.unit),
            _by_cell(by_cell.cell_means(study, metric.column(split))),
            partial(level, metric=metric),
        )
        for split in ("train", "test")
    ] + [
        (f"sharpness {d.what}", _by_cell(measured.measure_means(study, d)), deviation)
        for d in _definitions(study, method)
        if d.is_sharpness
    ]
    network = _by_cell(by_cell.labelled_points(study).drop_duplicates(by_cell.CELL))
    small = study.baseline_batch_size
    return table_of(
        {
            "network": network[arm, settings, large]["network"],
            "arm": arm,
            "settings": settings,
            "LB": str(large),
            **{
                f"{name}: {side}": text(cells.get((arm, settings, batch)))
                for name, cells, text in columns
                for side, batch in (("SB", small), ("LB", large))
            },
            **row_tail(row),
        }
        for (arm, settings, large), row in _by_cell(by_cell.counts(study)).items()
        if large != small
    )


def scorecard_table(study: Study) -> pd.DataFrame:
    """The papers' claims beside ours, without columns that are empty throughout."""
    table = scorecard(study).rename(columns={"quantity": "measure"})
    empty = [name for name in ("settings", "train", "size") if (table[name] == "").all()]
    return table.drop(columns=empty).assign(measure=table["measure"].map(words)).astype(str)


def correlation_table(study: Study) -> pd.DataFrame:
    """Kendall's tau of every measure with the metric and with the gap."""
    table = correlation.correlations(study).dropna(subset="tau")
    within = [c for c in table if c.startswith("within ") and table[c].notna().any()]
    frame = pd.DataFrame({"measure": table["label"].map(words), "with": table["target"]})
    frame["τ, all trials"] = table["tau"].map(signed)
    frame["trials"] = table["n"].astype(str)
    frame["τ in cells"] = table["tau_in_cells"].map(signed)
    frame = frame.assign(**_holm_column(table, "in_cells", "p"))
    frame["p, whole seeds"] = table["p_whole_seeds"].map(p_value)
    frame["τ of cell means"] = table["tau_of_means"].map(signed)
    frame = frame.assign(**_holm_column(table, "of_means", "p of means"))
    frame["cells"] = table["cells"].astype(str)
    for name in within:
        frame[name] = table[name].map(signed)
    return frame


def _holm_column(table: pd.DataFrame, test: str, name: str) -> dict[str, list[str]]:
    """p after Holm, below a head that says over how many rows; no column where no row has one."""
    size = table[f"m_{test}"].max() if len(table) else 0
    if not size:
        return {}
    pairs = zip(table[f"p_{test}_holm"], table[f"p_{test}_is_bound"], strict=True)
    return {f"{name}, Holm over {size}": [p_value(p, is_bound) for p, is_bound in pairs]}


def failures_table(study: Study) -> pd.DataFrame:
    """One row per trial that ended otherwise than complete."""
    points = by_cell.labelled_points(study).drop_duplicates("trial_id")
    ended = points[~points["status"].isin(["complete", "planned"])]
    steps = [whole(step) for step in ended["optimizer_step"]]
    frame = ended[[*by_cell.CELL, "seed", "status"]].astype(str).assign(step=steps)
    frame = frame.assign(error=ended["error"].fillna("").astype(str))
    return frame.rename(columns={"global_batch_size": "batch size"}).loc[
        :, lambda rows: [name for name in rows if rows[name].ne("").any()]
    ]


# ---------------------------------------------------------------------------------- text of cells


def level(row: Row | None, metric: Metric) -> str:
    """`mean ± standard deviation` of a metric (`mean`, `std`)."""
    if row is None or math.isnan(row["mean"]):
        return NONE
    spread = "" if math.isnan(row["std"]) else f" ± {metric.amount(row['std'])}"
    return metric.amount(row["mean"]) + spread


def deviation(row: Row | None) -> str:
    """`mean ± standard deviation` of a row with `mean` and `std`, to the latter's second digit."""
    if row is None or math.isnan(row["mean"]):
        return NONE
    mean, std = row["mean"], row["std"]
    if not std >= 1e-3:
        return number(mean) + ("" if math.isnan(std) else f" ± {number(std, 2)}")
    decimals = max(0, 1 - math.floor(math.log10(std)))
    return f"{mean:.{decimals}f} ± {std:.{decimals}f}"


def interval(row: Row | None, text: Callable[[float], str]) -> str:
    """`mean [low, high]` of a row with these three."""
    if row is None or math.isnan(row["mean"]):
        return NONE
    mean, low, high = (text(row[name]) for name in ("mean", "low", "high"))
    return mean if math.isnan(row["low"]) else f"{mean} [{low}, {high}]"


def memory(size_bytes: Any) -> str:
    """Bytes in MiB or GiB."""
    if size_bytes is None or math.isnan(size_bytes):
        return NONE
    mebibytes = size_bytes / 2**20
    return f"{mebibytes:.0f} MiB" if mebibytes < 1024 else f"{mebibytes / 1024:.1f} GiB"


def bounded(row: Row, name: str, metric: Metric) -> str:
    """`mean [low, high]` of the columns NAME, NAME_low and NAME_high."""
    named = {"mean": row[name], "low": row[f"{name}_low"], "high": row[f"{name}_high"]}
    return interval(named, metric.amount)


def _train_test(metric: Metric) -> str:
    """Which difference of the two is positive where test is the worse."""
    return "train - test" if metric.is_larger_better else "test - train"


def _gap(row: Row | None, metric: Metric) -> str:
    """`mean [low, high]`, or that all differences are equal."""
    text = interval(row, metric.amount)
    if row is None or not (row["n"] > 1 and row["std"] <= SAME):
        return text
    return f"{text} (all {row['n']} equal)"


def _at_most(row: Row | None, metric: Metric) -> str:
    return NONE if row is None or math.isnan(row["at_most"]) else metric.amount(row["at_most"])


def _sign_flip_p(row: Row) -> str:
    """The exact p; a dash where so few seeds could not reach the level at all."""
    if 2 / 2 ** row.get("n", 0) >= 1 - row.get("level", 1):
        return NONE
    drawn = row.get("n", 0) > MAX_EXACT_PAIRS
    return p_value(row.get("p"), drawn and row["p"] < 1.01 * SMALLEST_DRAWN_P)


def _exact(value: float) -> str:
    """A number whose whole part is a count and keeps all its digits."""
    return whole(value) if value >= 1000 else number(value)


def _with_ratio(means: Row, ratio: Row | None) -> str:
    value = number(means.get("geometric_mean"))
    if value == NONE and means.get("n"):
        return f"{number(means['mean'])} (plain mean)"
    # A ratio of the positive pairs alone would be that of the lucky ones.
    is_partial = ratio is not None and ratio["left_out"] > 0
    times = NONE if ratio is None or is_partial else number(ratio["mean"])
    return value if times == NONE else f"{value} ({times} {TIMES})"


def _target(row: Row) -> str:
    seconds, reached, trials = row["target_seconds"], row["target_reached"], row["target_trials"]
    if seconds is None or math.isnan(seconds):
        return NONE
    time = "not reached" if math.isinf(seconds) else f"{number(seconds)} s"
    return f"{time} ({reached:.0f} of {trials:.0f})"


# ------------------------------------------------------------------------------------- assembly


def _by_cell(table: pd.DataFrame) -> dict[tuple[Any, ...], dict[str, Any]]:
    return {by_cell.cell_of(row): row for row in by_cell.records(table)}


def _definitions(study: Study, method: Method) -> list[measured.Definition]:
    """All that was measured; of the sharpness by one method only."""
    found = measured.definitions(study)
    return [d for d in found if not d.is_sharpness or d.method == method]


def row_head(row: Row) -> dict[str, str]:
    """The columns that name the row: arm, settings, batch size."""
    batch = str(row["global_batch_size"])
    return {"arm": row["arm"], "settings": row["settings"], "batch size": batch}


def row_tail(row: Row) -> dict[str, str]:
    """The columns that qualify it: n, remark."""
    return {"n": str(row["n"]) if "n" in row else "", "remark": row["remark"]}


def table_of(rows: Iterable[Mapping[str, str]]) -> pd.DataFrame:
    """The rows, without columns that say nothing in any of them."""
    table = pd.DataFrame(list(rows), dtype=object)
    return table.loc[:, [not table[name].isin(["", NONE]).all() for name in table]]
