"""Conservative training (Keskar et al. 2017, section 4, after Li et al. 2014).

On each global batch B, from the iterate x_k,

    x_{k+1} ~ argmin_x f_B(x) + proximal_weight / 2 |x - x_k|^2

by `inner_steps` steps of Adam (Kingma & Ba 2015) on g_B(x) + proximal_weight (x - x_k). The paper
takes 3 of them and a weight of 1e-3; it does not state what becomes of Adam's averages from one
batch to the next. Here they go on, and so does the count that corrects their start: begun afresh,
the first step on each batch would be lr times the gradient's signs. The pull is 0 in the first
inner step, where x = x_k.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from trainables.config.optimizers.conservative import Conservative
from trainables.optimizers.groups import Closure, evaluated, trainable


class Proximal(torch.optim.Adam):
    """The optimizer of the module's equation: torch's Adam, several steps on each batch."""

    def __init__(
        self,
        parameters: list[nn.Parameter],
        *,
        proximal_weight: float,
        inner_steps: int,
        betas: tuple[float, float],
        epsilon: float,
    ) -> None:
        self.proximal_weight, self.inner_steps = proximal_weight, inner_steps
        super().__init__(parameters, lr=0.0, betas=betas, eps=epsilon, fused=True)

    @torch.no_grad()
    def step(self, closure: Closure | None = None) -> Tensor | None:  # type: ignore[override]
        """One batch; nothing waits for the device. Returns the loss at x_k."""
        loss = evaluated(closure)
        (group,) = self.param_groups
        weights = [p for p in group["params"] if p.grad is not None]
        anchor = [weight.clone() for weight in weights]
        super().step()
        for _ in range(self.inner_steps - 1):
            evaluated(closure)
            pulls = torch._foreach_sub(weights, anchor)
            gradients = [weight.grad for weight in weights]
            torch._foreach_add_(gradients, pulls, alpha=self.proximal_weight)
            super().step()
        return loss


def build(config: Conservative, model: nn.Module) -> torch.optim.Optimizer:
    """Conservative training over the model's parameters."""
    return Proximal(
        trainable(model),
        proximal_weight=config.proximal_weight,
        inner_steps=config.inner_steps,
        betas=(config.beta1, config.beta2),
        epsilon=config.epsilon,
    )
