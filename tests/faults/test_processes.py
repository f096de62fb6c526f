"""A trial's processes that hang, raise or are killed under Ray: on record, retried, and it ends."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from study.run.scratch import scratch_folder
from tests.stored import at
from trainables.config.data import NetworkConfig
from trainables.config.trial import Beat, Trial
from trainables.results import files
from trainables.results.storage import StorageError

pytestmark = [pytest.mark.faults, pytest.mark.ray, pytest.mark.usefixtures("nothing_stays_placed")]

MakeTrial = Callable[..., Trial]
OFTEN = {"heartbeat_seconds": 0.2, "checkpoint_seconds": 0.0}


def run(todo: list[Trial]) -> list[Beat]:
    from study.run import tune

    beats: list[Beat] = []
    with scratch_folder(Path(todo[0].folder)) as scratch:
        tune.run(todo, on_beat=beats.append, should_stop=lambda: False, scratch=scratch)
    return beats


def ends(beats: list[Beat]) -> dict[str, Beat]:
    found = [beat for beat in beats if beat.stage == "ended"]
    assert len({beat.trial_id for beat in found}) == len(found)
    return {beat.trial_id: beat for beat in found}


def rows(trial: Trial, table: str) -> list[dict[str, Any]]:
    paths = sorted((Path(trial.folder) / table).glob(f"{trial.trial_id}*.parquet"))
    return [row for path in paths for row in files.read_rows(*at(path))]


MODULE = """\
import os, re, torch
from pathlib import Path
from torch import nn
from trainables.results import storage

def full(folder, name, content):
    raise OSError(28, "No space left on device")

def rank():
    return torch.distributed.get_rank() if torch.distributed.is_initialized() else 0

class Net(nn.Linear):
    steps = 0

    def forward(self, x):
        if self.training and torch.is_grad_enabled():
            self.steps += 1
            if self.steps == 3 and rank() == {rank}:
                self.goes_wrong()
        return super().forward(x.flatten(1))

    def goes_wrong(self):
        {fault}

def build(input_shape, num_classes):
    return Net(784, num_classes)
"""


@pytest.fixture
def make(make_trial: MakeTrial, tmp_path: Path) -> Iterator[Callable[..., Trial]]:
    """A trial whose network does something at its third step, on one rank."""

    def made(fault: str, *, rank: int = 0, **execution: Any) -> Trial:
        name = f"bg_fault_{abs(hash((str(tmp_path), fault, rank)))}"
        (tmp_path / f"{name}.py").write_text(MODULE.format(fault=fault, rank=rank))
        return make_trial(
            tmp_path,
            network=NetworkConfig(build=f"{name}:build"),
            import_folder=tmp_path,
            execution=OFTEN | execution,
        )

    yield made


NEVER_RETURNS = """re.match(r"(a+)+$", "a" * 60 + "b")"""


@pytest.mark.parametrize("num_workers", [1, 2])
def test_code_that_never_returns_is_ended_tried_once_more_and_named(
    make: Callable[..., Trial], make_trial: MakeTrial, tmp_path: Path, num_workers: int
) -> None:
    hangs = make(NEVER_RETURNS, rank=num_workers - 1, hang_seconds=6.0, num_workers=num_workers)
    sound = make_trial(tmp_path, execution=OFTEN | {"num_workers": num_workers})
    found = ends(run([hangs, sound]))
    assert found[sound.trial_id].status == "complete"
    assert found[hangs.trial_id].status == "failed"
    first, second, third = (row for row in rows(hangs, "attempts") if row["rank"] == 0)
    for row in (first, second, third):
        assert row["status"] == "failed"
        assert row["error"].startswith("hung: no sign of life came in time from ")
        assert row["error"].endswith("goes_wrong")
        assert "in goes_wrong" in row["traceback"]
    (row,) = rows(hangs, "trials")
    assert row["status"] == "failed" and row["error"] == third["error"]


def test_code_that_hangs_once_goes_on(make: Callable[..., Trial], tmp_path: Path) -> None:
    once = f'Path("{tmp_path}/mark").exists() or (Path("{tmp_path}/mark").touch(), {NEVER_RETURNS})'
    trial = make(once, hang_seconds=6.0)
    assert ends(run([trial]))[trial.trial_id].status == "complete"
    assert [row["status"] for row in rows(trial, "attempts")] == ["failed", "complete"]


def test_an_exception_on_another_rank_is_on_record_and_not_tried_again(
    make: Callable[..., Trial],
) -> None:
    trial = make("raise ValueError('mine')", rank=1, num_workers=2)
    end = ends(run([trial]))[trial.trial_id]
    assert (end.status, end.error) == ("failed", "ValueError: mine")
    (row,) = rows(trial, "trials")
    assert (row["status"], row["error"]) == ("failed", "ValueError: mine")
    attempts = rows(trial, "attempts")
    assert {row["attempt"] for row in attempts} == {1}
    (raised,) = (row for row in attempts if row["rank"] == 1)
    assert raised["error"] == "ValueError: mine"
    assert raised["traceback"].startswith("In your code:") and "goes_wrong" in raised["traceback"]
    assert Path(raised["log"]).is_absolute()


def kill_when_saved(trial: Trial, which: Callable[[], list[int]]) -> threading.Thread:
    """Once a checkpoint is there, SIGKILL for the first process found."""

    def kill() -> None:
        while not (Path(trial.folder) / "checkpoints" / trial.trial_id / "state.pt").exists():
            time.sleep(0.02)
        for pid in which()[:1]:
            os.kill(pid, signal.SIGKILL)
            killed.append(pid)

    killed: list[int] = []
    thread = threading.Thread(target=kill)
    thread.killed = killed  # type: ignore[attr-defined]
    thread.start()
    return thread


def processes(named: str) -> Callable[[], list[int]]:
    """Ray's processes whose title contains a text."""

    def found() -> list[int]:
        pids = []
        for process in Path("/proc").glob("[0-9]*"):
            try:
                title = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:
                continue
            if title.startswith("ray::") and named in title:
                pids.append(int(process.name))
        return sorted(pids, reverse=True)

    return found


