"""Statistics of every layer at one step: sizes of weights and gradients, strides, trust ratio.

After Gao & Zhong 2020 (arXiv 2012.08795), for a parameter tensor w of d numbers, with g the
gradient that the optimizer saw last and dw what its step did to w:

    weight_norm        |w|_2, before the step
    mean_abs_gradient  1/d sum_i |g_i|          figure 3
    gradient_norm      |g|_2
    parameter_stride   1/d sum_i |dw_i|         figure 5, and figure 4 over the rate
    loss_stride        1/d sum_i |g_i dw_i|     figure 7 over the rate
    trust_ratio        |w|_2 / |g|_2

The loss stride is the change of the loss that moving one parameter makes, to first order. Plain SGD
has dw = -lr g, so that there loss_stride / lr = E(g^2), which is what the paper plots, and
parameter_stride / lr = E|g|. With momentum, decay or another rule they are what the step did.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

STATISTICS = (
    "weight_norm",
    "mean_abs_gradient",
    "gradient_norm",
    "parameter_stride",
    "loss_stride",
)
"""What `statistics` gives, in its order."""

_NORMALIZATIONS = (_NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)


@dataclass(frozen=True, kw_only=True)
class LayerTensor:
    """A parameter tensor that is trained, by the name of its module and its part in it."""

    layer: str
    kind: str
    """weight or bias; of a normalization gamma or beta."""
    num_parameters: int

    @property
    def label(self) -> str:
        """`hidden1 weight`: one name for both."""
        return f"{self.layer} {self.kind}"


def layer_tensors(model: nn.Module) -> list[LayerTensor]:
    """The parameters that require a gradient, in `named_parameters` order.

    A parameter that its module calls otherwise than `weight` or `bias` is a layer of its own, by
    its whole name, so that none is taken for another.
    """
    modules = dict(model.named_modules())
    found = []
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        module, _, own = name.rpartition(".")
        kind = "bias" if own.endswith("bias") else "weight"
        layer = (module or "network") if own in ("weight", "bias") else name
        if isinstance(modules[module], _NORMALIZATIONS):
            kind = {"weight": "gamma", "bias": "beta"}[kind]
        found.append(LayerTensor(layer=layer, kind=kind, num_parameters=parameter.numel()))
    return found


def trained(model: nn.Module) -> list[nn.Parameter]:
    """The parameters behind `layer_tensors`."""
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


@torch.no_grad()
def copied(weights: Sequence[Tensor]) -> list[Tensor]:
    """Copies, in one operation over all of them."""
    copies = [torch.empty_like(weight) for weight in weights]
    torch._foreach_copy_(copies, list(weights))
    return copies


@torch.no_grad()
def statistics(before: list[Tensor], weights: Sequence[nn.Parameter]) -> list[list[float]]:
    """`STATISTICS` of every tensor after a step, [tensors][5]; one transfer from the device.

    A parameter without a gradient counts as one with the gradient 0. Strides are those of the
    numbers that the weights' type holds: its rounding is in them.

    Args:
        before: copies of the weights from before the step; overwritten.
        weights: after it, with the gradients of that step.
    """
    gradients = [torch.zeros_like(w) if w.grad is None else w.grad for w in weights]
    sizes = torch.tensor([weight.numel() for weight in weights], dtype=torch.float64)
    norms = [_norms(before, 2), _norms(gradients, 1), _norms(gradients, 2)]
    torch._foreach_sub_(before, list(weights))
    norms.append(_norms(before, 1))
    torch._foreach_mul_(before, gradients)
    norms.append(_norms(before, 1))
    flat = torch.stack([norm for of_all in norms for norm in of_all]).cpu()
    table = flat.view(len(norms), len(weights))
    for row in (1, 3, 4):  # the means
        table[row] /= sizes
    rows: list[list[float]] = table.T.tolist()
    return rows


def _norms(tensors: list[Tensor], order: int) -> tuple[Tensor, ...]:
    # Summed in float64: in float32 a CPU loses the fourth digit over a million numbers.
    return torch._foreach_norm(tensors, order, torch.float64)
