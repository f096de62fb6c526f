"""Timing the networks of a study: for its estimate alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from study.cli import app
from study.run import calibration
from study.run.opening import open_study

TINY = """\
name: tiny
data: {source: mnist-5k, train_examples: 200}
training: {base_lr: 0.02, epochs: 1, optimizer: {name: sgd}}
grid:
  network: [{name: mlp, hidden: [4]}, {name: mlp, hidden: [8]}]
  training.global_batch_size: [50, 100]
arms: {sam: {training.optimizer: {name: sam}}}
seeds: 1
execution: {device: cpu}
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BATCHGAP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(calibration, "SECONDS", 0.02)
    (tmp_path / "tiny.yaml").write_text(TINY)
    return tmp_path


def plan(*options: str) -> Result:
    result = CliRunner().invoke(app, ["plan", "tiny.yaml", *options])
    assert result.exit_code == 0, result.stderr
    return result


def test_plan_measures_each_network_once_and_says_so(here: Path) -> None:
    assert "an assumed speed per core (plan --calibrate measures it)" in plan().stdout
    first = plan("--calibrate")
    assert first.stderr.count("timing network mlp") == 2
    assert "from the pace measured on this machine" in first.stdout
    assert plan().stdout == first.stdout
    assert not (here / "studies").exists()
    kept = json.loads((here / "cache" / "pace.json").read_text())
    assert len(kept) == 2
    assert all(pace["example_seconds"] >= 0 for pace in kept.values())


def test_the_plain_optimizer_is_timed_where_there_is_one(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    timed = []

    def time_trial(trial, seconds, should_stop):  # type: ignore[no-untyped-def]
        timed.append((trial.config.optimizer.name, trial.config.global_batch_size))
        return {"step_seconds": 0.1 + 1e-3 * trial.config.global_batch_size}

    monkeypatch.setattr("trainables.run.timing.time_trial", time_trial)
    opened = open_study("tiny.yaml", [], here / "studies")
    calibration.calibrate(calibration.unknown(opened), lambda: False, lambda line: None)
    assert timed == [("sgd", 50), ("sgd", 100)] * 2
    assert calibration.unknown(opened) == {}
    cost = opened.cost(opened.trials[0])
    assert cost.is_timed and cost.training_seconds > 4 * 0.1


def test_one_that_is_stopped_keeps_nothing(here: Path) -> None:
    opened = open_study("tiny.yaml", [], here / "studies")
    calibration.calibrate(calibration.by_key(opened), lambda: True, lambda line: None)
    assert len(calibration.unknown(opened)) == 2
