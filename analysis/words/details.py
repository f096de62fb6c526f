"""The verdict at length: every gap, ratio, association and arm, and what qualifies them.

Every finding carries its interval and its number of seeds. `analysis.words.verdict` is the short of
it; like there, nothing assumes what the literature found.
"""

from __future__ import annotations

import numpy as np

from analysis.choice import conditions
from analysis.conclude import gaps, shares
from analysis.conclusions import Estimate, Gap, ShareClosed
from analysis.gaps import by_cell
from analysis.judged.gaps import largest_within
from analysis.load import Study
from analysis.uncertainty import MIN_SEEDS, is_exploratory
from analysis.wording import number, percent_level, title, under, words
from analysis.words.edge import edge_paragraphs
from analysis.words.measure_details import association, measure_paragraphs, sharpness_under_arms
from analysis.words.tuning import tuned_text
from analysis.words.verdict import SEEDS_VARY, interval_text, over_settings
from trainables.task import Metric

MAX_SETTINGS = 4
"""Settings described one by one; of more only counts are given."""
MAX_ARM_SENTENCES = 12
MAX_CELLS = 8
"""Cells with dead trials that are named one by one."""


def details(study: Study) -> list[str]:
    """What the study shows, one paragraph per entry.

    In order: what ran and what did not; the generalization gap, and how much of it the training
    set shows already; sharpness and curvature; whether they go with the metric; what each arm
    closes; the reservations.
    """
    paragraphs = [
        _coverage(study),
        *_gap_paragraphs(study),
        *measure_paragraphs(study),
        *edge_paragraphs(study),
        association(study),
        *_arm_paragraphs(study),
        _reservations(study),
    ]
    return [paragraph for paragraph in paragraphs if paragraph]


# ------------------------------------------------------------------------------------- coverage


def _coverage(study: Study) -> str:
    all_points = by_cell.labelled_points(study)
    trials = all_points.drop_duplicates("trial_id")
    counts = trials["status"].replace({"planned": "not run"}).value_counts()
    ended = ", ".join(f"{count} {status}" for status, count in counts.items())
    text = f"{len(all_points)} points resolve to {len(trials)} trials: {ended}."
    cells = by_cell.counts(study)
    dead = by_cell.records(cells[cells["diverged"] + cells["failed"] > 0])
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
    by_settings: dict[str, list[Gap]] = {}
    for gap in gaps(study):
        if gap.arm == by_cell.BASELINE_ARM:
            by_settings.setdefault(gap.settings, []).append(gap)
    if not any(gap.n for own in by_settings.values() for gap in own):
        return []
    if len(by_settings) > MAX_SETTINGS:
        return [_gap_counts(study, [gap for own in by_settings.values() for gap in own])]
    return [
        _gap_text(study, settings, own) + _fit_text(study, settings)
        for settings, own in by_settings.items()
    ]


def _gap_text(study: Study, settings: str, rows: list[Gap]) -> str:
    sentences = "; ".join(
        f"at {row.global_batch_size} {_gap_clause(row, study.metric)}" for row in rows
    )
    small = study.baseline_batch_size
    return (
        f"Generalization gap{under(settings)}: against batch size {small}, tested from the largest "
        f"down, {words(study.test_metric)} {sentences}.{_within_text(study, settings)}"
    )


def _gap_clause(row: Gap, metric: Metric) -> str:
    if row.n == 0:
        return "has no pair of complete trials"
    size = f"{metric.difference(abs(row.estimate))} {metric.direction(better=row.estimate <= 0)}"
    if row.reason:
        return f"is on average {size} ({row.reason})"
    bounds = interval_text(row, metric)
    known = not np.isnan(row.at_most)
    at_most = f"; {_at_most(row.at_most, metric)}, one-sided" if known else ""
    if row.low <= 0 <= row.high:
        return f"is on average {size} ({bounds}: a gap is not shown{at_most})"
    if not row.shown:
        larger = "not judged, that of a larger size is not shown"
        return f"is on average {size} ({bounds}: {larger}{at_most})"
    opposite = "" if row.estimate > 0 else ": the opposite of a gap"
    return f"is {size} ({bounds}{at_most}){opposite}"


def _at_most(limit: float, metric: Metric) -> str:
    if limit < 0:
        return f"it gains at least {metric.amount(-limit)}"
    return f"it loses at most {metric.amount(limit)}"


