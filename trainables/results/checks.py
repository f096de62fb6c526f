"""What every row must say, whoever wrote it: what all that reads it takes for granted. Light."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
import pyarrow.compute as pc

from trainables.parsing import json_values
from trainables.task import TASKS

NEVER_NULL = {
    "plan": ("arm", "trial_id", "requires"),
    "trials": ("trial_id", "status"),
    "attempts": ("trial_id", "attempt"),
    "evaluations": ("trial_id",),
    "measures": ("trial_id", "measure"),
    "curves": ("trial_id", "measure"),
    "layers": ("trial_id",),
    "timings": ("trial_id",),
}
"""Columns that have a value in every row, by table."""
OBJECTS = ("parameters", "network_options", "data_options")
"""Columns that hold JSON objects."""


def wrong(table: str, rows: pa.Table) -> str | None:
    """What is wrong with the rows of one file of a table; None if nothing."""
    return next(_all_wrong(table, rows), None)


def _all_wrong(table: str, rows: pa.Table) -> Iterator[str]:
    there = rows.schema.names
    for name in NEVER_NULL[table]:
        if name in there and rows[name].null_count:
            yield f"a row says no {name}"
    for name in OBJECTS:
        texts = pc.unique(rows[name]).drop_null().to_pylist() if name in there else ()
        yield from (f"{name} is no JSON object" for text in texts if not _is_object(text))
    tasks = pc.unique(rows["task"]).drop_null().to_pylist() if "task" in there else ()
    yield from (f"there is no task {task!r}" for task in tasks if task not in TASKS)
    for name in ("requires", "files"):
        if name in there and pc.list_flatten(rows[name]).null_count:
            yield f"{name} lists nothing"
    if "files" in there:
        files = pc.list_flatten(rows["files"])
        if any(pc.struct_field(files, part).null_count for part in ("path", "sha256")):
            yield "files lists one without its name or digest"


def _is_object(text: str) -> bool:
    try:
        return isinstance(json_values(text), dict)
    except ValueError:
        return False
