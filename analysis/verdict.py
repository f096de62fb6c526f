"""A study's answer in plain words: exactly what its numbers allow, whichever way they point.

Every finding carries its 95 % interval and its number of seeds. Nothing here assumes what the
literature found: where the data contradict it, the sentence says what was seen.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd

from analysis import gaps
from analysis.correlation import correlations
from analysis.gaps import BASELINE_ARM
from analysis.load import Study
from analysis.uncertainty import MIN_SEEDS, is_exploratory

SIGNIFICANT = 0.05
METHODS_DIFFER = 2.0
"""From this factor on, the paper's sharpness and the largest one found are said to differ."""
MAX_SETTINGS = 4
"""Settings described one by one; of more only counts are given."""
MAX_ARM_SENTENCES = 12
MAX_CELLS = 8
"""Cells with dead trials that are named one by one."""

Row = dict[str, Any]


def verdict(study: Study) -> list[str]:
    """What the study shows, one paragraph per entry, for a terminal or a page.

    In order: what ran and what did not; the generalization gap, and how much of it the training
    set shows already; sharpness and curvature; whether they go with accuracy; what each arm
    closes; the reservations.
    """
    paragraphs = [
        _coverage(study),
        *_gap_paragraphs(study),
        *_measure_paragraphs(study),
        _association(study),
        *_arm_paragraphs(study),
        _reservations(study),
    ]
    return [paragraph for paragraph in paragraphs if paragraph]


# ------------------------------------------------------------------------------------- coverage


def _coverage(study: Study) -> str:
    points = gaps.labelled_points(study)
    trials = points.drop_duplicates("trial_id")
    counts = trials["status"].replace({"planned": "not run"}).value_counts()
    ended = ", ".join(f"{count} {status}" for status, count in counts.items())
    text = f"{len(points)} points resolve to {len(trials)} trials: {ended}."
    cells = gaps.cells(study)
    dead = _rows(cells[cells["diverged"] + cells["failed"] > 0])
    if dead:
        remarks = [f"{_where(row)}: {row['remark']}" for row in dead[:MAX_CELLS]]
        more = f"; {len(dead) - MAX_CELLS} more cells" if len(dead) > MAX_CELLS else ""
        text += f" No mean includes what did not complete ({'; '.join(remarks)}{more})."
    if study.problems:
        text += f" Problems in the results, listed apart: {len(study.problems)}."
    return text


# ------------------------------------------------------------------------------------------ gap


def _gap_paragraphs(study: Study) -> list[str]:
    gap = _baseline_arm(gaps.generalization_gap(study))
    if study.baseline_batch_size is None:
        return ["No gap is formed: the study names no baseline_batch_size."]
    if not gap["n"].any():
        return [
            "No gap can be formed: no seed is complete both at the baseline batch size "
            f"{study.baseline_batch_size} and at another one."
        ]
    if gap["settings"].nunique() > MAX_SETTINGS:
        return [_gap_counts(study, gap)]
    return [
        _gap_text(study, settings, _rows(rows)) + _fit_text(study, settings)
        for settings, rows in gap.groupby("settings", sort=False)
    ]


def _gap_text(study: Study, settings: str, rows: list[Row]) -> str:
    sentences = "; ".join(f"at {row['global_batch_size']} {_gap_clause(row)}" for row in rows)
    return (
        f"Generalization gap{_with(settings)}: against batch size {study.baseline_batch_size}, "
        f"test accuracy {sentences}."
    )


def _gap_clause(row: Row) -> str:
    if row["n"] == 0:
        return "has no pair of complete trials"
    direction = "lower" if row["mean"] > 0 else "higher"
    size = f"{100 * abs(row['mean']):.2f} points {direction}"
    if row["n"] == 1:
        return f"is {size} (one seed: no interval)"
    if _excludes(row, 0):
        low, high = sorted(abs(100 * row[name]) for name in ("low", "high"))
        opposite = "" if row["mean"] > 0 else ": the opposite of a gap"
        return f"is {size} (95 % interval {low:.2f} to {high:.2f}, {row['n']} seeds){opposite}"
    return (
        "shows no gap beyond its uncertainty "
        f"({size}; gap {100 * row['low']:.2f} to {100 * row['high']:.2f}, {row['n']} seeds)"
    )


