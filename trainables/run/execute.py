"""One execution of a trial: its data and network, its training, its measures, its rows.

A generator of `Beat`s: it writes evaluations, weights and measures, each file whole, and the
trial's own row last. Rank 0 writes; all ranks compute.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from trainables import alive
from trainables.config.trial import Beat, Status, Trial
from trainables.loop import TrainState, train
from trainables.memory import peak_memory_bytes, reset_peak_memory
from trainables.prepare import Prepared, prepare
from trainables.run import checkpoint, small
from trainables.run.endings import write_trial_row
from trainables.run.failures import GOES_ON, OUT_OF_MEMORY
from trainables.run.recording import (
    Recording,
    ShouldStop,
    keep_weights,
    missing_at_end,
    take_at,
    written_files,
)
from trainables.run.rows import Attempt, final_row
from trainables.task import TASKS
from trainables.weights import kept_weights, start_weights


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a trial, or an attempt at it, ended."""

    status: Status
    error: str | None = None
    note: str | None = None
    """What the attempt should say that is no error of the trial's."""
    where: str | None = None
    """In which code it failed."""
    fits: int | None = None
    """The micro-batch to go on with, where a larger one did not fit into memory."""
    end_step: int | None = None
    metrics: Mapping[str, Any] = field(default_factory=dict)
    """The latest evaluation."""


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """What a runner gives a trial besides the trial itself; `run` says what each is."""

    should_stop: ShouldStop
    concurrent_trials: int
    scratch: str | None
    may_exit: bool
    node_id: str | None


def execute(
    attempt: Attempt, finished: dict[str, Any] | None, own: Surroundings
) -> Generator[Beat, None, Outcome]:
    """Data, network, and then training with its measures or the measures alone."""
    trial = attempt.trial
    prepared, state = prepare(trial, attempt.collective)
    if finished is not None:
        return (yield from _measure_kept(prepared, state, finished, _heard(own.should_stop)))
    try:
        return (yield from _train(prepared, state, attempt, own))
    except small.StepOutOfMemoryError as error:
        return _in_smaller_parts(trial, state, error)


def _in_smaller_parts(trial: Trial, state: TrainState, error: Exception) -> Outcome:
    """What follows from a step that did not fit: half of the micro-batch, if that computes it."""
    step, normalizes = state.optimizer_step, state.normalization is not None
    try:
        now, fits = small.halved(trial, normalizes)
    except ValueError as why:
        text = f"{error}; no smaller micro-batch is the same: {why}"
        return Outcome(status="failed", error=text, end_step=step)
    text = f"{error}, in micro-batches of {now}; {GOES_ON} {fits}"
    return Outcome(status="failed", error=text, end_step=step, fits=fits)


def on_test_set(trial: Trial, metrics: Mapping[str, Any]) -> str:
    """The task's metric of a record as people read it; "" where there is none."""
    metric = TASKS[trial.config.data.task].metric
    value = metrics.get(metric.column("test"))
    return "" if value is None else metric.text(value)


# --------------------------------------------------------------------------------------- training


