"""What a person sees while a study runs: one quiet screen, or plain lines where there is none.

A display consumes the `Beat`s that every runner sends. It knows nothing of how trials run. All it
prints goes to stderr, so that stdout stays data.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn
from rich.table import Table
from rich.text import Text

from study.plan.estimate import duration_text
from trainables.config.trial import Beat

SPEED_SECONDS = 5.0
"""No time left is said before so long: the first beats say nothing of a run's speed."""
SILENT_SECONDS = 10.0
"""A training trial is heard about every 2 s; from here on its silence is shown."""
PLAIN_SECONDS = 30.0
"""Without a terminal, a line about what is running at most this often."""
LINES = 100
"""Without a terminal, up to so many trials have a line each when they end."""

_STOPPING = "stopping: finishing the current step and keeping what is done; again to stop at once"


@dataclass(frozen=True, kw_only=True)
class Line:
    """How a trial is called on screen, and how much work it is."""

    label: str
    training: float
    """Work of training it, in any unit that all trials share: for the bar and the time left."""
    measuring: float = 0.0
    """Work of measuring its solution, in the same unit."""
    resumed: bool = False
    """An earlier run left a checkpoint: where it begins says nothing of this run's speed."""


@dataclass(frozen=True, kw_only=True)
class ToCome:
    """About what a run will be asked for that is not known yet: what a search makes of results."""

    trials: int = 0
    work: float = 0.0
    """In the unit of `Line.training`."""


