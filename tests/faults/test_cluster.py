"""A study on a cluster of several nodes, of which some go and some come; its driver goes too."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.faults.cluster import ROOT, Cluster, environment
from tests.stored import at
from trainables.results import files

pytestmark = pytest.mark.faults

STUDY = """\
name: cluster
data: {source: mnist-5k, train_examples: 500}
network: {name: mlp, hidden: [8]}
training: {base_lr: 0.05, epochs: EPOCHS}
grid: {training.global_batch_size: [20, 50]}
seeds: SEEDS
baseline_batch_size: 20
measures: [{name: evaluation, every_epochs: 20}]
execution: {device: cpu, checkpoint_seconds: 0.2, heartbeat_seconds: 0.2}
"""
EPOCHS = 1500
"""Of some ten seconds: a process on a node that has just come is not overtaken by one that runs."""
RESULTS_OF_TRIALS = ("trial_id", "status", "optimizer_step", "test_accuracy", "test_loss")


@pytest.fixture(scope="module")
def short_folder() -> Iterator[Path]:
    """Where Ray may keep its files: the paths of its sockets may not be long."""
    folder = Path(tempfile.mkdtemp(prefix="bg"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def cluster(short_folder: Path) -> Iterator[Cluster]:
    with Cluster.started(short_folder, dashboard=True) as started:
        yield started


@pytest.fixture
def nodes(cluster: Cluster) -> Iterator[Callable[[], str]]:
    """Adds nodes of one core, which go with the test if they have not before."""
    added: list[str] = []

    def add() -> str:
        added.append(cluster.add())
        return added[-1]

    yield add
    for node in added:
        cluster.remove(node, says_so=True)


def write_study(folder: Path, *, epochs: int, seeds: int) -> Path:
    file = folder / "cluster.yaml"
    file.write_text(STUDY.replace("EPOCHS", str(epochs)).replace("SEEDS", str(seeds)))
    return file


def attempts(results: Path) -> list[dict[str, Any]]:
    return [
        row
        for path in sorted((results / "cluster" / "attempts").glob("*.parquet"))
        for row in files.read_rows(*at(path))
    ]


def wait_for(what: Callable[[], Any], run: subprocess.Popen[str], seconds: float = 90) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := what()):
        assert run.poll() is None, run.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return found


def running_on(results: Path, node: str) -> list[dict[str, Any]]:
    """Attempts there that have saved something."""
    saved = {path.name for path in (results / "cluster" / "checkpoints").glob("*")}
    return [
        row
        for row in attempts(results)
        if row["status"] == "running" and node in row["node_ids"] and row["trial_id"] in saved
    ]


def ended(run: subprocess.Popen[str], seconds: float = 240) -> str:
    said = run.communicate(timeout=seconds)
    assert run.returncode == 0, said
    return said[1]


def outcomes(results: Path) -> list[dict[str, Any]]:
    rows = [
        row
        for path in sorted((results / "cluster" / "trials").glob("*.parquet"))
        for row in files.read_rows(*at(path))
    ]
    return [{name: row[name] for name in RESULTS_OF_TRIALS} for row in rows]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    folder = tmp_path_factory.mktemp("undisturbed")
    command = [Path(sys.executable).with_name("batchgap"), "run", "--runner", "serial"]
    file = write_study(folder, epochs=EPOCHS, seeds=2)
    subprocess.run([*command, file, "--results", folder], check=True, capture_output=True)
    return outcomes(folder)


def test_a_head_without_workers_is_waited_for(
    cluster: Cluster, nodes: Callable[[], str], tmp_path: Path
) -> None:
    file = write_study(tmp_path, epochs=1, seeds=1)
    run = cluster.batchgap("run", file, "--results", tmp_path, "--address", cluster.address)
    time.sleep(8)
    assert run.poll() is None
    nodes()
    said = ended(run)
    assert "1 node up with CPU 0, GPU 0; a trial asks for CPU 1, and waits until" in said
    assert "2 complete" in said


def test_gpus_that_may_only_be_late_are_not_done_without(
    cluster: Cluster, nodes: Callable[[], str], tmp_path: Path
) -> None:
    nodes()
    file = write_study(tmp_path, epochs=1, seeds=1)
    words = ("--address", cluster.address, "--set", "execution.device=auto")
    run = cluster.batchgap("run", file, "--results", tmp_path, *words)
    said = run.communicate(timeout=60)[1]
    assert run.returncode == 3
    assert "no GPU of the cluster is up; say --set execution.device=cuda" in said


def test_who_has_another_token_is_told_so_in_time(cluster: Cluster, tmp_path: Path) -> None:
    file, began = write_study(tmp_path, epochs=1, seeds=1), time.monotonic()
    words = ("run", file, "--results", tmp_path, "--address", cluster.address)
    run = cluster.batchgap(*words, env=cluster.environment | {"RAY_AUTH_TOKEN": "0" * 64})
    said = run.communicate(timeout=60)[1]
    assert run.returncode == 3 and cluster.address in said, said
    assert time.monotonic() - began < 20
    assert "0" * 64 not in said


def test_doctor_asks_every_node(cluster: Cluster, nodes: Callable[[], str], tmp_path: Path) -> None:
    node, file = nodes(), write_study(tmp_path, epochs=1, seeds=1)
    words = ("doctor", file, "--results", tmp_path / "studies", "--address", cluster.address)
    run = cluster.batchgap(*words, "--json")
    said = json.loads(run.communicate(timeout=120)[0])
    assert run.returncode == 0
    (found,) = [check for check in said if check["name"] == f"node {node[:6]}"]
    assert found["state"] == "ok"
    assert "versions as here, results seen and written, data alike" in found["detail"]
    assert [path.name for path in tmp_path.iterdir()] == ["cluster.yaml"]


def submitted(cluster: Cluster, file: Path, results: Path, *words: str) -> subprocess.Popen[str]:
    ray, batchgap = (Path(sys.executable).with_name(name) for name in ("ray", "batchgap"))
    to = ("job", "submit", "--address", f"http://{cluster.dashboard}", *words)
    return subprocess.Popen(
        [ray, *to, "--", batchgap, "run", file, "--results", results],
        env=cluster.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_a_job_whose_nodes_go_and_come_ends_as_one_machine_does(
    cluster: Cluster,
    nodes: Callable[[], str],
    undisturbed: list[dict[str, Any]],
    tmp_path: Path,
) -> None:
    first, _ = nodes(), nodes()
    file = write_study(tmp_path, epochs=EPOCHS, seeds=2)
    run = submitted(cluster, file, tmp_path)
    moved = wait_for(lambda: running_on(tmp_path, first), run)
    cluster.remove(first)
    third = nodes()
    joined = time.time()
    came = wait_for(lambda: running_on(tmp_path, third), run)
    assert min(row["started_at"].timestamp() for row in came) - joined < 60  # a busy machine's
    said = run.communicate(timeout=240)[0]
    assert run.returncode == 0, said
    assert "4 complete" in said

    assert outcomes(tmp_path) == undisturbed
    again = [row for row in attempts(tmp_path) if row["trial_id"] == moved[0]["trial_id"]]
    assert [row["status"] for row in again] == ["failed", "complete"]
    assert again[0]["error"] == "its node is gone" and again[1]["start_step"] > 0
    report = cluster.batchgap("report", file, "--results", tmp_path)
    assert "report:" in report.communicate(timeout=60)[0]


def test_a_study_that_is_stopped_keeps_what_is_done(
    cluster: Cluster, nodes: Callable[[], str], tmp_path: Path
) -> None:
    """By Ctrl-C, and as a job by `ray job stop`, which Ray follows by a kill after a while."""
    node, file = nodes(), write_study(tmp_path, epochs=3000, seeds=1)
    words = ("--results", tmp_path, "--address", cluster.address)
    run = cluster.batchgap("run", file, *words, preexec_fn=hears_interrupts)
    wait_for(lambda: running_on(tmp_path, node), run)
    run.send_signal(signal.SIGINT)
    said = run.communicate(timeout=30)[1]
    assert run.returncode == 130, said
    assert f"go on with: batchgap run {file} --results {tmp_path} --address" in said
    assert [row["status"] for row in attempts(tmp_path)] == ["interrupted"]

    job = submitted(cluster, file, tmp_path, "--submission-id", "stopped")
    wait_for(lambda: len(attempts(tmp_path)) > 1 and running_on(tmp_path, node), job)
    ray = Path(sys.executable).with_name("ray")
    stop = [ray, "job", "stop", "stopped", "--address", f"http://{cluster.dashboard}"]
    subprocess.run(stop, env=cluster.environment, check=True, capture_output=True, timeout=60)
    job.communicate(timeout=60)
    last = attempts(tmp_path)[-1]
    assert last["status"] == "interrupted" and last["start_step"] > 0


def hears_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_three_nodes_that_go_cost_a_trial_nothing(
    cluster: Cluster, nodes: Callable[[], str], tmp_path: Path
) -> None:
    file = write_study(tmp_path, epochs=1500, seeds=1)
    node = nodes()
    words = ("--results", tmp_path, "--address", cluster.address, "--only", "20")
    run = cluster.batchgap("run", file, *words)
    for _ in range(3):
        wait_for(lambda node=node: running_on(tmp_path, node), run)
        cluster.remove(node)
        node = nodes()
    ended(run)
    rows = attempts(tmp_path)
    assert [row["error"] for row in rows[:3]] == ["its node is gone"] * 3
    assert rows[3]["status"] == "complete" and rows[3]["start_step"] > rows[1]["start_step"]


def test_a_driver_that_is_killed_is_followed_by_another_and_a_lost_head_by_a_new_one(
    cluster: Cluster,
    nodes: Callable[[], str],
    undisturbed: list[dict[str, Any]],
    tmp_path: Path,
) -> None:
    """The second knows nothing but the results folder: no home, no cache."""
    node = nodes()
    file = write_study(tmp_path, epochs=EPOCHS, seeds=2)
    (tmp_path / "home").mkdir()
    elsewhere = {"HOME": str(tmp_path / "home"), "BATCHGAP_CACHE": str(tmp_path / "home")}
    first = cluster.batchgap("run", file, "--results", tmp_path, "--address", cluster.address)
    killed(first, lambda: running_on(tmp_path, node))

    words = ("run", tmp_path / "cluster", "--address")
    second = cluster.batchgap(*words, cluster.address, env=cluster.environment | elsewhere)
    begun = len(attempts(tmp_path))
    killed(second, lambda: len(attempts(tmp_path)) > begun)

    new_folder = Path(tempfile.mkdtemp(prefix="bg"))
    with Cluster.started(new_folder) as new:
        new.add()
        ended(new.batchgap(*words, new.address))
    shutil.rmtree(new_folder)
    assert outcomes(tmp_path) == undisturbed


def killed(run: subprocess.Popen[str], when: Callable[[], Any]) -> None:
    wait_for(when, run)
    run.send_signal(signal.SIGKILL)
    run.communicate()


def test_several_workers_on_nodes_of_which_one_goes(
    cluster: Cluster, nodes: Callable[[], str], tmp_path: Path
) -> None:
    file = write_study(tmp_path, epochs=100, seeds=1)
    first, _ = nodes(), nodes()
    words = ("--results", tmp_path, "--address", cluster.address, "--only", "20")
    run = cluster.batchgap("run", file, *words, "--set", "execution.num_workers=2")
    wait_for(lambda: running_on(tmp_path, first), run)
    cluster.remove(first)
    nodes()
    assert "1 complete" in ended(run)
    rows = [row for row in attempts(tmp_path) if row["rank"] == 0]
    assert all(len(set(row["node_ids"])) == 2 for row in rows)
    assert rows[-1]["status"] == "complete" and rows[-1]["start_step"] > 0


ALONE = ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--mount-proc", "--kill-child"]


def can_be_alone() -> bool:
    """Whether this machine lets a process have its own process ids."""
    try:
        return not subprocess.run([*ALONE, "true"], capture_output=True).returncode
    except FileNotFoundError:
        return False


@pytest.mark.skipif(not can_be_alone(), reason="no PID namespace may be made here (unshare)")
def test_nodes_come_because_trials_wait(short_folder: Path, tmp_path: Path) -> None:
    """Ray's own autoscaler starts them; nothing of ours asks it to."""
    file = write_study(tmp_path, epochs=40, seeds=2)
    run = subprocess.run(
        [*ALONE, sys.executable, "-m", "tests.faults.autoscaling", file, "--results", tmp_path],
        env=environment(short_folder),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert run.returncode == 0, run.stderr
    assert "1 node up with CPU 0, GPU 0; a trial asks for CPU 1, and waits until" in run.stderr
    assert "4 complete" in run.stderr
    assert 1 <= len({row["node_ids"][0] for row in attempts(tmp_path)}) <= 2
