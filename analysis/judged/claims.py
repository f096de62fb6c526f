"""The papers' claims beside what was found here, and which word our seeds carry.

A claim of `analysis/published/NAME.csv` says that a quantity is higher, lower or equal at one arm
and batch than at another. Ours is the difference paired by seed (accuracies, in points) or the
ratio, on the log scale (everything else), with its 95 % Student t interval; the words are those
of `analysis.judged.claim_words`. Of a slope against the batch size `analysis.judged.edge_claims`
judges.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd

from analysis.gaps import by_cell
from analysis.gaps.measured import measure_values
from analysis.judged import claim_words
from analysis.judged.claim import Claim, paper_text, source_text
from analysis.judged.claim_words import NOT_JUDGED, NOT_MEASURED, NOT_RUN
from analysis.judged.edge_claims import SLOPE, slope_claim
from analysis.judged.gaps import not_judged
from analysis.judged.published import Published, published
from analysis.load import Study
from analysis.search import tuned
from analysis.search.cells import Cell, tuned_sides, why_no_word
from analysis.uncertainty import Interval, mean_interval, paired_interval
from analysis.wording import number
from trainables.results.schema import TABLES

METHODS = {
    "sharpness": "best",
    "adaptive_sharpness": "best",
    "batch_sharpness": "mean of ratios",
}
"""Where a quantity was found in several ways, the one that claims are about."""
NO_INTERVAL = mean_interval([])


@lru_cache(maxsize=1)  # page, terminal and JSON show it; a study never changes
def claims(study: Study) -> tuple[Claim, ...]:
    """Every claim of the tables that the study reproduces, beside what was found here."""
    return tuple(
        _judged(study, claim, settings)
        for name in study.reproduces
        for claim in _claims(study, name)
        for settings in _settings(study, claim)
    )


def _claims(study: Study, name: str) -> list[Published]:
    """The claims on the study's networks; where it has none of theirs, on the first network."""
    table = published(name)
    networks = table["network"]
    known = networks.isin(["", *study.points["network"]])
    if not known.any():
        known = networks == networks.iloc[0]
    return by_cell.records(table[known])


def _settings(study: Study, claim: Published) -> Iterator[str]:
    """The settings of the claim's arm that it may be about."""
    points = by_cell.labelled_points(study)
    here = points["arm"] == claim["arm"]
    if claim["network"] in set(points["network"]):
        here &= points["network"] == claim["network"]
    yield from dict.fromkeys(points.loc[here, "settings"])


def _judged(study: Study, claim: Published, settings: str) -> Claim:
    if claim["quantity"] == SLOPE:
        return slope_claim(study, claim, settings)
    both = _pairs(study, claim, settings)
    found = _interval(study, claim, settings, both)
    train = _train(study, claim, settings)
    is_percent = claim["unit"] == "percent"
    word = _word(study, claim, settings, both, found, train)
    is_judged = _is_word(word)
    shown, trained = found if is_percent else _exponential(found), train or NO_INTERVAL
    return Claim(
        claim=claim["claim"],
        settings=settings,
        quantity=_measured(claim),
        paper=paper_text(claim),
        first=float(both["first"].mean()),
        second=float(both["second"].mean()),
        estimate=shown.mean,
        low=shown.low,
        high=shown.high,
        all_equal=shown.all_equal,
        unit="fraction" if is_percent else "times",
        train_estimate=trained.mean,
        train_low=trained.low,
        train_high=trained.high,
        train_all_equal=trained.all_equal,
        n=len(both),
        word=word,
        direction=claim["direction"] if is_judged else "",
        size=claim_words.size(claim, found, is_percent) if is_judged else "",
        source=source_text(claim),
        trials=_trials(study, claim, settings, both.index),
    )


def _exponential(found: Interval) -> Interval:
    """Of logarithms, that of the ratio; whether all are equal stays."""
    mean, low, high = map(math.exp, (found.mean, found.low, found.high))
    return replace(found, mean=mean, low=low, high=high)