def _train(
    prepared: Prepared, state: TrainState, attempt: Attempt, own: Surroundings
) -> Generator[Beat, None, Outcome]:
    trial, collective, should_stop = prepared.trial, prepared.collective, _heard(own.should_stop)
    under = checkpoint.conditions(prepared)
    if trial.config.start is not None:
        state.model.load_state_dict(start_weights(trial))
    recording = Recording(prepared, state, should_stop)
    note = checkpoint.restore(trial, state, under, recording.first_weights_missing())
    recording.begin()
    attempt.start_step = state.optimizer_step
    reset_peak_memory(prepared.device)
    saved_at = time.monotonic()
    behind: str | None = None

    if not recording.target_reached():
        for _ in _steps(prepared, state, recording):
            recording.record()
            if state.diverged_at_step is not None or recording.target_reached():
                break
            if (behind := recording.falls_behind()) is not None:
                break
            if recording.is_silent():
                continue
            stop = collective.broadcast(should_stop())
            age = time.monotonic() - saved_at
            if stop or collective.broadcast(age > trial.execution.checkpoint_seconds):
                recording.save(under)
                saved_at = time.monotonic()
            if stop:
                return Outcome(status="interrupted", note=note, end_step=state.optimizer_step)
            yield _beat(prepared, state)
    memory = peak_memory_bytes(prepared.device)
    if state.diverged_at_step is None and behind is None:
        if any(missing_at_end(prepared)):  # they may take long: a kill must not train again
            recording.save(under)
        if trial.execution.keep_weights != "none":
            keep_weights(prepared, state.model, state.optimizer_step)
        yield from _measure(prepared, state.model, state.optimizer_step, should_stop)
    stop_reason = "target_train_loss" if recording.target_reached() else behind or "budget"
    outcome = _outcome(state, note, behind)
    row = final_row(prepared, state, attempt) | {
        "status": outcome.status,
        "stop_reason": None if outcome.status == "diverged" else stop_reason,
        "error": outcome.error,
        "peak_memory_bytes": memory,
        "concurrent_trials": own.concurrent_trials,
    }
    if attempt.writes:
        recording.write()
        write_trial_row(trial, row | {"files": written_files(prepared)})
        checkpoint.drop(trial)
    return outcome


def _steps(prepared: Prepared, state: TrainState, recording: Recording) -> Iterator[None]:
    """The steps of the loop; one that did not fit into memory is told from all else that did not.

    Raises:
        StepOutOfMemoryError: if a step did not.
    """
    trial, data, collective = prepared.trial, prepared.data, prepared.collective
    try:
        yield from train(state, trial.config, trial.execution, data, collective, recording.steps)
    except (RuntimeError, MemoryError) as error:
        if not small.is_out_of_memory(error):
            raise
        text = f"{OUT_OF_MEMORY} {state.optimizer_step + 1}"
        raise small.StepOutOfMemoryError(text) from error


def _heard(should_stop: ShouldStop) -> ShouldStop:
    """Whoever asks is alive."""

    def asked() -> bool:
        alive.sign()
        return should_stop()

    return asked


def _outcome(state: TrainState, note: str | None, behind: str | None) -> Outcome:
    metrics = state.rows[-1] if state.rows else {}
    step = state.diverged_at_step
    if step is None:
        end = state.optimizer_step
        status: Status = "complete" if behind is None else "stopped"
        return Outcome(status=status, note=behind or note, end_step=end, metrics=metrics)
    error = f"loss not finite at step {step}"
    return Outcome(status="diverged", error=error, note=note, end_step=step, metrics=metrics)


def _measure(
    prepared: Prepared, model: nn.Module, optimizer_step: int, should_stop: ShouldStop
) -> Iterator[Beat]:
    """Takes the missing measures of the trained model."""
    for measure in list(missing_at_end(prepared)):
        yield Beat(
            trial_id=prepared.trial.trial_id,
            stage="measuring",
            fraction=1.0,
            optimizer_step=optimizer_step,
            measure=measure.name,
        )
        take_at(prepared, measure, model, optimizer_step, should_stop, at_end=True)


def _measure_kept(
    prepared: Prepared, state: TrainState, row: dict[str, Any], should_stop: ShouldStop
) -> Generator[Beat, None, Outcome]:
    """Takes the missing measures of a complete trial from its kept weights."""
    step = row["optimizer_step"]
    if row["status"] == "complete" and any(missing_at_end(prepared)):
        state.model.load_state_dict(kept_weights(prepared.storage, row["trial_id"]))
        yield from _measure(prepared, state.model, step, should_stop)
    return Outcome(status=row["status"], error=row["error"], end_step=step, metrics=row)


def _beat(prepared: Prepared, state: TrainState) -> Beat:
    latest = state.rows[-1] if state.rows else {}
    return Beat(
        trial_id=prepared.trial.trial_id,
        stage="training",
        fraction=state.optimizer_step / prepared.plan.optimizer_steps,
        optimizer_step=state.optimizer_step,
        train_loss=latest.get("train_loss"),
        test=on_test_set(prepared.trial, latest),
        training_seconds=state.training_seconds,
    )
