"""What a study of short trials costs per trial, against bare Tune and against the training alone.

    python benchmarks/study_cost.py

Every trial trains the `mlp` for some steps on 1,000 images of `mnist-5k` and evaluates it once, on
these and on the 10,000 test images. `bare Tune` is a class trainable that does this in reused
actors and reports the numbers; `idle Tune` does nothing in them; `no Tune` is the same training in
this process. batchgap recalibrates the normalization too, and writes rows, weights and checkpoint,
each flushed to disk.

Seconds per trial are those of a run less those of a run of two trials, so that neither Ray's start
nor the actors' counts; they are printed apart. CPU seconds are of this process and all of Ray's.
"""

from __future__ import annotations

import argparse
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]
import torch
from interleave import interleave, median, print_table, shown
from torch.nn import functional as F

from study.run import serial
from study.run import tune as runner
from trainables.config import identity
from trainables.config.data import DataConfig, NetworkConfig
from trainables.config.execution import ExecutionConfig
from trainables.config.measures.evaluation import Evaluation
from trainables.config.optimizers.sgd import SGD
from trainables.config.training import TrainingConfig
from trainables.config.trial import Beat, Trial
from trainables.datasets.cache import open_data
from trainables.networks.build import build
from trainables.rules.resolve import resolve

# After study.run.tune, which sets what Ray reads when it is imported.
import ray  # isort: skip
from ray import tune  # isort: skip

Splits = list[tuple[torch.Tensor, torch.Tensor]]

DATA = DataConfig(train_examples=1000)
BATCH_SIZE, STEPS, LR = 100, 20, 0.02
FEW = 2
"""Trials of the run whose seconds are taken off: one for each actor."""
OURS, BARE, IDLE = "batchgap, Tune", "bare Tune", "idle Tune"
SERIAL, ALONE = "batchgap, serial", "no Tune"


# ----------------------------------------------------------------------------------- candidates


def trials(count: int, folder: str) -> list[Trial]:
    """So many trials that differ in their seed."""
    training = TrainingConfig(
        global_batch_size=BATCH_SIZE,
        base_lr=LR,
        optimizer=SGD(momentum=0.9),
        optimizer_steps=STEPS,
    )
    configs = [
        resolve(
            training,
            data=DATA,
            network=NetworkConfig(name="mlp"),
            seed=seed,
            num_train_examples=1000,
        )
        for seed in range(count)
    ]
    return [
        Trial(
            trial_id=identity.trial_id(config),
            config=config,
            execution=ExecutionConfig(device="cpu", max_concurrent_trials=2),
            measures=(Evaluation(every_epochs=1e6),),
            folder=folder,
        )
        for config in configs
    ]


def with_batchgap(run: Callable[..., None], count: int) -> None:
    """A study's trials by one of its runners."""
    ended = []

    def hear(beat: Beat) -> None:
        ended.extend([beat.status] if beat.stage == "ended" else [])

    with tempfile.TemporaryDirectory() as folder:
        run(trials(count, folder), on_beat=hear, should_stop=lambda: False, scratch=Path(folder))
    assert ended == ["complete"] * count, ended


def with_tune(trainable: type[tune.Trainable], count: int) -> None:
    """A class trainable in reused actors, with Tune's own files and output kept to the least."""
    with tempfile.TemporaryDirectory() as folder:
        grid = tune.Tuner(
            tune.with_resources(trainable, {"CPU": 1}),
            param_space={"seed": tune.grid_search(list(range(count)))},
            tune_config=tune.TuneConfig(reuse_actors=True, max_concurrent_trials=2),
            run_config=tune.RunConfig(
                storage_path=folder,
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
                verbose=0,
            ),
        ).fit()
    assert len(grid) == count
    assert not grid.errors


class Idle(tune.Trainable):
    """Ends at once."""

    def setup(self, config: dict[str, Any]) -> None:
        """Nothing to set up."""

    def step(self) -> dict[str, Any]:
        """Nothing to do."""
        return {"done": True}

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Takes the next trial."""
        return True


class Bare(Idle):
    """Trains and evaluates in one step; keeps the data."""

    def setup(self, config: dict[str, Any]) -> None:
        """Opens the data."""
        self.splits = splits()

    def step(self) -> dict[str, Any]:
        """A whole trial."""
        return train_and_evaluate(self.config["seed"], self.splits) | {"done": True}

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Takes the next trial."""
        self.config = new_config
        return True


