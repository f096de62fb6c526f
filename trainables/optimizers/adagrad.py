"""AdaGrad (Duchi, Hazan & Singer 2011), torch's.

v <- v + g^2;  w <- w - lr g / (sqrt(v) + epsilon), v from 0, weight_decay w added to g.
"""

from __future__ import annotations

import torch
from torch import nn

from trainables.config.optimizers.adagrad import AdaGrad
from trainables.optimizers.groups import trainable


def build(config: AdaGrad, model: nn.Module) -> torch.optim.Optimizer:
    """torch's Adagrad in its foreach form, which every device has."""
    return torch.optim.Adagrad(
        trainable(model),
        lr=0.0,
        eps=config.epsilon,
        weight_decay=config.weight_decay,
        foreach=True,
    )
