"""Trained networks that the benchmarks of measures look at."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trainables.config.data import DataConfig, NetworkConfig
from trainables.datasets.cache import open_data
from trainables.networks.build import build


def mnist(examples: int) -> tuple[Tensor, Tensor]:
    """The first training images of the shipped MNIST subset, in [0, 1], and their labels."""
    data = open_data(DataConfig())
    inputs = torch.from_numpy(data.train_inputs[:examples].copy()).float() / 255
    return inputs, torch.from_numpy(data.train_labels[:examples].copy()).long()


def trained(name: str, batch_size: int, epochs: int) -> nn.Module:
    """A built-in network after SGD (lr .02, momentum .9, cosine to 0) on 5,000 images, to eval."""
    inputs, labels = mnist(5000)
    model = build(NetworkConfig(name=name), tuple(inputs.shape[1:]), 10, seed=0)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9)
    steps = epochs * len(inputs) // batch_size
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    order = torch.Generator().manual_seed(0)
    for _ in range(steps):
        batch = torch.randint(len(inputs), (batch_size,), generator=order)
        optimizer.zero_grad()
        F.cross_entropy(model(inputs[batch]), labels[batch]).backward()
        optimizer.step()
        schedule.step()
    return model.eval()
