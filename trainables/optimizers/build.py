"""From an optimizer's config to the optimizer."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from torch import nn
from torch.optim import Optimizer

from trainables.config import OptimizerConfig
from trainables.optimizers import adam, lamb, layerwise, sgd, sgd_folded

BUILDERS: dict[str, Callable[[Any, Iterable[nn.Parameter]], Optimizer]] = {
    "sgd": sgd.build,
    "adam": adam.build,
    "adamw": adam.build,
    "sgd-folded": sgd_folded.build,
    "lars": layerwise.build,
    "percent-delta": layerwise.build,
    "mclr": layerwise.build,
    "lamb": lamb.build,
}


def build(config: OptimizerConfig, model: nn.Module) -> Optimizer:
    """The optimizer over every parameter that requires a gradient; the loop sets its rate."""
    return BUILDERS[config.name](config, [p for p in model.parameters() if p.requires_grad])
