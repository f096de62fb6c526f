"""One trial, from its first attempt to its end: what every runner calls.

`run` is a generator of `Beat`s. An attempt is on record from its start to its end, and the trial's
own row is written last. Killed at any moment, run again it goes on from its last checkpoint and
ends with the same rows. What fails becomes a row; what hangs or does not fit is tried again.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Generator

from trainables import alive
from trainables.collective import Collective
from trainables.config.trial import Beat, Trial
from trainables.measures.objective import MeasureInterrupted
from trainables.results.ledger import finished_row
from trainables.results.storage import StorageError, storage_at
from trainables.run import hangs, small
from trainables.run.endings import write_unfinished
from trainables.run.execute import Outcome, Surroundings, execute, on_test_set
from trainables.run.failures import LOST, in_words, is_echo, traceback_text
from trainables.run.recording import ShouldStop
from trainables.run.rows import Attempt


def run(
    trial: Trial,
    *,
    collective: Collective | None = None,
    should_stop: ShouldStop = lambda: False,
    concurrent_trials: int = 1,
    scratch: str | None = None,
    may_exit: bool = False,
    node_id: str | None = None,
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
        node_id: where this worker runs, as Ray calls it, for the record.

    Yields:
        A beat at every heartbeat and before every measure; the last one has stage `ended` and the
        trial's status.

    Raises:
        StorageError: what was to be written could not be; the trial stays as it was.
        Exception: with several workers, whatever failed, after the failure is on record: the
            other workers must be told by whoever started them.
    """
    collective = collective or Collective()
    _check_sees(scratch)
    fits = small.known(trial, scratch)
    own = Surroundings(
        should_stop=should_stop,
        concurrent_trials=concurrent_trials,
        scratch=scratch,
        may_exit=may_exit,
        node_id=node_id,
    )
    while True:
        outcome = yield from _attempt(small.with_at_most(trial, fits), collective, own)
        if outcome.fits is not None:
            small.keep(trial, outcome.fits, scratch)
            small.release()
        if outcome.status == "failed" and collective.world_size > 1:
            raise RuntimeError(outcome.error)  # the others wait in a step that this one never ended
        if outcome.fits is None:
            break
        fits = outcome.fits
    yield _ended(trial, outcome)


def _check_sees(scratch: str | None) -> None:
    """Refuses to train where the results would stay on a disk of this node's own.

    Raises:
        StorageError: naming the node.
    """
    if scratch is not None and not os.path.isdir(scratch):
        raise StorageError(
            f"{scratch}: is not there on {socket.gethostname()}; results must lie in a folder that "
            "every node sees at the same path (--results DIR)"
        )


def _attempt(
    trial: Trial, collective: Collective, own: Surroundings
) -> Generator[Beat, None, Outcome]:
    """One execution of a trial, on record from its start to its end."""
    attempt = Attempt(trial=trial, collective=collective, node_id=own.node_id)
    attempt.open()
    finished = finished_row(storage_at(trial.folder), trial.trial_id)
    try:
        _check_hangs(attempt, own)
        outcome = yield from _watched(execute(attempt, finished, own), attempt, own)
    except MeasureInterrupted:
        outcome = Outcome(status="interrupted")
    except StorageError:  # no failure of the trial's, and nothing could be put on record
        raise
    except (Exception, SystemExit) as error:  # the one border where a failure becomes a row
        outcome = _failure(error, attempt)
        _close(attempt, outcome, finished is None)
        if collective.world_size > 1:
            raise
        return outcome
    _close(attempt, outcome, finished is None)
    return outcome


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
    """Looks whether attempts of this run hung.

    Raises:
        HungTooOftenError: if they were too many to try once more.
    """
    if own.scratch is None:
        return
    trial = attempt.trial
    found = hangs.hangs(own.scratch, trial.trial_id, trial.import_folder)
    if len(found) >= hangs.MOST:
        raise hangs.HungTooOftenError(found[-1])


def _failure(error: Exception | SystemExit, attempt: Attempt) -> Outcome:
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
        test=on_test_set(trial, outcome.metrics),
        status=outcome.status,
        error=outcome.error,
    )