def train_and_evaluate(seed: int, data: Splits) -> dict[str, float]:
    """What a trial is, in plain PyTorch."""
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    train, test = data
    model = build(NetworkConfig(name="mlp"), (1, 28, 28), 10, seed)
    optimizer = torch.optim.SGD(model.parameters(), lr=LR, momentum=0.9, fused=True)
    epochs = -(-STEPS * BATCH_SIZE // len(train[1]))
    order = torch.cat([torch.randperm(len(train[1])) for _ in range(epochs)])
    for indices in order.split(BATCH_SIZE)[:STEPS]:
        optimizer.zero_grad(set_to_none=True)
        logits = model(train[0][indices].float().div_(255))
        F.cross_entropy(logits, train[1][indices]).backward()
        optimizer.step()
    model.eval()
    metrics = {}
    with torch.no_grad():
        for name, (images, labels) in (("train", train), ("test", test)):
            parts = [model(part.float().div_(255)) for part in images.split(1000)]
            logits = torch.cat(parts)
            metrics[f"{name}_loss"] = F.cross_entropy(logits, labels).item()
            metrics[f"{name}_accuracy"] = (logits.argmax(1) == labels).float().mean().item()
    return metrics


def splits() -> Splits:
    """Train and test: images and labels."""
    data = open_data(DATA)
    pairs = [(data.train_inputs, data.train_labels), (data.test_inputs, data.test_labels)]
    return [(torch.from_numpy(inputs), torch.from_numpy(labels)) for inputs, labels in pairs]


# ------------------------------------------------------------------------------------- measuring


class ProcessTree:
    """CPU seconds of this process and its descendants, also of those that have ended.

    Ray's daemon does not collect its workers' times when they end: they are looked at every half a
    second, and what a worker does after the last look is lost.
    """

    def __init__(self) -> None:
        self._seen: dict[tuple[int, float], float] = {}
        threading.Thread(target=self._watch, daemon=True).start()

    def cpu_seconds(self) -> float:
        """So far."""
        me = psutil.Process()
        for process in [me, *me.children(recursive=True)]:
            try:
                times = process.cpu_times()
                self._seen[process.pid, process.create_time()] = times.user + times.system
            except psutil.NoSuchProcess:
                continue
        return sum(self._seen.values())

    def _watch(self) -> None:
        while True:
            self.cpu_seconds()
            time.sleep(0.5)


def compare(count: int, rounds: int) -> None:
    """Prints the table."""
    began = time.perf_counter()
    tree = ProcessTree()
    runner.connect(multi_worker=False, num_cpus=2)
    started = time.perf_counter() - began, tree.cpu_seconds()
    data = splits()
    acts: dict[str, Callable[[int], object]] = {
        OURS: lambda n: with_batchgap(runner.run, n),
        BARE: lambda n: with_tune(Bare, n),
        IDLE: lambda n: with_tune(Idle, n),
        SERIAL: lambda n: with_batchgap(serial.run, n),
        ALONE: lambda n: [train_and_evaluate(seed, data) for seed in range(n)],
    }
    elapsed: dict[str, list[float]] = {name: [] for name in acts}
    starts: dict[str, list[float]] = {name: [] for name in acts}

    def once(act: Callable[[int], object], trials: int) -> tuple[float, float]:
        wall, cpu = time.perf_counter(), tree.cpu_seconds()
        act(trials)
        return time.perf_counter() - wall, tree.cpu_seconds() - cpu

    def candidate(name: str) -> Callable[[], float]:
        def per_trial() -> float:
            few, many = once(acts[name], FEW), once(acts[name], FEW + count)
            elapsed[name].append((many[0] - few[0]) / count)
            starts[name].append(few[1])
            return (many[1] - few[1]) / count

        return per_trial

    seconds = interleave({name: candidate(name) for name in acts}, rounds)
    ray.shutdown()
    rows = [
        [
            name,
            f"{median(seconds, name):.3f}",
            shown(seconds, name, BARE),
            shown(seconds, name, ALONE),
            f"{median(elapsed, name):.3f}",
            f"{median(starts, name):.1f}",
        ]
        for name in acts
    ]
    columns = ["per trial", "CPU s", f"/ {BARE}", f"/ {ALONE}", "wall s", f"first {FEW}: CPU s"]
    print_table(f"{count} trials of {STEPS} steps, two at a time under Tune", columns, rows)
    print(f"Ray's own start: {started[0]:.1f} s, {started[1]:.1f} CPU s")


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--trials", type=int, default=100, help="default: 100")
    parser.add_argument("--rounds", type=int, default=3, help="default: 3")
    arguments = parser.parse_args()
    compare(arguments.trials, arguments.rounds)


if __name__ == "__main__":
    main()
