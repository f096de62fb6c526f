"""The pace of a trial when nothing else of the study runs: a short pass that leaves no result.

A study packs its trials on a machine's cores, so the seconds in its rows are taken while sharing
it. Who must choose a batch size needs the pace of one trial alone.
"""

from __future__ import annotations

import socket
import statistics
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

from trainables.collective import Collective
from trainables.config.trial import Trial
from trainables.loop import train
from trainables.memory import peak_memory_bytes, reset_peak_memory
from trainables.prepare import prepare
from trainables.run.rows import device_name

WARM_STEPS = 3
"""Steps before the clock counts: allocators and kernels settle."""


def time_trial(
    trial: Trial,
    seconds: float = 3.0,
    should_stop: Callable[[], bool] = lambda: False,
) -> dict[str, Any]:
    """Takes steps of a trial for so many seconds, at its own batch size, and forgets them.

    The batch schedule is left out: the pace is that of the trial's `global_batch_size`.

    Args:
        trial: one worker; nothing of it is written.
        seconds: how long, at least one step after the warm ones.
        should_stop: asked after every step; True ends the pass early.

    Returns:
        A row of the `timings` table; the step's time is the median over the steps timed.

    Raises:
        ValueError: if the trial asks for several workers.
    """
    if trial.execution.num_workers != 1:
        raise ValueError(
            f"execution.num_workers {trial.execution.num_workers}: the timing pass takes place in "
            "this process, as one worker; leave it out, or use num_workers: 1"
        )
    own_batch = replace(trial, config=replace(trial.config, batch_schedule=()))
    prepared, state = prepare(own_batch, Collective())
    reset_peak_memory(prepared.device)
    clock: list[float] = [0.0]
    every_step = range(1, prepared.plan.optimizer_steps + 1)
    steps: Iterator[None] = train(
        state, own_batch.config, trial.execution, prepared.data, Collective(), every_step
    )
    for _ in steps:
        clock.append(state.training_seconds)
        if (clock[-1] >= seconds and len(clock) > WARM_STEPS + 1) or should_stop():
            break
    # A trial whose first step diverges does not yield.
    durations = [b - a for a, b in pairwise(clock)] or [state.training_seconds]
    step_seconds = statistics.median(durations[WARM_STEPS:] or durations)
    size = trial.config.global_batch_size
    return {
        "trial_id": trial.trial_id,
        "steps": len(durations),
        "step_seconds": step_seconds,
        "examples_per_second": size / step_seconds,
        "seconds_per_epoch": step_seconds * prepared.facts.num_train_examples / size,
        "peak_memory_bytes": peak_memory_bytes(prepared.device),
        "num_workers": 1,
        "threads_per_worker": trial.execution.threads_per_worker,
        "device_name": device_name(prepared.device),
        "host": socket.gethostname(),
        "taken_at": datetime.now(UTC),
    }
