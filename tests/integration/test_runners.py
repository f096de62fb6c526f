"""The same trial gives the same result in every runner and every layout."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import load_file

from study.run import serial
from study.run.scratch import scratch_folder
from tests.stored import at
from trainables.config.data import NetworkConfig
from trainables.config.measures.sharpness import Sharpness
from trainables.config.optimizers.sgd import SGD
from trainables.config.trial import Beat, Trial
from trainables.results import files
from trainables.run import trial as trials

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("local_ray")]

Run = Callable[[list[Trial]], list[Beat]]
MakeTrial = Callable[..., Trial]

NOT_RESULTS = {"trial_id", "training_seconds", "examples_per_second"}


def never() -> bool:
    return False


@pytest.fixture
def run_tune() -> Run:
    from study.run import tune

    def run(todo: list[Trial]) -> list[Beat]:
        beats: list[Beat] = []
        with scratch_folder(Path(todo[0].folder)) as scratch:
            tune.run(todo, on_beat=beats.append, should_stop=never, scratch=scratch)
        return beats

    return run


def run_serial(todo: list[Trial]) -> None:
    with scratch_folder(Path(todo[0].folder)) as scratch:
        serial.run(todo, on_beat=lambda beat: None, should_stop=never, scratch=scratch)


def evaluations(trial: Trial) -> list[dict[str, Any]]:
    path = Path(trial.folder) / "evaluations" / f"{trial.trial_id}.parquet"
    rows = files.read_rows(*at(path))
    return [
        {k: v for k, v in row.items() if k not in NOT_RESULTS and v is not None} for row in rows
    ]


def trial_row(trial: Trial) -> dict[str, Any]:
    (row,) = files.read_rows(*at(Path(trial.folder) / "trials" / f"{trial.trial_id}.parquet"))
    return row


def weights(trial: Trial) -> dict[str, Any]:
    folder = Path(trial.folder) / "weights" / trial.trial_id
    return load_file(folder / f"{trial_row(trial)['optimizer_step']}.safetensors")


def measured(trial: Trial) -> dict[tuple[str, str], float]:
    rows = [
        row
        for path in (Path(trial.folder) / "measures").glob(f"{trial.trial_id}-*.parquet")
        for row in files.read_rows(*at(path))
    ]
    return {(row["quantity"], row["method"]): row["value"] for row in rows}


def assert_identical(one: Trial, other: Trial) -> None:
    assert one.trial_id == other.trial_id
    assert evaluations(one) == evaluations(other)
    assert measured(one) == measured(other) != {}
    ours, theirs = weights(one), weights(other)
    assert ours.keys() == theirs.keys()
    assert all((ours[name] == theirs[name]).all() for name in ours)


def assert_close(one: Trial, other: Trial, tolerance: float) -> None:
    """Everything that was measured is equal up to the order of floating-point sums."""
    assert one.trial_id == other.trial_id
    for ours, theirs in zip(evaluations(one), evaluations(other), strict=True):
        assert ours == pytest.approx(theirs, rel=tolerance, abs=tolerance)
    theirs_by_name = weights(other)
    for name, ours in weights(one).items():
        assert ours == pytest.approx(theirs_by_name[name], rel=tolerance, abs=tolerance)


def test_tune_gives_what_the_serial_runner_gives_bit_for_bit(
    tmp_path: Path, make_trial: MakeTrial, run_tune: Run
) -> None:
    def study(folder: Path) -> list[Trial]:
        common = {
            "epochs": 2.0,
            "measures": (*make_trial(folder).measures, Sharpness(examples=50)),
        }
        return [
            make_trial(folder, size, discard_ratio=ratio, seed=seed, **common)
            for size in (20, 125)
            for ratio in (0.0, 0.2)
            for seed in (0, 1)
        ]

    run_serial(study(tmp_path / "serial"))
    beats = run_tune(study(tmp_path / "tune"))

    for one, other in zip(study(tmp_path / "serial"), study(tmp_path / "tune"), strict=True):
        assert_identical(one, other)
    ended = [beat.trial_id for beat in beats if beat.stage == "ended"]
    assert sorted(ended) == sorted(trial.trial_id for trial in study(tmp_path))
    assert not list((tmp_path / "tune" / ".ray").iterdir())


@pytest.mark.parametrize(
    ("ghost", "discard", "momentum"),
    [
        pytest.param(None, 0.0, 0.0, id="statistics of the whole batch span both workers"),
        pytest.param(10, 0.3, 0.9, id="ghost groups, selection over the gathered batch"),
    ],
)
def test_two_workers_give_what_one_gives(
    tmp_path: Path,
    make_trial: MakeTrial,
    run_tune: Run,
    ghost: int | None,
    discard: float,
    momentum: float,
) -> None:
    def trial(folder: str, **execution: Any) -> Trial:
        return make_trial(
            tmp_path / folder,
            100,
            precision="float64",
            optimizer=SGD(momentum=momentum),
            ghost_batch_size=ghost,
            discard_ratio=discard,
            epochs=2.0,
            execution=execution,
        )

    # Accumulation is part of the layout too, where groups allow it.
    part = {"max_micro_batch_size": 30} if ghost else {}
    one, two = trial("one"), trial("two", num_workers=2, **part)
    run_serial([one])
    beats = run_tune([two])

    assert beats[-1].status == "complete"
    assert_close(one, two, 1e-10)
    row = trial_row(two)
    assert row["num_workers"] == 2
    assert row["num_workers"] * row["micro_batch_size"] * row["accumulation_steps"] == 100
    if ghost:
        assert row["accumulation_steps"] > 1


def test_a_trial_goes_on_with_other_workers_and_ends_the_same(
    tmp_path: Path, make_trial: MakeTrial, run_tune: Run
) -> None:
    """Killed at two workers, gone on with one and killed again, ended by two."""

    def trial(folder: str, num_workers: int, heartbeat_seconds: float = 2.0) -> Trial:
        return make_trial(
            tmp_path / folder,
            100,
            precision="float64",
            optimizer=SGD(momentum=0.9),
            ghost_batch_size=10,
            discard_ratio=0.3,
            epochs=30.0,
            execution={
                "num_workers": num_workers,
                "heartbeat_seconds": heartbeat_seconds,
                "checkpoint_seconds": 0.0,
            },
        )

    often = {"heartbeat_seconds": 1e-9}  # at every step
    undisturbed, one = trial("undisturbed", 1), trial("moved", 1, **often)
    two = trial("moved", 2)
    run_serial([undisturbed])

    run_until_killed(trial("moved", 2, **often), lambda step: step >= 10)
    beats = trials.run(one)
    assert next(beats).optimizer_step > 10
    assert next(beat for beat in beats if beat.optimizer_step >= 40)  # and no more of it is saved
    run_tune([two])

    assert_close(undisturbed, two, 1e-10)
    attempts = [
        files.read_rows(*at(Path(two.folder) / "attempts" / f"{two.trial_id}-{number}.parquet"))[0]
        for number in (1, 2, 3)
    ]
    assert [row["num_workers"] for row in attempts] == [2, 1, 2]
    assert attempts[2]["start_step"] >= 40


def run_until_killed(trial: Trial, is_time: Callable[[int], bool]) -> None:
    """Ends one worker of several without a word, and the run before it is taken up."""
    from study.run import tune

    stop = threading.Event()

    def hear(beat: Beat) -> None:
        if is_time(beat.optimizer_step) and not stop.is_set():
            stop.set()
            (first,) = (Path(trial.folder) / "attempts").glob("*.parquet")
            os.kill(files.read_rows(*at(first))[0]["pid"], signal.SIGKILL)

    with scratch_folder(Path(trial.folder)) as scratch:
        tune.run([trial], on_beat=hear, should_stop=stop.is_set, scratch=scratch)


def test_trials_that_tune_drops_are_not_taken_for_done(
    tmp_path: Path, make_trial: MakeTrial, run_tune: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    from study.run import tune

    monkeypatch.setattr(tune, "_fit", lambda *arguments: None)
    trial = make_trial(tmp_path)
    with pytest.raises(RuntimeError, match=f"left \\['{trial.trial_id}'\\] without a word"):
        run_tune([trial])


@pytest.mark.parametrize("num_workers", [1, 2])
def test_a_failing_trial_is_a_row_and_the_others_go_on(
    tmp_path: Path, make_trial: MakeTrial, run_tune: Run, num_workers: int
) -> None:
    layout = {"num_workers": num_workers}
    (tmp_path / "broken_network.py").write_text(
        "import torch\n"
        "class Broken(torch.nn.Linear):\n"
        "    def forward(self, x):\n"
        "        if self.training: raise RuntimeError('on purpose')\n"
        "        return super().forward(x.flatten(1))\n"
        "def build(input_shape, num_classes): return Broken(784, num_classes)\n"
    )
    broken = make_trial(
        tmp_path,
        network=NetworkConfig(build="broken_network:build"),
        import_folder=tmp_path,
        execution=layout,
    )
    sound = make_trial(tmp_path, execution=layout)

    beats = run_tune([broken, sound])

    assert {b.trial_id: b.status for b in beats if b.stage == "ended"} == {
        broken.trial_id: "failed",
        sound.trial_id: "complete",
    }
    assert trial_row(broken)["status"] == "failed"
    assert trial_row(broken)["error"] == "RuntimeError: on purpose"
    # What Python raised would be raised again: it is not tried again, unlike a crash.
    attempts = {path.stem for path in (tmp_path / "attempts").glob(f"{broken.trial_id}-*")}
    assert attempts <= {f"{broken.trial_id}-1", f"{broken.trial_id}-1-1"}  # of rank 0 and 1


def test_a_trial_whose_process_is_killed_is_taken_up_and_ends_the_same(
    tmp_path: Path, make_trial: MakeTrial, run_tune: Run
) -> None:
    quick = {"heartbeat_seconds": 0.05, "checkpoint_seconds": 0.0}

    def trial(folder: str) -> Trial:
        return make_trial(
            tmp_path / folder,
            10,
            epochs=30.0,
            execution=quick,
            measures=(*make_trial(tmp_path).measures, Sharpness(examples=50)),
        )

    undisturbed, killed = trial("undisturbed"), trial("killed")
    run_serial([undisturbed])
    attempts = Path(killed.folder) / "attempts"
    checkpoint = Path(killed.folder) / "checkpoints" / killed.trial_id / "state.pt"

    def kill_once() -> None:
        while not checkpoint.exists():
            time.sleep(0.01)
        (first,) = attempts.glob("*.parquet")
        os.kill(files.read_rows(*at(first))[0]["pid"], signal.SIGKILL)

    killer = threading.Thread(target=kill_once)
    killer.start()
    run_tune([killed])
    killer.join()

    assert len(list(attempts.glob("*.parquet"))) == 2
    assert_identical(undisturbed, killed)
    second = files.read_rows(*at(attempts / f"{killed.trial_id}-2.parquet"))[0]
    assert second["start_step"] > 0


def test_trunks_branches_and_pairs_are_the_same_on_both_runners(tmp_path: Path) -> None:
    from study.run.opening import open_study
    from study.run.run_study import run_study
    from study.run.runners import Runner

    (tmp_path / "warm.yaml").write_text(
        "name: warm\n"
        "data: {source: mnist-5k, train_examples: 200}\n"
        "network: {name: mlp, hidden: [8]}\n"
        "training: {base_lr: 0.05, epochs: 1}\n"
        "grid:\n"
        "  - training.global_batch_size: [100, 50]\n"
        "  - training.global_batch_size: [100]\n"
        "    training.start.trial: [{training.global_batch_size: 25, training.epochs: 2}]\n"
        "    training.start.epoch: [1, 2]\n"
        "seeds: 1\n"
        "measures: [{name: interpolation, points: 3, examples: 50}]\n"
        "execution: {device: cpu}\n"
    )

    def run(runner: Runner) -> list[Trial]:
        opened = open_study(str(tmp_path / "warm.yaml"), [], tmp_path / runner)
        ran = run_study(opened, runner=runner, should_stop=never, say=print)
        assert (ran.trials, ran.failed) == (5, 0)
        return opened.trials

    for one, other in zip(run("serial"), run("tune"), strict=True):
        assert one.trial_id == other.trial_id
        assert evaluations(one) == evaluations(other)
        assert measured(one) == measured(other)
        assert bool(measured(one)) == bool(one.other_trial_ids)
        ours, theirs = weights(one), weights(other)
        assert all((ours[name] == theirs[name]).all() for name in ours)
