"""CBLR: a rate for every layer from the curvature of the loss (Gao & Zhong 2020, section 4).

    R_i = |(1 + g_i^2)^(3/2) / h_i|          the loss's curvature radius along weight i
    lambda = trust_coefficient median_i R_i
    v <- momentum v + lr lambda (g + beta w);  w <- w - v          (beta is weight_decay)

f is the loss of the current global batch, g its gradient, h the diagonal of its Hessian H:

    hutchinson   h = mean of v * (H v) over `samples` vectors v of random signs
                 (Bekas, Kokiopoulou & Saad 2007)
    exact        h_i = e_i' H e_i, one vector for each weight

with H v = (g(w + e v) - g(w - e v)) / (2 e), two calls of the closure, e = c (1 + |w|) / |v|. For
`exact` c is the cube root of the precision's epsilon, which balances rounding against the fourth
derivative. For `hutchinson` it is .02: a step that short errs by less than .5 % on a network with
tanh, and on one with ReLU, where a unit that switches is a jump in g that a shorter step divides
by less, still shorter ones err more (docs/methods/layer-wise-rates.md).

The paper has a rate for each weight's radius and does not say how a layer's come together; the
median, which a weight without curvature (R infinite) does not move, is our choice. So is the rest
of the update: that of `layerwise`, whose other radii estimate R from w and g. Where the median is
infinite, as where most of a layer's weights have no curvature, lambda is 1.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from trainables.config.optimizers.cblr import CBLR
from trainables.draws import derive_seed
from trainables.optimizers.groups import (
    Closure,
    Group,
    adapted_and_plain,
    evaluated,
    one_where_zero,
    taken,
    trainable,
)
from trainables.optimizers.layerwise import descend, median

MOST_EXACT = 1000
"""Parameters that `exact` takes on: it costs two gradients for each of them in every step."""

RELATIVE_LENGTH = 0.02
"""c of `hutchinson`."""

Diagonal = Callable[[list[Tensor], Closure, int], list[Tensor]]
"""(weights, closure, number of the step) -> h of every tensor."""


class CurvatureRates(torch.optim.Optimizer):
    """The optimizer of the module's equations, over groups of `adapted_and_plain`."""

    def __init__(
        self,
        groups: list[Group],
        *,
        diagonal: Diagonal,
        trust_coefficient: float,
        momentum: float,
    ) -> None:
        self.diagonal = diagonal
        defaults = {
            "lr": 0.0,
            "steps": 0,
            "trust_coefficient": trust_coefficient,
            "momentum": momentum,
        }
        super().__init__(groups, defaults)

    @torch.no_grad()
    def step(self, closure: Closure) -> Tensor:  # type: ignore[override]
        """One update; nothing waits for the device. Returns the loss at w."""
        loss = evaluated(closure)
        assert loss is not None
        every, adapted = self._with_gradient(adapted=False), self._with_gradient(adapted=True)
        gradients = taken(every)
        diagonal = self.diagonal(adapted, closure, self.param_groups[0]["steps"])
        for weight, gradient in zip(every, gradients, strict=True):
            weight.grad = gradient
        descend(self, partial(radius, diagonal))
        for group in self.param_groups:
            group["steps"] += 1
        return loss

    def _with_gradient(self, adapted: bool) -> list[Tensor]:
        groups = (g for g in self.param_groups if g["adapted"] or not adapted)
        return [p for group in groups for p in group["params"] if p.grad is not None]


def radius(
    diagonal: list[Tensor],
    weights: list[Tensor],
    gradients: list[Tensor],
    beta: float,
    factor: float,
) -> Tensor:
    """factor median |(1 + g^2)^(3/2) / h|, 1 where that is infinite; neither w nor beta count."""
    radii = torch._foreach_mul(gradients, gradients)
    torch._foreach_add_(radii, 1.0)
    torch._foreach_mul_(radii, torch._foreach_sqrt(radii))  # a power costs three times as much
    torch._foreach_div_(radii, diagonal)
    middle = torch.stack([median(each, absolute=True) for each in radii])
    return one_where_zero(factor * middle, middle.reciprocal())


