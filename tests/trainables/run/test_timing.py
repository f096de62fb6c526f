"""The pace of one trial alone: measured, written nowhere, and over in the time given."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import count
from types import SimpleNamespace

import pytest

from trainables import loop
from trainables.config.training import BatchPhase
from trainables.results.schema import TABLES
from trainables.run.timing import WARM_STEPS, time_trial


@pytest.fixture
def clock(monkeypatch) -> None:
    """A clock on which the k-th step takes k seconds: it is read before and after each step."""

    def times() -> Iterator[float]:
        now = 0.0
        for step in count(1):
            yield now
            now += step
            yield now

    readings = times()
    monkeypatch.setattr(loop, "time", SimpleNamespace(perf_counter=lambda: next(readings)))


def test_the_pace_is_the_median_of_the_steps_after_the_warm_ones(make_trial, tmp_path, clock):
    row = time_trial(make_trial(tmp_path, 50), seconds=28.0)
    assert WARM_STEPS == 3
    assert row["steps"] == 7  # 1 + 2 + ... + 7 = 28 seconds
    assert row["step_seconds"] == 5.5
    assert row["examples_per_second"] == 50 / 5.5
    assert row["seconds_per_epoch"] == 5.5 * 500 / 50


def test_it_takes_one_step_after_the_warm_ones_at_least(make_trial, tmp_path, clock):
    assert time_trial(make_trial(tmp_path, 50), seconds=0.0)["steps"] == WARM_STEPS + 1


@pytest.mark.parametrize("steps", [1, 3])
def test_a_run_shorter_than_the_warm_steps_is_timed_whole(make_trial, tmp_path, clock, steps):
    row = time_trial(make_trial(tmp_path, 50, optimizer_steps=steps), seconds=99.0)
    assert row["steps"] == steps and row["step_seconds"] == (steps + 1) / 2


def test_it_stops_when_asked(make_trial, tmp_path):
    asked = iter([False, False, True])
    row = time_trial(make_trial(tmp_path, 50), seconds=99.0, should_stop=lambda: next(asked))
    assert row["steps"] == 3


def test_it_leaves_nothing_behind_and_fills_its_row(make_trial, tmp_path):
    trial = make_trial(tmp_path / "study", 50)
    row = time_trial(trial, seconds=0.0)
    assert not (tmp_path / "study").exists()
    assert list(row) == TABLES["timings"].names
    assert row["trial_id"] == trial.trial_id and all(value is not None for value in row.values())


def test_the_pace_is_that_of_the_trials_own_batch_size(make_trial, tmp_path, monkeypatch):
    sizes: list[int] = []
    gradient = loop._Batch.gradient
    monkeypatch.setattr(
        loop._Batch,
        "gradient",
        lambda self: (sizes.append(self.layout.global_batch_size), gradient(self))[1],
    )
    schedule = (BatchPhase(until_epoch=0.5, global_batch_size=10, peak_lr=0.1),)
    time_trial(make_trial(tmp_path, 50, batch_schedule=schedule), seconds=0.0)
    assert set(sizes) == {50}


def test_a_trial_that_diverges_at_once_has_a_pace_too(make_trial, tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "_first_not_finite", lambda losses, step, collective: step)
    row = time_trial(make_trial(tmp_path, 50))
    assert row["steps"] == 1 and row["step_seconds"] > 0


def test_several_workers_are_refused(make_trial, tmp_path):
    trial = make_trial(tmp_path, 50)
    with pytest.raises(ValueError, match=r"execution\.num_workers 2: .*; leave it out, or use"):
        time_trial(replace(trial, execution=replace(trial.execution, num_workers=2)))
