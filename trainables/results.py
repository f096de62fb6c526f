"""A results folder's files, one at a time: cast, checksummed, atomic, verified.

All file access of the project stands behind this module (one file) and `study.store` (the folder
as a whole), so that another kind of storage touches nothing else. Loads neither torch nor ray.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from trainables import older_schemas
from trainables.config import Interpolation, MeasureConfig, Trial, science
from trainables.measure_config import RECORDED, algorithm, is_between
from trainables.schema import SCHEMA_VERSION, TABLES

SMALL_TABLE_ROWS = 1000
"""Up to here a file is written plain: twice as fast to read, and smaller than compressed."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


class DamagedFileError(ValueError):
    """A results file that cannot be trusted: unreadable, of another shape, or a wrong digest."""


class NewerSchemaError(ValueError):
    """A results file written by a newer batchgap than this one."""


def checked_name(name: str) -> str:
    """A name that may become part of a path, unchanged.

    Raises:
        ValueError: if it could leave its folder, or holds what a file system or Parquet reader
            takes for something else (`=` makes readers see a partition).
    """
    if not _NAME.fullmatch(name):
        raise ValueError(
            f"name: {name!r} cannot be a file name; use letters, digits, '.', '_', '-', "
            "beginning with a letter or digit, e.g. 'my-study'"
        )
    return name


