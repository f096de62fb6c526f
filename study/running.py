"""Running what is left of a study: under the folder's lock, on a runner, before a display."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, Protocol

import pyarrow as pa

from study import guard, lacking
from study.cross import BASELINE, axis_label
from study.document import StudyError
from study.looks import complete_places
from study.opening import Opened
from study.progress import Display, Line, ToCome
from study.search_outlook import former_search, to_come
from study.spec import resolved_yaml
from trainables.batching import layouts
from trainables.config.execution import ExecutionConfig
from trainables.config.trial import Beat, Trial
from trainables.networks.cards import CARDS
from trainables.results import files, layout, provenance
from trainables.results import ledger as ledgers
from trainables.results.ledger import Ledger, read_ledger
from trainables.results.schema import TABLES

Runner = Literal["auto", "serial", "tune"]


class Run(Protocol):
    """`serial.run` or `tune.run`."""

    def __call__(
        self,
        todo: Sequence[Trial],
        *,
        on_beat: Callable[[Beat], None],
        should_stop: Callable[[], bool],
    ) -> None:
        """Brings trials to their end."""


@dataclass(frozen=True, kw_only=True)
class Ran:
    """What a run did, and left."""

    trials: int
    """Handed to the runner."""
    failed: int
    """Of these, the ones that are not done after it."""
    needing_training_again: Sequence[str]
    """How many complete trials of the study lack what, that only `--retrain` gives."""
    failed_measures: int = 0
    """Measures on record with an error, which could be taken again."""

    def lines(self, study: str, *, stopped: bool) -> list[str]:
        """What to tell the person at the end, and what to do next."""
        is_done = not (self.needing_training_again or self.failed_measures)
        done = "nothing to run: everything asked for is done" if is_done else "nothing to run"
        lines = [] if self.trials else [done]
        again = f"batchgap run {study} --retrain"
        lines += [f"{what}: {again}" for what in self.needing_training_again]
        if self.failed_measures:
            count, retry = self.failed_measures, f"batchgap measure {study} --retry"
            lines.append(f"{count} measures are on record with an error; to try again: {retry}")
        if stopped:
            return [*lines, f"stopped; go on with: batchgap run {study}"]
        if self.failed:
            lines.append(f"{self.failed} trials did not end well; run again to try them again")
        return [*lines, f"report: batchgap report {study}"]


def run_study(
    opened: Opened,
    *,
    runner: Runner,
    retrain: bool = False,
    timing: bool = False,
    only_measure: bool = False,
    retry: bool = False,
    should_stop: Callable[[], bool],
    say: Callable[[str], None],
) -> Ran:
    """Runs what a study lacks, and nothing that it has.

    Args:
        opened: the study.
        runner: `auto` takes Ray Tune where it is of use.
        retrain: train complete trials again that lack a record along training, or a measure whose
            weights were not kept.
        timing: before that, time one trial per block, arm and batch size alone on the machine.
        only_measure: train nothing; only take measures that complete trials lack.
        retry: take measures again that are on record with an error.
        should_stop: True ends the run, resumable.
        say: prints a line for the person.

    Raises:
        StudyError: if a network cannot be built, or the runner cannot run the trials.
        FolderError: if the folder is another study's, busy, or its data has changed.
        NewerSchemaError: if a newer batchgap wrote to it.
        OSError: if it cannot be written.
    """
    check_runner(runner, opened.spec.execution.num_workers, timing)
    shapes = own_parameter_shapes(opened)
    with opened.storage.hold():
        ledger = read_ledger(opened.storage)
        guard.check_same_study(opened.storage, opened.trials)
        guard.check_unchanged(opened.trials, ledger, opened.facts, shapes)
        for damage in ledger.damaged.values():
            say(f"set aside, will run again: {damage}")
        ledgers.set_aside(opened.storage, ledger)
        if not only_measure and (former := former_search(opened)):
            say(former)
        _write_head(opened)
        again = lacking.needing_training_again(opened.storage, opened.trials, ledger)
        if retrain:
            lacking.forget(opened.storage, [trial for trials in again.values() for trial in trials])
            ledger, again = read_ledger(opened.storage), {}
        if retry:
            for name in lacking.failed_measures(opened.storage, opened.trials, ledger):
                opened.storage.delete(name)
            ledger = read_ledger(opened.storage)
        todo = lacking.remaining(opened.trials, ledger)
        if only_measure:
            todo = [trial for trial in todo if trial.trial_id in ledger.finished]
        if timing:
            _time(opened, should_stop, say)
        handed = list(todo)
        if todo and not should_stop():
            with (
                _started(chosen_runner(runner, todo), todo[0].execution) as run,
                Display({}, title=opened.spec.name, should_stop=should_stop) as display,
            ):
                while todo and not should_stop():
                    ledger = _run(opened, todo, ledger, run, display, should_stop, only_measure)
                    opened, todo = (
                        (opened, []) if only_measure else _gone_on(opened, ledger, handed)
                    )
                    handed += todo
                if not todo:  # nothing is expected any more
                    display.join({}, ToCome(), known=len(opened.trials))
        if not only_measure:
            provenance.add_runs(opened.storage, complete_places(opened.plan, ledger.rows))
        left = lacking.remaining(handed, ledger)
        failed = (
            lacking.failed_measures(opened.storage, opened.trials, ledger) if only_measure else []
        )
    return Ran(
        trials=len(handed),
        failed=len(left),
        needing_training_again=lacking.lines_of_lacking(again),
        failed_measures=len(failed),
    )


def _gone_on(opened: Opened, ledger: Ledger, handed: Sequence[Trial]) -> tuple[Opened, list[Trial]]:
    """The study now that trials have ended, and what its search asks for that it did not before."""
    if opened.spec.search is None:
        return opened, []
    opened = opened.after(ledger)
    _write_head(opened)
    had = {trial.trial_id for trial in handed}
    left = lacking.remaining(opened.trials, ledger)
    return opened, [trial for trial in left if trial.trial_id not in had]


def own_parameter_shapes(opened: Opened) -> dict[str, str]:
    """Builds each network that is not one of ours once, so that what fails does so before the run.

    Returns:
        Hash of the parameters' shapes, by trial.

    Raises:
        StudyError: a network cannot be built, its outputs are not logits of the data's classes, or
            its normalization does not fit the layout.
    """
    built: dict[tuple[str, str], tuple[str, bool]] = {}
    shapes: dict[str, str] = {}
    for trial in opened.trials:
        config = trial.config
        if config.network.name in CARDS:
            continue
        facts = opened.facts(config.data)
        key = repr(config.network), repr((facts.input_shape, facts.num_classes))
        if key not in built:
            built[key] = _built(opened, trial)
        shapes[trial.trial_id], normalizes = built[key]
        with _as_study_error(opened, "execution"):
            layouts(config, trial.execution, normalizes)
    return shapes


@contextmanager
def _as_study_error(opened: Opened, section: str) -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        raise StudyError([opened.spec.document.problem((section,), str(error))]) from error


def _built(opened: Opened, trial: Trial) -> tuple[str, bool]:
    """Hash of the parameters' shapes, and whether the network has batch normalization."""
    from trainables.networks.build import build, parameter_shapes_hash  # loads torch
    from trainables.normalization import replace_batch_norm

    config, facts = trial.config, opened.facts(trial.config.data)
    shape, classes = facts.input_shape, facts.num_classes
    with _as_study_error(opened, "network"):
        model = build(config.network, shape, classes, config.seed, trial.import_folder)
        return parameter_shapes_hash(model), replace_batch_norm(model) is not None


