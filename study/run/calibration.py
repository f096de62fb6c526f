"""Measuring how fast this machine trains the networks of a study, and its trials alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from study.run.opening import Opened
from trainables.config.trial import Trial
from trainables.networks import pace
from trainables.networks.pace import Pace
from trainables.results import files, layout

SECONDS = 0.6
"""Per batch size; two of them for each network."""


def unknown(opened: Opened) -> dict[str, list[Trial]]:
    """The trials whose network was never timed here, by what a pace holds for."""
    return {key: trials for key, trials in by_key(opened).items() if pace.known(key) is None}


def calibrate(
    which: dict[str, list[Trial]],
    should_stop: Callable[[], bool],
    say: Callable[[str], None],
) -> None:
    """Takes some steps of each network at its smallest and its largest batch, and keeps the pace.

    Args:
        which: trials, by what a pace holds for; nothing of them is written.
        should_stop: True ends it.
        say: prints a line for the person.

    Raises:
        OSError: if the cache cannot be written.
    """
    for key, trials in which.items():
        say(f"timing network {trials[0].config.network.label}")
        found = _timed(trials, should_stop)
        if should_stop():
            return
        pace.keep(key, found)


def by_key(opened: Opened) -> dict[str, list[Trial]]:
    """The study's trials, by what a pace holds for."""
    found: dict[str, list[Trial]] = {}
    for trial in opened.trials:
        facts = opened.facts(trial.config.data)
        key = pace.key_of(trial, facts.input_shape, facts.num_classes)
        found.setdefault(key, []).append(trial)
    return found


def _timed(trials: Sequence[Trial], should_stop: Callable[[], bool]) -> Pace:
    from trainables.run.timing import time_trial  # loads torch

    def gradients(trial: Trial) -> float:
        return trial.config.optimizer.gradients_per_step(0)

    fewest = min(map(gradients, trials))
    alike = [trial for trial in trials if gradients(trial) == fewest]
    ends = [pick(alike, key=lambda trial: trial.config.global_batch_size) for pick in (min, max)]
    small, large = (
        (trial.config.global_batch_size, time_trial(trial, SECONDS, should_stop)["step_seconds"])
        for trial in ends
    )
    return pace.fitted(small, large, fewest)


def time_alone(
    opened: Opened,
    wanted: Sequence[Trial],
    should_stop: Callable[[], bool],
    say: Callable[[str], None],
) -> None:
    """Times the first seed of every block, arm and batch size, one after the other, and keeps it.

    Args:
        opened: the study, whose folder is held.
        wanted: its trials, or some of them.
        should_stop: True ends it.
        say: prints a line for the person.
    """
    from trainables.run.timing import time_trial

    trials = {trial.trial_id: trial for trial in wanted}
    first: dict[tuple[int, str, int], str] = {}
    for point in opened.plan.points:
        if point.trial_id not in trials:
            continue
        first.setdefault((point.block, point.arm, point.training.global_batch_size), point.trial_id)
    chosen = list(dict.fromkeys(first.values()))
    for number, trial_id in enumerate(chosen, start=1):
        say(f"timing {number} of {len(chosen)}")
        row = time_trial(trials[trial_id], should_stop=should_stop)
        if should_stop():
            return
        files.write_rows(opened.storage, layout.timing_file(trial_id), [row])
