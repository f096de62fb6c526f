"""A study's answer in one paragraph: exactly what its numbers allow, whichever way they point.

Every finding carries its 95 % interval. Nothing here assumes what the literature found: where the
data contradict it, the sentence says what was seen. `details` has the same at length.
"""

from __future__ import annotations

from typing import Any

import pandas as pd

from analysis import gaps
from analysis.closing import focus, share_of_gap_closed, standing
from analysis.gaps import BASELINE_ARM
from analysis.load import Study
from analysis.search import tuned_text
from analysis.uncertainty import is_exploratory
from analysis.wording import counted, listed, number, points, under

MAX_NAMES = 4
"""Arms, or cells, that are named one by one; of more only the count is given."""
CURVATURES = {
    "hessian_top_eigenvalue": "The top Hessian eigenvalue",
    "sharpness": "Sharpness",
}
"""The first of these that was measured stands for the solution's curvature."""

Row = dict[str, Any]


def headline(study: Study) -> str:
    """What the study shows at the batch size that its arms, or else its largest batches, ask about.

    In order: the generalization gap and whether the training set shows it too; what each arm
    closes; curvature; then what qualifies all that: few seeds, the search, trials without a result.
    """
    batch = focus(study)
    if batch is None:
        findings = [_why_no_gap(study), _accuracies(study)]
    else:
        gap = _at(gaps.generalization_gap(study), batch)
        findings = [
            _gap(study, gap[0]) if len(gap) == 1 else _gap_over_settings(study, gap),
            _arms(study, batch, gap),
            _curvature(study, batch),
            _reservations(study, gap),
        ]
    return " ".join(filter(None, [*findings, _without_result(study)]))


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


def _accuracies(study: Study) -> str:
    """Test accuracy where there is nothing to compare it with."""
    means = gaps.cell_means(study, "test_accuracy")
    known = means[means["n"] > 0]
    cells = [
        f"{100 * row['mean']:.2f} % in {row['arm']} at {row['global_batch_size']}"
        f"{under(row['settings'])}"
        for row in gaps.records(known)
    ]
    if len(cells) > MAX_NAMES:
        low, high = 100 * known["mean"].min(), 100 * known["mean"].max()
        return f"Test accuracy is {low:.2f} to {high:.2f} % over {len(cells)} cells."
    return f"Test accuracy is {listed(cells)}." if cells else ""


def _gap(study: Study, row: Row) -> str:
    small, seeds = study.baseline_batch_size, row["n"]
    start = f"At batch size {row['global_batch_size']}{under(row['settings'])} test accuracy"
    size = f"{points(abs(row['mean']))} points {'lower' if row['mean'] > 0 else 'higher'}"
    if seeds == 1:
        return f"{start} is {size} than at {small} (one seed: no interval)."
    if row["low"] <= 0 <= row["high"]:
        return (
            f"{start} shows no gap to batch size {small} beyond its uncertainty ({size}; 95 % "
            f"interval of the gap {points(row['low'])} to {points(row['high'])}, {seeds} seeds)."
        )
    low, high = sorted(abs(row[name]) for name in ("low", "high"))
    bounds = f"95 % interval {points(low)} to {points(high)}, {seeds} seeds"
    opposite = ": the opposite of a gap" if row["mean"] < 0 else _underfitting(study, row)
    return f"{start} is {size} than at {small} ({bounds}){opposite}."


def _underfitting(study: Study, gap: Row) -> str:
    """How much of a gap the training set shows already, where that is beyond chance."""
    train = gaps.gap_of(study, "train_accuracy")
    rows = _at(train[train["settings"] == gap["settings"]], gap["global_batch_size"])
    if not rows or not rows[0]["low"] > 0:
        return ""
    lower = f"train accuracy {points(rows[0]['mean'])} points lower"
    if rows[0]["mean"] < gap["mean"]:
        return f", part of it underfitting ({lower})"
    return f", and underfitting may explain all of it ({lower})"


def _gap_over_settings(study: Study, rows: list[Row]) -> str:
    lower = sum(row["low"] > 0 for row in rows)
    higher = sum(row["high"] < 0 for row in rows)
    means = [row["mean"] for row in rows]
    also = f" and higher in {higher}" if higher else ""
    return (
        f"At batch size {rows[0]['global_batch_size']} test accuracy is lower than at "
        f"{study.baseline_batch_size} in {lower} of {len(rows)} settings{also}, each with its 95 % "
        f"interval off zero (gaps {points(min(means))} to {points(max(means))} points)."
    )


# ----------------------------------------------------------------------------------------- arms


