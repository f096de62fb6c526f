"""Runs trials one after the other in this process, without Ray; same signature as `tune.run`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from trainables.config.trial import Beat, Trial
from trainables.run import trial as trials


def run(
    todo: Sequence[Trial],
    *,
    on_beat: Callable[[Beat], None],
    should_stop: Callable[[], bool],
    scratch: Path,
) -> None:
    """Brings trials to their end, in order.

    Args:
        todo: one worker each; several need Ray Train.
        on_beat: told every beat of every trial.
        should_stop: asked at every heartbeat; True ends the trial resumable and starts no other.
        scratch: this run's own folder.

    Raises:
        ValueError: if a trial asks for several workers.
    """
    for trial in todo:
        if trial.execution.num_workers != 1:
            raise ValueError(
                f"execution.num_workers {trial.execution.num_workers}: the serial runner has one "
                "worker; use --runner tune, or num_workers: 1"
            )
        if should_stop():
            return
        for beat in trials.run(trial, should_stop=should_stop, scratch=str(scratch)):
            on_beat(beat)
