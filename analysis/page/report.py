"""One self-contained page: verdict, tables, figures, failures and how to repeat it all.

No script, font or image from elsewhere; readable on a telephone, in the dark and on paper. All text
that users wrote is escaped. The same results give the same page, byte for byte.
"""

from __future__ import annotations

import json
import math
import re
import textwrap
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
from markupsafe import Markup, escape

from analysis.choice import target_share
from analysis.gaps import by_cell
from analysis.gaps.by_cell import BASELINE_ARM
from analysis.gaps.measured import measure_ratio
from analysis.gaps.sharpness import leading, old_trials
from analysis.gaps.subjects import subjects
from analysis.judged.arms import focus, share_of_gap_closed
from analysis.judged.claims import beside_paper
from analysis.judged.gaps import spoken_gap
from analysis.load import Study
from analysis.page import arm_table, tables
from analysis.page.curve_exhibits import curve_exhibits, edge_exhibits
from analysis.page.exhibits import exhibits
from analysis.page.layer_exhibits import layer_exhibits
from analysis.page.page_tables import page_tables, reproduction
from analysis.uncertainty import MIN_SEEDS, is_exploratory
from analysis.wording import counted, headed, number, percent_level, whole, words
from analysis.wording import title as title_of
from analysis.words.arms import shown_share
from analysis.words.details import details
from analysis.words.glossary import WORDS
from analysis.words.scorecard import compact_scorecard, scorecard_note
from analysis.words.tuning import tuned_text
from analysis.words.verdict import headline
from trainables.results import layout
from trainables.results.storage import PosixFolder
from trainables.task import DEFAULT_LOSS, LOSSES

WIDTH = 80
"""Columns of the terminal's summary."""
MAX_ROWS = 40
"""Rows of a table there."""

SUMMARY_COLUMNS = "^(arm|settings|batch size|{metric}|{gap}|n|remark)$"
"""What the terminal shows of the gap table, in 80 columns."""


def write_report(study: Study, output: Path | None = None) -> Path:
    """Write the report of a study.

    Args:
        study: As loaded.
        output: Where to; default `report.html` in its folder.

    Returns:
        The page's path.

    Raises:
        FileNotFoundError: If its search has no winner yet, so that there is nothing to report.
    """
    _check_has_points(study)
    page = _template().render(_context(study))
    path = output or study.folder / layout.REPORT
    PosixFolder(path.parent).replace(path.name, page.encode())
    return path


def summary_text(study: Study) -> str:
    """Headline, gaps and shares of them closed for a terminal, at most 80 columns wide."""
    metric = study.metric
    names = {
        "metric": headed(words(study.test_metric), metric.unit),
        "gap": headed("gap", metric.unit_of_difference),
    }
    gap = tables.gap_table(study).filter(regex=SUMMARY_COLUMNS.format(**names))
    shown = [gap, arm_table.compact_closing_table(study)]
    verdict = map(_filled, headline(study).split("\n\n"))
    claims = compact_scorecard(study)
    blocks = [*verdict, *(_block(table) for table in shown if not table.empty)]
    if not claims.empty:
        blocks += [_filled(scorecard_note(study)), _block(claims)]
    return "\n\n".join(blocks) + "\n"


def _check_has_points(study: Study) -> None:
    if study.points.empty:
        tried = study.search_points["status"].value_counts()
        counts = ", ".join(f"{count} {status}" for status, count in tried.items())
        raise FileNotFoundError(
            f"{study.folder}: no cell's search has a winner yet ({counts}); `batchgap plan` says "
            "how far it is"
        )


def _filled(text: str) -> str:
    lines = textwrap.fill(_unbroken(text), WIDTH, break_on_hyphens=False)
    return lines.replace("\N{NO-BREAK SPACE}", " ").replace("\N{WORD JOINER}", "")


def _unbroken(text: str) -> str:
    """Text of which no line begins with a percent sign, or with the exponent of 1e-3."""
    joined = re.sub(r"(?<=\de-)(?=\d)", "\N{WORD JOINER}", text)
    return joined.replace(" %", "\N{NO-BREAK SPACE}%")


def _block(table: pd.DataFrame) -> str:
    text = tables.to_text(table.head(MAX_ROWS), WIDTH).rstrip()
    left_out = len(table) - MAX_ROWS
    return f"{text}\n... {counted(left_out, 'more row')} in the report" if left_out > 0 else text


def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
    )
    environment.filters["breakable"] = _breakable
    return environment.get_template("report.html.j2")


def _breakable(text: str) -> Markup:
    """Escaped text in which names may break after an underscore."""
    return escape(text).replace("_", Markup("_<wbr>"))


