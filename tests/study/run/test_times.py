"""What a run says of its time, and which runner it takes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from study.cli import app
from study.plan.estimate import RAY_SECONDS, START_SECONDS
from study.run import runners
from study.run.opening import Opened, open_study
from study.run.runners import chosen_runner
from study.run.times import estimated
from trainables.results import provenance
from trainables.results.storage import PosixFolder

TINY = """\
name: tiny
data: {source: mnist-5k, train_examples: 200}
network: {name: mlp, hidden: [4]}
training: {base_lr: 0.02, epochs: EPOCHS}
grid: {training.global_batch_size: [50, 100]}
seeds: 2
execution: {device: cpu, max_concurrent_trials: 2}
"""


@pytest.fixture
def opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Opened:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    (tmp_path / "tiny.yaml").write_text(TINY.replace("EPOCHS", "1"))
    return open_study(str(tmp_path / "tiny.yaml"), [], tmp_path / "studies")


def test_ray_is_taken_where_it_starts_before_the_work_is_done(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    trials, short, long = opened.trials, 0.5 * RAY_SECONDS, 2 * RAY_SECONDS
    assert chosen_runner("auto", trials, short) == "serial"
    assert chosen_runner("auto", trials, long) == chosen_runner("auto", trials, None) == "tune"
    assert chosen_runner("auto", trials[:1], long) == "serial"
    assert chosen_runner("tune", trials, short) == "tune"
    assert chosen_runner("serial", trials, long) == "serial"
    monkeypatch.setenv("RAY_ADDRESS", "auto")  # a cluster is there already
    assert chosen_runner("auto", trials, short) == "tune"
    monkeypatch.setattr(runners, "_has_ray", lambda: False)
    assert chosen_runner("auto", trials, long) == "serial"


def test_the_estimate_has_the_start_of_what_will_run(tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(TINY.replace("EPOCHS", "3000"))
    whole = open_study(str(tmp_path / "tiny.yaml"), [], tmp_path / "studies")
    serial, ray, auto = (
        estimated(whole, whole.missing(), runner) for runner in ("serial", "tune", "auto")
    )
    work = serial.work_seconds
    assert work is not None and work > RAY_SECONDS
    assert serial.seconds == pytest.approx(START_SECONDS + work)
    together = START_SECONDS + RAY_SECONDS + work / ray.concurrent_trials
    assert ray.seconds == auto.seconds == pytest.approx(together)


def test_a_run_says_what_comes_before_it_begins_and_what_it_took(opened: Opened) -> None:
    study, root = str(Path(opened.spec.document.file)), str(opened.folder.parent)
    result = CliRunner().invoke(app, ["run", study, "--results", root])
    first, *_ = result.stderr.splitlines()
    assert first.startswith("tiny: 4 trials to run, about ") and first.endswith("; starting")
    assert "took " in result.stderr and "estimated " in result.stderr
    (time,) = provenance.read(PosixFolder(opened.folder))["times"]
    assert time["trials"] == 4 and time["seconds"] > 0 and time["estimated_seconds"] > 0
    again = CliRunner().invoke(app, ["run", study, "--results", root])
    assert "took" not in again.stderr
    assert len(provenance.read(PosixFolder(opened.folder))["times"]) == 1
    shown = CliRunner().invoke(app, ["report", study, "--results", root, "--json"])
    assert json.loads(shown.stdout)["study"] == "tiny"
    CliRunner().invoke(app, ["report", study, "--results", root])
    assert "s were estimated)" in (opened.folder / "report.html").read_text()
