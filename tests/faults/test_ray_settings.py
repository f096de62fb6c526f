"""Ray's environment variables that the runner rests on: each still does what it is set for."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.faults

NETWORK = r"""
import os
from pathlib import Path
from torch import nn

HERE = Path(__file__).parent

def build(input_shape, num_classes):
    for path in (HERE / "studies").rglob("*"):  # of the trials that ran before
        with (HERE / "files.txt").open("a") as file:
            file.write(f"{path.name}\n")
    (HERE / "cwd.txt").write_text(os.getcwd())
    return nn.Sequential(nn.Flatten(), nn.Linear(784, num_classes))
"""
STUDY = """\
name: settings
data: {source: mnist-5k, train_examples: 100}
network: {build: "bg_settings:build"}
training: {base_lr: 0.05, epochs: 2}
grid: {training.global_batch_size: [20, 50]}
seeds: 3
execution: {device: cpu}
"""


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study that ran on Ray, and what its trials saw there."""
    here = tmp_path_factory.mktemp("settings")
    (here / "bg_settings.py").write_text(NETWORK)
    (here / "settings.yaml").write_text(STUDY)
    command = [Path(sys.executable).with_name("batchgap"), "run", "settings.yaml"]
    done = subprocess.run(
        [*command, "--runner", "tune"], cwd=here, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    (here / "stdout.txt").write_text(done.stdout)
    (here / "stderr.txt").write_text(done.stderr)
    return here


def test_trials_keep_the_working_directory(ran: Path) -> None:
    """RAY_CHDIR_TO_TRIAL_DIR"""
    assert (ran / "cwd.txt").read_text() == str(ran)


def test_tune_prints_nothing_of_its_own(ran: Path) -> None:
    """RAY_AIR_NEW_OUTPUT"""
    assert (ran / "stdout.txt").read_text() == ""
    said = (ran / "stderr.txt").read_text().splitlines()
    ours = ("building", "settings:", "batch ", "6 of 6", "took", "report:")
    assert [line for line in said if not line.startswith(ours)] == []


def test_tune_writes_no_logs_of_trials(ran: Path) -> None:
    """TUNE_DISABLE_AUTO_CALLBACK_LOGGERS"""
    seen = set((ran / "files.txt").read_text().split())
    assert seen and not seen & {"progress.csv", "result.json"}
    assert not [name for name in seen if name.startswith("events.out")]


@pytest.mark.parametrize(
    ("package", "name"),
    [
        ("ray", "RAY_USAGE_STATS_ENABLED"),
        ("ray/tune", "TUNE_DISABLE_SIGINT_HANDLER"),  # tests/faults/test_signals.py sees it work
        ("ray/tune", "TUNE_FORCE_TRIAL_CLEANUP_S"),
        ("ray/train", "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S"),
    ],
)
def test_ray_still_knows_it(package: str, name: str) -> None:
    from study.run.tune import ray

    root = Path(os.path.dirname(ray.__file__)).parent / package
    texts = (path.read_text(encoding="utf-8") for path in root.rglob("*.py"))
    assert any(f'"{name}"' in text for text in texts)


def test_ray_sets_its_signal_handler_where_it_is_left_out() -> None:
    """Otherwise SIGTERM while Ray starts ends the process by Ray's code, and says nothing."""
    from study.run.tune import INSTALLS, ray

    root = Path(os.path.dirname(ray.__file__)) / "_private"
    assert f"def {INSTALLS}(" in (root / "utils.py").read_text()
    assert f"utils.{INSTALLS}(" in (root / "worker.py").read_text()
