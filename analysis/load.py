"""A results folder as DataFrames: verified file by file, plan and trials joined.

Reads either form: the folder that runs write (one file per trial and table) or the exported one
(one file per table). What is damaged is set aside and named, never guessed. Only what the plan
asks for is kept: a trial that no point resolves to or requires is no part of the question.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from analysis.problems import failed_measures, missing_layers, missing_measures
from trainables.config.identity import parameters_text
from trainables.config.measures.kinds import KINDS
from trainables.config.measures.measure import WHEN
from trainables.results import checks, files, head, layout, provenance
from trainables.results.files import DamagedFileError
from trainables.results.head import Head
from trainables.results.layout import Part, parts, prefix_of
from trainables.results.schema import TABLES
from trainables.results.storage import Storage, storage_at
from trainables.task import DEFAULT_LOSS, LOSSES, UNLIKE_LOSSES, Metric, Task, task_named

RESOLVED = "_resolved"
"""Suffix of a trial's column in `Study.points` where the point has one of the same name."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Study:
    """What one results folder holds, verified.

    `points` has one row per point: the plan's columns as the YAML wrote them (block, arm, seed and
    `schema.POINT_COLUMNS`), then the outcome of the point's trial (status, final metrics, what its
    settings resolved to). A trial's column whose name the point has too carries the suffix
    `_resolved`: `optimizer_steps` is the budget as written (absent where it was given in epochs),
    `optimizer_steps_resolved` the steps in force. A point whose trial has no row has the status
    "planned". Several points may share one `trial_id`. `batch_schedule` and `decay_epochs` are
    tuples, so that one can group by them.
    """

    folder: Path
    file: str
    """The study file, as it was resolved."""
    name: str
    question: str
    baseline_batch_size: int | None
    """The small batch that gaps are measured from; None without one."""
    search: Mapping[str, Any]
    """The study file's section; empty without one: such a study is untuned."""
    task: Task
    """What its trials are about: its metric is what gaps, targets and axes are of."""
    target: float | None
    """The metric on the test set that steps are counted to; None where the study asks for none."""
    reproduces: tuple[str, ...]
    """Tables of published numbers that the study sets itself beside."""
    stand_ins: tuple[str, ...]
    """What differs from the papers' setting, a sentence each."""
    points: pd.DataFrame
    search_points: pd.DataFrame
    """What a search tried, in the same columns: no table of results has it."""
    crossed_points: pd.DataFrame
    """Finals at values that another cell's search chose, or beside the best: a tuned comparison is
    made against them (`analysis.search.finals`), and no mean has them."""
    provenance: Mapping[str, Any]
    """Under what conditions the numbers were made; empty where it is not on record."""
    trial_ids: tuple[str, ...]
    """The trials of `points`, and the trunks of warm starts that are no points themselves."""
    trials: pd.DataFrame
    """One row per trial of `trial_ids` that has ended, however it ended."""
    evaluations: pd.DataFrame
    """Of the trials of `points` and of those of the search."""
    measures: pd.DataFrame
    listed_measures: tuple[str, ...]
    """The study file's measures in its order, as the column `parameters` has them; when they are
    taken is left out."""
    curves: pd.DataFrame
    """Points of the measures that give curves."""
    layers: pd.DataFrame
    """Statistics of every layer along training."""
    timings: pd.DataFrame
    problems: tuple[str, ...]
    """One line each: damaged files that were set aside, measures that failed or are missing."""
    differences: tuple[str, ...] = ()
    """In which settings it is not what the folder was last run as, one each."""

    @property
    def metric(self) -> Metric:
        """The task's."""
        return self.task.metric

    @property
    def test_metric(self) -> str:
        """Its column of the test set."""
        return self.metric.column("test")

    @property
    def loss(self) -> Metric:
        """The loss that all points share, for its unit; without one where they differ."""
        names = {str(name) for name in self.points["loss"].dropna()} or {DEFAULT_LOSS}
        return LOSSES[names.pop()] if len(names) == 1 else UNLIKE_LOSSES

    @property
    def searched(self) -> tuple[str, ...]:
        """The columns that a search chose apart for every cell."""
        return tuple(name.rpartition(".")[2] for name in self.search.get("fields", ()))

    @property
    def chance(self) -> Mapping[str, Mapping[str, float]]:
        """By data label and metric, what a network reaches that learned nothing.

        Empty in folders that were written before it was recorded, as `runs` is.
        """
        data = self.provenance.get("data") or {}
        return {label: known["chance"] for label, known in data.items() if known.get("chance")}

    @property
    def runs(self) -> Sequence[Mapping[str, Any]]:
        """What runs had completed at their ends.

        block, global_batch_size, network and data, seeds (their number) and comparisons (ids).
        """
        return self.provenance.get("runs") or ()

    @property
    def is_smoke(self) -> bool:
        """Whether this is the scale that shows that a study works, and no more."""
        return self.name.endswith("-smoke")


