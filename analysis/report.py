"""One self-contained page: verdict, tables, figures, failures and how to repeat it all.

No script, font or image from elsewhere; readable on a telephone, in the dark and on paper. All text
that users wrote is escaped. The same results give the same page, byte for byte.
"""

from __future__ import annotations

import json
import math
import re
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd

from analysis import correlation, gaps, tables
from analysis.exhibits import exhibits
from analysis.gaps import BASELINE_ARM, CELL
from analysis.load import Study, load_study
from analysis.uncertainty import MIN_SEEDS, is_exploratory
from analysis.verdict import verdict
from trainables import results

WIDTH = 80
"""Columns of the terminal's summary."""

WORDS = {
    "arm": "A named set of changes to the baseline: a remedy or a control.",
    "baseline_batch_size": "The small batch size that gaps are measured from.",
    "discard_ratio": "Fraction of the smallest-loss examples of each batch that give no gradient.",
    "epoch": "One data set's worth of examples, a real number: batches cut across epochs.",
    "generalization_gap": "Test accuracy at the baseline batch size minus at this one, all else "
    "equal, paired by seed.",
    "global_batch_size": "Examples drawn per optimizer step, over all workers.",
    "hessian_top_eigenvalue": "Largest curvature of the training loss at the solution.",
    "hessian_trace": "Sum of all curvatures of the training loss at the solution.",
    "interval": "95 %: Student t for means and paired differences, Fieller for shares.",
    "optimizer_step": "One update of the weights.",
    "sharpness": "Keskar et al. 2017: 100 (max f - f) / (1 + f) of the training loss f over a "
    "small box around the solution. Depends on the scale of the weights.",
    "sharpness_epsilon": "Size of that box relative to each weight.",
    "sharpness_ratio": "Sharpness at this batch size over that at the baseline batch size.",
    "train_loss": "Mean cross-entropy over the training set, in nats.",
}


def write_report(folder: Path, output: Path | None = None) -> Path:
    """Write the report of a results folder.

    Args:
        folder: `studies/NAME`.
        output: Where to; default `folder/report.html`.

    Returns:
        The page's path.
    """
    page = _template().render(_context(load_study(folder)))
    path = output or folder / "report.html"
    results.write_bytes(path, page.encode())
    return path


def summary_text(folder: Path) -> str:
    """The verdict and the gap table for a terminal, at most 80 columns wide."""
    study = load_study(folder)
    wrapped = [textwrap.fill(paragraph, WIDTH) for paragraph in verdict(study)]
    parts = [*wrapped, tables.to_text(tables.gap_table(study), WIDTH).rstrip()]
    return "\n\n".join([*parts, *_notices(study)]) + "\n"


def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
    )
    return environment.get_template("report.html.j2")


def _context(study: Study) -> dict[str, Any]:
    drawings = exhibits(study)
    study_file = (study.folder / "study.yaml").read_text(encoding="utf-8")
    provenance = _provenance(study.folder)
    return {
        "name": study.name,
        "question": study.question,
        "folder": study.folder.name,
        "facts": _facts(study),
        "contents": CONTENTS,
        "verdict": verdict(study),
        "notices": _notices(study),
        "tiles": _tiles(study),
        "drawings": drawings,
        "tables": _tables(study, provenance),
        "endings": _endings(study),
        "problems": study.problems,
        "commands": _commands(study, provenance),
        "study_file": study_file,
        "provenance_file": json.dumps(provenance, indent=1, sort_keys=True),
        "words": WORDS,
    }


CONTENTS = (
    ("accuracy", "Accuracy"),
    ("choice", "Choosing"),
    ("sharpness", "Sharpness"),
    ("together", "Sharpness and gap"),
    ("arms", "What closes it"),
    ("training", "Training"),
    ("conditions", "Conditions"),
    ("failures", "Failures"),
    ("reproduce", "Reproduce"),
    ("words", "Words"),
)


# ------------------------------------------------------------------------------------ sentences


def _facts(study: Study) -> list[str]:
    points = study.points
    sizes = sorted(set(points["global_batch_size"]))
    seeds = points["seed"].nunique()
    return [
        ", ".join(dict.fromkeys(points["data"])),
        ", ".join(dict.fromkeys(points["network"])),
        f"batch sizes {', '.join(f'{size:g}' for size in sizes)}",
        f"{seeds} seed{'s' if seeds > 1 else ''}",
        f"{(study.trials['status'] == 'complete').sum()} of "
        f"{points['trial_id'].nunique()} trials complete",
    ]


