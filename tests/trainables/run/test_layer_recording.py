"""The `layers` table of trials: what is in it, and that it is the same however they are stopped."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from tests.stored import at
from trainables.collective import Collective
from trainables.config.data import DataConfig, NetworkConfig
from trainables.config.execution import ExecutionConfig
from trainables.config.identity import trial_id
from trainables.config.measures.evaluation import Evaluation
from trainables.config.measures.layers import LayerStatistics
from trainables.config.optimizers.sgd import SGD
from trainables.config.training import TrainingConfig
from trainables.config.trial import Trial
from trainables.draws import derive_seed, fixed_sample
from trainables.installation import SOURCE_TREE
from trainables.measures.curvature import curvature_radii
from trainables.measures.evaluation import prepared_copy
from trainables.measures.initial import initial_model
from trainables.measures.layers import layer_tensors
from trainables.measures.objective import Objective
from trainables.prepare import prepare
from trainables.results import files
from trainables.rules.record_steps import recorded_steps
from trainables.rules.resolve import resolve
from trainables.run import trial as trials
from trainables.run.layer_recording import _with_ratios

EVERY_YIELD = {"heartbeat_seconds": 1e-9, "checkpoint_seconds": 0.0}
EVERY_STEP = LayerStatistics(every_steps=1)
CURVED = LayerStatistics(every_steps=4, curvature_samples=2, examples=60)
PLAIN = NetworkConfig(name="mlp", options={"hidden": [16, 8], "batch_norm": False})

Make = Callable[..., Trial]


@pytest.fixture
def make(make_trial, tmp_path) -> Make:
    """A trial of ten steps that records layers, in a folder of its own."""

    def made(folder: str = "study", layers: LayerStatistics | None = EVERY_STEP, **more: Any):
        measures = (Evaluation(every_epochs=0.5), *([layers] if layers else []))
        return make_trial(tmp_path / folder, 50, measures=measures, **more)

    return made


def run(trial: Trial) -> list[dict[str, Any]]:
    """Runs a trial to its end; its layers' rows."""
    *_, last = trials.run(trial)
    assert last.status == "complete", last.error
    return rows(trial)


def segments(trial: Trial) -> dict[int, Path]:
    paths = (Path(trial.folder) / "layers").glob(f"{trial.trial_id}-*.parquet")
    return dict(sorted((int(path.stem.split("-")[1]), path) for path in paths))


def rows(trial: Trial) -> list[dict[str, Any]]:
    return [row for path in segments(trial).values() for row in files.read_rows(*at(path))]


def steps(found: list[dict[str, Any]]) -> list[int]:
    return sorted({row["optimizer_step"] for row in found})


def kept(trial: Trial) -> bytes:
    folder = Path(trial.folder) / "weights" / trial.trial_id
    return (folder / "10.safetensors").read_bytes()


# ------------------------------------------------------------------------------------ what is there


def test_which_steps_are_recorded(make):
    for layers, expected in (
        (EVERY_STEP, [*range(1, 11)]),
        (LayerStatistics(every_steps=4), [1, 4, 8]),
        (LayerStatistics(every_epochs=0.25), [1, 3, 5, 8, 10]),
        (LayerStatistics(every_steps=99), [1]),
    ):
        trial = make(f"{layers.every_steps}", layers)
        assert steps(run(trial)) == expected
        prepared, _ = prepare(trial, Collective())
        assert sorted(recorded_steps(layers, prepared.plan)) == expected