def load_study(folder: Path, of: Head | None = None) -> Study:
    """Read a results folder, or its exported form, and verify it.

    Page checksums are verified in every file, a trial's evaluations against the digest and row
    count in the trial's row, measures against the digest in their name. Weights are not read.

    Args:
        folder: `studies/NAME`, or a folder with study.yaml and one Parquet file per table.
        of: The study that is asked about, where it is not what the folder was last run as.

    Returns:
        The study; `problems` names all that was set aside.

    Raises:
        FileNotFoundError: If the folder is no results folder.
        DamagedFileError: If the study file or the plan cannot be read.
        NewerSchemaError: If a newer batchgap wrote any of it.
    """
    storage = storage_at(folder)
    last = head.read(storage)
    asked = of or last
    settings, plan = head.settings(asked), asked.plan
    # Trunks of warm starts may be no points: they are on record for their branches' sake.
    required = plan["requires"].combine_chunks().flatten()
    ids = pc.unique(pa.concat_arrays([plan["trial_id"].combine_chunks(), required]))
    problems: list[str] = []
    read = partial(_read, storage, ids=ids, problems=problems, exported=last.tables)
    trials = read("trials")
    recorded = _recorded_files(trials)
    evaluations = read("evaluations", check=_against_record(recorded))
    measures = read("measures", check=_against_name)
    curves = read("curves", check=_against_name)
    layers = read("layers", check=_against_record(recorded))
    timings = read("timings")
    problems += _absent_files(storage, recorded)
    every_row = trials.drop_columns("files").to_pandas().pipe(_hashable)
    points = _joined(plan.to_pandas().pipe(_hashable), every_row)
    is_search, is_crossed = (points["stage"] == stage for stage in ("search", "crossed"))
    searched = set(points.loc[is_search, "trial_id"])
    trial_rows = every_row[~every_row["trial_id"].isin(searched)].reset_index(drop=True)
    measure_rows = measures.to_pandas()
    problems += failed_measures(measure_rows)
    measured = set(points.loc[~is_search & ~is_crossed, "trial_id"])
    only_crossed = set(points.loc[is_crossed, "trial_id"]) - measured  # evaluated, no more
    whole = trial_rows[~trial_rows["trial_id"].isin(only_crossed)]
    problems += missing_measures(plan, whole, measure_rows, settings)
    layer_rows = layers.to_pandas()
    problems += missing_layers(whole, layer_rows, settings)
    return Study(
        folder=folder,
        file=asked.study,
        name=str(settings.get("name") or folder.name),
        question=str(settings.get("question") or ""),
        baseline_batch_size=settings.get("baseline_batch_size"),
        search=settings.get("search") or {},
        task=(task := _task(points)),
        target=settings.get(f"target_{task.metric.column('test')}"),
        reproduces=tuple(settings.get("reproduces") or ()),
        stand_ins=tuple(settings.get("stand_ins") or ()),
        points=points[~is_search & ~is_crossed].reset_index(drop=True),
        search_points=points[is_search].reset_index(drop=True),
        crossed_points=points[is_crossed].reset_index(drop=True),
        provenance=provenance.read(storage),
        trial_ids=tuple(i for i in ids.to_pylist() if i not in searched),
        trials=trial_rows,
        evaluations=evaluations.to_pandas(),
        measures=measure_rows,
        listed_measures=tuple(_listed(settings)),
        curves=curves.to_pandas(),
        layers=layer_rows,
        timings=timings.to_pandas(),
        problems=tuple(problems),
        differences=() if of is None else tuple(head.differences(of, last)),
    )


def _task(points: pd.DataFrame) -> Task:
    """That of the plan's points, which all have one."""
    return task_named(next(iter(points["task"].dropna()), None))


# ------------------------------------------------------------------------------------- reading

Check = Callable[[Part, bytes, pa.Table], str | None]
"""What is wrong with a file that could be read; None if nothing."""