def hutchinson(
    seed: int, samples: int, weights: list[Tensor], closure: Closure, step: int
) -> list[Tensor]:
    """Mean of v * (H v) over random signs v, a function of the seed and the step's number."""
    total = [torch.zeros_like(weight) for weight in weights]
    for sample in range(samples):
        signs = _signs(weights, derive_seed(seed, "curvature", step, sample))
        torch._foreach_addcmul_(total, signs, product(weights, signs, closure, RELATIVE_LENGTH))
    torch._foreach_div_(total, samples)
    return total


def exact(weights: list[Tensor], closure: Closure, step: int) -> list[Tensor]:
    """h_i = (H e_i)_i, weight by weight."""
    plain = torch.contiguous_format  # for the flat views
    diagonal = [torch.empty_like(weight, memory_format=plain) for weight in weights]
    relative = torch.finfo(weights[0].dtype).eps ** (1 / 3)
    for i, found in enumerate(diagonal):
        for j in range(found.numel()):
            basis = [torch.zeros_like(weight, memory_format=plain) for weight in weights]
            basis[i].view(-1)[j] = 1.0
            products = product(weights, basis, closure, relative)
            found.view(-1)[j] = products[i].reshape(-1)[j]
    return diagonal


def product(
    weights: list[Tensor], direction: list[Tensor], closure: Closure, relative_length: float
) -> list[Tensor]:
    """H v of the closure's loss by central differences; the weights end as they were, bit for bit.

    Args:
        weights: what H is with respect to; others stay fixed.
        direction: v, a tensor for each weight tensor.
        closure: gradient at the weights as they are.
        relative_length: c.
    """
    kept = [weight.clone() for weight in weights]
    length = relative_length * (1 + _norm(weights)) / _norm(direction)
    shifts = torch._foreach_mul(direction, length)
    ends = []
    for sign in (1.0, -1.0):
        torch._foreach_copy_(weights, kept)
        torch._foreach_add_(weights, shifts, alpha=sign)
        evaluated(closure)
        ends.append(taken(weights))
    torch._foreach_copy_(weights, kept)
    change = torch._foreach_sub(*ends)
    torch._foreach_div_(change, 2 * length)
    return list(change)


def _norm(tensors: list[Tensor]) -> Tensor:
    norm: Tensor = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(tensors)))
    return norm


def _signs(weights: list[Tensor], seed: int) -> list[Tensor]:
    """Random signs in the shapes of the weights."""
    generator = torch.Generator(weights[0].device).manual_seed(seed)
    return [
        torch.randint(
            2, weight.shape, generator=generator, device=weight.device, dtype=torch.int8
        ).to(weight)
        * 2
        - 1
        for weight in weights
    ]


def build(config: CBLR, model: nn.Module, seed: int) -> torch.optim.Optimizer:
    """CBLR over the model's parameters.

    Args:
        config: its settings.
        model: the network.
        seed: the trial's, which the random vectors come from.

    Raises:
        ValueError: for the exact diagonal of a network that is too large for it.
    """
    groups = adapted_and_plain(trainable(model), config.weight_decay, config.adapt_vectors)
    count = sum(p.numel() for group in groups if group["adapted"] for p in group["params"])
    if config.curvature == "exact" and count > MOST_EXACT:
        raise ValueError(
            f"curvature exact: takes two gradients for each of {count} weights in every step; at "
            f"most {MOST_EXACT} weights, or curvature hutchinson"
        )
    diagonal = (
        exact
        if config.curvature == "exact"
        else partial(hutchinson, seed, config.curvature_samples)
    )
    return CurvatureRates(
        groups,
        diagonal=diagonal,
        trust_coefficient=config.trust_coefficient,
        momentum=config.momentum,
    )
