"""Stochastic gradient descent with momentum, in torch's form.

v <- momentum v + g + weight_decay w;  w <- w - lr v (nesterov: lr (g + momentum v)).
The rate stays outside v (Sutskever et al. 2013 and Goyal et al. 2017, equation 10, fold it in), so
a changing rate needs no momentum correction.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn

from trainables.config import SGD


def build(config: SGD, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """torch's SGD, fused."""
    return torch.optim.SGD(
        parameters,
        lr=0.0,
        momentum=config.momentum,
        nesterov=config.nesterov,
        weight_decay=config.weight_decay,
        fused=True,
    )