def test_a_row_per_tensor_and_its_clocks(make):
    trial = make(layers=LayerStatistics(every_epochs=0.5), decay="cosine")
    found = run(trial)
    _, state = prepare(trial, Collective())
    tensors = layer_tensors(state.model)
    assert len(found) == 3 * len(tensors)
    for i, step in enumerate((1, 5, 10)):
        record = found[i * len(tensors) : (i + 1) * len(tensors)]
        for row, tensor in zip(record, tensors, strict=True):
            assert {name: row[name] for name in vars(tensor)} == vars(tensor)
            assert (row["optimizer_step"], row["examples_seen"]) == (step, 50 * step)
            assert row["epoch"] == step / 10 and row["trial_id"] == trial.trial_id
            expected = 0.1 * (1 + math.cos(math.pi * (step - 1) / 10)) / 2
            assert row["lr"] == pytest.approx(expected)
            for column in ("mean_curvature_radius", "curvature_samples", "examples", "error"):
                assert row[column] is None


def test_they_are_the_steps_that_training_takes(make):
    """Against weights kept before and after a step, and SGD's rule without momentum."""
    trial = make(
        precision="float64",
        network=PLAIN,
        epochs=1.0,
        layers=LayerStatistics(every_steps=10),
        execution={"keep_weights": (0.9,)},
    )
    found = [row for row in run(trial) if row["optimizer_step"] == 10]
    folder = Path(trial.folder) / "weights" / trial.trial_id
    before, after = (load_file(folder / f"{step}.safetensors") for step in (9, 10))
    for row in found:
        name = f"{row['layer']}.{row['kind']}"
        w, dw = before[name].numpy(), (after[name] - before[name]).numpy()
        g = -dw / 0.1
        assert row["weight_norm"] == pytest.approx(np.linalg.norm(w), rel=1e-12)
        assert row["parameter_stride"] == pytest.approx(np.abs(dw).mean(), rel=1e-12)
        assert row["parameter_stride_per_lr"] == pytest.approx(row["mean_abs_gradient"], rel=1e-9)
        assert row["gradient_norm"] == pytest.approx(np.linalg.norm(g), rel=1e-9)
        assert row["loss_stride"] == pytest.approx(0.1 * np.square(g).mean(), rel=1e-9)
        ratio = np.linalg.norm(w) / np.linalg.norm(g)
        assert row["trust_ratio"] == pytest.approx(ratio, rel=1e-9)


def test_the_first_step_starts_from_the_initial_weights(make):
    trial = make(layers=LayerStatistics(every_steps=99))
    found = run(trial)
    prepared, _ = prepare(trial, Collective())
    norms = [p.norm().item() for p in initial_model(prepared).parameters()]
    assert [row["weight_norm"] for row in found] == pytest.approx(norms)


def test_curvature_is_taken_before_the_step_on_the_fixed_sample(make):
    trial = make(layers=CURVED, precision="float64")
    first = [row for row in run(trial) if row["optimizer_step"] == 1]
    assert {(row["curvature_samples"], row["examples"]) for row in first} == {(2, 60)}
    prepared, _ = prepare(trial, Collective())
    start = initial_model(prepared)
    ready = prepared_copy(start, prepared.data, "recalibrated")
    sample = torch.from_numpy(fixed_sample(500, 60).copy())
    objective = Objective(ready, *prepared.data.batch("train", sample))
    sizes = [tensor.num_parameters for tensor in layer_tensors(start)]
    expected = curvature_radii(objective, sizes, 2, derive_seed(0, "curvature", 0))
    for row, radius in zip(first, expected, strict=True):
        assert row["mean_curvature_radius"] == pytest.approx(radius.mean)
        assert row["median_curvature_radius"] == pytest.approx(radius.median)


def test_curvature_that_fails_is_said_and_the_rest_stands(make, monkeypatch):
    def fails(*args: Any) -> None:
        raise RuntimeError("no second derivative")

    monkeypatch.setattr("trainables.run.layer_recording.curvature_radii", fails)
    found = run(make(layers=CURVED))
    assert {row["error"] for row in found} == {"RuntimeError: no second derivative"}
    assert all(row["median_curvature_radius"] is None and row["weight_norm"] >= 0 for row in found)


