"""A rate of its own for every layer: one optimizer, interchangeable radius rules.

    lambda = trust_coefficient r(w, g)
    v <- momentum v + lr lambda (g + beta w);  w <- w - v          (beta is weight_decay)

The radius r of a weight tensor w with gradient g:

    lars           |w|_2 / (|g|_2 + beta |w|_2)              You, Gitman, Ginsburg 2017
    percent-delta  size(w) / |(g + beta w) / w|_1            Abu-El-Haija 2017
    mclr           |median(w) / (median(g) + beta median(w))|    Gao & Zhong 2020, section 4

after Gao & Zhong, in whose terms all three estimate the curvature radius; `cblr` beside this module
takes it from the curvature itself. The rate lies inside v, as You et al. have it. Ours: a size of
0, of weights or gradient, gives lambda = 1; zero weights are left out of percent-delta's mean; mclr
takes medians of absolute values unless told otherwise, since signed ones are near 0 in symmetric
layers. Vectors (biases, normalization) have lambda = 1 and no
decay unless `adapt_vectors`. The median is torch's, the lower middle value.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from trainables.config.optimizers.layerwise import LARS, MCLR, PercentDelta
from trainables.optimizers.groups import (
    Group,
    adapted_and_plain,
    evaluated,
    one_where_zero,
    tensors,
    trainable,
)

Radius = Callable[[list[Tensor], list[Tensor], float, float], Tensor]
"""(weights, gradients, beta, trust_coefficient) -> lambda of every tensor, on their device."""


def lars(weights: list[Tensor], gradients: list[Tensor], beta: float, factor: float) -> Tensor:
    """factor |w|_2 / (|g|_2 + beta |w|_2)."""
    w, g = torch.stack(torch._foreach_norm(weights)), torch.stack(torch._foreach_norm(gradients))
    return one_where_zero(factor * w / (g + beta * w), w, g)


def percent_delta(
    weights: list[Tensor], gradients: list[Tensor], beta: float, factor: float
) -> Tensor:
    """factor size(w) / |(g + beta w) / w|_1 over the weights that are not 0."""
    changes = list(torch._foreach_div(gradients, weights))
    torch._foreach_add_(changes, beta)
    torch._foreach_abs_(changes)
    counts = [weight.count_nonzero() for weight in weights]
    for change, weight, count in zip(changes, weights, counts, strict=True):
        # Looking at a number costs nothing on the CPU, and the mask much; elsewhere one would wait.
        if weight.device.type != "cpu" or count < weight.numel():
            change.masked_fill_(weight == 0, 0.0)
    total = torch.stack([change.sum() for change in changes])
    size = torch.stack(counts).to(total.dtype)
    g = torch.stack(torch._foreach_norm(gradients))
    return one_where_zero(factor * size / total, size, total, g)


def mclr(weights: list[Tensor], gradients: list[Tensor], beta: float, factor: float) -> Tensor:
    """factor median |w| / (median |g| + beta median |w|)."""
    return _mclr(_medians(weights, True), _medians(gradients, True), beta, factor)


def mclr_signed(
    weights: list[Tensor], gradients: list[Tensor], beta: float, factor: float
) -> Tensor:
    """factor |median(w) / (median(g) + beta median(w))|."""
    return _mclr(_medians(weights, False), _medians(gradients, False), beta, factor)


def _mclr(w: Tensor, g: Tensor, beta: float, factor: float) -> Tensor:
    below = g + beta * w
    return one_where_zero(factor * (w / below).abs(), w, g, below)


def _medians(tensors: list[Tensor], absolute: bool) -> Tensor:
    return torch.stack([median(tensor.detach(), absolute) for tensor in tensors])


def median(values: Tensor, absolute: bool) -> Tensor:
    """torch's median, the lower middle value; on a CPU by NumPy, over ten times faster."""
    if values.device.type != "cpu":
        return (values.abs() if absolute else values).median()
    middle, array = (values.numel() - 1) // 2, values.numpy()
    if absolute:
        # Floats above 0 are in order as integers too, which part in half the time.
        bits = np.abs(array).view(f"i{array.itemsize}")
        parted = np.partition(bits, middle, axis=None).view(array.dtype)
    else:
        parted = np.partition(array, middle, axis=None)
    return torch.from_numpy(parted[middle : middle + 1])[0]


class LayerWise(torch.optim.Optimizer):
    """The optimizer of the module's equation.

    Args:
        groups: of `adapted_and_plain`.
        radius: one of the rules above.
        trust_coefficient: factor on the radius.
        momentum: m, 0 to 1.
    """

    def __init__(
        self,
        groups: list[Group],
        *,
        radius: Radius,
        trust_coefficient: float,
        momentum: float,
    ) -> None:
        self.radius = radius
        defaults = {"lr": 0.0, "trust_coefficient": trust_coefficient, "momentum": momentum}
        super().__init__(groups, defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], Tensor] | None = None) -> Tensor | None:  # type: ignore[override]
        """One update; nothing waits for the device."""
        loss = evaluated(closure)
        descend(self, self.radius)
        return loss


def descend(optimizer: torch.optim.Optimizer, radius: Radius) -> None:
    """The module's update of every group, from the gradients in `.grad`.

    Args:
        optimizer: over groups of `adapted_and_plain`, with lr, momentum and trust_coefficient.
        radius: of the adapted group.
    """
    for group in optimizer.param_groups:
        weights, gradients, velocity = tensors(optimizer, group, "velocity")
        if not weights:
            continue
        torch._foreach_mul_(velocity, group["momentum"])
        if group["adapted"]:
            ratios = radius(weights, gradients, group["weight_decay"], group["trust_coefficient"])
            _add_adapted(velocity, weights, gradients, ratios, group)
        else:
            torch._foreach_add_(velocity, gradients, alpha=group["lr"])
        torch._foreach_sub_(weights, velocity)


def _add_adapted(
    velocity: list[Tensor],
    weights: list[Tensor],
    gradients: list[Tensor],
    ratios: Tensor,
    group: Group,
) -> None:
    """v <- v + lr lambda (g + beta w), lambda a number on the device for every tensor."""
    rates = list(ratios.mul_(group["lr"]).unbind())
    torch._foreach_addcmul_(velocity, gradients, rates)
    if group["weight_decay"]:
        torch._foreach_addcmul_(velocity, weights, rates, value=group["weight_decay"])


RADII: dict[str, Radius] = {"lars": lars, "percent-delta": percent_delta, "mclr": mclr}


def build(config: LARS | PercentDelta | MCLR, model: nn.Module) -> torch.optim.Optimizer:
    """LARS, PercentDelta or MCLR over the model's parameters."""
    signed = isinstance(config, MCLR) and config.medians == "signed"
    return LayerWise(
        adapted_and_plain(trainable(model), config.weight_decay, config.adapt_vectors),
        radius=mclr_signed if signed else RADII[config.name],
        trust_coefficient=config.trust_coefficient,
        momentum=config.momentum,
    )
