"""The papers' numbers beside ours: claim by claim, reproduced or not.

A claim of `analysis/published/NAME.csv` says that a quantity is higher, lower or equal at one arm
and batch than at another. Ours is the difference paired by seed (accuracies, in points) or the
ratio, on the log scale (everything else), with its 95 % Student t interval. Nothing is taken for
shown that the interval does not show: "equal" can be contradicted, never proved.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis import gaps
from analysis.load import Study
from analysis.uncertainty import Interval, paired_interval
from analysis.wording import NONE, number
from trainables.schema import TABLES

FOLDER = Path(__file__).parent / "published"
WORDS = ("claim", "network", "layer", "quantity", "arm", "batch", "versus_arm", "versus_batch")
"""Columns that hold text even where they look like numbers."""
METHODS = {
    "sharpness": "paper",
    "adaptive_sharpness": "best",
    "batch_sharpness": "mean of ratios",
}
"""Where a quantity was found in several ways, the one that the papers are compared with."""

Claim = dict[str, Any]


def published(name: str) -> pd.DataFrame:
    """The claims of one file, an absent text as "".

    Columns: claim, network ("" = any), layer (of statistics of layers), quantity,
    sharpness_epsilon, subspace_dim, arm, batch, versus_arm, versus_batch (`baseline`, `large` or a
    number), direction (of the first side against the second: higher, lower, not lower or equal),
    value, spread, versus_value, versus_spread (both values or neither; absent = the claim is its
    direction), n (the paper's runs), unit (percent or none), source, where, note.
    """
    return _published(name).copy()


@cache
def _published(name: str) -> pd.DataFrame:
    texts = dict.fromkeys((*WORDS, "direction", "unit", "source", "where", "note"), str)
    table = pd.read_csv(FOLDER / f"{name}.csv", dtype=texts)
    return table.fillna(dict.fromkeys(texts, ""))


def scorecard(study: Study) -> pd.DataFrame:
    """Every claim of the tables that the study reproduces, beside what was found here.

    Returns:
        claim, settings, quantity, paper, here (texts), n (paired seeds), direction (reproduced,
        not shown, contradicted, not contradicted, not run, not measured), size ("within",
        "outside": whether the paper's difference or ratio lies in our interval; "" where it gives
        none), source (with the claim's note).
    """
    return _scorecard(study).copy()


@lru_cache(maxsize=1)  # page and terminal both show it; a study never changes
def _scorecard(study: Study) -> pd.DataFrame:
    rows = [
        _judged(study, claim, settings)
        for name in study.reproduces
        for claim in _claims(study, name)
        for settings in _settings(study, claim)
    ]
    columns = ["claim", "settings", "quantity", "paper", "here", "n", "direction", "size", "source"]
    return pd.DataFrame(rows, columns=columns)


def compact_scorecard(study: Study) -> pd.DataFrame:
    """Claim with what is compared, what was found here, and the judgement, for a terminal."""
    table = scorecard(study)
    claims = [f"{c} ({q})" for c, q in zip(table["claim"], table["quantity"], strict=True)]
    return table[["here", "direction"]].assign(claim=claims)[["claim", "here", "direction"]]


def _claims(study: Study, name: str) -> list[Claim]:
    """The claims on the study's networks; where it has none of theirs, on the first network."""
    table = published(name)
    networks = table["network"]
    known = networks.isin(["", *study.points["network"]])
    if not known.any():
        known = networks == networks.iloc[0]
    return gaps.records(table[known])


def _settings(study: Study, claim: Claim) -> Iterator[str]:
    """The settings of the claim's arm that it may be about."""
    points = gaps.labelled_points(study)
    here = points["arm"] == claim["arm"]
    if claim["network"] in set(points["network"]):
        here &= points["network"] == claim["network"]
    yield from dict.fromkeys(points.loc[here, "settings"])


def _judged(study: Study, claim: Claim, settings: str) -> dict[str, Any]:
    first, second = _sides(study, claim, settings)
    both = pd.DataFrame({"first": first, "second": second}).dropna()
    is_accuracy = claim["unit"] == "percent"
    found = _interval(both, is_accuracy)
    return {
        "claim": claim["claim"],
        "settings": settings,
        "quantity": _measured(claim),
        "paper": _paper(claim),
        "here": _here(both, found, is_accuracy),
        "n": len(both),
        "direction": _direction(study, claim, settings, both, found),
        "size": _size(claim, found, is_accuracy),
        "source": f"{claim['source']}, {claim['where']}"
        + (f" ({claim['note']})" if claim["note"] else ""),
    }


# --------------------------------------------------------------------------------------- our side


def _sides(study: Study, claim: Claim, settings: str) -> tuple[pd.Series, pd.Series]:
    """Our values of both sides of a claim, by seed."""
    values = _values(study, claim)
    versus = settings
    if claim["versus_arm"] != claim["arm"]:
        matching = gaps.matching_settings(study).get((claim["arm"], settings), [settings])
        versus = matching[0] if claim["versus_arm"] == gaps.BASELINE_ARM else settings
    return (
        _side(values, claim["arm"], settings, _batch(study, claim, "batch", settings)),
        _side(values, claim["versus_arm"], versus, _batch(study, claim, "versus_batch", settings)),
    )


def _side(values: pd.DataFrame, arm: str, settings: str, batch: int | None) -> pd.Series:
    here = (values["arm"] == arm) & (values["settings"] == settings)
    rows = values[here & (values["global_batch_size"] == (batch or 0))]
    series: pd.Series = rows.drop_duplicates("seed").set_index("seed")["value"].astype(float)
    return series


def _batch(study: Study, claim: Claim, side: str, settings: str) -> int | None:
    """The batch size that a claim's word stands for; `large` is the largest of its arm."""
    if claim[side] == "baseline":
        return study.baseline_batch_size
    points = gaps.labelled_points(study)
    here = (points["arm"] == claim["arm"]) & (points["settings"] == settings)
    sizes = set(points.loc[here, "global_batch_size"])
    if claim[side] == "large":
        return max(sizes, default=None)
    return int(claim[side]) if int(claim[side]) in sizes else None


def _values(study: Study, claim: Claim) -> pd.DataFrame:
    """CELL, seed and value of the claim's quantity on complete points."""
    name = claim["quantity"]
    if name in study.points:
        return gaps.complete_values(study, name)
    points = gaps.complete_values(study, "test_accuracy").drop(columns="value")
    if name in TABLES["layers"].names:
        rows = study.layers[study.layers["kind"] == "weight"]
        rows = rows[(rows["layer"] == claim["layer"]) & (rows["optimizer_step"] == 1)]
        return points.merge(rows[["trial_id", name]].rename(columns={name: "value"}), on="trial_id")
    rows = gaps.measure_values(study)
    rows = rows[rows["quantity"] == name]
    if name in METHODS:
        rows = rows[rows["method"] == METHODS[name]]
    for column in ("sharpness_epsilon", "subspace_dim"):
        wanted = claim[column]
        rows = rows[rows[column].isna() if math.isnan(wanted) else rows[column] == wanted]
    return points.merge(rows.drop_duplicates("trial_id"), on="trial_id")


def _interval(both: pd.DataFrame, is_accuracy: bool) -> Interval:
    """Difference of accuracies as fractions, or of logarithms."""
    if not is_accuracy:
        positive = both[(both > 0).all(axis=1)]
        both = np.log(positive)
    return paired_interval(both["first"], both["second"])


# ---------------------------------------------------------------------------------------- judging


def _direction(
    study: Study, claim: Claim, settings: str, both: pd.DataFrame, found: Interval
) -> str:
    if None in (_batch(study, claim, side, settings) for side in ("batch", "versus_batch")):
        return "not run"
    if both.empty:
        arms = set(gaps.labelled_points(study)["arm"])
        return "not measured" if claim["versus_arm"] in arms else "not run"
    if claim["direction"] == "equal":
        return "contradicted" if found.excludes_zero else "not contradicted"
    if claim["direction"] == "not lower":
        return "contradicted" if found.high < 0 else "not contradicted"
    if not found.excludes_zero:
        return "not shown"
    as_said = (found.mean > 0) == (claim["direction"] == "higher")
    return "reproduced" if as_said else "contradicted"


def _size(claim: Claim, found: Interval, is_accuracy: bool) -> str:
    value, versus = claim["value"], claim["versus_value"]
    if math.isnan(value) or math.isnan(versus) or math.isnan(found.low):
        return ""
    size = (value - versus) / 100 if is_accuracy else math.log(value / versus)
    return "within" if found.low <= size <= found.high else "outside"


# ------------------------------------------------------------------------------------------ texts


def _measured(claim: Claim) -> str:
    """`sharpness, ε 1e-3, subspace 100`, `mean_abs_gradient of hidden1`: what is compared."""
    epsilon, dim = claim["sharpness_epsilon"], claim["subspace_dim"]
    name = f"{claim['quantity']} of {claim['layer']}" if claim["layer"] else claim["quantity"]
    box = [] if math.isnan(epsilon) else [f"ε {number(epsilon)}"]
    return ", ".join([name, *box, *([] if math.isnan(dim) else [f"subspace {dim:g}"])])


def _paper(claim: Claim) -> str:
    """`77.26 ± 0.42 against 80.04 ± 0.12 (n = 5)`, or the direction in a word."""
    if math.isnan(claim["value"]):
        return str(claim["direction"])
    first = _with_spread(claim["value"], claim["spread"])
    second = _with_spread(claim["versus_value"], claim["versus_spread"])
    count = "" if math.isnan(claim["n"]) else f" (n = {claim['n']:g})"
    return f"{first} against {second}{count}"


def _with_spread(value: float, spread: float) -> str:
    return f"{value:g}" if math.isnan(spread) else f"{value:g} ± {spread:g}"


def _here(both: pd.DataFrame, found: Interval, is_accuracy: bool) -> str:
    """`77.3 against 80.1: -2.8 [-3.1, -2.5]`, the last a ratio where it is no accuracy."""
    if both.empty:
        return NONE
    means = both.mean()
    if is_accuracy:
        size, low, high = (f"{100 * x:+.2f}" for x in (found.mean, found.low, found.high))
        sides = f"{100 * means['first']:.2f} against {100 * means['second']:.2f}"
    else:
        ratio = [math.exp(x) for x in (found.mean, found.low, found.high)]
        size, low, high = (f"{number(x)}" for x in ratio)
        size = f"{size} times"
        sides = f"{number(means['first'])} against {number(means['second'])}"
    bounds = "" if math.isnan(found.low) else f" [{low}, {high}]"
    return f"{sides}: {size}{bounds}"
