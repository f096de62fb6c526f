"""What a run hears and says while it lasts; `status` reads what it tells others. Light."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

SECONDS = 5.0
"""Between two messages."""

Tell = Callable[[Mapping[str, Any]], None]
"""Puts plain values beside what names the run in its folder, in the place of those of before."""


@dataclass(frozen=True, kw_only=True)
class Outside:
    """What a run hears from who started it, and says to them and to others."""

    should_stop: Callable[[], bool]
    say: Callable[[str], None]
    """Prints a line for the person."""
    tell: Tell
    """Leaves plain values for other processes."""


@contextmanager
def telling(tell: Tell, state: Callable[[], Mapping[str, Any]]) -> Iterator[None]:
    """Tells how the run stands every few seconds, from a thread, so that silence shows as well.

    A message that cannot be written is left out: it is no result.
    """
    over = threading.Event()

    def go_on() -> None:
        while not over.is_set():
            with suppress(OSError, RuntimeError):  # the run goes on meanwhile
                tell(state())
            over.wait(SECONDS)

    thread = threading.Thread(target=go_on, name="telling", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
