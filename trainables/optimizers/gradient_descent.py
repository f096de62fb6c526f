"""Gradient descent with a backtracking line search (Armijo 1966).

    w <- w - t g,  t the first of lr, b lr, b^2 lr, ... (b = backtracking) with
    f(w - t g) <= f(w) - sufficient_decrease t |g|^2

f is the loss of the current global batch, so this is meant for the full one. Where the condition
holds for none of the 1 + max_backtracks lengths (rounding, at the latest, sees to that near a
minimum), w stays where it is. The loss decides, so each try waits for the device.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from trainables.config.optimizers.gradient_descent import GradientDescent
from trainables.optimizers.groups import Closure, evaluated, taken, trainable


class ArmijoDescent(torch.optim.Optimizer):
    """The optimizer of the module's rule; it has no state."""

    def __init__(
        self,
        parameters: list[nn.Parameter],
        *,
        sufficient_decrease: float,
        backtracking: float,
        max_backtracks: int,
    ) -> None:
        self.sufficient_decrease, self.backtracking = sufficient_decrease, backtracking
        self.max_backtracks = max_backtracks
        super().__init__(parameters, {"lr": 0.0})

    @torch.no_grad()
    def step(self, closure: Closure | None = None) -> Tensor | None:  # type: ignore[override]
        """One update, 2 to 2 + max_backtracks calls of the closure. Returns the loss before it."""
        loss = evaluated(closure)
        (group,) = self.param_groups
        weights = [p for p in group["params"] if p.grad is not None]
        if loss is None or not weights:
            return loss
        kept, gradients = [weight.clone() for weight in weights], taken(weights)
        slope = float(torch.stack(torch._foreach_norm(gradients)).square().sum())
        before, length = float(loss), group["lr"]
        if not math.isfinite(before):
            return loss  # as it is, for the loop to see
        for _ in range(1 + self.max_backtracks):
            torch._foreach_copy_(weights, kept)
            torch._foreach_add_(weights, gradients, alpha=-length)
            # A loss that is not a number is not below anything: the search goes on.
            if float(evaluated(closure)) <= before - self.sufficient_decrease * length * slope:  # type: ignore[arg-type]
                return loss
            length *= self.backtracking
        torch._foreach_copy_(weights, kept)
        return loss


def build(config: GradientDescent, model: nn.Module) -> torch.optim.Optimizer:
    """Gradient descent with backtracking over the model's parameters."""
    return ArmijoDescent(
        trainable(model),
        sufficient_decrease=config.sufficient_decrease,
        backtracking=config.backtracking,
        max_backtracks=config.max_backtracks,
    )