def _gap_counts(study: Study, gap: pd.DataFrame) -> str:
    """Of many settings: how many show a gap, at each batch size."""
    clauses = []
    for batch, rows in gap[gap["n"] > 1].groupby("global_batch_size"):
        lower, higher = (rows["low"] > 0).sum(), (rows["high"] < 0).sum()
        clauses.append(
            f"at {batch} lower in {lower} of {len(rows)} settings and higher in {higher} "
            f"(mean gap {100 * rows['mean'].mean():.2f} points)"
        )
    return (
        f"Generalization gap: against batch size {study.baseline_batch_size} and with its 95 % "
        f"interval off zero, test accuracy is {'; '.join(clauses)}."
    )


def _fit_text(study: Study, settings: str) -> str:
    """Train loss at every batch size, and what of the gap is there on the training set already."""
    losses = _of(_baseline_arm(gaps.cell_means(study, "train_loss")), settings)
    known = [row for row in losses if row["n"]]
    text = " Train loss: " + ", ".join(
        f"{row['mean']:.3g} at {row['global_batch_size']}" for row in known
    )
    clauses = [
        f"{100 * row['mean']:.2f} points ({100 * row['low']:.2f} to {100 * row['high']:.2f}) at "
        f"{row['global_batch_size']}"
        for row in _of(_baseline_arm(gaps.gap_of(study, "train_accuracy")), settings)
        if row["low"] > 0
    ]
    if clauses:
        text += ". On the training set already the accuracy is lower, by " + ", ".join(clauses)
        text += ": so much of the difference is underfitting, not generalization"
    return text + "."


# ------------------------------------------------------------------------------------- measures


def _measure_paragraphs(study: Study) -> list[str]:
    values = gaps.measure_values(study).drop_duplicates("label")
    if values.empty or gaps.labelled_points(study)["settings"].nunique() > MAX_SETTINGS:
        return []
    wanted = values[(values["quantity"] != "sharpness") | (values["method"] == "best")]
    paragraphs = []
    for quantity, labels in wanted.groupby("quantity", sort=False)["label"]:
        ratios = _baseline_arm(gaps.measure_ratio(study, quantity))
        means = _baseline_arm(gaps.measure_means(study, quantity))
        for label in labels:
            for settings, rows in ratios[ratios["label"] == label].groupby("settings", sort=False):
                own = means[(means["label"] == label) & (means["settings"] == settings)]
                paragraphs.append(
                    _ratio_text(study, label, settings, _rows(rows)) + _falls(study, settings, own)
                )
    return [*filter(None, paragraphs), *_method_paragraph(study)]


def _ratio_text(study: Study, label: str, settings: str, rows: list[Row]) -> str:
    clauses = []
    for row in rows:
        if row["n"] < 2:
            continue
        size = f"{row['mean']:.3g} times ({row['low']:.3g} to {row['high']:.3g})"
        unclear = "" if _excludes(row, 1) else ", which may be no change"
        clauses.append(f"{size} at {row['global_batch_size']}{unclear}")
    if not clauses:
        return ""
    small = study.baseline_batch_size
    return f"{_title(label)}{_with(settings)}, against batch size {small}: {'; '.join(clauses)}."


def _falls(study: Study, settings: str, means: pd.DataFrame) -> str:
    """Says where a measure falls while the batch grows, with intervals that do not overlap."""
    losses = {
        row["global_batch_size"]: row["mean"]
        for row in _of(_baseline_arm(gaps.cell_means(study, "train_loss")), settings)
    }
    falls = [
        (smaller["global_batch_size"], larger["global_batch_size"])
        for smaller, larger in pairwise(_rows(means.sort_values("global_batch_size")))
        if larger["geometric_high"] < smaller["geometric_low"]
    ]
    if not falls:
        return ""
    text = " It falls " + " and ".join(f"from {a} to {b}" for a, b in falls)
    is_sharpness = means["label"].str.startswith("sharpness").all()
    if is_sharpness and all(losses[b] > losses[a] for a, b in falls):
        text += (
            ", while the train loss rises: sharpness is divided by 1 + loss and no longer follows "
            "the batch size where the large batch underfits"
        )
    return text + "."


