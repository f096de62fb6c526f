"""A study that does not fit on this machine's disk or into its memory."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from study.cli import app
from study.run.opening import open_study
from study.run.room import size_text

STUDY = """\
name: large
data: {source: mnist-5k, train_examples: 100}
network: {name: mlp, hidden: [WIDTH]}
training: {base_lr: 0.05, epochs: 1, optimizer: {name: adam}}
grid: {training.global_batch_size: [10, 20]}
seeds: 1
execution: {device: cpu}
"""


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)


def verb(name: str, width: int) -> Result:
    Path("large.yaml").write_text(STUDY.replace("WIDTH", str(width)))
    return CliRunner().invoke(app, [name, "large.yaml"])


def test_what_cannot_be_held_is_said_by_plan_and_refused_by_run() -> None:
    planned = verb("plan", 10**16)
    assert planned.exit_code == 0
    assert "warning: memory:" in planned.stdout and "EB" in planned.stdout
    assert "warning: disk:" in planned.stdout
    refused = verb("run", 10**16)
    assert refused.exit_code == 3 and refused.stderr.count("error:") == 1
    assert "use a smaller network" in refused.stderr
    assert not list(Path("studies/large").glob("attempts/*"))


def test_what_fits_is_not_warned_of_and_its_checkpoints_are_counted() -> None:
    planned = verb("plan", 1000)
    assert planned.exit_code == 0 and "warning" not in planned.stdout
    opened = open_study("large.yaml", [], Path("studies"))
    parameters = 784 * 1000 + 1000 + 2 * 1000 + 1000 * 10 + 10  # with batch normalization
    cost = opened.cost(opened.trials[0])
    assert cost.state_bytes == 4 * 3 * parameters  # Adam keeps two numbers for each
    assert cost.memory_bytes == 4 * 4 * parameters
    together = min(2, len(opened.trials))
    text = size_text(2 * together * cost.state_bytes)
    assert f", and {text} of checkpoints while it runs" in planned.stdout


def test_the_state_is_what_a_checkpoint_holds(tmp_path: Path) -> None:
    """Of a trial that was stopped half-way, within the file format's overhead."""
    from study.run.run_study import run_study

    Path("large.yaml").write_text(STUDY.replace("WIDTH", "1000"))
    opened = open_study("large.yaml", ["execution.heartbeat_seconds=0.0001"], Path("studies"))
    asked = iter(range(100))
    run_study(opened, runner="serial", should_stop=lambda: next(asked) > 8, say=lambda line: None)
    (saved,) = Path("studies").rglob("state.pt")
    said = opened.cost(opened.trials[0]).state_bytes
    assert said is not None and saved.stat().st_size == pytest.approx(said, rel=0.02)


def test_a_full_disk_is_said_before_anything_is_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage("/")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1000))
    refused = verb("run", 10)
    assert refused.exit_code == 3 and "--results DIR on another disk" in refused.stderr


def test_on_a_cluster_its_nodes_decide(monkeypatch: pytest.MonkeyPatch) -> None:
    from study.run import room

    opened = open_study_of(10**16)
    monkeypatch.setenv("RAY_ADDRESS", "auto")
    from study.run.times import estimated

    room.check(estimated(opened, opened.missing(), "tune"), opened.folder)


def open_study_of(width: int):  # type: ignore[no-untyped-def]
    Path("large.yaml").write_text(STUDY.replace("WIDTH", str(width)))
    return open_study("large.yaml", [], Path("studies"))


def test_a_refused_run_leaves_the_folder_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    assert verb("run", 10).exit_code == 0
    folder = Path("studies/large")
    before = {p: p.read_bytes() for p in folder.rglob("*.parquet")}
    study = (folder / "study.yaml").read_text()
    weights = next(folder.glob("weights/*/*"))
    weights.write_bytes(weights.read_bytes()[:-1])
    usage = shutil.disk_usage("/")
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1000))
        words = ["run", "large.yaml", "--retrain", "--set", "seeds=2"]
        assert CliRunner().invoke(app, words).exit_code == 3
    assert verb("run", 10**16).exit_code == 3
    assert {p: p.read_bytes() for p in folder.rglob("*.parquet")} == before
    assert (folder / "study.yaml").read_text() == study
