"""Results in another form: one file per table, as Parquet or CSV. Loads neither torch nor ray."""

from __future__ import annotations

import io
import json
from collections.abc import Collection
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.csv

from trainables import results
from trainables.schema import TABLES

Format = Literal["parquet", "csv"]


def export_folder(folder: Path) -> Path:
    """Where a study is exported to by default: beside it."""
    return folder.with_name(f"{folder.name}-export")


def export(folder: Path, target: Path, form: Format, skip: Collection[str]) -> list[Path]:
    """Writes each table of a results folder as one file, `target/TABLE.parquet` or `.csv`.

    A Parquet export also gets `study.yaml` and `provenance.json`, so that `analysis` reads it like
    the folder itself.

    Args:
        folder: the results folder.
        target: where to write; it is made if need be.
        form: the format. In CSV, lists are JSON.
        skip: files below the folder to leave out: those that `verify` finds damaged.

    Returns:
        The files written.
    """
    written = []
    for table in TABLES:
        content = _gathered(folder, table, skip)
        path = target / f"{table}.{form}"
        if form == "parquet":
            results.write_table(path, content)
        else:
            results.write_bytes(path, _csv(content))
        written.append(path)
    for name in ("study.yaml", "provenance.json") if form == "parquet" else ():
        if (folder / name).exists():
            results.write_bytes(target / name, (folder / name).read_bytes())
            written.append(target / name)
    return written


def _gathered(folder: Path, table: str, skip: Collection[str]) -> pa.Table:
    single = folder / f"{table}.parquet"
    paths = [single] if single.exists() else sorted((folder / table).glob("[!.]*.parquet"))
    kept = [path for path in paths if path.relative_to(folder).as_posix() not in skip]
    empty = TABLES[table].empty_table()
    tables = [results.read_table(path, table) for path in kept]
    return pa.concat_tables([empty, *(part.cast(empty.schema) for part in tables)])


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
