"""What was measured at the end of training: values by definition, their means, gaps and ratios.

A *definition* is what values may be averaged over seeds and compared between batch sizes: one
quantity, by one method, over one box and set of examples, with the settings of one listing. Rows
are chosen by it, and its label is how people read it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd

from analysis.gaps.by_cell import CELL, complete_points, means_of, off_baseline
from analysis.gaps.paired import paired
from analysis.load import Study, but_for_when
from analysis.wording import number, setting
from trainables.config.measures.kinds import KINDS
from trainables.config.measures.measure import WHEN

NOISE = ("noise_scale", "gradient_trace_covariance", "gradient_squared_norm")
"""Quantities estimated from batches of two sizes, which their method names."""
AVERAGES = ("batch_sharpness",)
"""Quantities whose method names which average they are."""
BETWEEN = ("loss_barrier", "path_curvature")
"""Quantities of a path between two solutions; their method names the path, or where on it."""
NAMED = {"name", "examples", *WHEN, "sharpness_epsilon", "subspace_dim"}
"""Settings of a measure that its label names anyway, or that do not matter at the end."""


@dataclass(frozen=True, kw_only=True)
class Definition:
    """What was measured."""

    label: str
    """`sharpness best, ε 1e-3, full space`: unlike that of any other definition of the study."""
    quantity: str
    method: str
    what: str
    """The label but for quantity and method: `ε 1e-3, full space`."""
    box: str
    """The same whichever algorithm found it."""
    sharpness_epsilon: float | None
    subspace_dim: float | None
    is_old: bool
    """Whether an algorithm found it that today's replaces."""

    @property
    def is_sharpness(self) -> bool:
        """Whether it is Keskar's, by whichever method."""
        return self.quantity == "sharpness"


def definitions(study: Study) -> list[Definition]:
    """All that was measured, as the study file lists it; today's algorithm before older ones."""
    rows = measure_values(study).drop_duplicates("label").to_dict("records")
    return [
        Definition(
            label=row["label"],
            quantity=row["quantity"],
            method=row["method"],
            what=row["what"],
            box=row["box"],
            sharpness_epsilon=_known(row["sharpness_epsilon"]),
            subspace_dim=_known(row["subspace_dim"]),
            is_old=row["is_old"],
        )
        for row in rows
    ]


def _known(value: Any) -> float | None:
    return None if value is None or value != value else float(value)


