"""Reading a study while it runs: never an error, never less than before, and soon."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from analysis.load import load_study
from study.run.opening import open_results
from study.show.status import status_json

pytestmark = pytest.mark.faults

STUDY = """\
name: read
data: {source: mnist-5k, train_examples: 300}
network: {name: mlp, hidden: [8]}
training: {base_lr: 0.1, epochs: 30}
grid: {training.global_batch_size: [10, 50]}
seeds: 10
measures:
  - {name: evaluation, every_epochs: 2}
  - {name: sharpness, examples: 50}
execution: {device: cpu, heartbeat_seconds: 0.05, checkpoint_seconds: 0.1}
"""
READS = 1000


def test_a_thousand_reads_of_a_running_study(tmp_path: Path) -> None:
    (tmp_path / "read.yaml").write_text(STUDY)
    command = [Path(sys.executable).with_name("batchgap"), "run", "read.yaml", "--runner", "serial"]
    folder, reads, during, late = tmp_path / "studies" / "read", 0, 0, 0.0
    seen: set[str] = set()
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.DEVNULL) as run:
        while not (folder / "plan.parquet").exists():
            assert run.poll() is None
            time.sleep(0.01)
        while reads < READS or run.poll() is None:
            was_running = run.poll() is None
            trials = load_study(folder).trials
            complete = set(trials[trials["status"] == "complete"]["trial_id"])
            now = time.time()
            assert complete >= seen
            for trial_id in complete - seen:
                written = (folder / "trials" / f"{trial_id}.parquet").stat().st_mtime
                late = max(late, now - written)
            seen = complete
            shown = status_json(open_results(str(folder), [], tmp_path))
            assert shown["unreadable"] == [] and sum(shown["trials"].values()) == 20
            reads, during = reads + 2, during + 2 * was_running
    assert run.returncode == 0 and len(seen) == 20
    assert during > 50 and late < 5
