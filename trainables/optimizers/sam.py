"""Sharpness-aware minimization (Foret, Kleiner, Mobahi & Neyshabur 2021, algorithm 1, p = 2).

    e = rho g(w) / |g(w)|_2
    v <- momentum v + g(w + e) + weight_decay w;  w <- w - lr v

Both gradients are those of the whole global batch: where several workers share it, e comes from the
gradient reduced over them, not from each worker's own (their m-sharpness). The norm is over all
parameters. At a gradient of 0 there is no direction to climb and e is 0. The penalty of
weight_decay is no part of what is climbed.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from trainables.config.optimizers.sam import SAM
from trainables.optimizers.groups import Closure, evaluated, trainable


class SharpnessAware(torch.optim.SGD):
    """torch's SGD with the gradient of the module's equation: two calls of the closure."""

    def __init__(
        self, parameters: list[nn.Parameter], *, rho: float, momentum: float, weight_decay: float
    ) -> None:
        self.rho = rho
        super().__init__(
            parameters, lr=0.0, momentum=momentum, weight_decay=weight_decay, fused=True
        )

    @torch.no_grad()
    def step(self, closure: Closure | None = None) -> Tensor | None:  # type: ignore[override]
        """One update; nothing waits for the device. Returns the loss at w."""
        loss = evaluated(closure)
        (group,) = self.param_groups
        weights = [p for p in group["params"] if p.grad is not None]
        if not weights:
            return loss
        kept = [weight.clone() for weight in weights]
        climb(weights, [weight.grad for weight in weights], self.rho)
        evaluated(closure)
        torch._foreach_copy_(weights, kept)  # w + e - e would not be w
        super().step()
        return loss


def climb(weights: list[Tensor], gradients: list[Tensor], rho: float) -> None:
    """w <- w + rho g / |g|_2 in place, the norm over all tensors; 0 where it is 0."""
    norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))
    scale = torch.where(norm > 0, rho / norm, torch.zeros_like(norm))
    torch._foreach_add_(weights, torch._foreach_mul(gradients, scale))


def build(config: SAM, model: nn.Module) -> torch.optim.Optimizer:
    """SAM over the model's parameters."""
    return SharpnessAware(
        trainable(model),
        rho=config.rho,
        momentum=config.momentum,
        weight_decay=config.weight_decay,
    )
