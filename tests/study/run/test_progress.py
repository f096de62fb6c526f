"""The display, in both modes: what it counts, what it says once, what it never lets through."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.console import Console

from study.plan.estimate import duration_text
from study.run.progress import Display, Line, ToCome, first_line
from trainables.config.trial import Beat


def lines(count: int) -> dict[str, Line]:
    return {
        f"t{i}": Line(label=f"baseline, batch 1000, seed {i}", training=8.0, measuring=2.0)
        for i in range(count)
    }


def training(trial_id: str, fraction: float) -> Beat:
    return Beat(trial_id=trial_id, stage="training", fraction=fraction, test="93.12 %")


def ended(trial_id: str, status: str = "complete", error: str | None = None) -> Beat:
    return Beat(
        trial_id=trial_id,
        stage="ended",
        fraction=1.0,
        optimizer_step=150,
        status=status,  # type: ignore[arg-type]
        error=error,
    )


def plain() -> Console:
    return Console(file=io.StringIO(), force_terminal=False, width=80)


def screen() -> Console:
    return Console(file=io.StringIO(), force_terminal=True, width=80, height=24, color_system=None)


def written(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def drawn(display: Display) -> list[str]:
    """The screen as it stands, as 80-column lines."""
    console = Console(file=io.StringIO(), width=80, height=24, color_system=None)
    console.print(display._screen())
    return written(console).splitlines()


def test_without_a_terminal_there_is_one_line_per_ended_trial_and_a_summary() -> None:
    console = plain()
    with Display(lines(3), title="quickstart", console=console) as display:
        for trial_id in ("t0", "t1", "t2"):
            for fraction in (0.1, 0.5, 0.9):
                display.on_beat(training(trial_id, fraction))
            display.on_beat(ended(trial_id))
    said = written(console).splitlines()
    assert len(said) == 4
    assert "batch 1000, seed 1: complete at step 150, test 93.12 %; 2 of 3 done" in said[1]
    assert said[-1].startswith("3 of 3 trials ended") and "3 complete" in said[-1]
    assert "\x1b" not in written(console)


def test_beyond_a_hundred_trials_only_new_errors_have_a_line_and_counts_come_now_and_then() -> None:
    console, now = plain(), [0.0]
    with Display(lines(300), title="large", console=console, clock=lambda: now[0]) as display:
        for number in range(300):
            now[0] += 0.5
            failed = number in (7, 8, 200)
            error = ("RuntimeError: one", "RuntimeError: other")[number == 200]
            display.on_beat(ended(f"t{number}", "failed", error) if failed else ended(f"t{number}"))
    said = written(console).splitlines()
    assert [line for line in said if "seed" in line and "failed at" in line] == [
        f"baseline, batch 1000, seed {number}: failed at step 150, {error}; "
        f"{done} of 300 done, 0 running, {failures} failed"
        for number, error, done, failures in (
            (7, "RuntimeError: one", 7, 1),
            (200, "RuntimeError: other", 198, 3),
        )
    ]
    assert 7 < len(said) < 15  # of 150 seconds, counts each half a minute


def test_a_long_wait_without_a_terminal_gets_a_line_with_the_time_left() -> None:
    console, now = plain(), [0.0]
    display = Display(lines(2), title="quickstart", console=console, clock=lambda: now[0])
    for second in range(100):
        now[0] = float(second)
        display.on_beat(training("t0", second / 100))
    said = written(console).splitlines()
    assert len(said) == 3
    whole = 30 * 20 / (8 * 0.3)  # two trials of 10 at this speed
    assert said[0] == f"0 of 2 done, 1 running, about {duration_text(whole - 30)} left"


def test_the_time_left_follows_the_speed_of_this_run_not_what_was_done_before() -> None:
    now = [0.0]
    resumed = {key: replace(line, resumed=True) for key, line in lines(2).items()}
    display = Display(resumed, title="quickstart", console=plain(), clock=lambda: now[0])
    for second in range(11):  # each takes 100 s from its start
        now[0] = float(second)
        for trial_id in ("t0", "t1"):
            display.on_beat(training(trial_id, 0.5 + second / 100))
    assert display._seconds_left() == pytest.approx(40 + 2 / 8 * 100, rel=0.01)


def test_the_screen_fits_80_columns_and_names_what_runs() -> None:
    display = Display(lines(40), title="quickstart", console=screen(), done_before=5)
    for i in range(30):
        display.on_beat(training(f"t{i}", 0.25))
    display.on_beat(Beat(trial_id="t1", stage="measuring", fraction=1.0, measure="sharpness"))
    display.on_beat(ended("t0", "diverged"))
    said = drawn(display)
    assert len(said) <= 24
    assert max(map(len, said)) <= 80
    assert "6 of 45 done, 29 running, 1 diverged" in said[1]
    assert any("seed 1 " in line and "measuring sharpness" in line for line in said)
    assert any("and 15 more" in line for line in said)


def test_what_is_not_heard_of_for_long_says_so() -> None:
    now = [0.0]
    display = Display(lines(2), title="quickstart", console=screen(), clock=lambda: now[0])
    display.on_beat(training("t0", 0.5))
    display.on_beat(Beat(trial_id="t1", stage="measuring", fraction=1.0, measure="sharpness"))
    now[0] = 9.0
    assert not any("silent" in line or " for " in line for line in drawn(display))
    now[0] = 40.0
    said = drawn(display)
    assert any("50%, silent for 40 s" in line for line in said)
    assert any("measuring sharpness for 40 s" in line for line in said)
    assert [trial["silent_seconds"] for trial in display.state()["trials"]] == [40.0, 40.0]


def test_lines_write_the_same_error_out_once() -> None:
    console = plain()
    with Display(lines(2), title="quickstart", console=console) as display:
        for i in range(2):
            display.on_beat(ended(f"t{i}", "failed", "ValueError: no such file"))
    first, second, _, summary = written(console).splitlines()
    assert "failed at step 150, ValueError: no such file; 0 of 2" in first
    assert "failed at step 150, with the same error; 0 of 2" in second
    assert summary == "failed 2 x, last baseline, batch 1000, seed 1: ValueError: no such file"


def test_a_frequent_failure_is_said_once_with_its_count() -> None:
    display = Display(lines(9), title="quickstart", console=screen())
    for i in range(8):
        display.on_beat(ended(f"t{i}", "failed", "ValueError: no such file\ndetails"))
    display.on_beat(ended("t8", "failed", "RuntimeError: other"))
    failures = [line for line in drawn(display) if line.startswith("failed")]
    assert failures == [
        "failed 8 x, last baseline, batch 1000, seed 7: ValueError: no such file",
        "failed 1 x, last baseline, batch 1000, seed 8: RuntimeError: other",
    ]
    assert display.summary()[0].endswith("9 failed")


@pytest.mark.parametrize("console", [plain(), screen()], ids=["plain", "screen"])
def test_stopping_is_said_as_soon_as_it_is_asked_for(console: Console) -> None:
    asked = [False]
    with Display(
        lines(2), title="quickstart", console=console, should_stop=lambda: asked[0]
    ) as display:
        display.on_beat(training("t0", 0.1))
        assert not any("stopping" in line for line in drawn(display))
        asked[0] = True
        display.on_beat(training("t0", 0.2))
        display.on_beat(training("t0", 0.3))
        assert any("stopping" in line for line in drawn(display))
    if not console.is_terminal:
        assert written(console).count("stopping") == 1
    assert "2 not run" in written(console)


def test_text_of_an_error_is_never_taken_for_markup_or_terminal_codes() -> None:
    console = plain()
    display = Display(lines(1), title="quickstart", console=console)
    display.on_beat(ended("t0", "failed", "KeyError: [bold]x[/bold]\x1b[2Jgone"))
    assert "[bold]x[/bold]" in written(console)
    assert "\x1b" not in written(console)


def test_the_line_of_a_traceback_that_says_what_happened_is_its_last() -> None:
    assert first_line("Traceback (most recent call last):\n  File x\nKeyError: 'a'\n") == (
        "KeyError: 'a'"
    )
    assert first_line(None) == "no error text"


def test_work_weighs_trials_against_each_other() -> None:
    unequal = {
        "t0": Line(label="long", training=60.0, measuring=30.0),
        "t1": Line(label="short", training=8.0, measuring=2.0),
    }
    display = Display(unequal, title="quickstart", console=plain())
    display.on_beat(ended("t0"))
    assert display._progress.tasks[0].percentage == pytest.approx(90.0)
    display.on_beat(training("t1", 1.0))
    assert display._progress.tasks[0].percentage == pytest.approx(98.0)


def test_what_is_to_come_is_part_of_the_bar_and_of_the_counts_from_the_start() -> None:
    console, now = plain(), [0.0]
    to_come = ToCome(trials=3, work=30.0)
    display = Display(
        lines(2), title="tuned", console=console, to_come=to_come, clock=lambda: now[0]
    )
    display.on_beat(training("t0", 0.1))
    now[0] = 10.0
    for trial_id in ("t0", "t1"):
        display.on_beat(ended(trial_id))
    assert display._progress.tasks[0].percentage == pytest.approx(100 * 20 / 50)
    assert display._counts() == "2 of about 5 done, 0 running"
    assert display._seconds_left() == pytest.approx(10 * 30 / 20)
    assert "about 3 not run" in display.summary()[0]
    finals = {f"f{i}": Line(label="final", training=10.0) for i in range(2)}
    display.join(finals, ToCome(trials=1, work=10.0), known=5)
    assert display._progress.tasks[0].percentage == pytest.approx(100 * 20 / 50)
    assert display._counts() == "3 of about 6 done, 0 running"  # one of five had been done before
    for trial_id in finals:
        display.on_beat(ended(trial_id))
    display.join({}, ToCome(), known=5)
    assert display._progress.tasks[0].percentage == pytest.approx(100)
    assert display._counts() == "5 of 5 done, 0 running"
    assert "not run" not in display.summary()[0]


def test_a_trial_that_comes_back_for_a_measure_is_counted_once() -> None:
    display = Display(lines(2), title="pairs", console=screen())
    for trial_id in ("t0", "t1"):
        display.on_beat(ended(trial_id))
    again = {"t1": Line(label="t1", training=0.0, measuring=2.0)}
    display.join(again, ToCome(), known=2, doing=" (between trials)")
    assert "pairs (between trials)" in drawn(display)[0] and "1 of 2 done" in drawn(display)[1]
    display.on_beat(ended("t1"))
    assert display.summary()[0].startswith("2 of 2 trials ended")
    assert display.summary()[0].endswith("2 complete")
    assert display._progress.tasks[0].percentage == pytest.approx(100)
