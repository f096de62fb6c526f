"""Killed or stopped and run again, a study ends with the rows of an undisturbed one.

At random moments, and on Ray: `tests/faults`.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.stored import results_of, weights_of

NAME = "interrupted"
STUDY = f"""\
name: {NAME}
data:
  source: mnist-5k
  train_examples: 500
network:
  name: mlp
  hidden: [16, 8]
training:
  base_lr: 0.1
  epochs: 40
  decay: cosine
grid:
  training.global_batch_size: [5, 50]
seeds: 2
measures:
  - name: evaluation
    every_epochs: 10
  - name: sharpness
    examples: 100
execution:
  device: cpu
  heartbeat_seconds: 0.05
  checkpoint_seconds: 0.1
"""


@pytest.fixture
def study(tmp_path: Path) -> Path:
    path = tmp_path / "study.yaml"
    path.write_text(STUDY)
    return path


def start(study: Path, folder: str) -> subprocess.Popen[str]:
    batchgap = Path(sys.executable).with_name("batchgap")
    return subprocess.Popen(
        [batchgap, "run", study.name, "--runner", "serial", "--results", folder],
        cwd=study.parent,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(study: Path, folder: str) -> str:
    run = start(study, folder)
    output, _ = run.communicate(timeout=300)
    assert run.returncode == 0, output
    return output


def assert_same_results(one: Path, other: Path) -> None:
    assert weights_of(one) == weights_of(other)
    assert results_of(one, "evaluations") == results_of(other, "evaluations")
    assert results_of(one, "measures") == results_of(other, "measures")
    kept = ("trial_id", "status", "optimizer_step", "test_accuracy", "train_loss")
    mine, theirs = (
        [{name: row[name] for name in kept} for row in results_of(folder, "trials")]
        for folder in (one, other)
    )
    assert mine == theirs
    assert {row["status"] for row in mine} == {"complete"}


def wait_for(path: Path, pattern: str, seconds: float, run: subprocess.Popen[str]) -> None:
    """Until a file appears, so that the blow falls where something is to be lost."""
    deadline = time.monotonic() + seconds
    while not list(path.glob(pattern)):
        assert run.poll() is None, run.communicate()[0]
        assert time.monotonic() < deadline, f"no {pattern} within {seconds} s"
        time.sleep(0.02)


def test_sigkill_at_some_moments_then_the_same_rows_and_none_twice(
    study: Path, tmp_path: Path
) -> None:
    finish(study, "undisturbed")
    for moment in ("checkpoints/*/state.pt", "trials/*.parquet", "measures/*.parquet"):
        run = start(study, "killed")
        wait_for(tmp_path / "killed" / NAME, moment, 120, run)
        time.sleep(0.15)
        run.kill()
        run.communicate()
    finish(study, "killed")

    assert_same_results(tmp_path / "undisturbed" / NAME, tmp_path / "killed" / NAME)
    attempts = results_of(tmp_path / "killed" / NAME, "attempts")
    assert any(row["start_step"] > 0 for row in attempts), "no attempt went on from a checkpoint"
    assert len(attempts) > len(results_of(tmp_path / "undisturbed" / NAME, "attempts"))
    again = finish(study, "killed")
    assert "nothing to run" in again


def interrupt(study: Path, tmp_path: Path) -> None:
    run = start(study, "stopped")
    wait_for(tmp_path / "stopped" / NAME, "checkpoints/*/state.pt", 120, run)
    run.send_signal(signal.SIGINT)
    began = time.monotonic()
    output, _ = run.communicate(timeout=60)
    assert run.returncode == 130, output
    assert time.monotonic() - began < 10
    assert "go on with" in output


def test_ctrl_c_stops_cleanly_and_running_again_goes_on(study: Path, tmp_path: Path) -> None:
    interrupt(study, tmp_path)
    statuses = {row["status"] for row in results_of(tmp_path / "stopped" / NAME, "trials")}
    assert "interrupted" in statuses
    finish(study, "stopped")
    finish(study, "undisturbed")
    assert_same_results(tmp_path / "undisturbed" / NAME, tmp_path / "stopped" / NAME)