class Display:
    """Shows a run from its beats: `with Display(...) as display: runner.run(..., display.on_beat)`.

    One display lasts the whole run: what comes later joins it, and what is expected to is part of
    the bar from the start.

    Args:
        lines: One per trial that is known to run, by trial id.
        title: What the bar is called: the study's name.
        done_before: Trials of the study that were done before this run.
        to_come: What is to join later, about.
        should_stop: True once the person asked for the run to stop.
        console: Where to draw; default: stderr, as a live screen if it is a terminal.
        clock: Seconds, from anywhere.
    """

    def __init__(
        self,
        lines: Mapping[str, Line],
        *,
        title: str,
        done_before: int = 0,
        to_come: ToCome = ToCome(),
        should_stop: Callable[[], bool] = lambda: False,
        console: Console | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._lines: dict[str, Line] = {}
        self._work = 0.0
        self._to_come = to_come
        self._title = title
        self._done_before = done_before
        self._should_stop = should_stop
        self._console = console or Console(stderr=True)
        self._running: dict[str, Beat] = {}
        self._heard: dict[str, float] = {}
        self._ended: dict[str, Beat] = {}
        self._statuses: Counter[str] = Counter()
        self._work_ended = 0.0
        self._progress = Progress(
            TextColumn("[bold]{task.description}", markup=True),
            BarColumn(bar_width=None),
            TaskProgressColumn(),
            TextColumn("{task.fields[left]}"),
            expand=True,
            console=self._console,
        )
        self._head_start: dict[str, float] = {}
        self._task = self._progress.add_task(title, total=None, left="")
        self.join(lines, to_come)
        self._clock = clock
        self._started = self._last_line = clock()
        self._first_beat: float | None = None
        self._said_stopping = False
        self._said_errors: set[str] = set()
        self._live = Live(
            get_renderable=self._screen,
            console=self._console,
            refresh_per_second=2,
            transient=True,
        )

    def __enter__(self) -> Display:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._live.stop()
        for line in self.summary():
            self._print(line)

    def join(
        self,
        lines: Mapping[str, Line],
        to_come: ToCome,
        *,
        known: int | None = None,
        doing: str = "",
    ) -> None:
        """Takes in trials that are to run now, in place of some that were to come.

        Args:
            lines: One per trial; one that ended before comes back for what it lacks.
            to_come: What is to join after these.
            known: Trials of the study that are known by now; what does not run here was done.
            doing: What they are for, behind the title.
        """
        for trial_id in lines.keys() & self._ended.keys():
            self._statuses[self._ended.pop(trial_id).status] -= 1
        self._lines |= lines
        if known is not None:
            self._done_before = known - len(self._lines)
        self._work += sum(line.training + line.measuring for line in lines.values())
        self._to_come = to_come
        total = self._work + to_come.work
        self._progress.update(self._task, total=total, description=self._title + doing)

    def on_beat(self, beat: Beat) -> None:
        """Takes in what a trial said, and shows it."""
        if self._first_beat is None:
            self._first_beat = self._clock()
        if beat.stage == "ended":
            latest = self._running.pop(beat.trial_id, beat)
            beat = replace(beat, test=beat.test or latest.test)
            line = self._lines[beat.trial_id]
            self._work_ended += line.training + line.measuring
            self._ended[beat.trial_id] = beat
            self._statuses[beat.status] += 1
        else:
            self._heard[beat.trial_id] = self._clock()  # first: other threads read both
            self._running[beat.trial_id] = beat
            if self._lines[beat.trial_id].resumed:
                self._head_start.setdefault(beat.trial_id, self._done(beat))
        left = self._seconds_left()
        text = "" if left is None else f"{duration_text(left)} left"
        self._progress.update(self._task, completed=self._work_done(), left=text)
        if not self._console.is_terminal:
            self._plain(beat)

    def summary(self) -> list[str]:
        """How the run ended: counts, wall time, and each kind of failure once."""
        kinds = ", ".join(f"{n} {status}" for status, n in sorted(self._statuses.items()) if n)
        seconds = self._clock() - self._started
        left = len(self._lines) - len(self._ended) + self._to_come.trials
        tail = f", {self._about}{left} not run" if left else ""
        return [
            f"{len(self._ended)} of {len(self._lines)} trials ended in {duration_text(seconds)}"
            + (f": {kinds}" if kinds else "")
            + tail,
            *self._failures(),
        ]

    def state(self) -> dict[str, Any]:
        """How the run stands, as plain values for other processes; from any thread."""
        now = self._clock()
        running = [
            {
                "trial_id": beat.trial_id,
                "label": self._lines[beat.trial_id].label,
                "stage": beat.stage,
                "fraction": beat.fraction,
                "measure": beat.measure,
                "silent_seconds": round(now - self._heard[beat.trial_id], 1),
            }
            for beat in list(self._running.values())
        ]
        doing = "waiting for the first trial" if self._first_beat is None else "running trials"
        return {"doing": doing, "seconds_left": self._seconds_left(), "trials": running}

    # ------------------------------------------------------------------------- counting

    def _done(self, beat: Beat) -> float:
        """The work a running trial has done."""
        return self._lines[beat.trial_id].training * beat.fraction

    def _work_done(self) -> float:
        return self._work_ended + sum(map(self._done, self._running.values()))

    def _seconds_left(self) -> float | None:
        """At the mean speed since the first beat; None until there is one to speak of."""
        done = self._work_done()
        gained = done - sum(self._head_start.values())
        seconds = self._clock() - (self._first_beat or 0.0)
        if self._first_beat is None or seconds < SPEED_SECONDS or gained <= 0:
            return None
        return (self._work + self._to_come.work - done) * seconds / gained

    @property
    def _about(self) -> str:
        """What a count of trials is said with that holds some which are not known yet."""
        return "about " if self._to_come.trials else ""

    def _counts(self) -> str:
        undone = {kind: self._statuses[kind] for kind in ("failed", "interrupted")}
        parts = [
            f"{self._done_before + len(self._ended) - sum(undone.values())} of "
            f"{self._about}{self._done_before + len(self._lines) + self._to_come.trials} done",
            f"{len(self._running)} running",
        ]
        named = undone | {"diverged": self._statuses["diverged"]}
        parts += [f"{count} {kind}" for kind, count in named.items() if count]
        return ", ".join(parts)

    def _failures(self) -> list[str]:
        """Each distinct error with how often it came, the most frequent first, at most five."""
        errors = [b for b in list(self._ended.values()) if b.status == "failed"]
        kinds = Counter(first_line(beat.error) for beat in errors)
        last = {first_line(beat.error): self._lines[beat.trial_id].label for beat in errors}
        shown = [
            f"failed {count} x, last {last[kind]}: {kind}" for kind, count in kinds.most_common(5)
        ]
        return shown + (
            [f"and {len(kinds) - len(shown)} other errors"] if len(kinds) > len(shown) else []
        )

    # -------------------------------------------------------------------------- drawing

    def _screen(self) -> RenderableType:
        running = list(self._running.values())  # a copy: the screen is drawn from another thread
        room = max(3, self._console.height - 10)
        rows = Table.grid(padding=(0, 2), expand=True)
        rows.add_column(no_wrap=True, ratio=1, overflow="ellipsis")
        rows.add_column(no_wrap=True)
        rows.add_column(no_wrap=True, justify="right")
        for beat in running[:room]:
            label = Text(f"  {self._lines[beat.trial_id].label}")
            silent = self._clock() - self._heard[beat.trial_id]
            rows.add_row(label, doing(beat.measure, beat.fraction, silent), _on_test_set(beat))
        if len(running) > room:
            rows.add_row(f"  and {len(running) - room} more", "", "")
        notes = [
            Text(text, style="red", no_wrap=True, overflow="ellipsis")
            for text in self._failures()[:3]
        ]
        if self._should_stop():
            notes.append(Text(_STOPPING, style="yellow"))
        return Group(self._progress, Text(self._counts(), style="dim"), rows, *notes)

    def _plain(self, beat: Beat) -> None:
        if self._should_stop() and not self._said_stopping:
            self._said_stopping = True
            self._print(_STOPPING)
        error = first_line(beat.error) if beat.status == "failed" else ""
        is_news = error not in {"", *self._said_errors}
        if beat.stage == "ended" and (is_news or len(self._lines) <= LINES):
            self._said_errors.add(error)
            ending = _ending(beat, is_known=not is_news)
            self._print(f"{self._lines[beat.trial_id].label}: {ending}; {self._counts()}")
        elif self._clock() - self._last_line >= PLAIN_SECONDS:
            left = self._seconds_left()
            self._print(self._counts() + (f", about {duration_text(left)} left" if left else ""))

    def _print(self, text: str) -> None:
        self._last_line = self._clock()
        self._console.print(Text(text), soft_wrap=True)


def first_line(error: str | None) -> str:
    """The line of an error that says what happened, without control characters."""
    lines = [line for line in (error or "").splitlines() if line.strip()] or ["no error text"]
    line = lines[-1] if lines[0].startswith("Traceback") else lines[0]
    return "".join(c if c.isprintable() else " " for c in line).strip()


def doing(measure: str | None, fraction: float, silent_seconds: float) -> str:
    """What a trial does, and since when where nothing was heard of it for long."""
    is_silent = silent_seconds >= SILENT_SECONDS
    if measure is not None:
        since = f" for {duration_text(silent_seconds)}" if is_silent else ""
        return f"measuring {measure}{since}"
    return f"{fraction:.0%}" + (
        f", silent for {duration_text(silent_seconds)}" if is_silent else ""
    )


def _on_test_set(beat: Beat) -> str:
    return f"test {beat.test}" if beat.test else ""


def _ending(beat: Beat, is_known: bool) -> str:
    """How a trial ended; an error that another ended with is not written out again."""
    error = "with the same error" if is_known else first_line(beat.error)
    parts = [
        f"{beat.status} at step {beat.optimizer_step}",
        _on_test_set(beat),
        error if beat.status == "failed" else "",
    ]
    return ", ".join(part for part in parts if part)
