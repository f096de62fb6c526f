"""What processes are there, which tests must see for themselves."""

from __future__ import annotations

import os
from pathlib import Path


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