def _within_text(study: Study, settings: str) -> str:
    """The largest batch size that is shown to lose less than a margin."""
    found = largest_within(study, settings)
    if found is None:
        return ""
    margin = f"{study.metric.scale * found.margin:g} point"
    seeds = ""
    if found.failed is not None and found.seeds is not None:
        seeds = f"; about {found.seeds} seeds could show it of {found.failed}, at the spread seen"
    if found.loses_more:
        seeds = f"; {found.failed} is shown to lose more"
    word = f"{found.exploratory}: " if found.exploratory else ""
    if found.batch is None:
        return f" No batch size is shown to lose less than {margin} ({word}at this n{seeds})."
    return (
        f" The largest batch size shown to lose less than {margin} is {found.batch} "
        f"({word}tested upwards{seeds})."
    )


def _gap_counts(study: Study, found: list[Gap]) -> str:
    """Of many settings: how many show a gap, at each batch size."""
    sizes: dict[int, list[Gap]] = {}
    for gap in found:
        if not gap.reason and gap.n > 1:
            sizes.setdefault(gap.global_batch_size, []).append(gap)
    clauses = [f"at {size} {over_settings(sizes[size], study.metric)}" for size in sorted(sizes)]
    small = study.baseline_batch_size
    if not clauses:
        return f"Generalization gap: against batch size {small} none is judged."
    name = words(study.test_metric)
    return f"Generalization gap: against batch size {small} {name} is {'; '.join(clauses)}."


def _fit_text(study: Study, settings: str) -> str:
    """Train loss at every batch size, and where the training set's metric is worse too."""
    losses = by_cell.records(
        by_cell.baseline_arm(by_cell.cell_means(study, "train_loss"), settings)
    )
    text = " Train loss: " + ", ".join(
        f"{number(row['mean'], 2)} at {row['global_batch_size']}" for row in losses if row["n"]
    )
    metric, column = study.metric, study.metric.column("train")
    train = [
        gap
        for gap in gaps(study, column)
        if gap.arm == by_cell.BASELINE_ARM and gap.settings == settings
    ]
    clauses = [
        f"{metric.difference(gap.estimate)} ({metric.amount(gap.low)} to "
        f"{metric.amount(gap.high)}) at {gap.global_batch_size}"
        for gap in train
        if gap.shown and gap.low > 0
    ]
    if clauses:
        worse = metric.direction(better=False)
        text += f". {title(column)} is {worse} by {', '.join(clauses)}"
    return text + "."


# ----------------------------------------------------------------------------------------- arms


def _arm_paragraphs(study: Study) -> list[str]:
    rows = [share for share in shares(study) if share.n]
    if len(rows) > MAX_ARM_SENTENCES:
        said = sum(row.standing in ("closes", "recovers") for row in rows)
        return [
            f"Of {len(rows)} comparisons of an arm with the baseline arm, {said} close a share of "
            "the gap at the level of their family; the table of arms has all of them."
        ]
    return [*(_arm_text(study, row) for row in rows), *sharpness_under_arms(study, rows)]


def _arm_text(study: Study, row: ShareClosed) -> str:
    start = f"{row.arm} at {row.global_batch_size}{under(row.settings)}"
    metric, name = study.metric, words(study.test_metric)
    gain = (
        f"{metric.difference(row.gain.estimate, '+')}{_span(metric, row.gain)}, {_conditions(row)}"
    )
    if row.standing == "not judged":
        changes = "changes" if metric.is_larger_better else "improves"
        return (
            f"{start} {changes} {name} by {gain}; no share of a gap is given: {row.reason}."
            f"{_two_by_two(metric, row)}"
        )
    if study.search:
        return _tuned_text(study, row, start, gain)
    bounds = f"{100 * row.low:.0f} to {100 * row.high:.0f} %"
    share = f"{100 * row.estimate:.0f} % of the gap ({bounds}; {gain})"
    small = study.baseline_batch_size
    said = row.standing
    if said == "widens":
        return f"{start} widens the gap: {share}."
    if said == "unclear":
        return f"{start}: no share is shown to be closed: {share}."
    lifts = "lifts" if metric.is_larger_better else "lowers"
    if said == "open":
        return (
            f"{start} recovers {share}. It was not run at batch size {small}, so whether it closes "
            f"the gap or {lifts} the {words(metric.name)} at every batch size is open."
        )
    if said == "closes":
        return f"{start} closes {share}; {_at_baseline_batch(study, row)}."
    return f"{start} recovers {share}, but cannot be said to close it: " + (
        f"{_at_baseline_batch(study, row)}."
    )


