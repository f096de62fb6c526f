"""Parquet that somebody else wrote, counted by its footer before its columns are read. Light.

A file of a few bytes may hold a hundred million rows that are all alike, or one long text that
every row points to. The first is counted by the number of rows; of the second no more rows are read
at a time than fit however long each text is. The footer's entries for single columns are left
alone: pyarrow ends the process over some that are damaged.
"""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from trainables import limits

WIDTH = 8
"""Bytes of a value, of whatever type: numbers have up to 8, texts a place of 4 and more."""
IN_ONE_GO = 4 * limits.FREE_EXPANSION
"""Bytes up to which a file is read in one go, were each of its texts as long as all together."""
MOST_ROWS, SHARE = 65_536, 16
"""Rows at a time otherwise, and the part of the memory that those may take."""


def read(file: pq.ParquetFile, size: int, columns: Sequence[str] | None = None) -> pa.Table:
    """Reads an open file, or refuses what is read into far more than its size lets expect.

    Args:
        file: opened, of which nothing but the footer is read yet.
        size: its bytes.
        columns: those wanted, in the file's order; default: all.

    Raises:
        LimitError: as `limits.check_expansion` does.
    """
    footer = file.metadata
    groups = [footer.row_group(g).total_byte_size for g in range(footer.num_row_groups)]
    limits.check_expansion(WIDTH * footer.num_rows * footer.num_columns + sum(groups), size)
    largest = max(groups, default=1)
    if footer.num_rows * largest <= IN_ONE_GO:
        table = file.read(columns=columns, use_threads=False)
        limits.check_expansion(table.get_total_buffer_size(), size)
        return table
    rows = max(1, min(limits.memory_bytes() // (SHARE * largest), MOST_ROWS))
    batches, total = [], 0
    for batch in file.iter_batches(batch_size=rows, columns=columns, use_threads=False):
        total += batch.nbytes
        limits.check_expansion(total, size)
        batches.append(batch)
    return pa.Table.from_batches(batches).combine_chunks()