def _write_head(opened: Opened) -> None:
    rows = opened.plan.point_rows()
    data = {t.config.data.label: opened.facts(t.config.data) for t in _distinct_data(opened.trials)}
    plan = pa.Table.from_pylist(rows, schema=TABLES["plan"])
    guard.write_head(opened.storage, resolved_yaml(opened.spec), plan, data)


def _distinct_data(trials: Sequence[Trial]) -> list[Trial]:
    """One trial per data set."""
    return list({trial.config.data.label: trial for trial in trials}.values())


def _run(
    opened: Opened,
    todo: Sequence[Trial],
    ledger: Ledger,
    run: Run,
    display: Display,
    should_stop: Callable[[], bool],
    only_measure: bool,
) -> Ledger:
    """What requires nothing first, then the branches, last what is measured between trials.

    Returns:
        The ledger after it.
    """
    waiting = lacking.waiting_for_others(opened.trials, ledger)
    later = ToCome() if only_measure else expected(opened)
    known = len(opened.trials)
    display.join(display_lines(opened, todo, ledger), later, known=known)
    _run_parts(waves(todo), run, display, should_stop)
    ledger = read_ledger(opened.storage)
    between = [t for t in lacking.remaining(waiting, ledger) if t.trial_id in ledger.finished]
    if not between or should_stop():
        return ledger
    lines = display_lines(opened, between, ledger)
    display.join(lines, later, known=known, doing=" (between trials)")
    _run_parts([between], run, display, should_stop)
    return read_ledger(opened.storage)


def _run_parts(
    parts: Sequence[Sequence[Trial]],
    run: Run,
    display: Display,
    should_stop: Callable[[], bool],
) -> None:
    for part in parts:
        if not should_stop():
            run(part, on_beat=display.on_beat, should_stop=should_stop)


