"""The sharpness of a study, and what to call it.

A study may measure several: sizes of the box, the full space or random directions in it, numbers
of examples. *The* sharpness is the first that its file lists, by `best`, the largest value found;
wherever it stands, its definition and its method stand too. The paper's own method falls short most
at flat minima and so inflates ratios: it stands beside a paper's number only.
"""

from __future__ import annotations

import json

import pandas as pd

from analysis import gaps
from analysis.load import Study
from analysis.scorecard import published
from analysis.wording import listed, number

TOP_EIGENVALUE = "hessian_top_eigenvalue"
BEST = "sharpness best, "
"""How the labels of the largest values found begin."""
FAR = 10.0
"""Nats. Where the loss rises by so much within the box, that says nothing about the minimum."""


def sharpness_labels(study: Study) -> list[str]:
    """All that was measured of the complete points, by `best`, as the study file lists it.

    Of one definition by two algorithms first the one that more trials have.
    """
    values = _of_points(study)
    values = values[values["label"].str.startswith(BEST)]
    counts = values["label"].value_counts()
    definitions = list(dict.fromkeys(map(_definition, values["label"])))
    order = dict.fromkeys(values["label"])  # today's algorithm before older ones
    return sorted(order, key=lambda label: (definitions.index(_definition(label)), -counts[label]))


def _definition(label: str) -> str:
    return label.partition(", algorithm ")[0]


def _of_points(study: Study) -> pd.DataFrame:
    """What was measured of the complete points: of a part of a study its own."""
    points = study.points
    complete = points.loc[points["status"] == "complete", "trial_id"]
    values = gaps.measure_values(study)
    return values[values["trial_id"].isin(complete)]


def first_sharpness(study: Study) -> str | None:
    """The label of the study's sharpness; None where none was measured."""
    return next(iter(sharpness_labels(study)), None)


def method_of(study: Study, label: str) -> str:
    """`largest of 12 starts`, or `largest found` of values that have no count."""
    values = _of_points(study)
    found = values.loc[values["label"] == label, "starts"].dropna()
    counts = sorted({len(json.loads(text)) for text in found})
    if not counts:
        return "largest found"
    return f"largest of {' to '.join(map(str, dict.fromkeys((counts[0], counts[-1]))))} starts"


def definition(study: Study, label: str) -> str:
    """`ε 1e-3, full space, largest of 12 starts`: what was measured, and how."""
    return f"{label.removeprefix(BEST)}, {method_of(study, label)}"


def named(study: Study, label: str) -> str:
    """`sharpness (ε 1e-3, full space, largest of 12 starts)`."""
    return f"sharpness ({definition(study, label)})"


def beside_paper(study: Study) -> bool:
    """Whether a paper's numbers of sharpness stand beside the study's."""
    tables = [published(name) for name in study.reproduces]
    has = [table.loc[table["quantity"] == "sharpness", "value"].notna().any() for table in tables]
    return any(has)


def leading(study: Study) -> list[tuple[str, str, str]]:
    """Quantity, label and name of what stands for a solution's curvature in the first sentences.

    The study's sharpness, and beside it the top eigenvalue of the Hessian, if measured.
    """
    values = _of_points(study)
    first = first_sharpness(study)
    sharpness = [] if first is None else [("sharpness", first, named(study, first))]
    tops = values.loc[values["quantity"] == TOP_EIGENVALUE, "label"][:1]
    return sharpness + [(TOP_EIGENVALUE, label, "top Hessian eigenvalue") for label in tops]


def old_trials(study: Study) -> int:
    """How many trials have values that an older algorithm found, and today's has not."""
    values = gaps.measure_values(study)
    return int(values.loc[values["label"].str.contains(", algorithm "), "trial_id"].nunique())


def far_text(study: Study) -> str:
    """Which definitions reach too far to be local, and what to look at instead; "" if none."""
    values = _of_points(study)
    rises = values["value"] * (1 + values["start_loss"]) / 100
    of_label = values.assign(rise=rises).groupby("label")
    highest, epsilon = of_label["rise"].max(), of_label["sharpness_epsilon"].first()
    labels = sharpness_labels(study)
    far = [label for label in labels if highest[label] >= FAR]
    if not far:
        return ""
    reached = [f"{number(highest[label], 2)} nats at {label.removeprefix(BEST)}" for label in far]
    smallest = min(epsilon[label] for label in far)
    near = [label for label in labels if label not in far and epsilon[label] < smallest]
    beside = [label.removeprefix(BEST) for label in near] or ["a smaller sharpness_epsilon"]
    if (values["quantity"] == TOP_EIGENVALUE).any():
        beside.append("the top eigenvalue")
    verb = "look at" if near or beside[1:] else "measure"
    return (
        f"Within the box the loss rises by up to {listed(reached)}, which is no local sharpness: "
        f"{verb} {listed(beside)} instead."
    )