def _context(study: Study) -> dict[str, Any]:
    drawings = exhibits(study)
    provenance = study.provenance
    tuned = bool(study.search) or study.target is not None
    return {
        "name": study.name,
        "question": study.question,
        "folder": study.folder.name,
        "facts": _facts(study),
        "contents": _contents(study, tuned),
        "tuned": tuned,
        "tuning": tuned_text(study),
        "headline": _unbroken(headline(study)).split("\n\n"),
        "details": [_lead_and_rest(_unbroken(text)) for text in details(study)],
        "notices": _notices(study),
        "key_numbers": _key_numbers(study),
        "drawings": drawings,
        "geometry": curve_exhibits(study),
        "edge": edge_exhibits(study),
        "layers": layer_exhibits(study),
        "tables": page_tables(study),
        "reproduction": reproduction(study, provenance),
        "endings": _endings(study),
        "problems": study.problems,
        "commands": _commands(study, provenance),
        "stand_ins": study.stand_ins,
        "beside_paper": beside_paper(study),
        "scorecard_note": scorecard_note(study),
        "study_file": study.file,
        "provenance_file": json.dumps(provenance, indent=1, sort_keys=True),
        "words": WORDS | _own_words(study),
        "metric": _metric_texts(study),
    }


CONTENTS = (
    ("papers", "Papers"),
    ("metric", ""),
    ("choice", "Choosing"),
    ("sharpness", "Sharpness"),
    ("together", "Sharpness and gap"),
    ("arms", "What closes it"),
    ("training", "Training"),
    ("tuning", "Tuning"),
    ("conditions", "Conditions"),
    ("failures", "Failures"),
    ("reproduce", "Reproduce"),
    ("words", "Words"),
)


def _metric_texts(study: Study) -> dict[str, str]:
    """What the page calls the metric, and how a gap of it is formed."""
    metric, name = study.metric, words(study.test_metric)
    at = ["at the baseline batch size", "at this one"]
    first, second = at if metric.is_larger_better else at[::-1]
    return {
        "title": title_of(metric.name),
        "name": words(metric.name),
        "test": name,
        "gap": f"{name} {first} minus {second}, all else equal, paired by seed",
        "gap_unit": ", in percentage points" if metric.unit_of_difference == "points" else "",
        "share": f"{100 * target_share(metric):.0f} %",
        "lifts": "lifts" if metric.is_larger_better else "lowers",
    }


def _own_words(study: Study) -> dict[str, str]:
    """Words whose meaning is the task's."""
    found = {"generalization_gap": f"{_sentence(_metric_texts(study)['gap'])}."}
    if study.loss is LOSSES[DEFAULT_LOSS]:
        found["train_loss"] = "Mean cross-entropy over the training set, in nats."
    return found


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:]


def _contents(study: Study, tuned: bool) -> list[tuple[str, str]]:
    """The sections that the page has; that of the metric has its name."""
    has = {"papers": bool(study.reproduces), "tuning": tuned}
    own = title_of(study.metric.name)
    return [(name, title or own) for name, title in CONTENTS if has.get(name, True)]


# ------------------------------------------------------------------------------------ sentences


def _lead_and_rest(text: str) -> tuple[str, str]:
    """A paragraph's beginning, up to its first colon, bracket or full stop, and what follows."""
    lead = re.match(r".*?(?::| (?=\()|\.(?= |$))", text, re.DOTALL)
    return (lead[0], text[lead.end() :]) if lead else (text, "")


def _facts(study: Study) -> list[str]:
    rows = study.points
    sizes = sorted(set(rows["global_batch_size"]))
    seeds = rows["seed"].nunique()
    return [
        ", ".join(dict.fromkeys(rows["data"])),
        ", ".join(dict.fromkeys(rows["network"])),
        f"batch sizes {', '.join(f'{size:g}' for size in sizes)}",
        counted(seeds, "seed"),
        f"{(study.trials['status'] == 'complete').sum()} of {len(study.trial_ids)} trials complete",
    ]


def _notices(study: Study) -> list[str]:
    """What a reader must know before believing a number."""
    notices = []
    planned = len(study.trial_ids)
    unfinished = planned - int(study.trials["status"].isin(["complete", "diverged"]).sum())
    if unfinished:
        notices.append(
            f"This study is not finished: {unfinished} of {planned} trials have no result yet."
        )
    seeds = study.points["seed"].nunique()
    if is_exploratory(seeds):
        notices.append(
            f"Exploratory: {counted(seeds, 'seed')}. Take {MIN_SEEDS} or more before "
            "relying on any difference."
        )
    if old := old_trials(study):
        notices.append(
            f"Values of an older algorithm: {counted(old, 'trial')}. They are named so and join no "
            "mean of today's; batchgap measure takes them anew where weights were kept."
        )
    if study.problems:
        notices.append(
            f"{len(study.problems)} file{'s' if len(study.problems) > 1 else ''} or measures are "
            "damaged or missing and were left out: see What went wrong."
        )
    return notices


