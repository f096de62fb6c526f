"""Attempts at a trial that ended because no sign of life came: what is known of them.

The stack that `trainables.alive` wrote as it ended the process lies in the run's scratch folder, as
long as the run lasts; who hears of the end of its process puts it on record.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TextIO

MOST = 2
"""Attempts that may hang; then the trial has failed."""
DEEP = 100
"""Frames of a thread that `faulthandler` writes at most."""
_FOLDER = "stacks"
_FRAME = re.compile(r'^  File "(?P<path>.*)", line (?P<line>\d+) in (?P<name>.*)$')


@dataclass(frozen=True, kw_only=True)
class Hang:
    """One attempt that hung."""

    number: int
    stack: str
    folder: str | None
    """Where the user's files lie."""

    @property
    def error(self) -> str:
        """What to put on record: where it was, in the user's own code if it was there."""
        frames = _frames_of_the_trial(self.stack)
        own = _own(frames, self.folder)
        if not frames:
            return "hung: no sign of life came in time"
        at = (own or frames)[0]
        return f"hung: no sign of life came in time from {at['path']}:{at['line']}, {at['name']}"


class HungTooOftenError(RuntimeError):
    """A trial that hung as often as is tried."""

    def __init__(self, hang: Hang) -> None:
        super().__init__(hang.error)
        self.hang = hang


@contextmanager
def stack_file(scratch: str, trial_id: str, number: int, rank: int) -> Iterator[TextIO]:
    """Where an attempt's stacks go; gone with the attempt, unless that is ended from outside."""
    path = Path(scratch) / _FOLDER / f"{trial_id}-{number}-{rank}.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with path.open("w") as file:
            yield file
    finally:
        path.unlink(missing_ok=True)


def unsaid(scratch: str, trial_id: str) -> list[int]:
    """The attempts of this run that have begun and not ended by themselves, on any worker."""
    files = (Path(scratch) / _FOLDER).glob(f"{trial_id}-*-*.txt")
    return sorted({int(path.stem.split("-")[-2]) for path in files})


def hangs(scratch: str, trial_id: str, folder: str | None) -> list[Hang]:
    """The attempts at a trial that hung in this run, in their order.

    Of several workers the stack of the one that did not merely wait for others is taken.
    """
    found: dict[int, list[str]] = {}
    for path in sorted((Path(scratch) / _FOLDER).glob(f"{trial_id}-*-*.txt")):
        if stack := path.read_text(errors="replace"):
            found.setdefault(int(path.stem.split("-")[-2]), []).append(stack)
    return [
        Hang(number=number, stack=min(stacks, key=partial(_waits, folder)), folder=folder)
        for number, stacks in sorted(found.items())
    ]


def _waits(folder: str | None, stack: str) -> tuple[bool, bool]:
    """Whether a worker only waited: outside the user's code, or held by torch.

    That is where gradients are reduced over all workers.
    """
    frames = _frames_of_the_trial(stack)
    return not _own(frames, folder), bool(frames) and "/site-packages/torch/" in frames[0]["path"]


def _own(frames: list[dict[str, str]], folder: str | None) -> list[dict[str, str]]:
    """The frames in the user's own files."""
    return [f for f in frames if folder and Path(f["path"]).is_relative_to(folder)]


def _frames_of_the_trial(stack: str) -> list[dict[str, str]]:
    """The frames, innermost first, of the thread that ran the trial.

    Of a deep stack only the innermost are written; then it is the one with the most.
    """
    threads = []
    for thread in re.split(r"^(?=Thread |Current thread )", stack, flags=re.MULTILINE):
        matches = (_FRAME.match(line) for line in thread.splitlines())
        threads.append([match.groupdict() for match in matches if match])
    for frames in threads:
        if any(frame["path"].endswith("trainables/run/trial.py") for frame in frames):
            return frames
    deepest = max(threads, key=len)
    return deepest if len(deepest) >= DEEP else []
