"""A watch over code that may never return: when nothing was heard for too long, it says where.

It is Python's own `faulthandler`, whose timer runs outside the interpreter: it also fires where a
regular expression or a dead file system holds the interpreter's lock. One watch per process.
"""

from __future__ import annotations

import faulthandler
import sys
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import TextIO, TypeVar

T = TypeVar("T")
R = TypeVar("R")

AT_MOST_EVERY = 0.5
"""Seconds between two settings of the timer: a sign that comes sooner changes nothing."""
_watch: tuple[float, TextIO, bool] | None = None
_set_at = float("-inf")


def watched(
    steps: Generator[T, None, R], limit: float, file: TextIO, *, ends: bool
) -> Generator[T, None, R]:
    """The same steps; between two of them a sign of life must come every `limit` seconds.

    Args:
        steps: code of ours and the user's; what comes between its steps is not watched.
        limit: seconds without a sign after which every thread's stack is written.
        file: where to; it must have a file descriptor.
        ends: whether the process ends then, at once; otherwise it goes on waiting.
    """
    global _watch
    _watch = limit, file, ends
    try:
        while True:
            sign()
            try:
                step = next(steps)
            except StopIteration as end:
                returned: R = end.value
                return returned
            finally:
                _rest()
            yield step
    finally:
        _watch = None
        steps.close()


@contextmanager
def limited(seconds: float) -> Iterator[None]:
    """Ends this process, its stack on stderr, where a call takes longer; not within a watch."""
    if _watch is not None:
        yield
        return
    faulthandler.dump_traceback_later(seconds, exit=True, file=sys.__stderr__ or sys.stderr)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()


def sign() -> None:
    """A sign of life, from whatever takes long and comes by here: the count begins anew."""
    global _set_at
    now = time.monotonic()
    if _watch is None or now - _set_at < min(AT_MOST_EVERY, _watch[0] / 4):
        return
    limit, file, ends = _watch
    _set_at = now
    faulthandler.dump_traceback_later(limit, repeat=not ends, file=file, exit=ends)


def _rest() -> None:
    global _set_at
    _set_at = float("-inf")
    faulthandler.cancel_dump_traceback_later()