def _read(
    storage: Storage,
    table: str,
    *,
    ids: pa.Array,
    problems: list[str],
    exported: Mapping[str, str],
    check: Check | None = None,
) -> pa.Table:
    """All rows of a table that belong to the given trials; what is set aside joins `problems`."""

    def read(name: str) -> pa.Table | str:
        part = layout.part_of(name)
        try:
            content = files.read_bytes(storage, name)
            rows = files.decoded(content, f"{storage}/{name}", table)
            wrong = checks.wrong(table, rows)
            if part is None:  # the exported form: its head has the digests
                wrong = wrong or head.other_than_exported(exported, name, content)
            elif check is not None:
                wrong = wrong or check(part, content, rows)
        except (DamagedFileError, FileNotFoundError) as error:
            wrong = str(error)
        return f"{name}: set aside: {wrong}" if wrong else rows

    # Arrow and hashing release the interpreter lock, so threads pay even for small files.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        outcomes = list(pool.map(read, _names(storage, table, ids)))
    problems += [outcome for outcome in outcomes if isinstance(outcome, str)]
    tables = [outcome for outcome in outcomes if not isinstance(outcome, str)]
    content = tables[0] if len(tables) == 1 else _concatenated(tables, table)
    # A trial's rows lie together: one look at each run of them is much less than one at each row.
    runs = pc.run_end_encode(content["trial_id"].combine_chunks())
    is_whole = pc.all(pc.is_in(runs.values, ids)).as_py()
    return content if is_whole else content.filter(pc.is_in(content["trial_id"], ids))


def _concatenated(tables: list[pa.Table], table: str) -> pa.Table:
    # One chunk per file would cost more later than the copy does.
    return pa.concat_tables([TABLES[table].empty_table(), *tables]).combine_chunks()


def _names(storage: Storage, table: str, ids: pa.Array) -> list[str]:
    """A table's files: those of the trials wanted, or the one of the exported form."""
    whole, wanted = layout.one_file(table), set(ids.to_pylist())
    if layout.holds(storage, whole):
        return [whole]
    return [part.name for part in parts(storage, table) if part.trial_id in wanted]


def _recorded_files(trials: pa.Table) -> dict[str, Mapping[str, Any]]:
    """What the trials' rows say of their files, by name."""
    listed = [file for files in trials["files"].to_pylist() for file in files or ()]
    return {file["path"]: file for file in listed}


def _against_record(recorded: Mapping[str, Mapping[str, Any]]) -> Check:
    """Compares a file with its trial's row; a trial that is still running has no record yet."""

    def check(part: Part, content: bytes, rows: pa.Table) -> str | None:
        record = recorded.get(part.name)
        if record is None:
            evaluations = layout.evaluations_file(part.trial_id)
            return "its trial's row does not list it" if evaluations in recorded else None
        if rows.num_rows != record["rows"]:
            return f"{rows.num_rows} rows where its trial recorded {record['rows']}"
        as_recorded = layout.digest(content) == record["sha256"]
        return None if as_recorded else "not what its trial recorded"

    return check


def _against_name(part: Part, content: bytes, rows: pa.Table) -> str | None:
    """Compares a measure's file with the digest that its name ends in."""
    return None if part.is_named_by(content) else "not what its name says"


def _absent_files(storage: Storage, recorded: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The recorded tables that are not there; the exported form has none of these files."""
    if layout.holds(storage, layout.one_file("trials")):
        return []
    there = {name for table in ("evaluations", "layers") for name in storage.list(prefix_of(table))}
    tables = [name for name in recorded if layout.table_of(name) in ("evaluations", "layers")]
    return [f"{name}: missing" for name in tables if name not in there]


# ------------------------------------------------------------------------------------- joining


def _hashable(rows: pd.DataFrame) -> pd.DataFrame:
    """Lists become tuples: arrays and dicts cannot be grouped by or compared."""
    rows["batch_schedule"] = [
        tuple(tuple(phase.values()) for phase in phases) if phases is not None else ()
        for phases in rows["batch_schedule"]
    ]
    rows["decay_epochs"] = [
        tuple(epochs) if epochs is not None else () for epochs in rows["decay_epochs"]
    ]
    return rows


def _joined(plan: pd.DataFrame, trials: pd.DataFrame) -> pd.DataFrame:
    points = plan.merge(
        trials.drop_duplicates("trial_id", keep="last"),
        on="trial_id",
        how="left",
        suffixes=("", RESOLVED),
    )
    points["status"] = points["status"].fillna("planned")
    return points


# ------------------------------------------------------------------------------------ measures


def _listed(settings: Mapping[str, Any]) -> Iterator[str]:
    """Their settings but for how often; a measure that this version does not know has no place."""
    for measure in settings.get("measures") or []:
        options = {**measure} if isinstance(measure, Mapping) else {"name": measure}
        with suppress(KeyError, TypeError):
            yield but_for_when(parameters_text(KINDS[options["name"]](**options)))


def but_for_when(parameters: str) -> str:
    """Settings of a measure without how often it is taken."""
    settings = json.loads(parameters)
    kept = {name: value for name, value in settings.items() if name not in WHEN}
    return json.dumps(kept, sort_keys=True)
