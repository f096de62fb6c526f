"""The verdict at length, part two: sharpness and curvature, and whether they go with the metric."""

from __future__ import annotations

from typing import Any

import numpy as np

from analysis.conclusions import ShareClosed
from analysis.gaps import by_cell
from analysis.gaps.by_cell import BASELINE_ARM
from analysis.gaps.measured import (
    Definition,
    definitions,
    measure_means,
    measure_ratio,
    measure_values,
)
from analysis.gaps.sharpness import first_sharpness, named
from analysis.judged.correlation import MIN_CELLS, correlations
from analysis.judged.gaps import all_equal_text, not_judged
from analysis.judged.published import beside_paper
from analysis.load import Study
from analysis.uncertainty import SAME, is_exploratory
from analysis.wording import equation, listed, number, p_value, title, under, words

SIGNIFICANT = 0.05
METHODS_DIFFER = 2.0
"""From this factor on, the paper's sharpness and the largest one found are said to differ."""
MAX_SETTINGS = 4
"""Settings described one by one; of more nothing is said here."""

Row = dict[str, Any]


def measure_paragraphs(study: Study) -> list[str]:
    """Each measure's ratio to the baseline batch, and where it falls as the batch grows."""
    known = definitions(study)
    if not known or by_cell.labelled_points(study)["settings"].nunique() > MAX_SETTINGS:
        return []
    wanted = [d for d in known if not d.is_sharpness or d.method == "best"]
    order = list(dict.fromkeys(d.quantity for d in wanted))
    paragraphs = []
    for definition in sorted(wanted, key=lambda d: order.index(d.quantity)):
        ratios = by_cell.baseline_arm(measure_ratio(study, definition))
        means = measure_means(study, definition)
        for settings, rows in ratios.groupby("settings", sort=False):
            own = by_cell.records(by_cell.baseline_arm(means, settings))
            if text := _ratio_text(study, definition.label, settings, by_cell.records(rows)):
                paragraphs.append(text + _falls(study, definition, settings, own))
    return [*paragraphs, *_method_paragraph(study)]


def _ratio_text(study: Study, label: str, settings: str, rows: list[Row]) -> str:
    clauses = []
    for row in rows:
        if row["n"] < 2 or row["left_out"]:  # of the positive pairs alone it would be too lucky
            continue
        is_equal = row["std"] < SAME  # a width of zero would look like certainty
        bounds = f"{number(row['low'])} to {number(row['high'])}"
        size = f"{number(row['mean'])} times ({all_equal_text(row['n']) if is_equal else bounds})"
        unclear = ", which may be no change" if row["low"] <= 1 <= row["high"] else ""
        clauses.append(f"{size} at {row['global_batch_size']}{unclear}")
    if not clauses:
        return ""
    small = study.baseline_batch_size
    return f"{title(label)}{under(settings)}, against batch size {small}: {'; '.join(clauses)}."


def _falls(study: Study, definition: Definition, settings: str, means: list[Row]) -> str:
    """Says where a measure falls while the batch grows, with intervals that do not overlap.

    Of one or two seeds, and at the scale `smoke`, nothing; of three or four it is exploratory.
    """
    falls: list[list[Row]] = [[]]
    judged = [row for row in means if not not_judged(study, row["n"])]
    for row in sorted(judged, key=lambda row: row["global_batch_size"]):
        if falls[-1] and not row["geometric_high"] < falls[-1][-1]["geometric_low"]:
            falls.append([])
        falls[-1].append(row)
    ends = [(run[0]["global_batch_size"], run[-1]["global_batch_size"]) for run in falls if run[1:]]
    if not ends:
        return ""
    text = " It falls " + " and ".join(f"from {first} to {last}" for first, last in ends)
    losses = {
        row["global_batch_size"]: row["mean"]
        for row in by_cell.records(
            by_cell.baseline_arm(by_cell.cell_means(study, "train_loss"), settings)
        )
    }
    if definition.is_sharpness and all(losses[last] > losses[first] for first, last in ends):
        text += (
            ", while the train loss rises: sharpness is divided by 1 + loss and no longer follows "
            "the batch size where the large batch underfits"
        )
    few = any(is_exploratory(row["n"]) for row in judged)
    return text + (" (exploratory)." if few else ".")


