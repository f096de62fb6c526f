"""Files of a results folder by their paths, which tests may know."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from trainables.results import files
from trainables.results.layout import digest
from trainables.results.schema import TABLES
from trainables.results.storage import PosixFolder

BELOW = {*TABLES, "weights", "checkpoints"}


def at(path: Path) -> tuple[PosixFolder, str]:
    """The results folder that a file lies in, and its name there."""
    root = next((p.parent for p in path.parents if p.name in BELOW), path.parent)
    return PosixFolder(root), path.relative_to(root).as_posix()


def write_bytes(path: Path, content: bytes) -> None:
    """Writes a file as a run does."""
    folder, name = at(path)
    folder.replace(name, content)


OF_THE_CLOCK = {"training_seconds", "evaluation_seconds", "examples_per_second", "seconds"}


def results_of(folder: Path, table: str) -> list[dict[str, Any]]:
    """All rows of a table, in an order of their own, without what depends on the clock."""
    found = [
        {name: value for name, value in row.items() if name not in OF_THE_CLOCK}
        for path in sorted((folder / table).glob("*.parquet"))
        for row in files.read_rows(*at(path))
    ]
    return sorted(found, key=repr)


def weights_of(folder: Path) -> dict[str, str]:
    """The digest of every file of weights, by its name."""
    paths = (folder / "weights").rglob("*.safetensors")
    return {path.relative_to(folder).as_posix(): digest(path.read_bytes()) for path in paths}
