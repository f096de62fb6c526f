"""What the optimizers share: which parameters they adapt, their state as lists, the closure."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

Group = dict[str, Any]
Closure = Callable[[], Tensor]
"""The loop's: leaves in `.grad` the gradient of the current batch, returns its loss."""


def trainable(model: nn.Module) -> list[nn.Parameter]:
    """Every parameter that requires a gradient."""
    return [p for p in model.parameters() if p.requires_grad]


def adapted_and_plain(
    parameters: Iterable[nn.Parameter], weight_decay: float, adapt_vectors: bool
) -> list[Group]:
    """Parameter groups: what gets a rate of its own, and vectors, which neither that nor decay.

    Vectors and scalars are biases and the parameters of normalization.
    """
    every = list(parameters)
    adapted = [p for p in every if adapt_vectors or p.ndim > 1]
    plain = [p for p in every if not (adapt_vectors or p.ndim > 1)]
    groups = (
        {"params": adapted, "adapted": True, "weight_decay": weight_decay},
        {"params": plain, "adapted": False, "weight_decay": 0.0},
    )
    return [group for group in groups if group["params"]]


def of_normalization(model: nn.Module) -> list[nn.Parameter]:
    """The parameters of the model's batch, instance, group, layer and RMS normalizations."""
    kinds = (_NormBase, nn.GroupNorm, nn.LayerNorm, nn.RMSNorm)
    layers = [module for module in model.modules() if isinstance(module, kinds)]
    return [p for layer in layers for p in layer.parameters(recurse=False)]


def evaluated(closure: Closure | None) -> Tensor | None:
    """The closure's loss, its gradients left in `.grad`."""
    if closure is None:
        return None
    with torch.enable_grad():
        return closure()


def taken(parameters: Iterable[Tensor]) -> list[Tensor]:
    """The gradients, taken out of `.grad` so that the closure's next call leaves them alone."""
    gradients = []
    for parameter in parameters:
        assert parameter.grad is not None, "the closure has left a gradient here before"
        gradients.append(parameter.grad)
        parameter.grad = None
    return gradients


def tensors(
    optimizer: torch.optim.Optimizer, group: Group, *buffers: str
) -> tuple[list[Tensor], ...]:
    """The group's weights, their gradients, and the named buffers, which start at 0."""
    weights = [p for p in group["params"] if p.grad is not None]
    for weight in weights:
        state = optimizer.state[weight]
        for name in buffers:
            if name not in state:
                state[name] = torch.zeros_like(weight)
    held = ([optimizer.state[w][name] for w in weights] for name in buffers)
    return weights, [w.grad for w in weights], *held


def one_where_zero(ratio: Tensor, *sizes: Tensor) -> Tensor:
    """The ratio, 1 where one of the sizes that it is made of is 0."""
    zero = torch.stack([size == 0 for size in sizes]).any(dim=0)
    return torch.where(zero, torch.ones_like(ratio), ratio)
