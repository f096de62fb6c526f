"""The training loop against a bare PyTorch loop, a DataLoader and Lightning.

    python benchmarks/loop.py

All candidates train the same network on the same uint8 images in memory, each batch divided by 255,
with fused SGD (momentum .9), in the same memory format (channels last for C1), on one thread.
`batchgap` is `trainables.loop.train` as trials run it, without evaluations and measures: batches
from the seeded stream, the rate set and the dropout seeded at every step, the losses watched for
what is not finite. The others draw a permutation per epoch and do none of that.
"""

from __future__ import annotations

import argparse
import logging
import os
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from interleave import Seconds, against, cpu_seconds, interleave, print_table, ratio, shown
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from trainables.collective import Collective
from trainables.config import identity
from trainables.config.data import DataConfig, NetworkConfig
from trainables.config.execution import ExecutionConfig
from trainables.config.measures.evaluation import Evaluation
from trainables.config.optimizers.sgd import SGD
from trainables.config.training import TrainingConfig
from trainables.config.trial import Trial
from trainables.datasets.splits import Splits
from trainables.loop import train
from trainables.networks.build import build
from trainables.prepare import prepare
from trainables.rules.resolve import resolve

Batches = Iterator[tuple[Tensor, Tensor]]

LR, MOMENTUM = 0.01, 0.9
OURS, BARE, LIGHTNING = "batchgap", "bare loop", "Lightning"
SHAPES = {"f1": (1, 28, 28), "c1": (3, 32, 32)}


@dataclass(frozen=True, kw_only=True)
class Subject:
    """What is trained, for how many steps a round, and how much of the bare loop's time we may."""

    network: str
    global_batch_size: int
    steps: int
    most: float


SUBJECTS = (
    Subject(network="f1", global_batch_size=32, steps=256, most=1.15),
    Subject(network="f1", global_batch_size=256, steps=64, most=1.05),
    Subject(network="f1", global_batch_size=4096, steps=4, most=1.05),
    Subject(network="c1", global_batch_size=256, steps=2, most=1.05),
)


def random_images(shape: list[int], examples: int) -> Splits:
    """Images and labels of 10 classes drawn at random; what they show does not change the time."""
    draw = np.random.default_rng(0)
    images = draw.integers(256, size=(examples, *shape), dtype=np.uint8)
    labels = draw.integers(10, size=examples)
    return Splits(train=(images, labels), test=(images[:1000], labels[:1000]))


# ----------------------------------------------------------------------------------- candidates


def ours(subject: Subject, examples: int, rounds: int) -> Iterator[None]:
    """The loop of a trial set up as runners do; pauses after every so many steps."""
    data = DataConfig(
        source="load",
        load="loop:random_images",
        options={"shape": list(SHAPES[subject.network]), "examples": examples},
    )
    training = TrainingConfig(
        global_batch_size=subject.global_batch_size,
        base_lr=LR,
        optimizer=SGD(momentum=MOMENTUM),
        optimizer_steps=subject.steps * (rounds + 1),
    )
    network = NetworkConfig(name=subject.network)
    config = resolve(training, data=data, network=network, seed=0, num_train_examples=examples)
    trial = Trial(
        trial_id=identity.trial_id(config),
        config=config,
        execution=ExecutionConfig(device="cpu"),
        measures=(Evaluation(),),
        folder="",
        import_folder=str(Path(__file__).parent),
    )
    prepared, state = prepare(trial, Collective())
    pauses = range(subject.steps, config.optimizer_steps + 1, subject.steps)
    for _ in train(state, config, trial.execution, prepared.data, Collective(), pauses):
        if state.optimizer_step in pauses:
            yield


def plain(subject: Subject, batches: Batches) -> Iterator[None]:
    """The loop that everybody writes."""
    model = network(subject)
    optimizer = sgd(model)
    while True:
        for _ in range(subject.steps):
            images, labels = next(batches)
            optimizer.zero_grad(set_to_none=True)
            F.cross_entropy(model(ready(images, subject)), labels).backward()
            optimizer.step()
        yield