def _tuned_text(study: Study, row: ShareClosed, start: str, gain: str) -> str:
    """An arm whose values a search chose, by its lower limits."""
    if row.standing == "recovers":
        said = f"recovers at least {100 * row.low:.0f} % of the gap"
    else:
        said = "has no gain shown over the best that the baseline could be tuned to"
    there, both = _at_baseline_batch(study, row), _two_by_two(study.metric, row)
    return f"{start} {said} ({gain}); {there}.{both}"


def _conditions(row: ShareClosed) -> str:
    """`5 seeds, 4 comparisons at 98.75 % each`."""
    of = f", {row.comparisons} comparisons" if row.comparisons > 1 else ""
    looked = f", {row.looks} looks" if row.looks > 1 else ""
    word = f"{row.exploratory}, " if row.exploratory else ""
    return f"{word}{row.n} seeds{of}{looked}, {percent_level(row.level)}"


def _two_by_two(metric: Metric, row: ShareClosed) -> str:
    """Arm and baseline at both winners: what it looks like, and no credit."""
    found = row.two_by_two
    if found is None:
        return ""
    own, there = (
        f"{_level(metric, pair[0])} against {_level(metric, pair[1])}"
        for pair in (found.at_own, found.at_baseline)
    )
    if found.is_same:
        return f" Both have the same best values: {own} for the baseline (a description)."
    return (
        f" At the arm's best values {own} for the baseline, at the baseline's {there}: "
        f"{found.reading} (a description)."
    )


def _level(metric: Metric, goodness: float) -> str:
    return "dead" if np.isnan(goodness) else metric.text(metric.goodness(goodness))


def _at_baseline_batch(study: Study, row: ShareClosed) -> str:
    """What the arm does where there is no gap to close."""
    small = study.baseline_batch_size
    if np.isnan(row.baseline_gain.estimate):
        return f"it was not run at {small}"
    if row.baseline_gain.estimate == 0 and np.isnan(row.baseline_gain.low):
        return f"at {small} it changes nothing"
    metric = study.metric
    return (
        f"at {small} it gains {metric.difference(row.baseline_gain.estimate, '+')}"
        f"{_span(metric, row.baseline_gain)}, and under it the gap is "
        f"{metric.difference(row.gap_under_arm.estimate)}{_span(metric, row.gap_under_arm)}"
    )


# --------------------------------------------------------------------------------- reservations


def _reservations(study: Study) -> str:
    fewest = min((gap.n for gap in gaps(study) if gap.n), default=0)
    sentences = []
    if fewest and is_exploratory(fewest):
        sentences.append(
            f"Exploratory: some comparisons rest on {fewest} paired seeds, and fewer than "
            f"{MIN_SEEDS} have been seen to mislead."
        )
    if study.search:
        sentences.append(
            f"{tuned_text(study)} The search's trials enter no table: the winners were trained "
            "again, on seeds that it never saw."
        )
    else:
        sentences.append(
            f"{tuned_text(study)} No search chose any: rates tuned for each batch size could "
            "change every difference above."
        )
    if changing := _changing_conditions(study):
        sentences.append(f"With the batch size these change too, in the baseline arm: {changing}.")
    if study.points["arm"].nunique() > 2 and not study.search:
        sentences.append(
            "Arms that ran beside each other share one level, 1 - .05 / (comparisons x looks), for "
            "the word and the interval."
        )
    return " ".join([*sentences, SEEDS_VARY])


def _changing_conditions(study: Study) -> str:
    table = by_cell.baseline_arm(conditions(study))
    names = {
        "lr_per_example": "learning rate per example",
        "weight_decay_per_epoch": "weight decay per epoch",
        "momentum_half_life_examples": "half-life of the momentum in examples",
    }
    clauses = []
    for column, name in names.items():
        if (table.groupby("settings")[column].nunique() > 1).any():
            low, high = number(table[column].min()), number(table[column].max())
            is_one = table["settings"].nunique() == 1  # else the range is that of the settings too
            clauses.append(f"{name} ({low} to {high})" if is_one else name)
    return ", ".join(clauses)


# ---------------------------------------------------------------------------------------- words


def _span(metric: Metric, found: Estimate) -> str:
    if np.isnan(found.low):
        return ""
    least, most = metric.amount(found.low), metric.amount(found.high)
    return f" ({least} or more)" if np.isnan(found.high) else f" ({least} to {most})"
