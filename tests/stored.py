"""Files of a results folder by their paths, which tests may know."""

from __future__ import annotations

from pathlib import Path

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
