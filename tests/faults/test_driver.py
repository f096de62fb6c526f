"""A study whose driver is killed, again and again: nothing is lost, done twice, or left over."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.processes import are_gone, processes_of
from tests.stored import at, results_of, weights_of
from trainables.results import files

pytestmark = pytest.mark.faults

STUDY = """\
name: killed
data: {source: mnist-5k, train_examples: 500}
network: {name: mlp, hidden: [16, 8]}
training: {base_lr: 0.1, epochs: 40, decay: cosine}
grid: {training.global_batch_size: [5, 10, 50]}
seeds: 4
measures:
  - {name: evaluation, every_epochs: 10}
  - {name: sharpness, examples: 100}
execution: {device: cpu, heartbeat_seconds: 0.05, checkpoint_seconds: 0.1}
"""
KILLS = {"serial": 12, "tune": 8}


def start(here: Path, folder: str, runner: str) -> subprocess.Popen[bytes]:
    batchgap = Path(sys.executable).with_name("batchgap")
    return subprocess.Popen(
        [batchgap, "run", "killed.yaml", "--runner", runner, "--results", folder],
        cwd=here,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def finish(here: Path, folder: str, runner: str) -> Path:
    assert start(here, folder, runner).wait(timeout=300) == 0
    return here / folder / "killed"


def complete(folder: Path) -> dict[str, float]:
    """When each finished trial's row was written."""
    paths = (folder / "trials").glob("*.parquet")
    return {p.stem: p.stat().st_mtime for p in paths if _status(p) == "complete"}


def _status(path: Path) -> str:
    return str(files.read_rows(*at(path), columns=["status"])[0]["status"])


def kill_after(run: subprocess.Popen[bytes], folder: Path, moment: float) -> None:
    """So many seconds after it holds the folder: before that there is nothing to lose."""
    while not (folder / ".holder.json").exists() and run.poll() is None:
        time.sleep(0.01)
    time.sleep(moment)
    run.kill()
    run.wait()


@pytest.mark.parametrize(("runner", "latest"), [("serial", 4.0), ("tune", 14.0)])
def test_a_driver_that_is_killed_at_random_moments(
    tmp_path: Path, runner: str, latest: float
) -> None:
    (tmp_path / "killed.yaml").write_text(STUDY)
    undisturbed = finish(tmp_path, "undisturbed", "serial")
    draw, folder = random.Random(f"moments of {runner}"), tmp_path / "again" / "killed"
    done: dict[str, float] = {}
    for _ in range(KILLS[runner]):
        run = start(tmp_path, "again", runner)
        kill_after(run, folder, draw.uniform(0.0, latest))
        now = complete(folder)
        assert now.keys() >= done.keys()
        assert all(now[trial_id] == done[trial_id] for trial_id in done), "done twice"
        done = now
    again = finish(tmp_path, "again", runner)
    assert len(results_of(again, "trials")) == 12 == len(complete(again))
    assert weights_of(again) == weights_of(undisturbed)
    for table in ("evaluations", "measures"):
        assert results_of(again, table) == results_of(undisturbed, table)
    assert list((again / ".ray").iterdir()) == []
    left = [path for path in again.rglob(".*.tmp")]
    assert len(left) <= KILLS[runner]  # half a file of a killed process: hidden, and named below
    verified = subprocess.run(
        [Path(sys.executable).with_name("batchgap"), "verify", again],
        capture_output=True,
        text=True,
    )
    assert verified.returncode == 0, verified.stdout


def test_what_a_killed_run_leaves_of_its_ray_is_ended_by_the_next(tmp_path: Path) -> None:
    (tmp_path / "killed.yaml").write_text(STUDY)
    run, folder = start(tmp_path, "again", "tune"), tmp_path / "again" / "killed"
    while not list(folder.glob("checkpoints/*/state.pt")):
        assert run.poll() is None
        time.sleep(0.1)
    (known,) = folder.glob(".ray/*/session.json")
    session = json.loads(known.read_text())["session"]
    assert processes_of(session)
    run.send_signal(signal.SIGKILL)
    run.wait()
    finish(tmp_path, "again", "serial")  # it starts no Ray itself
    assert are_gone(session)
    assert list((folder / ".ray").iterdir()) == []
