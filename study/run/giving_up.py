"""Giving up: trials that fail one after the other with one error will go on to fail. Light."""

from __future__ import annotations

from collections.abc import Callable

from study.run.progress import first_line
from trainables.config.trial import Beat

IN_A_ROW = 5


class GivingUp:
    """Hears every beat, and asks the run to stop after too many equal failures in a row."""

    def __init__(self, on_beat: Callable[[Beat], None], should_stop: Callable[[], bool]) -> None:
        self._on_beat, self._should_stop = on_beat, should_stop
        self._error, self._times = "", 0

    def on_beat(self, beat: Beat) -> None:
        """Hands a beat on, and counts."""
        if beat.stage == "ended" and beat.status != "interrupted" and not self.reason:
            error = first_line(beat.error) if beat.status == "failed" else ""
            self._times = self._times + 1 if error == self._error else 1
            self._error = error
        self._on_beat(beat)

    def should_stop(self) -> bool:
        """Whether a person asked for it, or no more is to be tried."""
        return bool(self.reason) or self._should_stop()

    @property
    def reason(self) -> str:
        """Why no more is tried; "" while more is."""
        if not self._error or self._times < IN_A_ROW:
            return ""
        return f"stopped: {IN_A_ROW} trials in a row failed with one error: {self._error}"
