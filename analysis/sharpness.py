"""The sharpness of a study, and what to call it.

A study may measure several: sizes of the box, the full space or random directions in it, numbers
of examples. *The* sharpness is the first that its file lists, by `best`, the largest value found;
wherever it stands, its definition and its method stand too. The paper's own method falls short most
at flat minima and so inflates ratios: it stands beside a paper's number only.
"""

from __future__ import annotations

import json

from analysis import gaps
from analysis.load import Study
from analysis.wording import listed, number

TOP_EIGENVALUE = "hessian_top_eigenvalue"
BEST = "sharpness best, "
"""How the labels of the largest values found begin."""
FAR = 10.0
"""Nats. Where the loss rises by so much within the box, that says nothing about the minimum."""


def sharpness_labels(study: Study) -> list[str]:
    """All that was measured, by `best`: first what the study file lists first, old values last."""
    values = gaps.measure_values(study)
    values = values[values["label"].str.startswith(BEST)].drop_duplicates("label")
    return list(values.sort_values("algorithm", ascending=False, kind="stable")["label"])


def first_sharpness(study: Study) -> str | None:
    """The label of the study's sharpness; None where none was measured."""
    return next(iter(sharpness_labels(study)), None)


def method_of(study: Study, label: str) -> str:
    """`largest of 12 starts`, or `largest found` of values that have no count."""
    values = gaps.measure_values(study)
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
    """Whether the numbers of Keskar et al. stand beside the study's."""
    return any(name.startswith("keskar") for name in study.reproduces)


def leading(study: Study) -> list[tuple[str, str, str]]:
    """Quantity, label and name of what stands for a solution's curvature in the first sentences.

    The study's sharpness, and beside it the top eigenvalue of the Hessian, if measured.
    """
    values = gaps.measure_values(study)
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
    values = gaps.measure_values(study)
    rises = values[values["label"].isin(sharpness_labels(study))]
    rises = rises.assign(rise=rises["value"] * (1 + rises["start_loss"]) / 100)
    points = gaps.complete_values(study, "test_accuracy").drop(columns="value")
    cells = rises.merge(points, on="trial_id").groupby(["label", *gaps.CELL])["rise"].median()
    highest = cells.groupby("label").max()
    far = [label for label in sharpness_labels(study) if highest.get(label, 0.0) >= FAR]
    if not far:
        return ""
    reached = [f"{number(highest[label], 2)} nats at {label.removeprefix(BEST)}" for label in far]
    near = [label.removeprefix(BEST) for label in sharpness_labels(study) if label not in far]
    if (values["quantity"] == TOP_EIGENVALUE).any():
        near.append("the top eigenvalue")
    instead = f"look at {listed(near)} beside it" if near else "measure a smaller sharpness_epsilon"
    return (
        f"Within the box the loss rises by up to {listed(reached)}, which is no local sharpness: "
        f"{instead}."
    )