def indexed(images: Tensor, labels: Tensor, size: int) -> Batches:
    """Shuffled batches by indexing tensors."""
    while True:
        for indices in torch.randperm(len(labels))[: len(labels) // size * size].split(size):
            yield images[indices], labels[indices]


def loaded(loader: DataLoader[Any]) -> Batches:
    """Shuffled batches from a DataLoader, epoch after epoch."""
    while True:
        yield from loader


def lightning(subject: Subject, loader: DataLoader[Any]) -> Callable[[], float]:
    """Lightning's trainer without logger, checkpoints and bar; its start and end are not counted.

    Returns:
        Trains for a few warm steps and then the subject's; CPU seconds of the latter.
    """
    import lightning.pytorch as pl

    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="lightning")
    warnings.filterwarnings("ignore", category=FutureWarning)
    warm = 2

    class Module(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.model = network(subject)

        def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
            images, labels = batch
            return F.cross_entropy(self.model(ready(images, subject)), labels)

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return sgd(self.model)

    class Clock(pl.Callback):
        began = ended = 0.0

        def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
            if trainer.global_step == warm:
                self.began = time.process_time()
            self.ended = time.process_time()

    module = Module()

    def fit() -> float:
        clock = Clock()
        trainer = pl.Trainer(
            accelerator="cpu",
            max_epochs=-1,
            max_steps=warm + subject.steps,
            callbacks=[clock],
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        trainer.fit(module, loader)
        return clock.ended - clock.began

    return fit


def network(subject: Subject) -> nn.Module:
    """The network with torch's own batch normalization."""
    shape = SHAPES[subject.network]
    model = build(NetworkConfig(name=subject.network), shape, 10, seed=0)
    return model.to(memory_format=memory_format(subject))


def memory_format(subject: Subject) -> torch.memory_format:
    """Of weights and images, as batchgap has them by default."""
    return torch.channels_last if subject.network == "c1" else torch.contiguous_format


def ready(images: Tensor, subject: Subject) -> Tensor:
    """A batch normalized like batchgap's."""
    return images.to(torch.float32, memory_format=memory_format(subject)).div_(255)


def sgd(model: nn.Module) -> torch.optim.Optimizer:
    """The same optimizer for all."""
    return torch.optim.SGD(model.parameters(), lr=LR, momentum=MOMENTUM, fused=True)


# -------------------------------------------------------------------------------------- the table


def compare(subject: Subject, examples: int, rounds: int) -> Seconds:
    """CPU seconds of every candidate on one subject, round by round."""
    splits = random_images(list(SHAPES[subject.network]), examples)
    images, labels = (torch.from_numpy(array) for array in splits.train)
    size = subject.global_batch_size
    loader = DataLoader(TensorDataset(images, labels), size, shuffle=True, drop_last=True)
    loops = {
        OURS: ours(subject, examples, rounds),
        BARE: plain(subject, indexed(images, labels, size)),
        "DataLoader": plain(subject, loaded(loader)),
    }
    candidates: dict[str, Callable[[], float]] = {
        name: lambda loop=loop: cpu_seconds(lambda: next(loop))  # type: ignore[misc]
        for name, loop in loops.items()
    }
    if find_spec("lightning"):
        candidates[LIGHTNING] = lightning(subject, loader)
    return interleave(candidates, rounds)


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=15, help="default: 15; fewer are noisier")
    parser.add_argument("--examples", type=int, default=20_000, help="default: 20,000")
    parser.add_argument(
        "--only", nargs="*", metavar="NETWORK-BATCH", help="such as f1-32 c1-256; default: all"
    )
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    with tempfile.TemporaryDirectory() as cache:
        os.environ["BATCHGAP_CACHE"] = cache
        for subject in SUBJECTS:
            name = f"{subject.network}-{subject.global_batch_size}"
            if arguments.only and name not in arguments.only:
                continue
            seconds = compare(subject, arguments.examples, arguments.rounds)
            others = [other for other in seconds if other not in (OURS, BARE)]
            cells = [shown(seconds, other, BARE) for other in others]
            cells += [""] * (2 - len(cells))
            rows.append([name, shown(seconds, OURS, BARE), *cells])
            rows[-1] += against(ratio(seconds, OURS, BARE), subject.most)
            if LIGHTNING in seconds:
                rows[-1] += [
                    shown(seconds, OURS, LIGHTNING),
                    *against(ratio(seconds, OURS, LIGHTNING), 1.0),
                ]
    columns = ["", f"{OURS} / bare", "DataLoader / bare", "Lightning / bare", "target", "met"]
    columns += [f"{OURS} / Lightning", "target", "met"] if find_spec("lightning") else []
    print_table("CPU time of training steps; median over rounds (quartiles)", columns, rows)


if __name__ == "__main__":
    main()
