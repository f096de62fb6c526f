"""Train, measure, write: what every runner calls for one trial.

`run` is a generator of `Beat`s. It writes the attempt first and the trial's own row last; between
them evaluations, weights and measures, each file whole. Killed at any moment, run again it goes on
from its last checkpoint and ends with the same rows. Rank 0 writes; all ranks compute.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from trainables import alive
from trainables.collective import Collective
from trainables.config.trial import Beat, Status, Trial
from trainables.loop import TrainState, train
from trainables.measures.objective import MeasureInterrupted
from trainables.memory import peak_memory_bytes, reset_peak_memory
from trainables.prepare import Prepared, prepare
from trainables.results.ledger import finished_row
from trainables.results.storage import StorageError, storage_at
from trainables.run import checkpoint, hangs, small
from trainables.run.failures import GOES_ON, LOST, in_words, is_echo, traceback_text
from trainables.run.recording import (
    Recording,
    ShouldStop,
    keep_weights,
    missing_at_end,
    take_at,
    written_files,
)
from trainables.run.rows import (
    Attempt,
    close_earlier,
    final_row,
    write_trial_row,
    write_unfinished,
)
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


def run(
    trial: Trial,
    *,
    collective: Collective | None = None,
    should_stop: ShouldStop = lambda: False,
    concurrent_trials: int = 1,
    scratch: str | None = None,
    may_exit: bool = False,
) -> Generator[Beat]:
    """Brings one trial to its end: complete, diverged, stopped, failed, or interrupted.

    A complete trial is not trained again; measures at its end that are missing are taken from its
    kept weights. Those between trials are left out until the others are complete.

    Args:
        trial: what to do.
        collective: this worker among those that share the trial; default: it is alone.
        should_stop: asked on rank 0 about every `heartbeat_seconds`, and between the chunks of a
            measure; True ends the attempt as interrupted, to be resumed.
        concurrent_trials: how many trials share the machine, for the record.
        scratch: a folder that every attempt of this run sees, for what one leaves to the next.
        may_exit: whether code that never returns may be ended with its process; otherwise its
            stack is written to stderr, and it is waited for.

    Yields:
        A beat at every heartbeat and before every measure; the last one has stage `ended` and the
        trial's status.

    Raises:
        StorageError: what was to be written could not be; the trial stays as it was.
        Exception: with several workers, whatever failed, after the failure is on record: the
            other workers must be told by whoever started them.
    """
    collective = collective or Collective()
    fits = small.known(trial, scratch)
    own = Surroundings(
        should_stop=should_stop,
        concurrent_trials=concurrent_trials,
        scratch=scratch,
        may_exit=may_exit,
    )
    while True:
        outcome = yield from _attempt(trial, collective, own, fits)
        if outcome.fits is not None:
            small.keep(trial, outcome.fits, scratch)
            small.release()
        if outcome.status == "failed" and collective.world_size > 1:
            raise RuntimeError(outcome.error)  # the others wait in a step that this one never ended
        if outcome.fits is None:
            break
        fits = outcome.fits
    yield _ended(trial, outcome)


def _attempt(
    trial: Trial, collective: Collective, own: Surroundings, fits: int | None
) -> Generator[Beat, None, Outcome]:
    """One execution of a trial, on record from its start to its end."""
    attempt = Attempt(trial=trial, collective=collective)
    attempt.open()
    finished = finished_row(storage_at(trial.folder), trial.trial_id)
    try:
        _check_hangs(attempt, own)
        outcome = yield from _watched(_execute(attempt, finished, own, fits), attempt, own)
    except MeasureInterrupted:
        outcome = Outcome(status="interrupted")
    except StorageError:  # no failure of the trial's, and nothing could be put on record
        raise
    except Exception as error:  # the one border where a failure becomes a row
        outcome = _failure(error, attempt)
        _close(attempt, outcome, finished is None)
        if collective.world_size > 1:
            raise
        return outcome
    _close(attempt, outcome, finished is None)
    return outcome


def _execute(
    attempt: Attempt, finished: dict[str, Any] | None, own: Surroundings, fits: int | None
) -> Generator[Beat, None, Outcome]:
    """Data, network, and then training with its measures or the measures alone."""
    trial = small.with_at_most(attempt.trial, fits)
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


def _watched(
    beats: Generator[Beat, None, Outcome], attempt: Attempt, own: Surroundings
) -> Generator[Beat, None, Outcome]:
    """The same beats, with an eye on code that never returns."""
    trial, limit = attempt.trial, attempt.trial.execution.hang_seconds
    if own.scratch is None or not own.may_exit:
        return (yield from alive.watched(beats, limit, sys.__stderr__ or sys.stderr, ends=False))
    place = own.scratch, trial.trial_id, attempt.number, attempt.collective.rank
    with hangs.stack_file(*place) as file:
        return (yield from alive.watched(beats, limit, file, ends=True))


def _check_hangs(attempt: Attempt, own: Surroundings) -> None:
    """Puts attempts on record that hung in this run.

    Raises:
        HungTooOftenError: if they were too many to try once more.
    """
    if own.scratch is None:
        return
    trial = attempt.trial
    found = hangs.hangs(own.scratch, trial.trial_id, trial.import_folder)
    for hang in found if attempt.writes else ():
        close_earlier(trial, hang.number, hang.error, hang.stack)
    if len(found) >= hangs.MOST:
        raise hangs.HungTooOftenError(found[-1])


def _failure(error: Exception, attempt: Attempt) -> Outcome:
    if isinstance(error, hangs.HungTooOftenError):
        return Outcome(status="failed", error=error.hang.error, where=error.hang.stack)
    lost = f"{LOST}: " if attempt.collective.world_size > 1 and is_echo(error) else ""
    where = traceback_text(error, attempt.trial.import_folder)
    return Outcome(status="failed", error=lost + in_words(error), where=where)


def _close(attempt: Attempt, outcome: Outcome, own_row: bool) -> None:
    attempt.close(outcome.status, outcome.error or outcome.note, outcome.end_step, outcome.where)
    if not attempt.writes or not own_row or outcome.fits is not None:
        return
    if outcome.status in ("failed", "interrupted"):
        write_unfinished(attempt.trial, attempt.number, outcome.status, outcome.error)


def _ended(trial: Trial, outcome: Outcome) -> Beat:
    return Beat(
        trial_id=trial.trial_id,
        stage="ended",
        fraction=1.0,
        optimizer_step=outcome.end_step or 0,
        train_loss=outcome.metrics.get("train_loss"),
        test=_on_test_set(trial, outcome.metrics),
        status=outcome.status,
        error=outcome.error,
    )


def _on_test_set(trial: Trial, metrics: Mapping[str, Any]) -> str:
    metric = TASKS[trial.config.data.task].metric
    value = metrics.get(metric.column("test"))
    return "" if value is None else metric.text(value)


# --------------------------------------------------------------------------------------- training


def _train(
    prepared: Prepared, state: TrainState, attempt: Attempt, own: Surroundings
) -> Generator[Beat, None, Outcome]:
    trial, collective, should_stop = prepared.trial, prepared.collective, _heard(own.should_stop)
    under = checkpoint.conditions(prepared, attempt.trial.execution)
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
        text = f"out of memory at step {state.optimizer_step + 1}"
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
        test=_on_test_set(prepared.trial, latest),
        training_seconds=state.training_seconds,
    )
