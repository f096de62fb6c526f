"""A study's answer in a few sentences: exactly what its numbers allow, whichever way they point.

A word is said only where the seeds carry it (`analysis.judged.gaps`, `analysis.judged.arms`); every
finding has its interval. Nothing here assumes what the literature found: where the data contradict
it, the sentence says what was seen. `details` has the same at length.
"""

from __future__ import annotations

from collections.abc import Iterator

from analysis.conclude import at, gaps, ratios
from analysis.conclusions import Gap, Ratio
from analysis.gaps import by_cell
from analysis.gaps.by_cell import BASELINE_ARM
from analysis.gaps.sharpness import leading
from analysis.gaps.subjects import subjects
from analysis.judged.arms import focus
from analysis.load import Study
from analysis.wording import MAX_NAMES, counted, listed, number, percent_level, title, under, words
from analysis.words.arms import arms_sentence, dead_sizes
from analysis.words.tuning import tuned_text
from trainables.task import Metric

SEEDS_VARY = (
    "The seeds vary initialization and order; of the data there is one training subset and one "
    "test set, whose draw adds to every interval."
)


def headline(study: Study) -> str:
    """What the study shows: a paragraph per network and data set, then what qualifies them.

    Of each, in order: the generalization gap at the largest batch size and at the one that its arms
    ask about, and whether the training set shows it too; what each arm closes; curvature.
    """
    parts = subjects(study)
    found = [(name, _of_subject(part)) for name, part in parts]
    paragraphs = [f"{name}: {text}" if name else text for name, text in found]
    has_gap = any(focus(part) is not None for _, part in parts)
    tuning = tuned_text(study) if has_gap or study.search else ""
    paragraphs.append(" ".join([tuning, SEEDS_VARY if has_gap else "", _without_result(study)]))
    return "\n\n".join(text.strip() for text in paragraphs if text.strip())


def _of_subject(study: Study) -> str:
    batch, dead = focus(study), [*dead_sizes(study)]
    if batch is None:
        return " ".join(filter(None, [_why_no_gap(study), _levels(study), *dead]))
    found = [
        *_gaps(study, batch),
        arms_sentence(study, batch, at(gaps(study), batch)),
        *dead,
        _curvature(study, batch),
    ]
    return " ".join(filter(None, found))


# ------------------------------------------------------------------------------------------ gap


def _why_no_gap(study: Study) -> str:
    small = study.baseline_batch_size
    if study.points["global_batch_size"].nunique() == 1:
        only = study.points["global_batch_size"].iloc[0]
        return f"There is no gap to form: batch size {only} is the only one."
    if small is None:
        return "No gap is formed: the study names no baseline_batch_size."
    return (
        "No gap can be formed: no seed is complete both at the baseline batch size "
        f"{small} and at another one."
    )


def _levels(study: Study) -> str:
    """The metric where there is nothing to compare it with."""
    means, metric = by_cell.cell_means(study, study.test_metric), study.metric
    known = means[means["n"] > 0]
    cells = [
        f"{metric.text(row['mean'])} in {row['arm']} at {row['global_batch_size']}"
        f"{under(row['settings'])}"
        for row in by_cell.records(known)
    ]
    name = title(study.test_metric)
    if len(cells) > MAX_NAMES:
        low, high = metric.amount(known["mean"].min()), metric.text(known["mean"].max())
        return f"{name} is {low} to {high} over {len(cells)} cells."
    return f"{name} is {listed(cells)}." if cells else ""


def _gaps(study: Study, batch: int) -> Iterator[str]:
    """The gap at the largest batch size that was run, then at the one that the arms ask about."""
    own = [gap for gap in gaps(study) if gap.arm == BASELINE_ARM and gap.n]
    for size in dict.fromkeys([max(gap.global_batch_size for gap in own), batch]):
        found = at(own, size)
        yield gap_sentence(study, found[0]) if len(found) == 1 else _over_settings(study, found)


def gap_sentence(study: Study, row: Gap) -> str:
    """What may be said of one gap: `At batch size 1000 test accuracy is 2.03 points lower ...`."""
    metric, name = study.metric, words(study.test_metric)
    size = f"{metric.difference(abs(row.estimate))} {metric.direction(better=row.estimate <= 0)}"
    than = f"than at {study.baseline_batch_size}"
    place = f"At batch size {row.global_batch_size}{under(row.settings)}"
    start = f"{place} {name}"
    if row.estimate == 0:
        size = "neither lower nor higher"
    if row.reason:
        return f"{start} is on average {size} {than}; {row.reason}."
    bounds = interval_text(row, metric)
    qualified = f"{row.exploratory.capitalize()}: " if row.exploratory else ""
    if row.shown:
        opposite = ": the opposite of a gap" if row.estimate < 0 else _on_training_set(study, row)
        text = f"{start} is {size} {than} ({bounds}){opposite}."
    elif row.low <= 0 <= row.high:
        text = (
            f"{place} a gap to {study.baseline_batch_size} is not shown: {name} is on average "
            f"{size} ({bounds}); a loss of {metric.difference(max(row.high, 0))} cannot be "
            "excluded."
        )
    else:
        text = (
            f"{start} is on average {size} {than} ({bounds}), not judged: larger batch sizes come "
            "first, and that of one is not shown."
        )
    return qualified + (text[0].lower() + text[1:] if qualified else text)