def expected(opened: Opened) -> ToCome:
    """What a search will ask for later, about: it is part of the bar from the start."""
    costs = [opened.cost(trial) for trial in to_come(opened)]
    work = sum(cost.training_seconds + cost.measuring_seconds for cost in costs)
    return ToCome(trials=len(costs), work=work)


def waves(todo: Sequence[Trial]) -> list[list[Trial]]:
    """The trials to run such that a trunk ends before its branches begin."""
    ids = {trial.trial_id for trial in todo}
    branches = [t for t in todo if t.config.start is not None and t.config.start.trial_id in ids]
    later = {trial.trial_id for trial in branches}
    return [wave for wave in ([t for t in todo if t.trial_id not in later], branches) if wave]


@contextmanager
def _started(runner: Runner, execution: ExecutionConfig) -> Iterator[Run]:
    """What runs a wave; Ray is started once for all waves."""
    if runner == "tune":
        from study import tune

        with tune.connected(execution):
            yield tune.run
    else:
        from study import serial

        yield serial.run


def check_runner(runner: Runner, num_workers: int, timing: bool = False) -> None:
    """Refuses trials of several workers where there is no Ray to start them, or no Ray is used.

    Raises:
        StudyError: naming what to change.
    """
    if num_workers > 1 and (runner == "serial" or not _has_ray()):
        raise StudyError(
            [f"execution.num_workers {num_workers}: needs Ray (--runner tune); serially, use 1"]
        )
    if num_workers > 1 and timing:
        raise StudyError(
            [f"execution.num_workers {num_workers}: --time takes one worker; leave it out or use 1"]
        )


def chosen_runner(runner: Runner, todo: Sequence[Trial]) -> Runner:
    """Ray where there is more than one trial, or trials of several workers; else this process."""
    if runner != "auto":
        return runner
    of_use = len(todo) > 1 or any(trial.execution.num_workers > 1 for trial in todo)
    return "tune" if of_use and _has_ray() else "serial"


def _has_ray() -> bool:
    return importlib.util.find_spec("ray") is not None


def display_lines(opened: Opened, todo: Sequence[Trial], ledger: Ledger) -> dict[str, Line]:
    """Every trial to run as the display wants it."""
    names = labels(opened)
    done, lines = ledger.finished, {}
    for trial in todo:
        cost = opened.cost(trial)
        lines[trial.trial_id] = Line(
            label=names[trial.trial_id],
            training=0.0 if trial.trial_id in done else cost.training_seconds,
            measuring=cost.measuring_seconds,
            resumed=trial.trial_id in ledger.checkpoints,
        )
    return lines


def labels(opened: Opened) -> dict[str, str]:
    """A short name per trial: batch size, seed, its arm if it has one, and what else varies."""
    points = opened.plan.points
    axes = [axis for axis in points[0].grid if axis != "training.global_batch_size"]
    varied = [axis for axis in axes if len({repr(p.grid[axis]) for p in points}) > 1]
    names: dict[str, str] = {}
    for p in points:
        if p.trial_id not in names:
            starts = "training.start"  # absent from all but warm starts
            told = [a for a in varied if p.grid[a] is not None or not a.startswith(starts)]
            named = [f"{axis_label(axis)} {p.shown(axis)}" for axis in told]
            arm = [] if p.arm == BASELINE else [p.arm]
            stage = [p.stage] if p.stage != "final" else []
            size = f"batch {p.training.global_batch_size}, seed {p.seed}"
            names[p.trial_id] = ", ".join([size, *stage, *arm, *named])
    for trial_id in opened.plan.trunks():
        config = opened.plan.configs[trial_id]
        names[trial_id] = f"batch {config.global_batch_size}, seed {config.seed}, trunk"
    return names


def _time(opened: Opened, should_stop: Callable[[], bool], say: Callable[[str], None]) -> None:
    """Times the first seed of every block, arm and batch size, one after the other."""
    from trainables.timing import time_trial

    trials = {trial.trial_id: trial for trial in opened.trials}
    first: dict[tuple[int, str, int], str] = {}
    for point in opened.plan.points:
        first.setdefault((point.block, point.arm, point.training.global_batch_size), point.trial_id)
    chosen = list(dict.fromkeys(first.values()))
    for number, trial_id in enumerate(chosen, start=1):
        say(f"timing {number} of {len(chosen)}")
        row = time_trial(trials[trial_id], should_stop=should_stop)
        if should_stop():
            return
        files.write_rows(opened.storage, layout.timing_file(trial_id), [row])
