"""Parquet files that hold examples: which they are, and reading them with clear errors."""

from __future__ import annotations

import glob
from pathlib import Path
from typing import TYPE_CHECKING

from trainables.config.data import DataConfig
from trainables.limits import LimitError

if TYPE_CHECKING:
    import pyarrow as pa


def files(config: DataConfig) -> list[Path]:
    """The files of both splits, training first.

    Raises:
        ValueError: `train` or `test` is not set, or a file would serve both splits.
        FileNotFoundError: One of them names nothing.
    """
    train, test = split_files(config.train, "train"), split_files(config.test, "test")
    if shared := set(train) & set(test):
        raise ValueError(
            f"data.train and data.test both read {min(shared)}; name different files or folders, "
            "or patterns such as data/train-*.parquet and data/test-*.parquet"
        )
    return train + test


def split_files(path: str | None, setting: str) -> list[Path]:
    """A file, the *.parquet of a folder in the order of their names, or the matches of a pattern.

    Raises:
        ValueError: The setting is missing.
        FileNotFoundError: Nothing is there.
    """
    if path is None:
        raise ValueError(f"data.{setting} is not set; name a Parquet file or a folder of them")
    found = [path] if Path(path).is_file() else sorted(glob.glob(path))
    if Path(path).is_dir():
        found = sorted(map(str, Path(path).glob("*.parquet")))
    found = [name for name in found if Path(name).is_file()]  # and no pipe, which never ends
    if not found:
        raise FileNotFoundError(
            f"data.{setting} is {path!r}, but there is no such file and no *.parquet in it"
        )
    return [Path(name) for name in found]


def read_columns(paths: list[Path], columns: tuple[tuple[str, ...], ...]) -> list[pa.ChunkedArray]:
    """The columns of all files' rows, one after the other.

    Args:
        paths: Files with the same columns.
        columns: For each column the names it may have; the first that is there is read.

    Raises:
        ValueError: A file is damaged or lacks a column, or the files do not fit together.
    """
    import pyarrow as pa  # here, so that listing files costs nothing
    import pyarrow.parquet as pq

    from trainables import parquet

    tables = []
    for path in paths:
        try:
            with pq.ParquetFile(path, page_checksum_verification=True) as file:
                there = file.schema_arrow.names
                wanted = [
                    next((name for name in names if name in there), None) for names in columns
                ]
                for names, name in zip(columns, wanted, strict=True):
                    if name is None:
                        raise ValueError(
                            f"{path} has no column {' or '.join(map(repr, names))}; it has "
                            f"{', '.join(map(repr, there))}"
                        )
                rows = parquet.read(file, path.stat().st_size, [str(name) for name in wanted])
                tables.append(rows.select(wanted))
        except LimitError as error:
            raise ValueError(f"{path}: {error}") from error
        except (pa.ArrowException, OSError) as error:
            raise ValueError(f"{path} cannot be read as Parquet: {error}") from error
    try:
        table = pa.concat_tables(tables)
    except pa.ArrowException as error:
        raise ValueError(f"{paths[0].parent}: files do not fit together: {error}") from error
    return list(table.columns)
