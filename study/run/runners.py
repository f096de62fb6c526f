"""Who runs the trials: Ray Tune, or this process."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar

from study.file.document import StudyError
from study.plan.estimate import is_short
from study.run import ray_environment
from study.run.ray_environment import ClusterError
from trainables.config.execution import ExecutionConfig
from trainables.config.trial import Beat, Trial

Runner = Literal["auto", "serial", "tune"]
Answer = TypeVar("Answer")


class Run(Protocol):
    """`serial.run` or `tune.run`."""

    def __call__(
        self,
        todo: Sequence[Trial],
        *,
        on_beat: Callable[[Beat], None],
        should_stop: Callable[[], bool],
        scratch: Path,
    ) -> None:
        """Brings trials to their end."""


def waves(todo: Sequence[Trial]) -> list[list[Trial]]:
    """The trials to run such that a trunk ends before its branches begin."""
    ids = {trial.trial_id for trial in todo}
    branches = [t for t in todo if t.config.start is not None and t.config.start.trial_id in ids]
    later = {trial.trial_id for trial in branches}
    return [wave for wave in ([t for t in todo if t.trial_id not in later], branches) if wave]


def starting(runner: Runner) -> str:
    """What takes time before the first trial is heard."""
    if runner != "tune":
        return "starting"
    named = ray_environment.cluster()
    return "starting Ray" if named is None else f"joining the cluster at {named}"


@contextmanager
def started(
    runner: Runner, execution: ExecutionConfig, scratch: Path, say: Callable[[str], None]
) -> Iterator[Run]:
    """What runs a wave; Ray is started once for all waves."""
    if runner == "tune":
        from study.run import tune

        with tune.connected(execution, scratch, say):
            yield tune.run
    else:
        from study.run import serial

        yield serial.run


def ask_nodes(look: Callable[..., Answer], *told: Any) -> dict[str, Answer | Exception]:
    """What a function returns on each node of the cluster, or raised; by node."""
    from study.run import tune

    return tune.ask_nodes(look, *told)


def check_runner(runner: Runner, num_workers: int, timing: bool = False) -> None:
    """Refuses trials of several workers where there is no Ray to start them, or no Ray is used.

    Raises:
        StudyError: naming what to change.
        ClusterError: a cluster is named, and nothing here can join it.
    """
    if num_workers > 1 and (runner == "serial" or not _has_ray()):
        raise StudyError(
            [f"execution.num_workers {num_workers}: needs Ray (--runner tune); serially, use 1"]
        )
    if ray_environment.cluster() is not None and runner != "serial" and not _has_ray():
        raise ClusterError("RAY_ADDRESS or --address: no Ray is installed here to join it with")
    if num_workers > 1 and timing:
        raise StudyError(
            [f"execution.num_workers {num_workers}: --time takes one worker; leave it out or use 1"]
        )


def chosen_runner(runner: Runner, todo: Sequence[Trial], work_seconds: float | None) -> Runner:
    """Ray for trials that take longer than its start, for several workers, and on a cluster.

    Args:
        runner: as asked for.
        todo: the trials.
        work_seconds: what they are assumed to take on one core; None where that is not known.
    """
    if runner != "auto":
        return runner
    several_workers = any(trial.execution.num_workers > 1 for trial in todo)
    takes_long = len(todo) > 1 and not is_short(work_seconds)
    of_use = several_workers or takes_long or ray_environment.cluster() is not None
    return "tune" if of_use and _has_ray() else "serial"


def _has_ray() -> bool:
    return importlib.util.find_spec("ray") is not None
