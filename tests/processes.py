"""What processes are there, which tests must see for themselves."""

from __future__ import annotations

import os
import time
from pathlib import Path


def are_gone(session: str, within: float = 5.0) -> bool:
    """Whether none is left; one that was told to end may take a moment."""
    deadline = time.monotonic() + within
    while processes_of(session) and time.monotonic() < deadline:
        time.sleep(0.1)
    return not processes_of(session)


def processes_of(session: str) -> list[str]:
    """Ids of those that have a file of a Ray session open."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            opened = [os.readlink(file) for file in (process / "fd").iterdir()]
        except OSError:
            continue  # it has ended
        if any(path.startswith(session) for path in opened):
            found.append(process.name)
    return found


def descendants(root: int) -> list[int]:
    """A process and all that it started, directly or not."""
    children: dict[int, list[int]] = {}
    for file in Path("/proc").glob("[0-9]*/stat"):
        try:
            pid, _, rest = file.read_text().partition(" ")
        except OSError:
            continue  # it has ended
        children.setdefault(int(rest.rpartition(")")[2].split()[1]), []).append(int(pid))
    found, todo = [], [root]
    while todo:
        found.append(todo.pop())
        todo += children.get(found[-1], [])
    return found
