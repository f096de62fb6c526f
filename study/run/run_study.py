"""Running what is left of a study: under the folder's lock, on a runner, before a display."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from study.plan.estimate import Estimate
from study.plan.looks import complete_places
from study.plan.plan import Plan
from study.plan.to_come import to_come
from study.run import calibration, guard, room, times
from study.run.choosing import chosen
from study.run.giving_up import GivingUp
from study.run.labels import display_lines
from study.run.missing import Missing
from study.run.networks import own_parameter_shapes
from study.run.opening import Opened
from study.run.progress import Display, ToCome
from study.run.ran import Ran
from study.run.runners import (
    Run,
    Runner,
    check_runner,
    chosen_runner,
    started,
    starting,
    waves,
)
from study.run.scratch import scratch_folder
from study.run.telling import Outside, Tell, telling
from trainables.config.trial import Beat, Trial
from trainables.results import layout, provenance
from trainables.results import ledger as ledgers
from trainables.results.ledger import Ledger, read_ledger
from trainables.results.verify import to_train_again, verify


@dataclass(frozen=True, kw_only=True)
class _Session:
    """One connection to a runner, before one display."""

    run: Run
    display: Display
    on_beat: Callable[[Beat], None]
    should_stop: Callable[[], bool]
    scratch: Path

    def go_through(
        self,
        opened: Opened,
        todo: Sequence[Trial],
        to_come: ToCome,
        ledger: Ledger,
        *,
        known: int,
        doing: str = "",
    ) -> None:
        """Runs trials such that a trunk ends before its branches begin."""
        lines = display_lines(opened, todo, ledger)
        self.display.join(lines, to_come, known=known, doing=doing)
        for wave in waves(todo):
            if not self.should_stop():
                self.run(
                    wave,
                    on_beat=self.on_beat,
                    should_stop=self.should_stop,
                    scratch=self.scratch,
                )

    def nothing_to_come(self, known: int) -> None:
        """The bar ends here."""
        self.display.join({}, ToCome(), known=known)


def run_study(
    opened: Opened,
    *,
    runner: Runner,
    retrain: bool = False,
    timing: bool = False,
    replaces: bool = False,
    only: Sequence[str] = (),
    should_stop: Callable[[], bool],
    say: Callable[[str], None],
) -> Ran:
    """Runs what a study lacks, and nothing that it has.

    Args:
        opened: the study.
        runner: `auto` takes Ray Tune where it is of use.
        retrain: train complete trials again that lack a record along training, or a measure whose
            weights were not kept, or of which a file is damaged.
        timing: before that, time one trial per block, arm and batch size alone on the machine.
        replaces: may take the place of another study though `--set` made it.
        only: arms, batch sizes and trials' ids: where there are any, nothing else is run.
        should_stop: True ends the run, resumable.
        say: prints a line for the person.

    Raises:
        StudyError: if a network cannot be built, or the runner cannot run the trials.
        FolderError: if the folder is another study's, busy, or its data has changed.
        NewerSchemaError: if a newer batchgap wrote to it.
        OSError: if it cannot be written.
    """
    check_runner(runner, opened.spec.execution.num_workers, timing)
    wanted = chosen(opened, only) if only else None
    may_replace = replaces or opened.without_set is None

    def asked(whole: Missing) -> Missing:
        return whole if wanted is None else replace(whole, trials=wanted)

    def check_room(whole: Missing) -> None:
        room.check(times.estimated(opened, asked(whole), runner), opened.folder)

    with _held(opened, say, may_replace, opened.without_set, check_room) as (whole, tell):
        missing = asked(whole)
        if retrain:
            _forget(missing)
        if timing:
            calibration.time_alone(opened, missing.trials, should_stop, say)
        start = replace(opened.missing(), trials=missing.trials) if retrain else missing
        began = time.monotonic()
        expects = times.measured(opened, start, runner, should_stop, say)
        outside = Outside(should_stop=should_stop, say=say, tell=tell)
        handed, ended, ledger = _run_rounds(opened, start, runner, expects, outside)
        took = times.took(opened, len(handed), expects, time.monotonic() - began)
        left = replace(start, trials=handed, ledger=ledger)
        provenance.add_runs(opened.storage, complete_places(ended.plan, ledger.rows))
    again = [] if retrain else missing.lines
    return Ran(
        trials=len(handed),
        failed=len(left.to_run),
        needing_training_again=again,
        took=took,
    )


def measure_study(
    opened: Opened,
    *,
    runner: Runner,
    retry: bool = False,
    should_stop: Callable[[], bool],
    say: Callable[[str], None],
) -> Ran:
    """Takes the measures that complete trials lack, and trains nothing.

    Args:
        opened: the study.
        runner: as of `run_study`, and so is what it raises.
        retry: take measures again that are on record with an error.
        should_stop: True ends the run, resumable.
        say: prints a line for the person.
    """
    check_runner(runner, opened.spec.execution.num_workers)
    with _held(opened, say, may_replace=False) as (missing, tell):
        for name in missing.failed if retry else ():
            opened.storage.delete(name)
        start = opened.missing() if retry else missing
        outside = Outside(should_stop=should_stop, say=say, tell=tell)
        after = opened.missing(_take_missing(opened, start, runner, outside))
        left = replace(after, trials=start.measure)
    return Ran(
        trials=len(start.measure),
        failed=len(left.to_run),
        needing_training_again=missing.lines,
        failed_measures=len(after.failed),
    )


@contextmanager
def _held(
    opened: Opened,
    say: Callable[[str], None],
    may_replace: bool,
    without_set: Callable[[], Plan] | None = None,
    check: Callable[[Missing], None] = lambda missing: None,
) -> Iterator[tuple[Missing, Tell]]:
    """Holds the results folder, which is this study's and readable from here on.

    A former study is kept. What is refused leaves the folder as it was.

    Returns:
        What the study lacks, and what tells others how the run stands.
    """
    shapes = own_parameter_shapes(opened, say, anew=True)
    with opened.storage.hold() as tell:
        missing = opened.missing()
        guard.check_same_study(opened.storage, opened.trials)
        check(missing)
        former = guard.make_way(
            opened.storage, opened.plan, opened.head, without_set, may_replace=may_replace
        )
        guard.check_unchanged(opened.trials, missing.ledger, opened.facts, shapes)
        for damage in missing.ledger.damaged.values():
            say(f"set aside, will run again: {damage}")
        ledgers.set_aside(opened.storage, missing.ledger)
        if former:
            say(former)
        _write_head(opened)
        yield missing, tell


def _forget(missing: Missing) -> None:
    """Removes the final rows of trials that are to be trained again, damaged ones among them.

    What is damaged of the record of attempts, which nothing can make again, is set aside.
    """
    lacking = {t.trial_id for trials in missing.train_again.values() for t in trials}
    findings = verify(missing.storage)
    damaged = to_train_again(findings) & {t.trial_id for t in missing.trials}
    for trial_id in lacking | damaged:
        missing.storage.delete(layout.trial_file(trial_id))
    for found in findings:
        if found.problem == "damaged" and layout.table_of(found.path) == "attempts":
            missing.storage.set_aside(found.path)


def _run_rounds(
    opened: Opened,
    missing: Missing,
    runner: Runner,
    expects: Estimate,
    outside: Outside,
) -> tuple[list[Trial], Opened, Ledger]:
    """Runs what is missing, then what a search makes of it, until nothing is left to ask for.

    Returns:
        What was handed to the runner, the study as its results stand, and what has ended.
    """
    todo = handed = missing.to_run
    is_whole = len(missing.trials) == len(opened.trials)
    if not todo or outside.should_stop():
        return handed, opened, missing.ledger
    with _session(opened, todo, runner, expects, outside) as session:
        while todo and not session.should_stop():
            to_come = expected(opened) if is_whole else ToCome()
            ledger = _run_once(opened, missing, todo, to_come, session)
            if not is_whole:  # what was chosen is all that is asked for
                session.nothing_to_come(len(missing.trials))
                return handed, opened, ledger
            opened = _gone_on(opened, ledger)
            missing = opened.missing(ledger)
            had = {trial.trial_id for trial in handed}
            todo = [trial for trial in missing.to_run if trial.trial_id not in had]
            handed = [*handed, *todo]
        if not todo:
            session.nothing_to_come(len(opened.trials))
    return handed, opened, missing.ledger


def _gone_on(opened: Opened, ledger: Ledger) -> Opened:
    """The study now that trials have ended: a search asks for more."""
    if opened.spec.search is None:
        return opened
    after = opened.after(ledger)
    _write_head(after)
    return after


def _take_missing(opened: Opened, missing: Missing, runner: Runner, outside: Outside) -> Ledger:
    """Takes the measures that kept weights give; what has ended and is measured after it."""
    if not missing.measure or outside.should_stop():
        return missing.ledger
    expects = times.estimated(opened, replace(missing, trials=missing.measure), runner)
    with _session(opened, missing.measure, runner, expects, outside) as session:
        ledger = _run_once(opened, missing, missing.measure, ToCome(), session)
        session.nothing_to_come(len(missing.trials))
    return ledger


def _run_once(
    opened: Opened, missing: Missing, todo: Sequence[Trial], to_come: ToCome, session: _Session
) -> Ledger:
    """What requires nothing first, then the branches, last what is measured between trials.

    Returns:
        What has ended after it.
    """
    known = len(missing.trials)
    session.go_through(opened, todo, to_come, missing.ledger, known=known)
    after = replace(missing, trials=missing.waiting, ledger=read_ledger(opened.storage))
    if not after.measure or session.should_stop():
        return after.ledger
    doing = " (between trials)"
    session.go_through(opened, after.measure, to_come, after.ledger, known=known, doing=doing)
    return read_ledger(opened.storage)


@contextmanager
def _session(
    opened: Opened, todo: Sequence[Trial], runner: Runner, expects: Estimate, outside: Outside
) -> Iterator[_Session]:
    """Starts what runs trials, and says so; Ray is started once for all of them."""
    chosen_one = chosen_runner(runner, todo, expects.work_seconds)
    outside.say(times.beginning(opened, len(todo), expects, chosen_one))
    outside.tell({"doing": starting(chosen_one)})
    should_stop = outside.should_stop
    with (
        scratch_folder(opened.folder) as scratch,
        started(chosen_one, todo[0].execution, scratch, outside.say) as run,
        Display({}, title=opened.spec.name, should_stop=should_stop) as display,
        telling(outside.tell, display.state),
    ):
        hearing = GivingUp(display.on_beat, should_stop)
        yield _Session(
            run=run,
            display=display,
            on_beat=hearing.on_beat,
            should_stop=hearing.should_stop,
            scratch=scratch,
        )
    if hearing.reason:
        outside.say(hearing.reason)


def _write_head(opened: Opened) -> None:
    data = {config.label: opened.facts(config) for config in opened.data}
    guard.write_head(opened.storage, opened.head, data)


def expected(opened: Opened) -> ToCome:
    """What a search will ask for later, about: it is part of the bar from the start."""
    costs = [opened.cost(trial) for trial in to_come(opened.plan, opened.folder)]
    work = sum(cost.training_seconds + cost.measuring_seconds for cost in costs)
    return ToCome(trials=len(costs), work=work)
