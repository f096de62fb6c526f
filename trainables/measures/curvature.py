"""Curvature radii of the loss along single parameters, from the diagonal of its Hessian.

    R_i = |(1 + g_i^2)^(3/2) / h_i|        Gao & Zhong 2020, section 4 and figure 2

is the radius of the circle that osculates the loss along parameter i, g_i its first and h_i its
second derivative. The diagonal is estimated as

    h = 1/K sum_k v_k * (H v_k),  v_k in {-1, 1}^n        Bekas, Kokiopoulou & Saad 2007

without bias; the variance of h_i is sum_{j != i} H_ij^2 / K. Estimates near 0 give huge radii, so
that the mean of R hangs on the few flattest parameters and on chance; the median does not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from trainables.measures.objective import Objective

VECTORS_AT_ONCE = 8
"""Bounds memory, and shares what is built per product."""


@dataclass(frozen=True, kw_only=True)
class Radius:
    """Curvature radii of one tensor."""

    mean: float | None
    """Over the finite ones; None where h is 0 throughout."""
    median: float
    """Over all, infinite ones included; torch's, the lower middle value."""


def curvature_radii(
    objective: Objective, sizes: Sequence[int], samples: int, seed: int
) -> list[Radius]:
    """Mean and median of R over each tensor, at the objective's start.

    Args:
        objective: The loss; g and H are its own, over its own examples.
        sizes: Of the tensors, in the objective's order.
        samples: Random vectors, K.
        seed: Of the vectors.
    """
    x = objective.start
    gradient = objective.value_and_gradient(x)[1].double()
    products = objective.hessian_vector_products(x)
    radii = radius(gradient, hessian_diagonal(products, x, samples, seed))
    return [
        Radius(
            mean=float(part[part.isfinite()].mean()) if part.isfinite().any() else None,
            median=float(part.median()),
        )
        for part in radii.split(list(sizes))
    ]


def radius(gradient: Tensor, diagonal: Tensor) -> Tensor:
    """|(1 + g^2)^(3/2) / h|, infinite where h is 0."""
    return ((1 + gradient.square()) ** 1.5 / diagonal).abs()


def hessian_diagonal(
    products: Callable[[Tensor], Tensor], x: Tensor, samples: int, seed: int
) -> Tensor:
    """The Hessian's diagonal by Rademacher vectors, [n] in float64.

    Args:
        products: V [k, n] -> V H [k, n].
        x: [n], for size, type and device.
        samples: Vectors.
        seed: Of their generator; they are the same on every device.
    """
    generator = torch.Generator().manual_seed(seed)
    total = torch.zeros(x.numel(), dtype=torch.float64, device=x.device)
    for first in range(0, samples, VECTORS_AT_ONCE):
        shape = (min(VECTORS_AT_ONCE, samples - first), x.numel())
        signs = torch.randint(2, shape, generator=generator, dtype=torch.int8).to(x) * 2 - 1
        total += (signs * products(signs)).sum(dim=0, dtype=torch.float64)
    return total / samples