def _trials(study: Study, claim: Published, settings: str, seeds: pd.Index[Any]) -> tuple[str, ...]:
    """Those of both sides, of these seeds."""
    points = by_cell.complete_points(study)
    points = points[points["seed"].isin(seeds)]
    cells = _cells(study, claim, settings)
    here = [tuple(row) in cells for row in points[by_cell.CELL].itertuples(index=False)]
    return tuple(dict.fromkeys(points.loc[here, "trial_id"]))


# --------------------------------------------------------------------------------------- our side


def _pairs(study: Study, claim: Published, settings: str) -> pd.DataFrame:
    """Our values of both sides of a claim, `first` and `second`, by the seeds that both have."""
    values = _values(study, claim)
    sides = zip(("first", "second"), _cells(study, claim, settings), strict=True)
    return pd.DataFrame({name: _side(values, cell) for name, cell in sides}).dropna()


def _cells(study: Study, claim: Published, settings: str) -> list[Cell]:
    """Both sides' cells; batch size 0 where it was not asked for."""
    versus = settings
    if claim["versus_arm"] != claim["arm"]:
        matching = by_cell.matching_settings(study).get((claim["arm"], settings), [settings])
        versus = matching[0] if claim["versus_arm"] == by_cell.BASELINE_ARM else settings
    sides = (("arm", settings, "batch"), ("versus_arm", versus, "versus_batch"))
    return [(claim[a], s, _batch(study, claim, b, settings) or 0) for a, s, b in sides]


def _side(values: pd.DataFrame, cell: Cell) -> pd.Series:
    rows = values[(values[by_cell.CELL] == list(cell)).all(axis=1)]
    series: pd.Series = rows.drop_duplicates("seed").set_index("seed")["value"].astype(float)
    return series


def _batch(study: Study, claim: Published, side: str, settings: str) -> int | None:
    """The batch size that a claim's word stands for; `large` is the largest of its arm."""
    if claim[side] == "baseline":
        return study.baseline_batch_size
    points = by_cell.labelled_points(study)
    here = (points["arm"] == claim["arm"]) & (points["settings"] == settings)
    sizes = set(points.loc[here, "global_batch_size"])
    if claim[side] == "large":
        return max(sizes, default=None)
    return int(claim[side]) if int(claim[side]) in sizes else None


def _values(study: Study, claim: Published) -> pd.DataFrame:
    """CELL, seed and value of the claim's quantity on complete points."""
    name = claim["quantity"]
    if name in study.points:
        return by_cell.complete_values(study, name)
    points = by_cell.complete_points(study)
    if name in TABLES["layers"].names:
        rows = study.layers[study.layers["kind"] == "weight"]
        rows = rows[(rows["layer"] == claim["layer"]) & (rows["optimizer_step"] == 1)]
        return points.merge(rows[["trial_id", name]].rename(columns={name: "value"}), on="trial_id")
    rows = measure_values(study)
    rows = rows[rows["quantity"] == name]
    if name in METHODS:
        rows = rows[rows["method"] == _method(claim)]
    for column in ("sharpness_epsilon", "subspace_dim"):
        wanted = claim[column]
        rows = rows[rows[column].isna() if math.isnan(wanted) else rows[column] == wanted]
    # Of what an older algorithm measured too, today's: both are never averaged.
    rows = rows[rows["algorithm"] == rows["algorithm"].max()]
    return points.merge(rows.drop_duplicates("trial_id"), on="trial_id")


def _method(claim: Published) -> str:
    """Beside the paper's own numbers its own method, which inflates ratios, and nowhere else."""
    is_beside = claim["quantity"] == "sharpness" and not math.isnan(claim["value"])
    return "paper" if is_beside else METHODS[claim["quantity"]]