def measure_values(study: Study) -> pd.DataFrame:
    """What was measured at the end of training: one row per trial and definition.

    In the order in which the study file lists the measures. What an older algorithm measured stands
    under a label of its own, and only where today's has not measured it.

    Returns:
        Columns trial_id, label, what, box and is_old (as `Definition` has them; with the number of
        examples where it is not the same for all, and with settings that differ between two
        listings of one measure), quantity (sharpness, hessian_top_eigenvalue,
        hessian_bottom_eigenvalue, hessian_trace, `NOISE`, `BETWEEN`, ...), method,
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
    records, parameters = rows.to_dict("records"), rows["parameters"].fillna("{}")
    name_examples = rows["examples"].nunique() > 1
    names = pd.DataFrame(
        [(_head(row), *_parts(row, name_examples)) for row in records],
        columns=["head", "what", "age"],
        index=rows.index,
        dtype=str,
    )
    labels = (names["head"] + names["what"] + names["age"]).tolist()
    suffix = pd.Series(_told_apart(labels, parameters.tolist()), index=rows.index, dtype=str)
    what = names["what"] + names["age"] + suffix
    columns = ["trial_id", "quantity", "method", "sharpness_epsilon", "subspace_dim", "examples"]
    rows = rows[[*columns, "algorithm", "value", "start_loss", "starts"]]
    box = names["what"] + suffix
    rows = rows.assign(label=names["head"] + what, what=what.str[2:], box=box.str[2:])
    rows = rows.assign(is_old=names["age"] != "")
    return rows.drop_duplicates(["trial_id", "label"], keep="last")


def _in_order(rows: pd.DataFrame, listed: Sequence[str]) -> pd.DataFrame:
    """As listed, what is not listed last; without what a newer algorithm measured too."""
    places = {parameters: place for place, parameters in enumerate(listed)}
    parameters = rows["parameters"].fillna("{}")
    what = parameters.map({text: but_for_when(text) for text in parameters.unique()})
    rows = rows.assign(what=what, place=what.map(places).fillna(len(places)))
    one = rows.groupby(["trial_id", "measure", "what"], dropna=False)["algorithm"]
    kept = rows[rows["algorithm"] == one.transform("max")]
    return kept.sort_values(["place", "algorithm"], ascending=[True, False], kind="stable")


def _head(row: Mapping[str, Any]) -> str:
    """The quantity, of a sharpness with its method."""
    name = str(row["quantity"])
    return f"{name} {row['method']}" if name == "sharpness" else name


def _parts(row: Mapping[str, Any], name_examples: bool) -> tuple[str, str]:
    """Box, method and examples, as `, ε 1e-3, full space`; and by which algorithm, if an old one.

    Args:
        row: A row of the measures.
        name_examples: Whether the number of examples tells measures apart too.
    """
    parts = []
    if row["quantity"] == "sharpness":
        parts.append(f"ε {number(row['sharpness_epsilon'])}")
        parts += ["full space"] if _known(row["subspace_dim"]) is None else []
    if row["quantity"] in (*NOISE, *AVERAGES, *BETWEEN):
        parts.append(str(row["method"]))
    if _known(row["subspace_dim"]) is not None:
        parts.append(f"subspace {row['subspace_dim']:g}")
    if name_examples and _known(row["examples"]) is not None:
        parts.append(f"{row['examples']:g} examples")
    kind = KINDS.get(row["measure"])
    # The paper's own method is the same in all algorithms.
    is_old = kind and row["algorithm"] < kind.algorithm and row["method"] != "paper"
    age = f", algorithm {row['algorithm']:g}" if is_old else ""
    return "".join(f", {part}" for part in parts), age


def _told_apart(labels: Sequence[str], parameters: Sequence[str]) -> list[str]:
    """`, relative_radius 0.1` where one label would stand for several settings, else ""."""
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
    return [suffixes[label, text] for label, text in pairs]


def recorded(study: Study, quantity: str, method: str | None = None) -> pd.DataFrame:
    """A quantity along training and at the end, of the first listing that was recorded on the way.

    Args:
        study: As loaded.
        quantity: Which; of several eigenvalues the outermost.
        method: Where it was found in several ways, by which.

    Returns:
        Rows of `study.measures`, the steps of a trial ascending; value is NaN where the record
        failed. Empty where it was measured at the end alone.
    """
    rows = study.measures.assign(what=study.measures["parameters"].fillna("{}").map(but_for_when))
    own = (rows["quantity"] == quantity) & (rows["index"].fillna(0) == 0)
    if method is not None:
        own &= rows["method"] == method
    on_the_way = set(rows.loc[own & (rows["at_end"] != True), "what"])  # noqa: E712 - nullable
    listed = [what for what in study.listed_measures if what in on_the_way]
    first = [*listed, *sorted(on_the_way)][:1]
    failed = rows["measure"].isin(set(rows.loc[own, "measure"])) & rows["error"].notna()
    rows = rows[(own | failed) & rows["what"].isin(first)].sort_values("optimizer_step")
    return rows.drop_duplicates(["trial_id", "optimizer_step"], keep="last")


def partner_ids(study: Study) -> set[str]:
    """The trials at the baseline batch size, which measures between two compare with."""
    points = study.points
    return set(points.loc[points["global_batch_size"] == study.baseline_batch_size, "trial_id"])


def measure_means(study: Study, definition: Definition) -> pd.DataFrame:
    """Mean of what was measured per cell, on the plain and on the log scale.

    Returns:
        mean ... n, and geometric_mean, geometric_low, geometric_high: exp of the logs' interval,
        NaN where a value is not positive.
    """
    values = _of(study, definition)
    positive = values.groupby(CELL)["value"].transform("min") > 0
    logs = means_of(study, values[positive].assign(value=np.log(values["value"][positive])))
    geometric = np.exp(logs[["mean", "low", "high"]]).add_prefix("geometric_")
    return means_of(study, values).join(geometric)


def measure_gap(study: Study, definition: Definition) -> pd.DataFrame:
    """What was measured at this batch minus at the baseline batch, paired; per cell."""
    pairs = paired(study, _of(study, definition))
    differences = pairs.assign(value=pairs["value"] - pairs["baseline"])
    return off_baseline(study, means_of(study, differences))


def measure_ratio(study: Study, definition: Definition) -> pd.DataFrame:
    """What was measured at this batch over that at the baseline batch, paired, log scale.

    Returns:
        Per cell mean (geometric), low and high as ratios; std is that of the logs. Pairs with a
        value that is not positive have no logarithm: `left_out` counts them.
    """
    pairs = paired(study, _of(study, definition))
    usable = (pairs["value"] > 0) & (pairs["baseline"] > 0)
    logs = np.log(pairs["value"].where(usable) / pairs["baseline"].where(usable))
    table = off_baseline(study, means_of(study, pairs.assign(value=logs)))
    table[["mean", "low", "high"]] = np.exp(table[["mean", "low", "high"]])
    left_out = (~usable).groupby([pairs[c] for c in CELL]).sum().rename("left_out")
    table = table.join(left_out, on=CELL)
    return table.fillna({"left_out": 0}).astype({"left_out": int})


def _of(study: Study, definition: Definition) -> pd.DataFrame:
    """CELL, seed, trial_id and value of the complete points."""
    values = measure_values(study)
    wanted = values[values["label"] == definition.label]
    return complete_points(study).merge(wanted, on="trial_id")
