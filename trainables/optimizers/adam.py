"""Adam (Kingma & Ba 2015) and AdamW (Loshchilov & Hutter 2019), torch's.

m <- beta1 m + (1 - beta1) g;  v <- beta2 v + (1 - beta2) g^2;  with m', v' corrected for their
start at zero: w <- w - lr m' / (sqrt(v') + epsilon). Adam adds weight_decay w to g; AdamW takes
lr weight_decay w off the weights instead.
"""

from __future__ import annotations

import torch
from torch import nn

from trainables.config.optimizers.adam import Adam, AdamW
from trainables.optimizers.groups import trainable


def build(config: Adam | AdamW, model: nn.Module) -> torch.optim.Optimizer:
    """torch's Adam or AdamW, fused."""
    kind = torch.optim.Adam if config.name == "adam" else torch.optim.AdamW
    return kind(
        trainable(model),
        lr=0.0,
        betas=(config.beta1, config.beta2),
        eps=config.epsilon,
        weight_decay=config.weight_decay,
        fused=True,
    )