@pytest.mark.parametrize("victim", ["RayTrainWorker", "TrainController"])
def test_a_train_worker_or_controller_that_is_killed_is_taken_up(
    make_trial: MakeTrial, tmp_path: Path, victim: str
) -> None:
    settings = {"epochs": 10.0, "execution": OFTEN | {"num_workers": 2}}
    undisturbed = make_trial(tmp_path / "undisturbed", 10, **settings)
    killed = make_trial(tmp_path / "killed", 10, **settings)
    assert ends(run([undisturbed]))[undisturbed.trial_id].status == "complete"
    thread = kill_when_saved(killed, processes(victim))
    found = ends(run([killed]))
    thread.join()
    assert thread.killed, f"there is no process called {victim}"  # type: ignore[attr-defined]
    assert found[killed.trial_id].status == "complete"
    attempts = [row for row in rows(killed, "attempts") if row["rank"] == 0]
    assert len(attempts) == 2 and attempts[1]["start_step"] > 0
    ours, theirs = rows(killed, "trials")[0], rows(undisturbed, "trials")[0]
    assert ours["train_loss"] == theirs["train_loss"]
    assert ours["test_loss"] == theirs["test_loss"]


FULL = "storage.PosixFolder._beside = full"


@pytest.mark.parametrize("num_workers", [1, 2])
def test_no_space_in_a_trial_s_process_ends_the_run_with_what_to_do(
    make: Callable[..., Trial], make_trial: MakeTrial, tmp_path: Path, num_workers: int
) -> None:
    full = make(FULL, num_workers=num_workers)
    others = [
        make_trial(tmp_path, seed=seed, execution=OFTEN | {"num_workers": num_workers})
        for seed in range(2)
    ]
    with pytest.raises(StorageError, match="No space left on device; free some space and run"):
        run([full, *others])
    assert not (tmp_path / "trials" / f"{full.trial_id}.parquet").exists()
    assert {beat.status for beat in ends(run(others)).values()} == {"complete"}


def test_memory_that_runs_out_on_one_rank_is_gone_on_from_by_all(
    make: Callable[..., Trial],
) -> None:
    fault = "raise torch.OutOfMemoryError('CUDA out of memory')"
    trial = make(fault, rank=1, num_workers=2)
    path = next(Path(trial.folder).glob("bg_fault_*.py"))
    path.write_text(path.read_text().replace("self.steps == 3", "len(x) > 10"))
    assert ends(run([trial]))[trial.trial_id].status == "complete"
    (row,) = rows(trial, "trials")
    assert (row["num_workers"], row["micro_batch_size"], row["accumulation_steps"]) == (2, 5, 5)
    said = [a["error"] for a in rows(trial, "attempts") if a["rank"] == 1]
    assert said == [
        "out of memory at step 1, in micro-batches of 25; goes on with micro-batches of 5"
    ]


def test_a_process_that_dies_every_time_is_a_failed_trial_and_the_others_go_on(
    make: Callable[..., Trial], make_trial: MakeTrial, tmp_path: Path
) -> None:
    dies, sound = make("os.kill(os.getpid(), 9)"), make_trial(tmp_path, execution=OFTEN)
    found = ends(run([dies, sound]))
    assert found[sound.trial_id].status == "complete"
    assert found[dies.trial_id].status == "failed"
    assert [row["status"] for row in rows(dies, "attempts")] == ["failed"] * 3
    (row,) = rows(dies, "trials")
    assert row["status"] == "failed" and row["error"]
    assert ends(run([dies]))[dies.trial_id].status == "failed"  # tried again, and it ends
