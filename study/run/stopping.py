"""How a person stops a run: Ctrl-C and SIGTERM, once to ask and twice to force. Light."""

from __future__ import annotations

import atexit
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

INTERRUPTED = 130
"""Exit code of a run that was stopped."""
GRACE_SECONDS, CLEANUP_SECONDS = 6, 2
"""After the first Ctrl-C trials may finish a step and save, then what holds them may clean up."""


@contextmanager
def stopping() -> Iterator[Callable[[], bool]]:
    """Ctrl-C or SIGTERM asks a run to stop; the second one, or too long a wait, forces it."""
    calls = 0

    def ask(signum: int, frame: FrameType | None) -> None:
        nonlocal calls
        calls += 1
        if calls == 1:
            signal.alarm(GRACE_SECONDS)
            # Runs before the exit hooks of Ray, which may wait long for processes that are gone.
            atexit.register(os._exit, INTERRUPTED)
        elif calls == 2:
            signal.alarm(CLEANUP_SECONDS)
            raise KeyboardInterrupt
        else:  # something hangs; every file is whole, so nothing is lost by leaving now
            if sys.stderr.isatty():
                sys.stderr.write("\x1b[?25h\n")  # the cursor that the display had hidden
                sys.stderr.flush()
            os._exit(INTERRUPTED)

    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGALRM)
    before = {signum: signal.signal(signum, ask) for signum in signals}
    try:
        yield lambda: calls > 0
    finally:
        if calls == 0:  # once asked to stop, the alarm guards the way out of the process too
            for signum, handler in before.items():
                signal.signal(signum, handler)
