"""One self-contained page: verdict, tables, figures, failures and how to repeat it all.

No script, font or image from elsewhere; readable on a telephone, in the dark and on paper. All text
that users wrote is escaped. The same results give the same page, byte for byte.
"""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
from markupsafe import Markup, escape

from analysis.gaps.sharpness import old_trials
from analysis.load import Study
from analysis.page import arm_table, tables
from analysis.page.curve_exhibits import curve_exhibits
from analysis.page.edge_exhibits import edge_exhibits
from analysis.page.exhibits import exhibits
from analysis.page.facts import reproduction
from analysis.page.key_numbers import key_numbers
from analysis.page.layer_exhibits import layer_exhibits
from analysis.page.output import to_text
from analysis.page.page_tables import is_tuned, page_tables
from analysis.uncertainty import MIN_SEEDS, is_exploratory
from analysis.wording import counted, headed, listed, unbroken, words
from analysis.wording import title as title_of
from analysis.words.details import details
from analysis.words.glossary import glossary
from analysis.words.scorecard import compact_scorecard, scorecard_note
from analysis.words.tuning import tuned_text
from analysis.words.verdict import headline
from trainables.results import layout
from trainables.results.storage import PosixFolder

WIDTH = 80
"""Columns of the terminal's summary."""
MAX_ROWS = 40
"""Rows of a table there."""
MAX_DIFFERENCES = 3
"""Between two versions of a study, that are named."""

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
    differs = [_filled(text)] if (text := differs_text(study)) else []
    verdict = [*differs, *map(_filled, headline(study).split("\n\n"))]
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
    lines = textwrap.fill(unbroken(text), WIDTH, break_on_hyphens=False)
    return lines.replace("\N{NO-BREAK SPACE}", " ").replace("\N{WORD JOINER}", "")


def _block(table: pd.DataFrame) -> str:
    text = to_text(table.head(MAX_ROWS), WIDTH).rstrip()
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
    tuned = is_tuned(study)
    return {
        "name": study.name,
        "question": study.question,
        "folder": study.folder.name,
        "facts": _facts(study),
        "contents": _contents(study, tuned),
        "tuned": tuned,
        "tuning": tuned_text(study),
        "headline": unbroken(headline(study)).split("\n\n"),
        "details": [_lead_and_rest(unbroken(text)) for text in details(study)],
        "notices": _notices(study),
        "key_numbers": key_numbers(study),
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
        "study_file": study.file,
        "provenance_file": json.dumps(provenance, indent=1, sort_keys=True),
        "words": glossary(study.metric, study.loss),
        "metric_title": title_of(study.metric.name),
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
    notices = [text] if (text := differs_text(study)) else []
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


def differs_text(study: Study) -> str:
    """Where the study asked about is not what its folder was last run as; "" where it is."""
    if not study.differences:
        return ""
    shown = list(study.differences[:MAX_DIFFERENCES])
    if more := len(study.differences) - len(shown):
        shown.append(f"{more} more")
    ended = (study.points["status"] != "planned").sum()
    return (
        f"The results folder was last run as another version of this study: {listed(shown)}. "
        f"{ended} of the {counted(len(study.points), 'point')} asked for have results."
    )


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
