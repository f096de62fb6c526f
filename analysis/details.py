"""The verdict at length: every gap, ratio, association and arm, and what qualifies them.

Every finding carries its 95 % interval and its number of seeds. `analysis.verdict` is the short of
it; like there, nothing assumes what the literature found.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from analysis import gaps
from analysis.choice import conditions
from analysis.closing import share_of_gap_closed, standing
from analysis.load import Study
from analysis.measure_details import association, measure_paragraphs, sharpness_under_arms
from analysis.search import tuned_text
from analysis.uncertainty import MIN_SEEDS, is_exploratory
from analysis.wording import number, points, under

MAX_SETTINGS = 4
"""Settings described one by one; of more only counts are given."""
MAX_ARM_SENTENCES = 12
MAX_CELLS = 8
"""Cells with dead trials that are named one by one."""

Row = dict[str, Any]


def details(study: Study) -> list[str]:
    """What the study shows, one paragraph per entry.

    In order: what ran and what did not; the generalization gap, and how much of it the training
    set shows already; sharpness and curvature; whether they go with accuracy; what each arm
    closes; the reservations.
    """
    paragraphs = [
        _coverage(study),
        *_gap_paragraphs(study),
        *measure_paragraphs(study),
        association(study),
        *_arm_paragraphs(study),
        _reservations(study),
    ]
    return [paragraph for paragraph in paragraphs if paragraph]


# ------------------------------------------------------------------------------------- coverage


def _coverage(study: Study) -> str:
    all_points = gaps.labelled_points(study)
    trials = all_points.drop_duplicates("trial_id")
    counts = trials["status"].replace({"planned": "not run"}).value_counts()
    ended = ", ".join(f"{count} {status}" for status, count in counts.items())
    text = f"{len(all_points)} points resolve to {len(trials)} trials: {ended}."
    cells = gaps.cells(study)
    dead = gaps.records(cells[cells["diverged"] + cells["failed"] > 0])
    if dead:
        remarks = [
            f"{row['arm']} at {row['global_batch_size']}{under(row['settings'])}: {row['remark']}"
            for row in dead[:MAX_CELLS]
        ]
        more = f"; {len(dead) - MAX_CELLS} more cells" if len(dead) > MAX_CELLS else ""
        text += f" No mean includes what did not complete ({'; '.join(remarks)}{more})."
    if study.problems:
        text += f" Problems in the results, listed apart: {len(study.problems)}."
    return text


# ------------------------------------------------------------------------------------------ gap


def _gap_paragraphs(study: Study) -> list[str]:
    gap = gaps.baseline_arm(gaps.generalization_gap(study))
    if not gap["n"].any():
        return []
    if gap["settings"].nunique() > MAX_SETTINGS:
        return [_gap_counts(study, gap)]
    return [
        _gap_text(study, settings, gaps.records(rows)) + _fit_text(study, settings)
        for settings, rows in gap.groupby("settings", sort=False)
    ]


def _gap_text(study: Study, settings: str, rows: list[Row]) -> str:
    sentences = "; ".join(f"at {row['global_batch_size']} {_gap_clause(row)}" for row in rows)
    small = study.baseline_batch_size
    return (
        f"Generalization gap{under(settings)}: against batch size {small}, with 95 % intervals, "
        f"test accuracy {sentences}."
    )


def _gap_clause(row: Row) -> str:
    if row["n"] == 0:
        return "has no pair of complete trials"
    size = f"{points(abs(row['mean']))} points {'lower' if row['mean'] > 0 else 'higher'}"
    if row["n"] == 1:
        return f"is {size} (one seed: no interval)"
    if row["low"] <= 0 <= row["high"]:
        return (
            "shows no gap beyond its uncertainty "
            f"({size}; gap {points(row['low'])} to {points(row['high'])}, {row['n']} seeds)"
        )
    low, high = sorted(abs(row[name]) for name in ("low", "high"))
    opposite = "" if row["mean"] > 0 else ": the opposite of a gap"
    return f"is {size} ({points(low)} to {points(high)}, {row['n']} seeds){opposite}"


def _gap_counts(study: Study, gap: pd.DataFrame) -> str:
    """Of many settings: how many show a gap, at each batch size."""
    clauses = []
    for batch, rows in gap[gap["n"] > 1].groupby("global_batch_size"):
        lower, higher = (rows["low"] > 0).sum(), (rows["high"] < 0).sum()
        clauses.append(
            f"at {batch} lower in {lower} of {len(rows)} settings and higher in {higher} "
            f"(mean gap {points(rows['mean'].mean())} points)"
        )
    return (
        f"Generalization gap: against batch size {study.baseline_batch_size} and with its 95 % "
        f"interval off zero, test accuracy is {'; '.join(clauses)}."
    )


def _fit_text(study: Study, settings: str) -> str:
    """Train loss at every batch size, and what of the gap is there on the training set already."""
    losses = gaps.records(gaps.baseline_arm(gaps.cell_means(study, "train_loss"), settings))
    text = " Train loss: " + ", ".join(
        f"{number(row['mean'], 2)} at {row['global_batch_size']}" for row in losses if row["n"]
    )
    clauses = [
        f"{points(row['mean'])} points ({points(row['low'])} to {points(row['high'])}) at "
        f"{row['global_batch_size']}"
        for row in gaps.records(gaps.baseline_arm(gaps.gap_of(study, "train_accuracy"), settings))
        if row["low"] > 0
    ]
    if clauses:
        text += ". On the training set already the accuracy is lower, by " + ", ".join(clauses)
        text += ": so much of the difference is underfitting, not generalization"
    return text + "."


# ----------------------------------------------------------------------------------------- arms


def _arm_paragraphs(study: Study) -> list[str]:
    rows = gaps.records(share_of_gap_closed(study))
    rows = [row for row in rows if row["n"]]
    if len(rows) > MAX_ARM_SENTENCES:
        said = sum(standing(row) == "closes" for row in rows)
        return [
            f"Of {len(rows)} comparisons of an arm with the baseline arm, {said} close a share of "
            "the gap whose interval excludes 0; the table of arms has all of them."
        ]
    return [*(_arm_text(study, row) for row in rows), *sharpness_under_arms(study, rows)]


def _arm_text(study: Study, row: Row) -> str:
    start = f"{row['arm']} at {row['global_batch_size']}{under(row['settings'])}"
    gain = f"{100 * row['gain']:+.2f} points{_span(row, 'gain')}, {row['n']} seeds"
    if row["reason"]:
        return (
            f"{start} changes test accuracy by {gain}; no share of a gap is given: {row['reason']}."
        )
    bounds = f"{100 * row['share_low']:.0f} to {100 * row['share_high']:.0f} %"
    share = f"{100 * row['share']:.0f} % of the gap ({bounds}; {gain})"
    small = study.baseline_batch_size
    said = standing(row)
    if said == "widens":
        return f"{start} widens the gap: {share}."
    if said == "unclear":
        return f"{start} closes no share that is beyond its uncertainty: {share}."
    if said == "open":
        return (
            f"{start} recovers {share}. It was not run at batch size {small}, so whether it closes "
            "the gap or lifts the accuracy at every batch size is open."
        )
    if said == "closes":
        return f"{start} closes {share}; {_at_baseline_batch(study, row)}."
    return f"{start} recovers {share}, but cannot be said to close it: " + (
        f"{_at_baseline_batch(study, row)}."
    )


def _at_baseline_batch(study: Study, row: Row) -> str:
    """What the arm does where there is no gap to close."""
    small = study.baseline_batch_size
    if row["baseline_gain_low"] == row["baseline_gain_high"] == 0:
        return f"at {small} it changes nothing"
    return (
        f"at {small} it gains {100 * row['baseline_gain']:+.2f} points"
        f"{_span(row, 'baseline_gain')}, and under it the gap is {points(row['gap_under_arm'])} "
        f"points{_span(row, 'gap_under_arm')}"
    )


# --------------------------------------------------------------------------------- reservations


def _reservations(study: Study) -> str:
    gap = gaps.generalization_gap(study)
    seeds = gap.loc[gap["n"] > 0, "n"]
    sentences = []
    if len(seeds) and is_exploratory(int(seeds.min())):
        sentences.append(
            f"Exploratory: some comparisons rest on {seeds.min()} paired seeds, and fewer than "
            f"{MIN_SEEDS} have been seen to mislead."
        )
    if study.search:
        sentences.append(
            f"{tuned_text(study)} The search's trials enter no table: the winners were trained "
            "again, on seeds that it never saw."
        )
    else:
        sentences.append(
            "Untuned: one rate at every batch, by the rule each arm states; no search chose it, "
            "and rates tuned for each batch size could change every difference above."
        )
    if changing := _changing_conditions(study):
        sentences.append(f"With the batch size these change too, in the baseline arm: {changing}.")
    if len(seeds) > 1:
        sentences.append(
            f"Each of the {len(seeds)} gaps has its own 95 % interval; none is widened for their "
            "number."
        )
    return " ".join(sentences)


def _changing_conditions(study: Study) -> str:
    table = gaps.baseline_arm(conditions(study))
    names = {
        "lr_per_example": "learning rate per example",
        "weight_decay_per_epoch": "weight decay per epoch",
        "momentum_half_life_examples": "half-life of the momentum in examples",
    }
    clauses = []
    for column, name in names.items():
        if (table.groupby("settings")[column].nunique() > 1).any():
            low, high = number(table[column].min()), number(table[column].max())
            clauses.append(f"{name} ({low} to {high})")
    return ", ".join(clauses)


# ---------------------------------------------------------------------------------------- words


def _span(row: Row, name: str) -> str:
    low, high = row[f"{name}_low"], row[f"{name}_high"]
    return "" if np.isnan(low) else f" ({points(low)} to {points(high)})"