def test_no_gradient_and_no_rate_have_no_quotient(make):
    row = {"parameter_stride": 0.0, "weight_norm": 2.0, "gradient_norm": 0.0}
    assert _with_ratios(row, 0.0) == row | {"parameter_stride_per_lr": None, "trust_ratio": None}


def test_of_an_optimizer_that_asks_again_it_is_the_last_gradient(make, monkeypatch):
    """As with SAM or a line search: here the second of two calls, at moved weights."""
    gradients = []

    class Twice(torch.optim.SGD):
        def step(self, closure):  # type: ignore[override]
            closure()
            (parameter, *_) = self.param_groups[0]["params"]
            with torch.no_grad():
                parameter += 0.01
            loss = closure()
            with torch.no_grad():
                parameter -= 0.01
            gradients.append(parameter.grad.abs().mean().item())
            super().step()
            return loss

    monkeypatch.setattr(
        "trainables.loop.build_optimizer", lambda config, model, seed: Twice(model.parameters())
    )
    found = [row for row in run(make()) if (row["layer"], row["kind"]) == ("hidden1", "weight")]
    assert [row["mean_abs_gradient"] for row in found] == pytest.approx(gradients)


# ----------------------------------------------------------------------- what it leaves as it is


@pytest.mark.parametrize("layers", [EVERY_STEP, CURVED], ids=["every step", "curvature"])
def test_recording_changes_no_bit_of_training(make, layers):
    network = NetworkConfig(name="mlp", options={"hidden": [16, 8], "dropout": 0.3})
    settings = {"network": network, "optimizer": SGD(momentum=0.9), "discard_ratio": 0.3}
    recorded, plain = make("recorded", layers, **settings), make("plain", None, **settings)
    assert recorded.trial_id == plain.trial_id
    assert run(recorded) and not run(plain)
    assert kept(recorded) == kept(plain)
    assert not (Path(plain.folder) / "layers").exists()


def test_nobody_hears_of_steps_at_which_only_layers_are_looked_at(make):
    heard = [beat.optimizer_step for beat in trials.run(make())]
    assert heard == [5, 10, 10], "the evaluations, and the end"
    often = make("often", execution=EVERY_YIELD)
    assert [beat.optimizer_step for beat in trials.run(often)] == [*range(1, 11), 10]


# ------------------------------------------------------------------------------ stopped and resumed


@pytest.mark.parametrize("layers", [EVERY_STEP, CURVED], ids=["every step", "curvature"])
def test_stopped_again_and_again_it_has_the_same_rows_none_twice(make, layers):
    undisturbed = run(make("undisturbed", layers))
    trial = make("stopped", layers, execution=EVERY_YIELD)
    for yields in (1, 2, 0, 3):
        asked = iter(range(yields))
        *_, last = trials.run(trial, should_stop=lambda asked=asked: next(asked, None) is None)
        assert last.status == "interrupted"
    assert run(trial) == undisturbed


@pytest.mark.parametrize("checkpoint_seconds", [0.0, 1e9])
@pytest.mark.parametrize("beats", [1, 4, 10])
def test_killed_it_goes_on_with_the_same_rows_none_twice(make, beats, checkpoint_seconds):
    undisturbed = run(make("undisturbed"))
    execution = EVERY_YIELD | {"checkpoint_seconds": checkpoint_seconds}
    trial = make("killed", execution=execution)
    running = trials.run(trial)
    for _ in range(beats):
        next(running)
    running.close()
    assert run(trial) == undisturbed