def write_rows(path: Path, table: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Writes rows as one Parquet file of the given table's schema, atomically.

    Raises:
        KeyError: if a row has a column that the table does not declare.
        TypeError: if a value is not of its column's type.
    """
    schema = TABLES[table]
    whole = {field.name for field in schema if pa.types.is_integer(field.type)}
    for row in rows:
        if unknown := row.keys() - set(schema.names):
            raise KeyError(f"{table}: undeclared columns {sorted(unknown)}")
        for name in whole & row.keys():  # pyarrow would cut off what is behind the point
            if isinstance(row[name], float) and not row[name].is_integer():
                raise TypeError(f"{table}: {name} {row[name]} is not a whole number")
    write_table(path, pa.Table.from_pylist([dict(row) for row in rows], schema=schema))


def write_table(path: Path, table: pa.Table) -> None:
    """Writes an Arrow table with page checksums: beside, fsynced, renamed."""
    sink = pa.BufferOutputStream()
    large = table.num_rows > SMALL_TABLE_ROWS
    pq.write_table(
        table,
        sink,
        compression="zstd" if large else "none",
        use_dictionary=large,
        write_page_checksum=True,
    )
    write_bytes(path, sink.getvalue())


def write_bytes(path: Path, content: bytes | pa.Buffer) -> None:
    """Writes a whole file so that a reader sees the old one or the new one, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with beside.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def read_table(path: Path, table: str, columns: Sequence[str] | None = None) -> pa.Table:
    """Reads one Parquet file of a table, verifying page checksums, version and columns.

    Columns that an older schema lacked come back as nulls.

    Raises:
        DamagedFileError: if the file is unreadable, a checksum is wrong, or columns do not fit.
        NewerSchemaError: if a newer batchgap wrote it.
    """
    schema = TABLES[table]
    try:
        # One file, not a dataset: a folder's name must never be read as a partition. Read in one
        # go: of a small file Arrow's own way to its parts takes longer than the parts.
        content = pa.BufferReader(path.read_bytes())
        with pq.ParquetFile(content, page_checksum_verification=True) as file:
            found = file.schema_arrow  # built anew at every access
            version = int((found.metadata or {}).get(b"schema_version", b"0"))
            if version > SCHEMA_VERSION:
                raise NewerSchemaError(
                    f"{path}: schema {version}, this batchgap reads {SCHEMA_VERSION}"
                )
            if version == SCHEMA_VERSION and not found.equals(schema):
                # Page checksums do not cover the footer, where the names are.
                raise DamagedFileError(f"{path}: its columns are not those of {table}")
            names, present = list(columns or schema.names), found.names
            # To read all columns is faster without naming them.
            wanted = None if names == present else [name for name in names if name in present]
            rows = file.read(columns=wanted, use_threads=False)
            if version < older_schemas.COMPLETE_SINCE and "parameters" in rows.column_names:
                rows = _with_defaults(rows)
            return _complete(rows, pa.schema([schema.field(name) for name in names]))
    except (FileNotFoundError, NewerSchemaError, DamagedFileError):
        raise
    except (OSError, ValueError, pa.ArrowException) as error:
        raise DamagedFileError(f"{path}: {error}") from error


def _with_defaults(content: pa.Table) -> pa.Table:
    """The content of an older schema with the defaults of its day in `parameters`."""
    place = content.column_names.index("parameters")
    texts = older_schemas.completed(content["parameters"].to_pylist())
    return content.set_column(place, content.schema.field(place), pa.array(texts, pa.string()))


def _complete(content: pa.Table, schema: pa.Schema) -> pa.Table:
    """The content with what an older schema lacked as nulls."""
    if content.schema.equals(schema):
        return content
    present = set(content.column_names)
    arrays = [
        content[f.name].cast(f.type) if f.name in present else pa.nulls(content.num_rows, f.type)
        for f in schema
    ]
    return pa.Table.from_arrays(arrays, schema=schema)


def read_rows(path: Path, table: str) -> list[dict[str, Any]]:
    """Reads one file of a table as plain rows."""
    rows: list[dict[str, Any]] = read_table(path, table).to_pylist()
    return rows


def sha256(path: Path) -> str:
    """The hex digest of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def file_record(path: Path, folder: Path) -> dict[str, Any]:
    """What a trial's final row says of one of its files: path below the folder, rows, digest."""
    rows = pq.read_metadata(path).num_rows if path.suffix == ".parquet" else None
    return {"path": path.relative_to(folder).as_posix(), "rows": rows, "sha256": sha256(path)}


def weights_path(folder: Path, trial_id: str, optimizer_step: int) -> Path:
    """Where a trial's weights after a step are kept."""
    return folder / "weights" / trial_id / f"{optimizer_step}.safetensors"


def measure_key(
    trial_id: str,
    measure: MeasureConfig,
    optimizer_step: int | None = None,
    other_trial_ids: Sequence[str] = (),
    *,
    by: int | None = None,
) -> str:
    """`ID-HASH`: which measure of which trial, taken at a step along training or (None) at the end.

    How often a measure is recorded is not part of what is measured, and left out of the hash. Its
    algorithm is, from the second on, and the trials that it compares with: a study that gains them
    lacks the comparison.

    Args:
        trial_id: whose.
        measure: which.
        optimizer_step: after which step; None = at the end.
        other_trial_ids: those it is compared with.
        by: the algorithm; default: today's.
    """
    asked = {name: value for name, value in science(measure).items() if name != "every_epochs"}
    if (number := by or algorithm(measure)) > 1:
        asked["algorithm"] = number
    others = [sorted(other_trial_ids)] if other_trial_ids else []
    identity = [asked, optimizer_step, *others]
    return f"{trial_id}-{hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:12]}"


def end_measures(trial: Trial) -> dict[str, MeasureConfig]:
    """The measures that a trial is to have when it has ended, by key.

    The trial at the baseline batch size has no interpolation: there is nothing to compare it with.
    """
    alone = () if trial.other_trial_ids else (Interpolation,)
    asked = (m for m in trial.measures if not isinstance(m, (*RECORDED, *alone)))
    return {key_at_end(trial, measure): measure for measure in asked}


def key_at_end(trial: Trial, measure: MeasureConfig) -> str:
    """The key of a measure at the trial's end; one between two trials is one of those two."""
    others = trial.other_trial_ids if is_between(measure) else ()
    return measure_key(trial.trial_id, measure, other_trial_ids=others)


def measure_file(folder: Path, key: str) -> Path | None:
    """The file of a measure that was taken and whose bytes still have the digest in its name."""
    for path in (folder / "measures").glob(f"{key}-*.parquet"):
        if path.stem.rsplit("-", 1)[1] == sha256(path)[:12]:
            return path
    return None


def write_keyed(folder: Path, table: str, key: str, rows: Sequence[Mapping[str, Any]]) -> Path:
    """Writes the rows of one measure of one trial; the file's name carries its own digest.

    Args:
        folder: the results folder.
        table: `measures`, or `curves`.
        key: trial id and the hash of the measure's parameters, `ID-HASH`.
        rows: rows of the table.

    Returns:
        The file's path, `TABLE/ID-HASH-DIGEST.parquet`. Older files of the same key are removed
        after the new one stands: a measure taken again replaces, it never doubles.
    """
    beside = folder / table / f".{key}.{os.getpid()}.tmp.parquet"
    write_rows(beside, table, rows)
    path = beside.with_name(f"{key}-{sha256(beside)[:12]}.parquet")
    beside.replace(path)
    for older in path.parent.glob(f"{key}-*.parquet"):
        if older != path:
            older.unlink(missing_ok=True)
    return path