def _method_paragraph(study: Study) -> list[str]:
    """How much less the paper's maximizer finds than the best one, where that is much."""
    values = gaps.measure_values(study)
    values = values[values["quantity"] == "sharpness"].assign(
        subspace_dim=lambda rows: rows["subspace_dim"].fillna(0)
    )
    keys = ["trial_id", "sharpness_epsilon", "subspace_dim"]
    wide = values.pivot_table(index=keys, columns="method", values="value")
    if not {"best", "paper"} <= set(wide):
        return []
    factors = (wide["best"] / wide["paper"]).replace([np.inf, -np.inf], np.nan).dropna()
    if factors.empty or factors.median() < METHODS_DIFFER:
        return []
    return [
        "The best maximizer finds a median of "
        f"{factors.median():.3g} times the sharpness that the paper's 10 iterations find "
        f"({factors.min():.3g} to {factors.max():.3g} over {len(factors)} measurements): both are "
        "lower bounds, and the paper's the weaker one."
    ]


def _association(study: Study) -> str:
    table = correlations(study)
    table = table[(table["target"] == "test_accuracy") & table["tau"].notna()]
    table = table[~table["label"].str.startswith("sharpness paper")]
    if table.empty:
        return ""
    clauses = "; ".join(_association_clause(row) for row in _rows(table))
    return (
        "Over complete trials, measures and test accuracy (Kendall's tau, p after Holm; in "
        "brackets the mean tau where a single hyper-parameter varies and the seed is held): "
        f"{clauses}. Trials that differ in the seed alone count apart, which flatters p."
    )


def _association_clause(row: Row) -> str:
    within = row["granulated"]
    held = "none" if np.isnan(within) else f"{within:.2f}"
    text = f"{_words(row['label'])} {row['tau']:.2f}, p {_p(row['p_holm'])} [{held}]"
    if row["p_holm"] >= SIGNIFICANT:
        return text + ", no association beyond chance"
    reversed_ = within * row["tau"] < 0
    return text + (", but not so within hyper-parameters" if reversed_ else "")


# ----------------------------------------------------------------------------------------- arms


def _arm_paragraphs(study: Study) -> list[str]:
    rows = _rows(gaps.share_of_gap_closed(study))
    rows = [row for row in rows if row["n"]]
    if len(rows) > MAX_ARM_SENTENCES:
        said = sum(_closes(row) for row in rows)
        return [
            f"Of {len(rows)} comparisons of an arm with the baseline arm, {said} close a share of "
            "the gap whose interval excludes 0; the table of arms has all of them."
        ]
    sharpness = _best_sharpness(study)
    return [_arm_text(study, row) + _beside(study, row, sharpness) for row in rows]


def _closes(row: Row) -> bool:
    """Whether "closes" may be said: shown, beyond chance, and not a gain at every batch size."""
    return bool(row["may_say_closes"] and row["share_low"] > 0 and row["net_gain_low"] > 0)


def _arm_text(study: Study, row: Row) -> str:
    text = f"{row['arm']} at {row['global_batch_size']}{_with(row['settings'])} "
    gain = f"{100 * row['gain']:+.2f} points{_span(row, 'gain')}, {row['n']} seeds"
    if row["reason"]:
        return (
            text
            + f"changes test accuracy by {gain}; no share of a gap is given: "
            + (f"{row['reason']}.")
        )
    share = f"{100 * row['share']:.0f} % of the gap ({_percent(row)}; {gain})"
    return text + _share_clause(study, row, share)


