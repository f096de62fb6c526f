"""How the loss rises along random directions from the weights.

Keskar et al. 2017, section 2.2: around large-batch solutions the loss rises steeply only along a
subspace of small dimension, "e.g. 5 %" of the whole space, and is flat along most directions. The
paper says neither how the directions were drawn, nor how long the steps are, nor what is steep. Our
definition:

    rise = f(x + d) - f(x),     d = r |x| u / |u|,     u ~ N(0, I)

and a rise of `steep_rise` nats or more is steep. Note that a random direction is no direction of
that subspace: it has about 5 % of its squared length in any 5 % of the dimensions. The more
dimensions there are, the more alike all random directions rise, by r^2 |x|^2 tr(H) / (2 n) as far
as the loss is quadratic. So the share goes from 0 to 1 within a narrow range of r, and the median
rise says more. The share of dimensions that carry the curvature is `hessian_curved_share` of
`measures.spectrum`.
"""

from __future__ import annotations

import math

import numpy as np
import torch

from trainables.config.measures.random_directions import RandomDirections
from trainables.draws import derive_seed
from trainables.measures.objective import CurvePoint, Found, MeasureValue, Objective


def measure(objective: Objective, config: RandomDirections, seed: int) -> Found:
    """Rises of the loss along random directions from the objective's start.

    Args:
        objective: The training loss.
        config: How many directions, the length of the step, and what is steep.
        seed: The trial's; every direction comes from a stream of its own.

    Returns:
        Rows by `gaussian directions`: `steep_share` with its binomial standard error,
        `median_rise` and `largest_rise` in nats. Curve points `rise`, sorted: a share x of the
        directions rises by no more than the value.

    Raises:
        ValueError: A setting cannot be met, or the loss is not finite.
    """
    x, count = objective.start, config.directions
    start_loss = objective.value(x)
    length = config.relative_radius * torch.linalg.vector_norm(x, dtype=torch.float64)
    rises = np.empty(count)
    for i in range(count):
        generator = torch.Generator().manual_seed(derive_seed(seed, "random direction", i))
        direction = torch.randn(x.shape, generator=generator, dtype=torch.float64)
        step = direction.to(length.device) * (length / direction.norm())
        rises[i] = objective.value(x + step.to(x)) - start_loss
    if not np.isfinite(rises).all():
        raise ValueError(
            f"random-directions: the loss is {start_loss} at the weights and not finite around "
            "them; a diverged network has no rises, and a network this close to it needs a "
            "smaller relative_radius"
        )
    share = float(np.mean(rises >= config.steep_rise))

    def row(quantity: str, value: float, error: float | None = None) -> MeasureValue:
        return MeasureValue(
            quantity=quantity,
            method="gaussian directions",
            value=value,
            evaluations=count + 1,
            iterations=count,
            stop_reason="all directions taken",
            start_loss=start_loss,
            standard_error=error,
        )

    return [
        row("steep_share", share, math.sqrt(share * (1 - share) / count)),
        row("median_rise", float(np.median(rises))),
        row("largest_rise", float(rises.max())),
        *(
            CurvePoint(quantity="rise", x=(i + 1) / count, value=float(rise))
            for i, rise in enumerate(np.sort(rises))
        ),
    ]
