"""From an optimizer's config to the optimizer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn
from torch.optim import Optimizer

from trainables.config.optimizers.kinds import OptimizerConfig
from trainables.optimizers import (
    adagrad,
    adam,
    cblr,
    conservative,
    gradient_descent,
    lamb,
    layerwise,
    lbfgs,
    sam,
    sgd,
    sgd_folded,
)

BUILDERS: dict[str, Callable[[Any, nn.Module], Optimizer]] = {
    "sgd": sgd.build,
    "adam": adam.build,
    "adamw": adam.build,
    "adagrad": adagrad.build,
    "sgd-folded": sgd_folded.build,
    "lars": layerwise.build,
    "percent-delta": layerwise.build,
    "mclr": layerwise.build,
    "lamb": lamb.build,
    "sam": sam.build,
    "conservative": conservative.build,
    "gradient-descent": gradient_descent.build,
    "lbfgs": lbfgs.build,
}

DRAWING: dict[str, Callable[[Any, nn.Module, int], Optimizer]] = {"cblr": cblr.build}
"""Those that draw, from the trial's seed."""


def build(config: OptimizerConfig, model: nn.Module, seed: int = 0) -> Optimizer:
    """The optimizer over every parameter that requires a gradient; the loop sets its rate.

    Args:
        config: the study's `optimizer`.
        model: the network, on its device.
        seed: the trial's, for what an optimizer draws.
    """
    if config.name in DRAWING:
        return DRAWING[config.name](config, model, seed)
    return BUILDERS[config.name](config, model)
