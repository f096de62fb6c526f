"""How a person stops a run: Ctrl-C, SIGTERM and SIGHUP, once to ask and twice to force. Light."""

from __future__ import annotations

import atexit
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
GRACE_SECONDS, CLEANUP_SECONDS = 6, 2
"""After the first signal trials may finish a step and save, then what holds them may clean up."""
ONCE_SECONDS = 1.0
"""Signals within so long are one: a terminal, a shell and a scheduler may all pass it on."""

_first: int | None = None
_last_things: list[Callable[[], None]] = []


def exit_code() -> int:
    """128 and the number of the signal that asked first: 130 of Ctrl-C, 143, 129."""
    return 128 + (_first or signal.SIGINT)


def before_leaving(do: Callable[[], None]) -> None:
    """What is to be done even where the process is left at once."""
    _last_things.append(do)


@contextmanager
def stopping() -> Iterator[Callable[[], bool]]:
    """A signal asks a run to stop; the second one, or too long a wait, forces it.

    SIGHUP, where this process was told to ignore it, as by `nohup`, it goes on to ignore.
    """
    global _first
    _first = None
    _last_things.clear()
    calls, asked_at = 0, float("-inf")

    def ask(signum: int, frame: FrameType | None) -> None:
        global _first
        nonlocal calls, asked_at
        if signum != signal.SIGALRM and time.monotonic() - asked_at < ONCE_SECONDS:
            return
        calls, asked_at = calls + 1, time.monotonic()
        if calls == 1:
            _first = signum
            if signum == signal.SIGHUP:
                _forget_the_terminal()
            signal.alarm(GRACE_SECONDS)
            # Runs before the exit hooks of Ray, which may wait long for processes that are gone.
            atexit.register(os._exit, exit_code())
        elif calls == 2:
            signal.alarm(CLEANUP_SECONDS)
            raise KeyboardInterrupt
        else:  # something hangs; every file is whole, so nothing is lost by leaving now
            _leave()

    heard = {*SIGNALS, signal.SIGALRM}
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        heard.remove(signal.SIGHUP)
    before = {signum: signal.signal(signum, ask) for signum in heard}
    try:
        yield lambda: calls > 0
    finally:
        if calls == 0:  # once asked to stop, the alarm guards the way out of the process too
            for signum, handler in before.items():
                signal.signal(signum, handler)


def _forget_the_terminal() -> None:
    """It is gone: what would be written to it goes nowhere, rather than raise."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        if os.isatty(stream):
            os.dup2(nowhere, stream)


def _leave() -> None:
    for do in _last_things:
        do()
    if sys.stderr.isatty():
        sys.stderr.write("\x1b[?25h\n")  # the cursor that the display had hidden
        sys.stderr.flush()
    os._exit(exit_code())
