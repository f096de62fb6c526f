"""SGD with the rate folded into the momentum (Goyal et al. 2017, equations 9 and 10).

    v <- momentum v + lr' (g + weight_decay w);  w <- w - v                          equation 10
    v <- momentum (lr' / lr) v + lr' (g + weight_decay w)           with momentum correction

lr is the previous step's rate, lr' this one's. At a constant rate both are torch's SGD; with the
correction they are at every rate. Without it, v keeps the rates that its gradients came with. The
correction is undefined after a rate of 0, which `trainables.rules.resolve` keeps out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from trainables.config.optimizers.sgd_folded import SGDFolded
from trainables.optimizers.groups import evaluated, tensors, trainable


class FoldedSGD(torch.optim.Optimizer):
    """The optimizer of the module's equations."""

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        *,
        momentum: float,
        weight_decay: float,
        momentum_correction: bool,
    ) -> None:
        defaults = {
            "lr": 0.0,
            "previous_lr": None,
            "momentum": momentum,
            "weight_decay": weight_decay,
            "momentum_correction": momentum_correction,
        }
        super().__init__(parameters, defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], Tensor] | None = None) -> Tensor | None:  # type: ignore[override]
        """One update; nothing waits for the device."""
        loss = evaluated(closure)
        for group in self.param_groups:
            lr, previous = group["lr"], group["previous_lr"]
            keep = group["momentum"]
            if group["momentum_correction"] and keep and previous is not None:
                assert previous > 0, "momentum correction is undefined after a rate of 0"
                keep *= lr / previous
            group["previous_lr"] = lr
            weights, gradients, velocity = tensors(self, group, "velocity")
            if not weights:
                continue
            torch._foreach_mul_(velocity, keep)
            torch._foreach_add_(velocity, gradients, alpha=lr)
            if group["weight_decay"]:
                torch._foreach_add_(velocity, weights, alpha=lr * group["weight_decay"])
            torch._foreach_sub_(weights, velocity)
        return loss


def build(config: SGDFolded, model: nn.Module) -> torch.optim.Optimizer:
    """SGD with the rate folded in, over the model's parameters."""
    return FoldedSGD(
        trainable(model),
        momentum=config.momentum,
        weight_decay=config.weight_decay,
        momentum_correction=config.momentum_correction,
    )