def interval_text(row: Gap, metric: Metric) -> str:
    """`95 % interval 1.96 to 2.11, 5 seeds`: by how much lower, or of a higher mean higher."""
    low, high = (row.low, row.high) if row.estimate >= 0 else (-row.high, -row.low)
    looked = f", {row.looks} looks" if row.looks > 1 else ""
    return (
        f"{percent_level(row.level)} interval {metric.amount(low)} to {metric.amount(high)}, "
        f"{row.n} seeds{looked}"
    )


def _on_training_set(study: Study, gap: Gap) -> str:
    """What of a gap the training set shows already, where that is shown."""
    metric = study.metric
    column = metric.column("train")
    own = at(gaps(study, column), gap.global_batch_size)
    found = next((train for train in own if train.settings == gap.settings), None)
    if found is None or not (found.shown and found.low > 0):
        return ""
    mean, low, high = map(metric.amount, (found.estimate, found.low, found.high))
    worse = metric.direction(better=False)
    return f"; {words(column)} is {worse} too, by {mean} ({low} to {high})"


def _over_settings(study: Study, rows: list[Gap]) -> str:
    small, batch = study.baseline_batch_size, rows[0].global_batch_size
    metric = study.metric
    judged = [row for row in rows if not row.reason]
    if not judged:
        low, high = (end(row.estimate for row in rows) for end in (min, max))
        reasons = listed(sorted({row.reason for row in rows}))
        return (
            f"At batch size {batch} the gaps to {small} are on average {metric.amount(low)} to "
            f"{metric.difference(high)} over {len(rows)} settings; {reasons}."
        )
    found = over_settings(rows, metric)
    return f"At batch size {batch} {words(study.test_metric)} is {found} than at {small}."


def over_settings(rows: list[Gap], metric: Metric) -> str:
    """Of several settings: in how many the metric is worse, and better, of those judged."""
    judged = [row for row in rows if not row.reason]
    worse = sum(row.shown and row.low > 0 for row in judged)
    better = sum(row.shown and row.high < 0 for row in judged)
    means = [row.estimate for row in judged] or [0.0]
    left = len(rows) - len(judged)
    words = sorted({row.exploratory for row in judged} - {""})
    levels = sorted({row.level for row in judged})
    notes = [
        *words,
        f"{listed([percent_level(level) for level in levels])} intervals",
        f"gaps {metric.amount(min(means))} to {metric.difference(max(means))}",
        *([f"{left} more not judged"] if left else []),
    ]
    down, up = metric.direction(better=False), metric.direction(better=True)
    also = f" and {up} in {better}" if better else ""
    return f"{down} in {worse} of {counted(len(judged), 'setting')}{also} ({', '.join(notes)})"


# --------------------------------------------------------------------------------- and the rest


def _curvature(study: Study, batch: int) -> str:
    """The study's sharpness, and the top eigenvalue beside it."""
    sentences = []
    for definition, name in leading(study):
        found = [ratio for ratio in at(ratios(study, definition), batch) if ratio.n > 1]
        if len(found) == 1:
            sentences.append(_ratio(study, name, found[0]))
        elif found and not found[0].reason:
            larger = sum(ratio.low > 1 for ratio in found)
            than = f"than at {study.baseline_batch_size}"
            of = f"in {larger} of {len(found)} settings"
            sentences.append(f"At {batch} the {name} is larger {than} {of}.")
    return " ".join(sentences)


def _ratio(study: Study, name: str, ratio: Ratio) -> str:
    small, batch = study.baseline_batch_size, ratio.global_batch_size
    times = number(ratio.estimate)
    bounds = f"{number(ratio.low)} to {number(ratio.high)}"
    place = f"t {batch} the {name} is"
    if ratio.reason:
        return f"A{place} on average {times} times that at {small}; {ratio.reason}."
    start = f"Exploratory: a{place}" if ratio.exploratory else f"A{place}"
    if ratio.std == 0:
        return f"{start} {times} times that at {small} in each of {ratio.n} seeds."
    if ratio.low <= 1 <= ratio.high:
        return f"{start} not shown to differ from that at {small} ({bounds} times)."
    return f"{start} {times} times that at {small} ({bounds})."


def _without_result(study: Study) -> str:
    """Trials that entered no mean, and results that were set aside."""
    trials = by_cell.labelled_points(study).drop_duplicates("trial_id")["status"]
    sentences = []
    dead = [f"{n} {s}" for s in ("diverged", "failed") if (n := (trials == s).sum())]
    if dead:
        sentences.append(f"Of {counted(len(trials), 'trial')} {listed(dead)}: no mean has them.")
    unfinished = (~trials.isin(["complete", "diverged", "failed"])).sum()
    if unfinished:
        sentences.append(f"Not finished: {unfinished} of {len(trials)} trials have no result yet.")
    if study.problems:
        sentences.append(f"The report lists {counted(len(study.problems), 'problem')} of the data.")
    return " ".join(sentences)
