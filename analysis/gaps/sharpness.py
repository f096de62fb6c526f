"""The sharpness of a study, and what to call it.

A study may measure several: sizes of the box, the full space or random directions in it, numbers
of examples. *The* sharpness is the first that its file lists, by `best`, the largest value found;
wherever it stands, its definition and its method stand too. The paper's own method falls short most
at flat minima and so inflates ratios: it stands beside a paper's number only.
"""

from __future__ import annotations

import json

import pandas as pd

from analysis.gaps.measured import (
    Definition,
    definitions,
    measure_gap,
    measure_ratio,
    measure_values,
)
from analysis.load import Study
from analysis.wording import listed, number

TOP_EIGENVALUE = "hessian_top_eigenvalue"
FAR = 10.0
"""Nats. Where the loss rises by so much within the box, that says nothing about the minimum."""


def sharpness_definitions(study: Study) -> list[Definition]:
    """All that was measured of the complete points, by `best`, as the study file lists it.

    Of one box by two algorithms first the one that more trials have.
    """
    counts = _of_points(study)["label"].value_counts()
    found = [
        d for d in definitions(study) if d.is_sharpness and d.method == "best" and d.label in counts
    ]
    boxes = list(dict.fromkeys(d.box for d in found))
    return sorted(found, key=lambda d: (boxes.index(d.box), -counts[d.label]))


def _of_points(study: Study) -> pd.DataFrame:
    """What was measured of the complete points: of a part of a study its own."""
    points = study.points
    complete = points.loc[points["status"] == "complete", "trial_id"]
    values = measure_values(study)
    return values[values["trial_id"].isin(complete)]


def first_sharpness(study: Study) -> Definition | None:
    """The study's sharpness; None where none was measured."""
    return next(iter(sharpness_definitions(study)), None)


def sharpness_gap(study: Study) -> pd.DataFrame | None:
    """`measure_gap` of the study's sharpness; None where none was measured."""
    first = first_sharpness(study)
    return None if first is None else measure_gap(study, first)


def sharpness_ratio(study: Study) -> pd.DataFrame | None:
    """`measure_ratio` of the study's sharpness; None where none was measured."""
    first = first_sharpness(study)
    return None if first is None else measure_ratio(study, first)


def method_of(study: Study, definition: Definition) -> str:
    """`largest of 12 starts`, or `largest found` of values that have no count."""
    values = _of_points(study)
    found = values.loc[values["label"] == definition.label, "starts"].dropna()
    counts = sorted({len(json.loads(text)) for text in found})
    if not counts:
        return "largest found"
    return f"largest of {' to '.join(map(str, dict.fromkeys((counts[0], counts[-1]))))} starts"


def described(study: Study, definition: Definition) -> str:
    """`ε 1e-3, full space, largest of 12 starts`: what was measured, and how."""
    return f"{definition.what}, {method_of(study, definition)}"


def named(study: Study, definition: Definition) -> str:
    """`sharpness (ε 1e-3, full space, largest of 12 starts)`."""
    return f"sharpness ({described(study, definition)})"


def leading(study: Study) -> list[tuple[Definition, str]]:
    """What stands for a solution's curvature in the first sentences, and what to call it.

    The study's sharpness, and beside it the top eigenvalue of the Hessian, if measured.
    """
    first, measured = first_sharpness(study), set(_of_points(study)["label"])
    sharpness = [] if first is None else [(first, named(study, first))]
    tops = [d for d in definitions(study) if d.quantity == TOP_EIGENVALUE and d.label in measured]
    return sharpness + [(top, "top Hessian eigenvalue") for top in tops[:1]]


def old_trials(study: Study) -> int:
    """How many trials have values that an older algorithm found, and today's has not."""
    values = measure_values(study)
    return int(values.loc[values["is_old"], "trial_id"].nunique())


def far_text(study: Study) -> str:
    """Which definitions reach too far to be local, and what to look at instead; "" if none.

    Of cross-entropy alone: what is far is not known of other losses.
    """
    if study.loss.unit != "nats":
        return ""
    values = _of_points(study)
    rises = values["value"] * (1 + values["start_loss"]) / 100
    highest = values.assign(rise=rises).groupby("label")["rise"].max()
    known = sharpness_definitions(study)
    far = [d for d in known if highest[d.label] >= FAR]
    if not far:
        return ""
    reached = [f"{number(highest[d.label], 2)} nats at {d.what}" for d in far]
    smallest = min(d.sharpness_epsilon or 0 for d in far)
    near = [d for d in known if d not in far and (d.sharpness_epsilon or 0) < smallest]
    beside = [d.what for d in near] or ["a smaller sharpness_epsilon"]
    if (values["quantity"] == TOP_EIGENVALUE).any():
        beside.append("the top eigenvalue")
    verb = "look at" if near or beside[1:] else "measure"
    return (
        f"Within the box the loss rises by up to {listed(reached)}, which is no local sharpness: "
        f"{verb} {listed(beside)} instead."
    )