def _arms(study: Study, batch: int, gap: list[Row]) -> str:
    """What the arms close, the largest share first; then those of which that cannot be said."""
    shares = share_of_gap_closed(study)
    rows = gaps.records(shares[shares["global_batch_size"] == batch])
    if not rows:
        return ""
    if not any(row["low"] > 0 for row in gap):
        return "The arms have no gap to close that is beyond its uncertainty."
    if len(gap) > 1:
        return _arms_over_settings(rows)
    names: dict[str, list[str]] = {}
    for row in rows:
        own = "" if row["settings"] == gap[0]["settings"] else under(row["settings"])
        names.setdefault(standing(row), []).append(row["arm"] + own)
    clauses = [_closing([row for row in rows if standing(row) == "closes"], rows)]
    clauses += [_said(names[key], *verbs) for key, verbs in _verbs(study).items() if key in names]
    return "; ".join(filter(None, clauses)) + "."


def _verbs(study: Study) -> dict[str, tuple[str, str, str]]:
    """By standing: what one arm does, what several do, and what follows."""
    return {
        "lifts": ("recovers", "recover", "a share of the gap but cannot be said to close it"),
        "open": (
            *("recovers", "recover"),
            f"a share of the gap but did not run at {study.baseline_batch_size}",
        ),
        "unclear": ("closes", "close", "no share beyond uncertainty"),
        "widens": ("widens", "widen", "the gap"),
        "not shown": ("has", "have", "too few complete seeds for a share"),
    }


def _said(names: list[str], one: str, several: str, rest: str) -> str:
    who = listed(names) if len(names) <= MAX_NAMES else f"{len(names)} arms"
    return f"{who} {one if len(names) == 1 else several} {rest}"


def _closing(closing: list[Row], rows: list[Row]) -> str:
    closing = sorted(closing, key=lambda row: -row["share"])
    if not closing:
        return ""
    first, *others = closing[:MAX_NAMES]
    texts = [f"{first['arm']} closes {_share(first)} % of the gap ({_range(first)} %)"]
    texts += [f"{row['arm']} {_share(row)} % ({_range(row)})" for row in others]
    if len(closing) > MAX_NAMES:
        texts.append(f"{len(closing) - MAX_NAMES} more less")
    if any(row["share_high"] >= 1 for row in rows):
        return ", ".join(texts)
    return ", ".join(texts) + ("; none closes all of it" if others else ", not all of it")


def _share(row: Row) -> str:
    return f"{100 * row['share']:.0f}"


def _range(row: Row) -> str:
    return f"{100 * row['share_low']:.0f} to {100 * row['share_high']:.0f}"


def _arms_over_settings(rows: list[Row]) -> str:
    table = pd.DataFrame({"arm": [r["arm"] for r in rows], "standing": map(standing, rows)})
    closes = (table["standing"] == "closes").groupby(table["arm"], sort=False).agg(["sum", "size"])
    texts = [f"{arm} in {said} of {tried}" for arm, said, tried in closes.itertuples()]
    more = f" and {len(texts) - MAX_NAMES} more arms" if len(texts) > MAX_NAMES else ""
    return f"A share of the gap is closed by {', '.join(texts[:MAX_NAMES])} comparisons{more}."


# --------------------------------------------------------------------------------- and the rest


def _curvature(study: Study, batch: int) -> str:
    for quantity, name in CURVATURES.items():
        ratios = gaps.measure_ratio(study, quantity)
        ratios = ratios[~ratios["label"].str.startswith("sharpness paper")]
        rows = _at(ratios[ratios["label"].isin(ratios["label"][:1])], batch)
        if len(rows) == 1 and rows[0]["n"] > 1:
            return _ratio(study, name, rows[0])
        if rows and rows[0]["n"] > 1:
            larger = sum(row["low"] > 1 for row in rows)
            than = f"than at {study.baseline_batch_size}"
            return f"{name} is larger {than} in {larger} of {len(rows)} settings."
    return ""


def _ratio(study: Study, name: str, row: Row) -> str:
    small = study.baseline_batch_size
    bounds = f"{number(row['low'])} to {number(row['high'])}"
    if row["low"] <= 1 <= row["high"]:
        return f"{name} is not shown to differ from that at {small} ({bounds} times)."
    return f"{name} is {number(row['mean'])} times that at {small} ({bounds})."


def _reservations(study: Study, gap: list[Row]) -> str:
    seeds = min(row["n"] for row in gap)
    few = f"Exploratory: {counted(seeds, 'paired seed')}." if is_exploratory(seeds) else ""
    return " ".join(filter(None, [few, tuned_text(study)]))


def _without_result(study: Study) -> str:
    """Trials that entered no mean, and results that were set aside."""
    trials = gaps.labelled_points(study).drop_duplicates("trial_id")["status"]
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


def _at(table: pd.DataFrame, batch: int) -> list[Row]:
    """The baseline arm's rows with a mean at one batch size."""
    here = (table["arm"] == BASELINE_ARM) & (table["global_batch_size"] == batch)
    return gaps.records(table[here & (table["n"] > 0)])