def _method_paragraph(study: Study) -> list[str]:
    """How much less the paper's maximizer finds than the best one, where that is much.

    Said only where the paper's numbers, which are its own method's, stand beside.
    """
    if not beside_paper(study):
        return []
    values = measure_values(study)
    values = values[values["quantity"] == "sharpness"]
    # Old values of `best` have no partner.
    wide = values.pivot(index=["trial_id", "what"], columns="method", values="value")
    if not {"best", "paper"} <= set(wide):
        return []
    factors = (wide["best"] / wide["paper"]).replace([np.inf, -np.inf], np.nan).dropna()
    if factors.empty or factors.median() < METHODS_DIFFER:
        return []
    return [
        f"The best maximizer finds a median of {number(factors.median(), 2)} times the sharpness "
        f"that the paper's 10 iterations find ({number(factors.min(), 2)} to "
        f"{number(factors.max(), 2)} over {len(factors)} measurements): both are lower bounds, and "
        "the paper's the weaker one."
    ]


def association(study: Study) -> str:
    """Whether measures go with the metric, within cells and over cell means; "" without a test.

    One or two seeds, and the scale `smoke`, have none.
    """
    table = correlations(study)
    table = table[(table["target"] == study.test_metric) & table["tau"].notna()]
    table = table[table["cells"] > 0]
    if table.empty or study.is_smoke:
        return ""
    rows = by_cell.records(table)
    sizes = dict.fromkeys((rows[0]["m_in_cells"], rows[0]["m_of_means"]))
    families = listed([str(m) for m in sizes if m] or ["no"])
    return (
        f"Measures and {words(study.test_metric)} (Kendall's tau: over all trials, a number "
        "without p; the mean within cells, where the seed alone differs; of the means of cells, "
        f"with p from {MIN_CELLS} cells on; p after Holm over {families} rows; in brackets the "
        "mean tau where a single hyper-parameter varies and the seed is held): "
        f"{'; '.join(_association_clause(row, words(study.metric.name)) for row in rows)}."
    )


def _association_clause(row: Row, metric: str) -> str:
    taus = [
        f"{words(row['label'])} {row['tau']:.2f}",
        f"within cells {_tau_text(row, 'in_cells')}",
        f"of {row['cells']} means {_tau_text(row, 'of_means')}",
    ]
    within = row["granulated"]
    held = "none" if np.isnan(within) else f"{within:.2f}"
    return f"{', '.join(taus)} [{held}]: {_association_word(row, metric)}"


def _tau_text(row: Row, test: str) -> str:
    tau, p = row[f"tau_{test}"], row[f"p_{test}_holm"]
    if np.isnan(tau):
        return "none"
    p_text = equation(p_value(p, row[f"p_{test}_is_bound"]))
    return f"{tau:.2f}" + ("" if np.isnan(p) else f" ({p_text})")


def _association_word(row: Row, metric: str) -> str:
    """What the two tests show; tau over all trials is no part of it.

    Within cells permuting whole seeds has to agree: runs of one seed resemble each other.
    """
    where = {"in_cells": "within cells", "of_means": "over cell means"}
    shown = {test: row[f"p_{test}_holm"] < SIGNIFICANT for test in where}
    shown["in_cells"] &= row["p_whole_seeds"] < SIGNIFICANT
    places: dict[str, list[str]] = {}
    for test in filter(shown.get, where):
        direction = "higher" if row[f"tau_{test}"] > 0 else "lower"
        places.setdefault(direction, []).append(where[test])
    if not places:
        return "no association is shown"
    text = ", ".join(
        f"{direction} {metric} where it is higher, {listed(found)}"
        for direction, found in places.items()
    )
    if shown["of_means"] and row["granulated"] * row["tau_of_means"] < 0:
        text += ", but not so within hyper-parameters"
    return text + (" (exploratory)" if is_exploratory(row["seeds"]) else "")


def sharpness_under_arms(study: Study, rows: list[ShareClosed]) -> list[str]:
    """The study's sharpness, under the arms and without: numbers, no conclusion."""
    first = first_sharpness(study)
    if first is None:
        return []
    means = measure_means(study, first).dropna(subset="geometric_mean")
    found = means.set_index(by_cell.CELL)["geometric_mean"].to_dict()
    paragraphs = []
    groups: dict[tuple[int, str], list[ShareClosed]] = {}
    for row in rows:
        groups.setdefault((row.global_batch_size, row.baseline_settings), []).append(row)
    for (batch, settings), group in groups.items():
        cells = [(row.arm, row.settings, batch) for row in group]
        under_arms = [f"{number(found[cell])} under {cell[0]}" for cell in cells if cell in found]
        without = found.get((BASELINE_ARM, settings, batch))
        small = found.get((BASELINE_ARM, settings, study.baseline_batch_size))
        if under_arms and without and small:
            paragraphs.append(
                f"{title(named(study, first))} at {batch}{under(settings)}: {number(without)} in "
                f"the baseline arm, {listed(under_arms)}; {number(small)} at "
                f"{study.baseline_batch_size}."
            )
    return paragraphs