def _interval(study: Study, claim: Published, settings: str, both: pd.DataFrame) -> Interval:
    """Difference of accuracies as fractions, or of logarithms: all that the words rest on.

    Of test accuracies whose rates a search chose the limits are those of `tuned.gap`.
    """
    if claim["unit"] != "percent":
        both = np.log(both[(both > 0).all(axis=1)])
    found, sides = paired_interval(both["first"], both["second"]), tuned_sides(study)
    first, second = (sides.get(cell) for cell in _cells(study, claim, settings))
    if claim["quantity"] != study.test_metric or first is None or second is None:
        return found
    limited = tuned.gap(first, second)
    return replace(found, low=limited.low, high=limited.high)


def _why_not_tuned(study: Study, claim: Published, cells: Sequence[Cell]) -> str:
    """Why a claim on tuned accuracies gets no word: one side's best is not known well enough."""
    if not study.search or claim["quantity"] != study.test_metric:
        return ""
    for credited, other in (cells, cells[::-1]):
        if why := why_no_word(study, credited, other):
            return f"{NOT_JUDGED}: {why}"
    return ""


def _train(study: Study, claim: Published, settings: str) -> Interval | None:
    """How much better the first side trains than the second; None where the claim does not ask."""
    if claim["trains_as_well"] != "yes":
        return None
    both = _pairs(study, claim | {"quantity": study.metric.column("train")}, settings)
    return paired_interval(both["first"], both["second"])


# ---------------------------------------------------------------------------------------- judging


def _word(
    study: Study,
    claim: Published,
    settings: str,
    both: pd.DataFrame,
    found: Interval,
    train: Interval | None,
) -> str:
    cells = _cells(study, claim, settings)
    if not _have_run(study, cells):
        return NOT_RUN
    if claim["direction"] == "remark":
        return claim_words.REMARK
    if lost := _lost(study, cells):
        return lost
    if both.empty:
        return NOT_MEASURED
    without_ratio = len(both) - found.n  # the others' mean would be too lucky
    return (
        not_judged(study, len(both))
        or (
            f"{NOT_JUDGED}: {without_ratio} of {len(both)} pairs without a ratio"
            if without_ratio
            else ""
        )
        or _why_not_tuned(study, claim, cells)
        or (claim_words.underfits(train) if train else "")
        or claim_words.word(claim["direction"], found, claim["unit"] == "percent")
    )


def _have_run(study: Study, cells: list[Cell]) -> bool:
    """Whether both sides have a point that has ended."""
    points = by_cell.labelled_points(study)
    ended = points[points["status"] != "planned"]
    return set(ended[by_cell.CELL].itertuples(index=False, name=None)).issuperset(cells)


def _lost(study: Study, cells: list[Cell]) -> str:
    """Why no word follows where one side lost more seeds: the means of survivors hide that."""
    table = by_cell.counts(study).set_index(by_cell.CELL)
    first, second = (table.loc[cell] for cell in cells)
    if first["diverged"] == second["diverged"]:
        return ""
    sides = (f"{row['diverged']} of {row['points']}" for row in (first, second))
    return f"{NOT_JUDGED}: {' and '.join(sides)} seeds diverged"


def _is_word(direction: str) -> bool:
    """Whether it judges the claim."""
    return not direction.startswith((NOT_JUDGED, NOT_RUN, NOT_MEASURED, claim_words.REMARK))


# ------------------------------------------------------------------------------------------ texts


def _measured(claim: Published) -> str:
    """`sharpness, ε 1e-3, subspace 100, paper's method`, `mean_abs_gradient of hidden1`."""
    epsilon, dim = claim["sharpness_epsilon"], claim["subspace_dim"]
    name = f"{claim['quantity']} of {claim['layer']}" if claim["layer"] else claim["quantity"]
    box = [] if math.isnan(epsilon) else [f"ε {number(epsilon)}"]
    if claim["quantity"] == "sharpness":
        box.append("full space" if math.isnan(dim) else f"subspace {dim:g}")
        box.append("paper's method" if _method(claim) == "paper" else "largest found")
    return ", ".join([name, *box])
