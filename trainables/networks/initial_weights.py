"""The laws of initial weights.

- `torch`: torch's default, U(-a, a) with a = 1 / sqrt(fan_in) for weights and biases.
- `glorot`: U(-a, a) with a = sqrt(6 / (fan_in + fan_out)), biases 0 (Glorot & Bengio 2010).
- `he`: convolutions N(0, 2 / fan_out), biases 0 (He et al. 2015); linear layers as `torch`.
- `goyal`: convolutions as `he`; linear layers N(0, .01^2), biases 0 (Goyal et al. 2017, section
  5.1).

fan_out is output channels x kernel positions. Normalization starts with scale 1 and shift 0.
"""

from __future__ import annotations

import math

import torch
from torch import nn

from trainables.networks.stack import Block


def initialize(model: nn.Module, law: str, zero_init_residual: bool) -> None:
    """Draw a network's weights anew from torch's generator, in place.

    Args:
        model: from `stack`, fresh, which is `torch`'s law.
        law: `torch`, `glorot`, `he` or `goyal`.
        zero_init_residual: also let the last normalization of each block scale by 0 (Goyal et al.
            2017), so that a block starts as its shortcut.
    """
    if law == "glorot":
        _glorot(model)
    elif law in ("he", "goyal"):
        _he(model, linear_std=0.01 if law == "goyal" else None)
    if zero_init_residual:
        for block in model.modules():
            if isinstance(block, Block):
                *_, last = (m for m in block.branch.modules() if isinstance(m, nn.BatchNorm2d))
                nn.init.zeros_(last.weight)


def _glorot(model: nn.Module) -> None:
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            assert module.bias is not None
            nn.init.zeros_(module.bias)


def _he(model: nn.Module, linear_std: float | None) -> None:
    """He's law; linear layers N(0, linear_std^2), or by torch's default where it is None."""
    # A generator that the layers' own initialization did not advance: biases, which are there only
    # without normalization, would shift all weights after them.
    generator = torch.Generator().manual_seed(torch.initial_seed())
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(
                module.weight, mode="fan_out", nonlinearity="relu", generator=generator
            )
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Linear) and linear_std is not None:
            nn.init.normal_(module.weight, std=linear_std, generator=generator)
            nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Linear):
            bound = 1 / math.sqrt(module.in_features)
            nn.init.uniform_(module.weight, -bound, bound, generator=generator)
            nn.init.uniform_(module.bias, -bound, bound, generator=generator)
