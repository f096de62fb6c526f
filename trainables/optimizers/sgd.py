"""Stochastic gradient descent with momentum, in torch's form.

v <- momentum v + g + weight_decay w;  w <- w - lr v (nesterov: lr (g + momentum v)).
The rate stays outside v (Sutskever et al. 2013 and Goyal et al. 2017, equation 10, fold it in), so
a changing rate needs no momentum correction.
"""

from __future__ import annotations

import torch
from torch import nn

from trainables.config.optimizers.sgd import SGD
from trainables.optimizers.groups import Group, of_normalization, trainable


def build(config: SGD, model: nn.Module) -> torch.optim.Optimizer:
    """torch's SGD, fused."""
    return torch.optim.SGD(
        _groups(config, model),
        lr=0.0,
        momentum=config.momentum,
        nesterov=config.nesterov,
        weight_decay=config.weight_decay,
        fused=True,
    )


def _groups(config: SGD, model: nn.Module) -> list[Group]:
    """One group, or a second one without decay for normalization (Goyal et al. 2017, section 5)."""
    every = trainable(model)
    if config.decay_normalization:
        return [{"params": every}]
    spared = {id(p) for p in of_normalization(model)}
    groups: list[Group] = [
        {"params": [p for p in every if id(p) not in spared]},
        {"params": [p for p in every if id(p) in spared], "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]
