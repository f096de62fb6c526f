"""Optimizers against torch's SGD, fused and foreach: the update, a step, a gradient of a step.

    python benchmarks/optimizers.py

One thread, a perceptron of 1.5 M parameters on random images, batch 256, momentum .9, weight decay
5e-4, freed memory kept as trials keep it. CPU time, medians of interleaved repetitions; every ratio
is to SGD of the column's form. What takes several gradients per step is set beside SGD's step for
each of them.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from itertools import pairwise

import torch
from interleave import interleave, median, print_table, shown
from torch import nn
from torch.nn import functional as F

from trainables.config.optimizers.cblr import CBLR
from trainables.config.optimizers.conservative import Conservative
from trainables.config.optimizers.kinds import OptimizerConfig
from trainables.config.optimizers.lamb import LAMB
from trainables.config.optimizers.layerwise import LARS, MCLR, PercentDelta
from trainables.config.optimizers.sam import SAM
from trainables.config.optimizers.sgd_folded import SGDFolded
from trainables.memory import keep_freed_memory
from trainables.optimizers.build import build

REPETITIONS = 15
BATCH = 256
DECAY = 5e-4
CONFIGS: list[OptimizerConfig] = [
    SGDFolded(weight_decay=DECAY),
    LARS(weight_decay=DECAY),
    PercentDelta(weight_decay=DECAY),
    MCLR(weight_decay=DECAY),
    LAMB(weight_decay=DECAY),
]
SEVERAL: list[OptimizerConfig] = [
    SAM(momentum=0.9, weight_decay=DECAY),
    Conservative(),
    CBLR(weight_decay=DECAY),
]
"""More than one gradient per step."""


def network() -> nn.Module:
    """784-900-900-10, with a bias each: 1.5 M parameters."""
    torch.manual_seed(0)
    widths = (784, 900, 900, 10)
    layers = [nn.Linear(*pair) for pair in pairwise(widths)]
    return nn.Sequential(layers[0], nn.ReLU(), layers[1], nn.ReLU(), layers[2])


def sgd(model: nn.Module, **form: bool) -> torch.optim.Optimizer:
    """torch's SGD in one of its forms."""
    return torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9, weight_decay=DECAY, **form)


def several_gradients(inputs: torch.Tensor, labels: torch.Tensor) -> None:
    """Prints, of what takes several gradients per step, a gradient's share against SGD's step."""
    gradients = {"sgd, fused": 0}

    def stepping(name: str, config: OptimizerConfig | None) -> Callable[[], float]:
        model = network()
        optimizer = sgd(model, fused=True) if config is None else build(config, model)
        for group in optimizer.param_groups:
            group["lr"] = 1e-3

        def closure() -> torch.Tensor:
            gradients[name] += 1
            optimizer.zero_grad()
            loss = F.cross_entropy(model(inputs), labels)
            loss.backward()
            return loss.detach()

        def step() -> float:
            gradients[name] = 0
            started = time.process_time()
            optimizer.step(closure)  # type: ignore[arg-type]
            return (time.process_time() - started) / gradients[name]

        return step

    candidates = {"sgd, fused": stepping("sgd, fused", None)}
    candidates |= {config.name: stepping(config.name, config) for config in SEVERAL}
    seconds = interleave(candidates, REPETITIONS)
    rows = [
        [
            name,
            str(gradients[name]),
            f"{median(seconds, name) * 1e3:.2f}",
            shown(seconds, name, "sgd, fused"),
        ]
        for name in candidates
    ]
    columns = ["optimizer", "gradients per step", "ms per gradient", "of SGD's step"]
    print_table("Several gradients per step", columns, rows)


def main() -> None:
    """Prints one line per optimizer."""
    torch.set_num_threads(1)
    keep_freed_memory()  # as a trial does
    runs: dict[str, tuple[nn.Module, torch.optim.Optimizer]] = {}
    for name, form in (("sgd, fused", {"fused": True}), ("sgd, foreach", {"foreach": True})):
        model = network()
        runs[name] = model, sgd(model, **form)
    for config in CONFIGS:
        model = network()
        runs[config.name] = model, build(config, model)
        for group in runs[config.name][1].param_groups:
            group["lr"] = 1e-3
    inputs, labels = torch.randn(BATCH, 784), torch.randint(10, (BATCH,))
    updates: dict[str, list[float]] = {name: [] for name in runs}
    steps: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(REPETITIONS):
        for name, (model, optimizer) in runs.items():
            started = time.process_time()
            optimizer.zero_grad()
            F.cross_entropy(model(inputs), labels).backward()
            computed = time.process_time()
            optimizer.step()
            ended = time.process_time()
            updates[name].append(ended - computed)
            steps[name].append(ended - started)
    print("optimizer        update ms  /fused  /foreach   step ms  /fused  /foreach")
    for name in runs:
        cells = [f"{name:15s}"]
        for times in (updates, steps):
            own, fused, foreach = (
                statistics.median(times[n][3:]) for n in (name, "sgd, fused", "sgd, foreach")
            )
            cells.append(f"{own * 1e3:9.2f} {own / fused:7.2f} {own / foreach:9.2f}")
        print("  ".join(cells))
    print()
    several_gradients(inputs, labels)


if __name__ == "__main__":
    main()
