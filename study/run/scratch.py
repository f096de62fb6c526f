"""A run's own folder below `.ray`, for what its processes leave to one another while it lasts.

It goes when the run ends. After a run that was killed the next one, which holds the results folder
alone, removes what was left and ends the processes that are left of its Ray.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from trainables.limits import whole_file
from trainables.parsing import json_values
from trainables.results import layout

SESSION = "session.json"
"""In a run's folder: where the Ray that it started keeps its own files, and on which host."""
_SESSION = re.compile(r"/[^\0]*/ray/session_[0-9_-]+")


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
    if above.is_symlink():  # nothing of ours: what it leads to is not ours to remove
        above.unlink()
    for path in above.glob(f"*/{SESSION}"):
        with suppress(OSError, ValueError, KeyError, TypeError):
            known = json_values(whole_file(path))
            if known["host"] == socket.gethostname():
                end_processes_of(known["session"])
    for path in above.iterdir() if above.is_dir() else ():
        shutil.rmtree(path, ignore_errors=True)
        with suppress(OSError):  # it was a folder, or is not ours
            path.unlink(missing_ok=True)


def end_processes_of(session: str) -> None:
    """Ends the processes of a Ray session: those that write to one of its files.

    Ray's agents outlive a driver that was killed, and change what they are called.
    """
    if not _SESSION.fullmatch(session):  # whoever wrote the folder: no other process is ours to end
        return
    below = f"{session}/"
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # gone, or another user's
            files = list((process / "fd").iterdir())
            logs = any(os.readlink(file).startswith(below) and _is_written(file) for file in files)
            if logs and int(process.name) != os.getpid():
                os.kill(int(process.name), signal.SIGKILL)


def _is_written(file: Path) -> bool:
    """Whether a process opened a file for writing; who only reads a log is nobody's."""
    lines = (file.parent.parent / "fdinfo" / file.name).read_text().splitlines()
    flags = next(line.split()[1] for line in lines if line.startswith("flags:"))
    return bool(int(flags, 8) & os.O_ACCMODE)
