"""One file of a results folder: cast, checksummed, verified. Its name says of which table it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from trainables import parquet
from trainables.redaction import redacted
from trainables.results import older_schemas
from trainables.results.layout import digest, keyed_file, keyed_of, table_of
from trainables.results.schema import SCHEMA_VERSION, TABLES
from trainables.results.storage import Storage

SMALL_TABLE_ROWS = 1000
"""Up to here a file is written plain: twice as fast to read, and smaller than compressed."""

Row = Mapping[str, Any]


class DamagedFileError(ValueError):
    """A results file that cannot be trusted: unreadable, of another shape, or a wrong digest."""


class NewerSchemaError(ValueError):
    """A results file written by a newer batchgap than this one."""


# ---------------------------------------------------------------------------------------- writing


def write_rows(storage: Storage, name: str, rows: Sequence[Row]) -> None:
    """Writes rows as one Parquet file of the schema of its table.

    Raises:
        KeyError: if a row has a column that the table does not declare.
        TypeError: if a value is not of its column's type.
    """
    write_table(storage, name, cast(table_of(name), rows))


def add_rows(storage: Storage, name: str, rows: Sequence[Row]) -> bool:
    """Writes rows as `write_rows` does, unless there is such a file; whether they were written."""
    return storage.put_if_absent(name, encoded(cast(table_of(name), rows)))


def write_table(storage: Storage, name: str, table: pa.Table) -> None:
    """Writes an Arrow table as one Parquet file."""
    storage.replace(name, encoded(table))


def write_keyed(storage: Storage, table: str, key: str, rows: Sequence[Row]) -> str:
    """Writes the rows of one measure of one trial; the file's name carries its own digest.

    Args:
        storage: the results folder.
        table: `measures`, or `curves`.
        key: trial id and the hash of the measure's parameters, `ID-HASH`.
        rows: rows of the table.

    Returns:
        The file's name. Older files of the same key are removed after the new one stands: a
        measure taken again replaces, it never doubles.
    """
    content = encoded(cast(table, rows))
    name = keyed_file(table, key, content)
    storage.replace(name, content)
    for older in storage.list(keyed_of(table, key)):
        if older != name:
            storage.delete(older)
    return name


def cast(table: str, rows: Sequence[Row]) -> pa.Table:
    """Rows as an Arrow table of a table's schema; what a row lacks is null.

    Raises:
        KeyError: if a row has a column that the table does not declare.
        TypeError: if a value is not of its column's type.
    """
    schema = TABLES[table]
    whole = {field.name for field in schema if pa.types.is_integer(field.type)}
    for row in rows:
        if unknown := row.keys() - set(schema.names):
            raise KeyError(f"{table}: undeclared columns {sorted(unknown)}")
        for column in whole & row.keys():  # pyarrow would cut off what is behind the point
            if isinstance(row[column], float) and not row[column].is_integer():
                raise TypeError(f"{table}: {column} {row[column]} is not a whole number")
    return pa.Table.from_pylist([_without_secrets(row) for row in rows], schema=schema)


def _without_secrets(row: Row) -> dict[str, Any]:
    """The one place where what an error says enters a results folder."""
    said = {name: row[name] for name in ("error", "traceback") if row.get(name)}
    return {**row, **{name: redacted(text) for name, text in said.items()}}


def encoded(table: pa.Table) -> bytes:
    """The bytes of a Parquet file with page checksums."""
    sink = pa.BufferOutputStream()
    large = table.num_rows > SMALL_TABLE_ROWS
    pq.write_table(
        table,
        sink,
        compression="zstd" if large else "none",
        use_dictionary=large,
        write_page_checksum=True,
    )
    content: bytes = sink.getvalue().to_pybytes()
    return content


# ---------------------------------------------------------------------------------------- reading


def read_table(storage: Storage, name: str, columns: Sequence[str] | None = None) -> pa.Table:
    """Reads one Parquet file, verifying page checksums, version and columns.

    Columns that an older schema lacked come back as nulls.

    Raises:
        FileNotFoundError: if there is none.
        DamagedFileError: if it is unreadable, a checksum is wrong, or columns do not fit.
        NewerSchemaError: if a newer batchgap wrote it.
    """
    return decoded(read_bytes(storage, name), f"{storage}/{name}", table_of(name), columns)


def read_rows(
    storage: Storage, name: str, columns: Sequence[str] | None = None
) -> list[dict[str, Any]]:
    """Reads one Parquet file as plain rows; `read_table` says what is verified."""
    rows: list[dict[str, Any]] = read_table(storage, name, columns).to_pylist()
    return rows


def read_bytes(storage: Storage, name: str) -> bytes:
    """A whole file as it is.

    Raises:
        FileNotFoundError: if there is none.
        DamagedFileError: if it cannot be read.
    """
    try:
        return storage.read(name)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise DamagedFileError(f"{storage}/{name}: {error}") from error


def decoded(
    content: bytes, shown: str, table: str, columns: Sequence[str] | None = None
) -> pa.Table:
    """A Parquet file's content as an Arrow table; `read_table` says what is verified.

    Args:
        content: the file's bytes.
        shown: what a person calls the file.
        table: which one it is of, or is a part of.
        columns: those wanted; default: all.
    """
    schema = TABLES[table]
    try:
        # One file, not a dataset: a folder's name must never be read as a partition. Read in one
        # go: of a small file Arrow's own way to its parts takes longer than the parts.
        source = pa.BufferReader(content)
        with pq.ParquetFile(source, page_checksum_verification=True) as file:
            found = file.schema_arrow  # built anew at every access
            version = int((found.metadata or {}).get(b"schema_version", b"0"))
            if version > SCHEMA_VERSION:
                raise NewerSchemaError(
                    f"{shown}: schema {version}, this batchgap reads {SCHEMA_VERSION}"
                )
            if version == SCHEMA_VERSION and not found.equals(schema):
                # Page checksums do not cover the footer, where the names are.
                raise DamagedFileError(f"{shown}: its columns are not those of {table}")
            names, present = list(columns or schema.names), found.names
            # To read all columns is faster without naming them.
            wanted = None if names == present else [name for name in names if name in present]
            rows = parquet.read(file, len(content), wanted)
            if version < older_schemas.COMPLETE_SINCE and "parameters" in rows.column_names:
                rows = _with_defaults(rows)
            rows.validate(full=True)  # texts: Parquet says that they are UTF-8, and nobody looks
            return _complete(rows, pa.schema([schema.field(name) for name in names]))
    except (NewerSchemaError, DamagedFileError):
        raise
    except (OSError, ValueError, pa.ArrowException) as error:
        raise DamagedFileError(f"{shown}: {error}") from error


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


def file_record(storage: Storage, name: str) -> dict[str, Any]:
    """What a trial's final row says of one of its files: its name, rows, digest."""
    content = storage.read(name)
    return {"path": name, "rows": num_rows(name, content), "sha256": digest(content)}


def num_rows(name: str, content: bytes) -> int | None:
    """How many rows a Parquet file has; None of another file."""
    if not name.endswith(".parquet"):
        return None
    rows: int = pq.read_metadata(pa.BufferReader(content)).num_rows
    return rows