def _share_clause(study: Study, row: Row, share: str) -> str:
    small = study.baseline_batch_size
    if row["share_high"] < 0:
        return f"widens the gap: {share}."
    if row["share_low"] <= 0:
        return f"closes no share that is beyond its uncertainty: {share}."
    if not row["may_say_closes"]:
        return (
            f"recovers {share}. It was not run at batch size {small}, so whether it closes the gap "
            "or lifts the accuracy at every batch size is open."
        )
    changes_nothing = row["baseline_gain_low"] == row["baseline_gain_high"] == 0
    own = (
        f"at {small} it changes nothing"
        if changes_nothing
        else (
            f"at {small} it gains {100 * row['baseline_gain']:+.2f} points"
            f"{_span(row, 'baseline_gain')}, and under it the gap is "
            f"{100 * row['gap_under_arm']:.2f} points{_span(row, 'gap_under_arm')}"
        )
    )
    if _closes(row):
        return f"closes {share}; {own}."
    return f"recovers {share}, but cannot be said to close it: {own}."


def _best_sharpness(study: Study) -> dict[tuple[Any, ...], float]:
    """Geometric mean per cell of the first sharpness that was measured by the best method."""
    means = gaps.measure_means(study, "sharpness")
    means = means[means["label"].str.startswith("sharpness best")]
    first = means[means["label"] == means["label"].iloc[0]] if len(means) else means
    return {tuple(row[name] for name in gaps.CELL): row["geometric_mean"] for row in _rows(first)}


def _beside(study: Study, row: Row, sharpness: dict[tuple[Any, ...], float]) -> str:
    """Sharpness under the arm, without it, and at the baseline batch: numbers, no conclusion."""
    large, small = row["global_batch_size"], study.baseline_batch_size
    other = row["baseline_settings"]
    own, without, at_small = (
        sharpness.get(cell, np.nan)
        for cell in [
            (row["arm"], row["settings"], large),
            (BASELINE_ARM, other, large),
            (BASELINE_ARM, other, small),
        ]
    )
    if np.isnan([own, without, at_small]).any():
        return ""
    return f" Sharpness is {own:.3g} with it, {without:.3g} without, and {at_small:.3g} at {small}."


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
    if not study.searched:
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
    table = _baseline_arm(gaps.conditions(study))
    names = {
        "lr_per_example": "learning rate per example",
        "weight_decay_per_epoch": "weight decay per epoch",
        "momentum_half_life_examples": "half-life of the momentum in examples",
    }
    clauses = []
    for column, name in names.items():
        if (table.groupby("settings")[column].nunique() > 1).any():
            clauses.append(f"{name} ({table[column].min():.3g} to {table[column].max():.3g})")
    return ", ".join(clauses)


# ---------------------------------------------------------------------------------------- words


def _rows(table: pd.DataFrame) -> list[Row]:
    rows: list[Row] = table.to_dict("records")
    return rows


def _baseline_arm(table: pd.DataFrame) -> pd.DataFrame:
    return table[table["arm"] == BASELINE_ARM]


def _of(table: pd.DataFrame, settings: str) -> list[Row]:
    return _rows(table[table["settings"] == settings])


def _excludes(row: Row, value: float) -> bool:
    return bool(row["low"] > value or row["high"] < value)


def _where(row: Row) -> str:
    return f"{row['arm']} at {row['global_batch_size']}{_with(row['settings'])}"


def _with(settings: str) -> str:
    return f" with {settings}" if settings else ""


def _words(label: str) -> str:
    return label.replace("_", " ").replace("hessian", "Hessian")


def _title(label: str) -> str:
    words = _words(label)
    return words[0].upper() + words[1:]


def _span(row: Row, name: str) -> str:
    low, high = row[f"{name}_low"], row[f"{name}_high"]
    return "" if np.isnan(low) else f" ({100 * low:.2f} to {100 * high:.2f})"


def _percent(row: Row) -> str:
    return f"95 % interval {100 * row['share_low']:.0f} to {100 * row['share_high']:.0f} %"


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"= {value:.2g}"
