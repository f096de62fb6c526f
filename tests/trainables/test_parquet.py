"""Parquet is read as pyarrow reads it, in one go or a few rows at a time."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from trainables import parquet
from trainables.limits import LimitError


@pytest.fixture
def file(tmp_path: Path) -> Path:
    rows = {"text": ["a", "bb", None] * 40, "n": list(range(120)), "l": [[1, 2], [], None] * 40}
    pq.write_table(pa.table(rows), tmp_path / "x.parquet", row_group_size=50)
    return tmp_path / "x.parquet"


@pytest.mark.parametrize("in_one_go", [True, False])
@pytest.mark.parametrize("columns", [None, ["n"], ["text", "l"]])
def test_what_is_read_is_what_is_there(
    file: Path, in_one_go: bool, columns: list[str] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not in_one_go:
        monkeypatch.setattr(parquet, "IN_ONE_GO", 0)
        monkeypatch.setattr(parquet, "MOST_ROWS", 7)
    with pq.ParquetFile(file) as opened:
        found = parquet.read(opened, file.stat().st_size, columns)
    assert found.equals(pq.read_table(file, columns=columns))


def test_it_stops_where_texts_grow_beyond_the_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.parquet"
    table = pa.table({"text": ["x" * 100_000] * 1000})
    pq.write_table(table, path, compression="zstd", dictionary_pagesize_limit=10**8)
    monkeypatch.setattr(parquet, "IN_ONE_GO", 0)
    with pq.ParquetFile(path) as opened, pytest.raises(LimitError, match="once it is read"):
        parquet.read(opened, path.stat().st_size)
