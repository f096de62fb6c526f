"""The report's tables: formatted text, cell by cell, as the page sets it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from analysis.gaps import by_cell
from analysis.gaps.by_cell import CELL
from analysis.gaps.measured import definitions
from analysis.judged import correlation
from analysis.judged.claims import beside_paper
from analysis.load import Study
from analysis.page import arm_table, search_tables, tables
from analysis.wording import TIMES, p_value, signed, whole, words
from analysis.words.scorecard import scorecard

WORD_COLUMNS = frozenset(
    [
        *("arm", "settings", "remark", "network", "status", "error", "measure", "with"),
        *("claim", "paper", "here", "direction", "source"),
        *("regime", "at the edge: widen", "word", "why no word", "seeds alive", "which reads"),
    ]
)
"""Columns that hold words, not numbers: set left and allowed to break."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One cell: its text, and what stands in brackets behind it, to be set below."""

    text: str
    interval: str = ""
    word: bool = False
    again: bool = False
    """The first cell of a row that repeats the one above."""


@dataclass(frozen=True, kw_only=True)
class Grid:
    """A table of the page, or why there is none (`absent`)."""

    columns: Sequence[str] = ()
    words: frozenset[str] = frozenset()
    rows: Sequence[Sequence[Cell]] = ()
    absent: str = ""


def page_tables(study: Study) -> dict[str, Grid]:
    """All tables of a study's report, by name."""
    # One network or arm throughout names no row.
    same = [name for name in ("network", "arm") if study.points[name].nunique() == 1]

    def grid(frame: pd.DataFrame, absent: str = "") -> Grid:
        return _grid(frame.drop(columns=same, errors="ignore"), absent)

    measures = tables.measure_table(study) if definitions(study) else pd.DataFrame()
    targeted = study.target is not None
    return {
        "papers": grid(_scorecard_frame(study)),
        "search": grid(search_tables.search_table(study) if study.search else pd.DataFrame()),
        "steps": grid(search_tables.steps_table(study) if targeted else pd.DataFrame()),
        "critical": grid(
            search_tables.critical_table(study) if targeted else pd.DataFrame(),
            "No fit: that takes three batch sizes of a series that reached the target.",
        ),
        "gap": grid(tables.gap_table(study), "No trial has ended."),
        "choice": grid(tables.choice_table(study), "No trial has ended."),
        "measures": grid(measures, "Nothing has been measured at the end of training."),
        "keskar": grid(
            tables.keskar_table(study, "paper" if beside_paper(study) else "best"),
            "That form takes a baseline_batch_size and a larger one.",
        ),
        "correlation": grid(_correlation_frame(study), "Nothing was measured on enough trials."),
        "closing": grid(
            arm_table.closing_table(study), "The study has no arms beside the baseline."
        ),
        "conditions": grid(tables.conditions_table(study), "No trial has ended."),
        "failures": grid(_failures(study)),
    }


def _grid(frame: pd.DataFrame, absent: str = "") -> Grid:
    if frame.empty:
        return Grid(absent=absent)
    words = WORD_COLUMNS & set(frame.columns)
    rows: list[list[Cell]] = []
    for values in frame.itertuples(index=False, name=None):
        cells = [_cell(str(v), n in words) for n, v in zip(frame.columns, values, strict=True)]
        again = bool(rows) and rows[-1][0].text == cells[0].text
        rows.append([replace(cells[0], again=again), *cells[1:]])
    return Grid(columns=list(map(str, frame.columns)), words=words, rows=rows)


def _cell(text: str, word: bool) -> Cell:
    parts = None if word else re.fullmatch(r"([^\[(]*\S) ([\[(].*[\])])", text)
    return Cell(text=parts[1], interval=parts[2]) if parts else Cell(text=text, word=word)


def _scorecard_frame(study: Study) -> pd.DataFrame:
    table = scorecard(study).rename(columns={"quantity": "measure"})
    empty = [name for name in ("settings", "train", "size") if (table[name] == "").all()]
    return table.drop(columns=empty).assign(measure=table["measure"].map(words)).astype(str)


