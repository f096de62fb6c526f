"""What a run says of its time: before it begins, and after it, beside what was expected."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from analysis.wording import counted
from study.plan.estimate import Estimate, duration_text, estimate
from study.plan.to_come import to_come
from study.run import calibration, ray_environment
from study.run.missing import Missing
from study.run.opening import Opened
from study.run.runners import Runner, starting
from trainables.results import provenance

LONG = 60.0
"""Seconds from which on a run is worth some that tell how long it will take."""


def estimated(opened: Opened, missing: Missing, runner: Runner) -> Estimate:
    """What is missing will take, with what a search makes of it where it is the whole study's."""
    is_whole = len(missing.trials) == len(opened.trials)
    todo = [*missing.train, *(to_come(opened.plan, opened.folder) if is_whole else [])]
    done = missing.ledger.finished
    return estimate(todo, missing.measure, done, opened.trials, opened.facts, runner)


def measured(
    opened: Opened,
    missing: Missing,
    runner: Runner,
    should_stop: Callable[[], bool],
    say: Callable[[str], None],
) -> Estimate:
    """What is missing will take; a long run times networks first that were never timed here."""
    found = estimated(opened, missing, runner)
    if ray_environment.cluster() is not None:
        return replace(found, seconds=None)  # this machine's cores say nothing of a cluster's
    is_long = found.seconds is None or found.seconds >= LONG
    if not (is_long and missing.to_run) or opened.spec.execution.num_workers > 1:
        return found
    if unknown := calibration.unknown(opened):
        calibration.calibrate(unknown, should_stop, say)
        return estimated(opened, missing, runner)
    return found


def beginning(opened: Opened, count: int, expects: Estimate, runner: Runner) -> str:
    """What is said before anything takes time."""
    about = "" if expects.seconds is None else f", about {duration_text(expects.seconds)}"
    return f"{opened.spec.name}: {counted(count, 'trial')} to run{about}; {starting(runner)}"


def took(opened: Opened, count: int, expects: Estimate, seconds: float) -> str:
    """Puts the time of a run on record beside its estimate; what to say of it.

    Args:
        opened: the study, whose folder is held.
        count: trials that were run; of none nothing is said.
        expects: the estimate of before.
        seconds: wall time.
    """
    if not count:
        return ""
    expected = expects.seconds and round(expects.seconds, 1)
    known = {"trials": count, "seconds": round(seconds, 1), "estimated_seconds": expected}
    provenance.add_time(opened.storage, known | {"basis": expects.basis})
    said = f"took {duration_text(seconds)}"
    if expects.seconds is None:
        return said
    return f"{said}, estimated {duration_text(expects.seconds)} from {expects.basis}"