def _notices(study: Study) -> list[str]:
    """What a reader must know before believing a number."""
    notices = []
    planned = study.points["trial_id"].nunique()
    unfinished = planned - int(study.trials["status"].isin(["complete", "diverged"]).sum())
    if unfinished:
        notices.append(
            f"This study is not finished: {unfinished} of {planned} trials have no result yet."
        )
    seeds = study.points["seed"].nunique()
    if is_exploratory(seeds):
        notices.append(
            f"Exploratory: {seeds} seed{'s' if seeds > 1 else ''}. Take {MIN_SEEDS} or more "
            "before relying on any difference."
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
        return f"Nothing: all {statuses['complete']} trials completed."
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
    unit: str = ""


def _tiles(study: Study) -> list[Tile]:
    """Gap, sharpness and curvature ratio at one large batch size, and the largest share closed."""
    gap = _known(gaps.generalization_gap(study))
    if gap.empty:
        return []
    shares = gaps.share_of_gap_closed(study)
    # Where the arms ran is where the question is; else the largest batch size.
    sizes = shares["global_batch_size"] if len(shares) else gap["global_batch_size"]
    tiles = [
        _tile(row, "generalization gap", scale=100, unit="points")
        for row in _first(gap, sizes.max())
    ]
    for quantity in ("sharpness", "hessian_top_eigenvalue"):
        ratio = _known(gaps.measure_ratio(study, quantity))
        ratio = ratio[~ratio["label"].str.contains("paper")] if len(ratio) else ratio
        name = "sharpness" if quantity == "sharpness" else "top eigenvalue"
        tiles += [_tile(row, f"{name} ratio", unit="times") for row in _first(ratio, sizes.max())]
    if len(shares) and shares["may_say_closes"].any():
        best = shares.loc[shares["share"].where(shares["may_say_closes"]).idxmax()]
        row = best.rename({"share": "mean", "share_low": "low", "share_high": "high"})
        tiles.append(_tile(row, f"largest share of the gap closed: {best['arm']}", 100, "%"))
    return tiles


def _known(table: pd.DataFrame) -> pd.DataFrame:
    return table[table["mean"].notna()] if len(table) else table


def _first(table: pd.DataFrame, size: float) -> list[Mapping[str, Any]]:
    """The first row of the baseline arm at a batch size, if there is one."""
    if table.empty:
        return []
    rows = table[(table["arm"] == BASELINE_ARM) & (table["global_batch_size"] == size)]
    records: list[Mapping[str, Any]] = rows.head(1).to_dict("records")
    return records


def _tile(row: Mapping[str, Any], name: str, scale: float = 1, unit: str = "") -> Tile:
    settings = f", {row['settings']}" if row["settings"] else ""
    low, high = scale * row["low"], scale * row["high"]
    bounds = "no interval" if math.isnan(low) else f"{_short(low)} to {_short(high)}"
    return Tile(
        label=f"{name}, batch size {row['global_batch_size']:g}{settings}",
        value=_short(scale * row["mean"]),
        unit=unit,
        range=f"{bounds}, n = {row['n']:g}",
    )


def _short(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


# --------------------------------------------------------------------------------------- tables


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One cell: its text, and its interval to be set below."""

    text: str
    interval: str = ""
    word: bool = False
    """Words, not numbers: set left and allowed to break."""


@dataclass(frozen=True, kw_only=True)
class Grid:
    """A table of the page, or why there is none."""

    columns: Sequence[str] = ()
    words: frozenset[str] = frozenset()
    rows: Sequence[Sequence[Cell]] = ()
    absent: str = ""


WORD_COLUMNS = frozenset(
    ["arm", "settings", "remark", "network", "status", "error", "measure", "with", "value"]
)


def _grid(frame: pd.DataFrame, absent: str = "") -> Grid:
    """A table of formatted text; a bracketed end of a cell goes to a line of its own."""
    if frame.empty:
        return Grid(absent=absent)
    if "arm" in frame and frame["arm"].nunique() == 1:
        frame = frame.drop(columns="arm")
    words = WORD_COLUMNS & set(frame.columns)
    rows = [
        [_cell(str(value), name in words) for name, value in zip(frame.columns, row, strict=True)]
        for row in frame.itertuples(index=False, name=None)
    ]
    return Grid(columns=list(map(str, frame.columns)), words=words, rows=rows)


def _cell(text: str, word: bool) -> Cell:
    parts = None if word else re.fullmatch(r"([^\[(]*\S) ([\[(].*[\])])", text)
    return Cell(text=parts[1], interval=parts[2]) if parts else Cell(text=text, word=word)


def _tables(study: Study, provenance: Mapping[str, Any]) -> dict[str, Grid]:
    no_baseline = "No gap: that takes a baseline_batch_size and trials at it and at another."
    not_measured = "No sharpness or Hessian has been measured."
    return {
        "gap": _grid(tables.gap_table(study), no_baseline),
        "choice": _grid(tables.choice_table(study), "No trial has ended."),
        "measures": _grid(tables.measure_table(study), not_measured),
        "keskar": _grid(
            tables.keskar_table(study), "That form takes a baseline_batch_size and a larger one."
        ),
        "correlation": _grid(_correlation_frame(study), "Nothing was measured on enough trials."),
        "closing": _grid(tables.closing_table(study), "The study has no arms beside the baseline."),
        "conditions": _grid(tables.conditions_table(study), "No trial has ended."),
        "failures": _grid(_failures(study)),
        "provenance": _grid(_provenance_frame(study, provenance)),
    }


def _correlation_frame(study: Study) -> pd.DataFrame:
    table = correlation.correlations(study).dropna(subset="tau")
    within = [c for c in table if c.startswith("within") and table[c].notna().any()]
    frame = pd.DataFrame({"measure": table["label"], "with": table["target"]})
    for name, column in {"τ": "tau", "Holm p": "p_holm", **{c: c for c in within}}.items():
        form = "{:.2g}" if name == "Holm p" else "{:+.2f}"
        frame[name] = [tables.number(value, form) for value in table[column]]
    return frame.assign(n=table["n"].astype(str))


def _failures(study: Study) -> pd.DataFrame:
    """One row per trial that ended otherwise than complete."""
    points = gaps.labelled_points(study).drop_duplicates("trial_id")
    ended = points[~points["status"].isin(["complete", "planned"])]
    steps = [tables.number(step, "{:.0f}") for step in ended["optimizer_step"]]
    frame = ended[[*CELL, "seed", "status"]].astype(str).assign(step=steps)
    frame = frame.assign(error=ended["error"].fillna("").astype(str))
    return frame.rename(columns={"global_batch_size": "batch size"}).loc[
        :, lambda rows: [name for name in rows if rows[name].ne("").any()]
    ]


# --------------------------------------------------------------------------------- reproduction


def _provenance(folder: Path) -> dict[str, Any]:
    path = folder / "provenance.json"
    content: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    return content


def _provenance_frame(study: Study, provenance: Mapping[str, Any]) -> pd.DataFrame:
    versions = provenance.get("versions", {})
    hardware = provenance.get("hardware", {})
    data = provenance.get("data", {})
    trials = study.trials
    commit = provenance.get("commit") or "not recorded"
    rows = {
        "versions": ", ".join(f"{name} {version}" for name, version in versions.items() if version),
        "commit": commit + (" with uncommitted changes" if provenance.get("dirty") else ""),
        "hardware": ", ".join(f"{name} {value}" for name, value in hardware.items()),
        "device": _distinct(trials["device_name"].fillna(trials["device"])),
        "workers, threads each": _distinct(
            f"{row.num_workers:g}, {row.threads_per_worker:g}"
            for row in trials.dropna(subset=["num_workers", "threads_per_worker"]).itertuples()
        ),
        "data": ", ".join(f"{name} {facts['fingerprint']}" for name, facts in data.items()),
        "seeds": _distinct(study.points["seed"]),
        "precision": _distinct(trials["precision"]),
        "normalization at evaluation": _distinct(trials["evaluation_normalization"]),
        "measured on": _distinct(
            f"{row.split} split, {row.normalization} normalization, {row.precision}"
            for row in study.measures.dropna(subset=["split", "normalization"]).itertuples()
        ),
    }
    return pd.DataFrame([(k, v) for k, v in rows.items() if v], columns=["condition", "value"])


def _distinct(values: Iterable[Any]) -> str:
    return ", ".join(dict.fromkeys(str(value) for value in values if not pd.isna(value)))