def _correlation_frame(study: Study) -> pd.DataFrame:
    table = correlation.correlations(study).dropna(subset="tau")
    within = [c for c in table if c.startswith("within ") and table[c].notna().any()]
    frame = pd.DataFrame({"measure": table["label"].map(words), "with": table["target"]})
    frame["τ, all trials"] = table["tau"].map(signed)
    frame["trials"] = table["n"].astype(str)
    frame["τ in cells"] = table["tau_in_cells"].map(signed)
    frame = frame.assign(**_holm_column(table, "in_cells", "p"))
    frame["p, whole seeds"] = table["p_whole_seeds"].map(p_value)
    frame["τ of cell means"] = table["tau_of_means"].map(signed)
    frame = frame.assign(**_holm_column(table, "of_means", "p of means"))
    frame["cells"] = table["cells"].astype(str)
    for name in within:
        frame[name] = table[name].map(signed)
    return frame


def _holm_column(table: pd.DataFrame, test: str, name: str) -> dict[str, list[str]]:
    """p after Holm, below a head that says over how many rows; no column where no row has one."""
    size = table[f"m_{test}"].max() if len(table) else 0
    if not size:
        return {}
    pairs = zip(table[f"p_{test}_holm"], table[f"p_{test}_is_bound"], strict=True)
    return {f"{name}, Holm over {size}": [p_value(p, is_bound) for p, is_bound in pairs]}


def _failures(study: Study) -> pd.DataFrame:
    """One row per trial that ended otherwise than complete."""
    points = by_cell.labelled_points(study).drop_duplicates("trial_id")
    ended = points[~points["status"].isin(["complete", "planned"])]
    steps = [whole(step) for step in ended["optimizer_step"]]
    frame = ended[[*CELL, "seed", "status"]].astype(str).assign(step=steps)
    frame = frame.assign(error=ended["error"].fillna("").astype(str))
    return frame.rename(columns={"global_batch_size": "batch size"}).loc[
        :, lambda rows: [name for name in rows if rows[name].ne("").any()]
    ]


# --------------------------------------------------------------------------------- reproduction


def reproduction(study: Study, provenance: Mapping[str, Any]) -> dict[str, str]:
    """Under what conditions the numbers were made, by name; what is not known is left out."""
    trials, measures = study.trials, study.measures
    hardware = dict(provenance.get("hardware") or {})
    hardware["memory"] = tables.memory(hardware.pop("memory_bytes", None))
    facts = {
        "versions": _pairs(provenance.get("versions") or {}),
        "commit": _commit(provenance),
        "hardware": _pairs(hardware) if len(hardware) > 1 else "",
        "device": _distinct(trials["device_name"].fillna(trials["device"])),
        f"processes {TIMES} threads": _distinct(
            f"{row.num_workers:g} {TIMES} {row.threads_per_worker:g}"
            for row in trials.dropna(subset=["num_workers", "threads_per_worker"]).itertuples()
        ),
        "data": _pairs(
            {
                name: known.get("fingerprint")
                for name, known in (provenance.get("data") or {}).items()
            }
        ),
        "seeds": _distinct(study.points["seed"]),
        "precision": _distinct(trials["precision"]),
        "normalization in evaluations": _distinct(trials["evaluation_normalization"]),
        "measured on": _distinct(
            f"{row.examples:g} examples of {row.split}, {row.normalization} statistics"
            for row in measures.dropna(subset=["examples", "split", "normalization"]).itertuples()
        ),
    }
    return {name: text for name, text in facts.items() if text}


def _commit(provenance: Mapping[str, Any]) -> str:
    changed = ", with uncommitted changes" if provenance.get("dirty") else ""
    return f"{provenance['commit']}{changed}" if provenance.get("commit") else ""


def _pairs(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items() if value)


def _distinct(values: Iterable[Any]) -> str:
    return ", ".join(dict.fromkeys(str(value) for value in values if not pd.isna(value)))
