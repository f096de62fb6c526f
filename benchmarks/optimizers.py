"""Layer-wise optimizers against torch's SGD, fused and foreach: the update, and a training step.

    python benchmarks/optimizers.py

One thread, a perceptron of 1.5 M parameters on random images, batch 256, momentum .9, weight decay
5e-4, freed memory kept as trials keep it. Medians of interleaved repetitions; every ratio is to SGD
of the column's form.
"""

from __future__ import annotations

import statistics
import time
from itertools import pairwise

import torch
from torch import nn
from torch.nn import functional as F

from trainables import config as c
from trainables.memory import keep_freed_memory
from trainables.optimizers.build import build

REPETITIONS = 15
BATCH = 256
DECAY = 5e-4
CONFIGS: list[c.OptimizerConfig] = [
    c.SGDFolded(weight_decay=DECAY),
    c.LARS(weight_decay=DECAY),
    c.PercentDelta(weight_decay=DECAY),
    c.MCLR(weight_decay=DECAY),
    c.LAMB(weight_decay=DECAY),
]


def network() -> nn.Module:
    """784-900-900-10, with a bias each: 1.5 M parameters."""
    torch.manual_seed(0)
    widths = (784, 900, 900, 10)
    layers = [nn.Linear(*pair) for pair in pairwise(widths)]
    return nn.Sequential(layers[0], nn.ReLU(), layers[1], nn.ReLU(), layers[2])


def sgd(model: nn.Module, **form: bool) -> torch.optim.Optimizer:
    """torch's SGD in one of its forms."""
    return torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9, weight_decay=DECAY, **form)


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
            started = time.perf_counter()
            optimizer.zero_grad()
            F.cross_entropy(model(inputs), labels).backward()
            computed = time.perf_counter()
            optimizer.step()
            ended = time.perf_counter()
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


if __name__ == "__main__":
    main()
