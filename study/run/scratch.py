"""A run's own folder below `.ray`, for what its processes leave to one another while it lasts.

It goes when the run ends. After a run that was killed the next one, which holds the results folder
alone, removes what was left and ends the processes that are left of its Ray.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from trainables.results import layout

SESSION = "session.json"
"""In a run's folder: where the Ray that it started keeps its own files, and on which host."""


@contextmanager
def scratch_folder(results: Path) -> Iterator[Path]:
    """The run's folder, empty; those of runs that were killed are gone."""
    above = results / layout.SCRATCH
    _sweep(above)
    path = above / f"run-{time.time_ns()}"
    path.mkdir(parents=True)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def record_session(scratch: Path, session: str) -> None:
    """Says whose processes are left if this run is killed."""
    content = {"session": session, "host": socket.gethostname()}
    (scratch / SESSION).write_text(json.dumps(content))


def _sweep(above: Path) -> None:
    for path in above.glob(f"*/{SESSION}"):
        with suppress(OSError, ValueError, KeyError, TypeError):
            known = json.loads(path.read_text())
            if known["host"] == socket.gethostname():
                _end_processes_of(known["session"])
    for path in above.iterdir() if above.is_dir() else ():
        shutil.rmtree(path, ignore_errors=True)
        with suppress(OSError):  # it was a folder, or is not ours
            path.unlink(missing_ok=True)


def _end_processes_of(session: str) -> None:
    """Ends this user's processes that a Ray session started: its path is in what they were told."""
    if len(session) < len("/tmp/ray/session_"):  # never a text that everybody has
        return
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError, ValueError):  # gone, or another user's
            told = (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
            if session.encode() in told and int(process.name) != os.getpid():
                os.kill(int(process.name), signal.SIGKILL)
