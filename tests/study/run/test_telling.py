"""What a run tells other processes while it lasts, and what `status` makes of it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from study.cli import app
from study.run import telling
from study.run.opening import open_study
from study.run.run_study import run_study

TINY = """\
name: tiny
data: {source: mnist-5k, train_examples: 200}
network: {name: mlp, hidden: [4]}
training: {base_lr: 0.02, epochs: 2}
grid: {training.global_batch_size: [10, 50]}
measures: [{name: hessian, examples: 50}]
seeds: 1
execution: {device: cpu, heartbeat_seconds: 0.001}
"""


def status(study: str) -> str:
    result = CliRunner().invoke(app, ["status", study])
    assert result.exit_code == 0, result.stderr
    return result.stdout


def test_a_run_tells_of_its_start_and_of_every_running_trial(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(telling, "SECONDS", 0.001)
    (tmp_path / "tiny.yaml").write_text(TINY)
    opened = open_study(str(tmp_path / "tiny.yaml"), [], tmp_path)
    heard: list[Mapping[str, Any]] = []

    def should_stop() -> bool:
        if holder := opened.storage.holder():
            heard.append(holder["told"])
        return False

    run_study(opened, runner="serial", should_stop=should_stop, say=lambda line: None)
    assert {told["doing"] for told in heard if told} >= {"starting", "running trials"}
    trials = [trial for told in heard for trial in told.get("trials", [])]
    assert {trial["label"] for trial in trials} == {"batch 10, seed 0", "batch 50, seed 0"}
    assert any(0 < trial["fraction"] < 1 for trial in trials)
    assert all(trial["silent_seconds"] >= 0 for trial in trials)
    assert opened.storage.holder() is None


def test_status_shows_what_the_run_tells(tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(TINY)
    opened = open_study(str(tmp_path / "tiny.yaml"), [], tmp_path)
    run_study(opened, runner="serial", should_stop=lambda: False, say=lambda line: None)
    trial = {"trial_id": "a", "label": "batch 10, seed 3", "stage": "training", "fraction": 0.25}
    silent, measuring = (
        trial | {"measure": measure, "silent_seconds": 40.0} for measure in (None, "hessian")
    )
    recent = silent | {"silent_seconds": 2.0}
    with opened.storage.hold() as tell:
        assert "since" in status(str(opened.folder))  # it has told nothing yet
        tell({"doing": "starting Ray"})
        assert "starting Ray" in status(str(opened.folder))
        told = {"doing": "running trials", "seconds_left": 90.0}
        tell(told | {"trials": [silent, measuring, recent]})
        shown = status(str(opened.folder))
    assert "running trials, about 0:01:30 left" in shown
    assert "batch 10, seed 3: 25%, silent for 40 s" in shown
    assert "batch 10, seed 3: measuring hessian for 40 s" in shown
    assert "batch 10, seed 3: 25%\n" in shown
    assert "more, at their data" not in shown  # all that run were heard of


def test_a_message_that_cannot_be_written_stops_nothing() -> None:
    tried = []

    def tell(told: Mapping[str, Any]) -> None:
        tried.append(told)
        raise OSError("no space left")

    with telling.telling(tell, dict):
        while not tried:
            pass