def test_killed_between_segment_and_checkpoint_the_segment_is_made_again(make, monkeypatch):
    undisturbed = run(make("undisturbed"))
    trial = make("killed", execution=EVERY_YIELD)
    running = trials.run(trial)
    for _ in range(4):
        next(running)

    def killed(*args: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("trainables.run.recording.checkpoint.save", killed)
        with pytest.raises(KeyboardInterrupt):
            next(running)
    assert list(segments(trial)) == [1, 2, 3, 4, 5], "the fifth has no checkpoint"
    assert run(trial) == undisturbed


def test_the_trials_row_vouches_for_its_segments(make):
    trial = make(execution=EVERY_YIELD)
    run(trial)
    assert list(segments(trial)) == [*range(1, 11)]
    (row,) = files.read_rows(*at(Path(trial.folder) / "trials" / f"{trial.trial_id}.parquet"))
    for path in segments(trial).values():
        assert files.file_record(*at(path)) in row["files"]
    assert len(row["files"]) == 12


def test_asked_for_in_the_middle_of_a_training_it_begins_again(make):
    """The record begins at the first step: a checkpoint of a training without one is not used."""
    without = make(layers=None, execution=EVERY_YIELD)
    running = trials.run(without)
    for _ in range(4):
        next(running)
    running.close()
    trial = make(execution=EVERY_YIELD)
    assert steps(run(trial)) == [*range(1, 11)]
    paths = sorted((Path(trial.folder) / "attempts").glob("*.parquet"))
    attempt = files.read_rows(*at(paths[-1]))[0]
    assert attempt["start_step"] == 0 and "record of layers" in attempt["error"]


def test_no_longer_asked_for_training_goes_on_and_what_was_recorded_goes(make):
    trial = make(execution=EVERY_YIELD)
    running = trials.run(trial)
    for _ in range(4):
        next(running)
    running.close()
    assert segments(trial)
    without = make(layers=None, execution=EVERY_YIELD)
    assert run(without) == []
    paths = sorted((Path(trial.folder) / "attempts").glob("*.parquet"))
    assert files.read_rows(*at(paths[-1]))[0]["start_step"] == 4


def test_a_diverged_trial_keeps_what_came_before(make, monkeypatch):
    trial = make(base_lr=1e30, network=PLAIN)
    *_, last = trials.run(trial)
    assert last.status == "diverged"
    assert steps(rows(trial)) == [*range(1, last.optimizer_step)]


# ----------------------------------------------------------------------------------- two workers


def worker_trial(folder: Path, num_workers: int) -> Trial:
    """A trial that needs no fixture, for the workers' processes to make it too."""
    config = resolve(
        TrainingConfig(global_batch_size=40, base_lr=0.1, optimizer_steps=6, precision="float64"),
        data=DataConfig(source="mnist-5k", train_examples=500),
        network=PLAIN,  # a bias before normalization has no gradient but rounding
        seed=0,
        num_train_examples=500,
    )
    return Trial(
        trial_id=trial_id(config),
        config=config,
        execution=ExecutionConfig(
            device="cpu", num_workers=num_workers, checkpoint_seconds=0.0, heartbeat_seconds=0.05
        ),
        measures=(Evaluation(), LayerStatistics(every_steps=1, curvature_samples=1, examples=40)),
        folder=str(folder),
    )


def worker(rank: int, folder: Path) -> None:
    """What one of two processes does."""
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2
    )
    collective = Collective(rank=rank, world_size=2)
    *_, last = trials.run(worker_trial(folder / "two", 2), collective=collective)
    torch.distributed.destroy_process_group()
    assert last.status == "complete", last.error


def test_two_workers_record_what_one_does(tmp_path):
    processes = [
        subprocess.Popen(
            [sys.executable, "-W", "error", __file__, str(rank), str(tmp_path)],
            env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(SOURCE_TREE)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        errors = [process.communicate(timeout=120)[1] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert all(process.returncode == 0 for process in processes), "\n".join(errors)
    alone, shared = run(worker_trial(tmp_path / "one", 1)), rows(worker_trial(tmp_path / "two", 2))
    assert len(alone) == len(shared)
    for one, two in zip(alone, shared, strict=True):
        for name, value in one.items():
            is_number = isinstance(value, float)
            near = pytest.approx(value, rel=1e-6, abs=1e-13) if is_number else value
            assert two[name] == near, name


if __name__ == "__main__":
    worker(int(sys.argv[1]), Path(sys.argv[2]))