def _endings(study: Study) -> str:
    """How the trials ended, in one sentence."""
    statuses = study.points.drop_duplicates("trial_id")["status"].value_counts()
    if set(statuses.index) == {"complete"}:
        nothing = "" if study.problems else "Nothing: "
        return f"{nothing}all {statuses['complete']} trials completed.".capitalize()
    counts = ", ".join(f"{count} {status}" for status, count in statuses.items())
    return f"Of {statuses.sum()} trials: {counts}. Divergence is a result, not repeated."


def _commands(study: Study, provenance: Mapping[str, Any]) -> str:
    commit = provenance.get("commit")
    changed = "  # and uncommitted changes" if provenance.get("dirty") else ""
    checkout = [f"git checkout {commit}{changed}"] if commit else []
    return "\n".join([*checkout, "batchgap run study.yaml", "batchgap report study.yaml"])


# ---------------------------------------------------------------------------------- key numbers


@dataclass(frozen=True, kw_only=True)
class Tile:
    """One key number."""

    label: str
    value: str
    range: str
    unit: str


@dataclass(frozen=True, kw_only=True)
class KeyNumbers:
    """What to know first, all at one batch size."""

    heading: str
    tiles: list[Tile]


def _key_numbers(study: Study) -> list[KeyNumbers]:
    """Per network and data set gap, sharpness, curvature and share closed, at its focus."""
    found = [(name, part, focus(part)) for name, part in subjects(study)]
    return [_key_numbers_at(name, part, size) for name, part, size in found if size is not None]


def _key_numbers_at(name: str, study: Study, size: int) -> KeyNumbers:
    gap = _of_baseline_arm(spoken_gap(study), size)
    settings = gap["settings"].iloc[0]

    def here(table: pd.DataFrame) -> list[dict[str, Any]]:
        return by_cell.records(table[table["settings"] == settings])[:1]

    metric = study.metric
    unit = metric.unit_of_difference
    tiles = [_tile(row, "generalization gap", metric.amount, unit) for row in here(gap)]
    for definition, measure in leading(study):
        rows = here(_of_baseline_arm(measure_ratio(study, definition), size))
        tiles += [_tile(row, _unbroken(measure), number, "times") for row in rows]
    sizes = f"batch size {size} against {study.baseline_batch_size}"
    parts = [f"{name}: {sizes}" if name else sizes.capitalize(), settings]
    heading = ", ".join(filter(None, parts))
    return KeyNumbers(heading=heading, tiles=tiles + _share_tiles(study, size))


def _share_tiles(study: Study, size: int) -> list[Tile]:
    """The largest share among those of which something may be said."""
    shares = share_of_gap_closed(study)
    rows = by_cell.records(shares[shares["global_batch_size"] == size])
    said = [row for row in rows if row["standing"] in ("closes", "recovers")]
    if not said:
        return []
    best = max(said, key=shown_share)
    among = f" (largest of {len(said)})" if len(said) > 1 else ""
    settings = f", {best['settings']}" if best["settings"] else ""
    of = f"{best['arm']}{settings}{among}"
    level = f"of {counted(best['comparisons'], 'comparison')}, {percent_level(best['level'])}"
    seeds = f"n\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}{best['n']}, {level}"
    if best["standing"] == "recovers":
        least = _whole_percent(best["share_low"])
        label = f"of the gap recovered, at least, by {of}"
        return [Tile(label=label, value=least, unit="%", range=f"lower limit, {seeds}")]
    low, high = map(_whole_percent, (best["share_low"], best["share_high"]))
    label, value = f"of the gap closed by {of}", _whole_percent(best["share"])
    return [Tile(label=label, value=value, unit="%", range=f"{low} to {high}, {seeds}")]


def _of_baseline_arm(table: pd.DataFrame, size: int) -> pd.DataFrame:
    """The baseline arm's rows that have a mean at one batch size."""
    here = (table["arm"] == BASELINE_ARM) & (table["global_batch_size"] == size)
    return table[here & table["mean"].notna()]


def _tile(row: Mapping[str, Any], name: str, text: Callable[[float], str], unit: str) -> Tile:
    low, high = row["low"], row["high"]
    why = row.get("reason", "")
    bounds = why or "no interval" if math.isnan(low) else f"{text(low)} to {text(high)}"
    bounds += ", not judged" if why and not math.isnan(low) else ""
    seeds = f"n\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}{row['n']}"
    return Tile(label=name, value=text(row["mean"]), unit=unit, range=f"{bounds}, {seeds}")


def _whole_percent(share: float) -> str:
    return whole(100 * share)
