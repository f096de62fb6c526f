"""Signals to a run on Ray: it stops in time, keeps what is done, and leaves no process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.processes import are_gone

pytestmark = pytest.mark.faults

STUDY = """\
name: signalled
data: {source: mnist-5k, train_examples: 500}
network: {name: mlp, hidden: [16, 8]}
training: {base_lr: 0.1, epochs: 4000}
grid: {training.global_batch_size: [5, 50]}
seeds: 2
execution: {device: cpu, heartbeat_seconds: 0.1, checkpoint_seconds: 0.1}
"""


def hear_all() -> None:
    """As in a terminal, whatever these tests are run under."""
    for signum in (signal.SIGINT, signal.SIGHUP):
        signal.signal(signum, signal.SIG_DFL)


def running(here: Path) -> tuple[subprocess.Popen[str], str]:
    (here / "signalled.yaml").write_text(STUDY)
    run = subprocess.Popen(
        [Path(sys.executable).with_name("batchgap"), "run", "signalled.yaml", "--runner", "tune"],
        cwd=here,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=hear_all,
    )
    folder, deadline = here / "studies" / "signalled", time.monotonic() + 120
    while len(list(folder.glob("checkpoints/*/state.pt"))) < 2:
        assert run.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    (known,) = folder.glob(".ray/*/session.json")
    return run, str(json.loads(known.read_text())["session"])


@pytest.mark.parametrize(
    ("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_one_signal_stops_it_within_ten_seconds(
    tmp_path: Path, signum: signal.Signals, code: int
) -> None:
    run, session = running(tmp_path)
    asked = time.monotonic()
    run.send_signal(signum)
    time.sleep(0.1)
    run.send_signal(signum)  # a shell passes it on too: within a second they are one
    said, _ = run.communicate(timeout=60)
    assert time.monotonic() - asked < 10
    assert run.returncode == code, said
    assert "stopped; go on with: batchgap run signalled.yaml" in said
    assert len(list(tmp_path.glob("studies/signalled/checkpoints/*/state.pt"))) == 2
    assert are_gone(session)
    assert list((tmp_path / "studies" / "signalled" / ".ray").iterdir()) == []


def test_a_second_signal_ends_it_at_once(tmp_path: Path) -> None:
    run, session = running(tmp_path)
    run.send_signal(signal.SIGTERM)
    time.sleep(1.1)
    if run.poll() is None:  # it had not stopped by itself yet
        asked = time.monotonic()
        run.send_signal(signal.SIGTERM)
        run.communicate(timeout=60)
        assert time.monotonic() - asked < 4
    # While Ray shuts down the signal itself ends the process; the next run ends what is left then.
    assert run.wait() in (143, -signal.SIGTERM)
    if run.returncode == 143:
        assert are_gone(session)


def test_a_run_under_nohup_goes_on(tmp_path: Path) -> None:
    def deaf() -> None:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    (tmp_path / "signalled.yaml").write_text(STUDY.replace("4000", "5"))
    batchgap = Path(sys.executable).with_name("batchgap")
    command = [batchgap, "run", "signalled.yaml", "--runner", "serial"]
    with subprocess.Popen(command, cwd=tmp_path, preexec_fn=deaf) as run:
        while not list(tmp_path.glob("studies/signalled/attempts/*")):
            time.sleep(0.02)
        run.send_signal(signal.SIGHUP)
        assert run.wait(timeout=120) == 0
