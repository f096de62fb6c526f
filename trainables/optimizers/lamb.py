"""LAMB (You et al. 2020, algorithm 2): Adam's step, scaled to every layer's weights.

m <- beta1 m + (1 - beta1) g;  v <- beta2 v + (1 - beta2) g^2;  with m', v' corrected for their
start at zero: u = m' / (sqrt(v') + epsilon) + weight_decay w;  w <- w - lr |w|_2 / |u|_2 u.

The paper's phi is the identity, and weight decay is inside the ratio. A norm of 0 gives ratio 1.
Vectors (biases, normalization) take Adam's step, without decay, unless `adapt_vectors`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from trainables.config.optimizers.lamb import LAMB
from trainables.optimizers.groups import (
    adapted_and_plain,
    evaluated,
    one_where_zero,
    tensors,
    trainable,
)


class Lamb(torch.optim.Optimizer):
    """The optimizer of the module's equation, over groups of `adapted_and_plain`."""

    def __init__(
        self, groups: list[dict[str, Any]], *, beta1: float, beta2: float, epsilon: float
    ) -> None:
        defaults = {"lr": 0.0, "steps": 0, "beta1": beta1, "beta2": beta2, "epsilon": epsilon}
        super().__init__(groups, defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], Tensor] | None = None) -> Tensor | None:  # type: ignore[override]
        """One update; nothing waits for the device."""
        loss = evaluated(closure)
        for group in self.param_groups:
            weights, gradients, mean, square = tensors(self, group, "mean", "square")
            if not weights:
                continue
            group["steps"] += 1
            torch._foreach_lerp_(mean, gradients, 1 - group["beta1"])
            torch._foreach_mul_(square, group["beta2"])
            torch._foreach_addcmul_(square, gradients, gradients, value=1 - group["beta2"])
            updates = _updates(weights, mean, square, group)
            if group["adapted"]:
                torch._foreach_mul_(updates, list(_ratios(weights, updates).unbind()))
            torch._foreach_add_(weights, updates, alpha=-group["lr"])
        return loss


def _updates(
    weights: list[Tensor], mean: list[Tensor], square: list[Tensor], group: dict[str, Any]
) -> list[Tensor]:
    """u = m' / (sqrt(v') + epsilon) + weight_decay w."""
    first = 1 - group["beta1"] ** group["steps"]
    second = 1 - group["beta2"] ** group["steps"]
    below = list(torch._foreach_sqrt(square))
    torch._foreach_mul_(below, first / second**0.5)
    torch._foreach_add_(below, first * group["epsilon"])
    updates = list(torch._foreach_div(mean, below))
    if group["weight_decay"]:
        torch._foreach_add_(updates, weights, alpha=group["weight_decay"])
    return updates


def _ratios(weights: list[Tensor], updates: list[Tensor]) -> Tensor:
    """|w|_2 / |u|_2 of every tensor."""
    w, u = torch.stack(torch._foreach_norm(weights)), torch.stack(torch._foreach_norm(updates))
    return one_where_zero(w / u, w, u)


def build(config: LAMB, model: nn.Module) -> torch.optim.Optimizer:
    """LAMB over the model's parameters."""
    return Lamb(
        adapted_and_plain(trainable(model), config.weight_decay, config.adapt_vectors),
        beta1=config.beta1,
        beta2=config.beta2,
        epsilon=config.epsilon,
    )
