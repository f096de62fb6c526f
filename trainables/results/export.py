"""Results in another form: one file per table, as Parquet or CSV."""

from __future__ import annotations

import io
import json
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from trainables.results import files, head, layout
from trainables.results.head import Head
from trainables.results.schema import TABLES
from trainables.results.storage import FolderError, PosixFolder, Storage

Format = Literal["parquet", "csv"]


def export_folder(folder: Path) -> Path:
    """Where a study is exported to by default: beside it."""
    return folder.with_name(f"{folder.name}-export")


def export(
    storage: Storage, target: Path, form: Format, skip: Collection[str], of: Head
) -> list[Path]:
    """Writes each table of a results folder as one file, `target/TABLE.parquet` or `.csv`.

    A Parquet export also gets `study.yaml` and `provenance.json`, so that `analysis` reads it like
    the folder itself.

    Args:
        storage: the results folder.
        target: where to write; it is made if need be.
        form: the format. In CSV, lists are JSON.
        skip: names of files to leave out: those that `verify` finds damaged.
        of: the study; only its trials' rows are written.

    Returns:
        The files written.

    Raises:
        FolderError: if the target is a results folder.
    """
    written = PosixFolder(target)
    if layout.is_study(written) and not layout.is_export(written):
        raise FolderError(f"{target}: is a results folder; export to another one")
    points = of.plan.select(["trial_id", "requires"]).to_pylist()
    known = {i for row in points for i in (row["trial_id"], *(row["requires"] or ()))}
    ids = pa.array(known, pa.string())
    contents = {}
    for table in TABLES:
        rows = of.plan if table == "plan" else _gathered(storage, table, skip, ids)
        contents[f"{table}.{form}"] = files.encoded(rows) if form == "parquet" else _csv(rows)
    if form == "parquet":
        digests = {name: layout.digest(table) for name, table in contents.items()}
        del digests[layout.PLAN]
        contents[layout.PLAN] = head.encoded(replace(of, tables=digests))
        contents[layout.STUDY] = of.study.encode()
        if layout.holds(storage, layout.PROVENANCE):
            contents[layout.PROVENANCE] = storage.read(layout.PROVENANCE)
    for name, content in contents.items():
        written.replace(name, content)
    return [target / name for name in contents]


def _gathered(storage: Storage, table: str, skip: Collection[str], trial_ids: pa.Array) -> pa.Table:
    whole = layout.one_file(table)
    per_trial = (part.name for part in layout.parts(storage, table))
    names = [whole] if layout.holds(storage, whole) else list(per_trial)
    empty = TABLES[table].empty_table()
    tables = [files.read_table(storage, name) for name in names if name not in skip]
    rows = pa.concat_tables([empty, *(part.cast(empty.schema) for part in tables)])
    return rows.filter(pc.is_in(rows["trial_id"], trial_ids))


def _csv(table: pa.Table) -> bytes:
    columns = [
        pa.array([None if v is None else json.dumps(v) for v in table[f.name].to_pylist()]).cast(
            pa.string()
        )
        if pa.types.is_nested(f.type)
        else table[f.name]
        for f in table.schema
    ]
    sink = io.BytesIO()
    pyarrow.csv.write_csv(pa.Table.from_arrays(columns, names=table.column_names), sink)
    return sink.getvalue()
