"""The loss over a plane through the weights, along two filter-normalized random directions.

Li et al. 2018 (arXiv 1712.09913), section 4: Gaussian directions u and v, every filter of which (a
row of a weight matrix, an output channel of a convolution) is rescaled to the norm of that filter
in the weights,

    u_i <- u_i |x_i| / |u_i|,

and f(x + a u + b v) over a grid of a and b in [-reach, reach]. Biases and the parameters of
normalization stay as they are (0 in u and v), as in the paper's code. The rescaling makes planes of
networks comparable whose filters differ in scale but not in effect. Departure: the statistics of
normalization are fixed at x, our rule for every measure of the loss as a function of the weights;
the paper's code takes the running ones, fixed too, in evaluation mode.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from trainables.config.measures.landscape import Landscape
from trainables.draws import derive_seed
from trainables.measures.objective import CurvePoint, Found, MeasureValue, Objective


def measure(objective: Objective, config: Landscape, seed: int) -> Found:
    """The loss over the plane, and how far it rises there.

    Args:
        objective: The training loss; the plane is centred at `objective.start`.
        config: Points along each axis, and how far the axes reach.
        seed: The trial's: trials of one seed and network share the Gaussian directions.

    Returns:
        Rows by `filter-normalized plane`, both in nats and of f - f(x) over the grid:
        `landscape_mean_rise` and `landscape_largest_rise`. Curve points `train_loss` at (x, y).

    Raises:
        ValueError: A setting cannot be met, or the loss is not finite.
    """
    _check(config)
    across, up = (filter_normalized_direction(objective, seed, axis) for axis in (0, 1))
    ticks = np.linspace(-config.reach, config.reach, config.points)
    ticks[config.points // 2] = 0.0  # exactly, whatever rounding left
    losses = np.empty((config.points, config.points))
    for i, a in enumerate(ticks):
        for j, b in enumerate(ticks):
            losses[i, j] = objective.value(objective.start + float(a) * across + float(b) * up)
    start_loss = float(losses[config.points // 2, config.points // 2])
    if not np.isfinite(losses).all():
        raise ValueError(
            f"landscape: the loss is {start_loss} at the weights and not finite around them; a "
            "diverged network has no landscape, and a network this close to it needs a smaller "
            "reach"
        )

    def row(quantity: str, value: float) -> MeasureValue:
        return MeasureValue(
            quantity=quantity,
            method="filter-normalized plane",
            value=float(value),
            evaluations=config.points**2,
            iterations=config.points**2,
            stop_reason="all points evaluated",
            start_loss=start_loss,
        )

    return [
        row("landscape_mean_rise", losses.mean() - start_loss),
        row("landscape_largest_rise", losses.max() - start_loss),
        *(
            CurvePoint(quantity="train_loss", x=float(a), y=float(b), value=float(losses[i, j]))
            for i, a in enumerate(ticks)
            for j, b in enumerate(ticks)
        ),
    ]


def filter_normalized_direction(objective: Objective, seed: int, axis: int) -> Tensor:
    """A random direction, each of whose filters is as long as the weights' own, [n].

    A filter is a slice along the first axis of a parameter of two dimensions or more; parameters
    of one dimension (biases, normalization) get 0.

    Args:
        objective: Gives the weights and their shapes.
        seed: The trial's.
        axis: Which of the two directions.
    """
    generator = torch.Generator().manual_seed(derive_seed(seed, "landscape", axis))
    x = objective.start
    drawn = torch.randn(x.shape, generator=generator, dtype=torch.float64).to(x)
    for direction, weights in zip(objective.pieces(drawn), objective.pieces(x), strict=True):
        if weights.dim() < 2:
            direction.zero_()
            continue
        lengths = (part.flatten(1).norm(dim=1) for part in (weights, direction))
        own, random = (length.view(-1, *[1] * (weights.dim() - 1)) for length in lengths)
        direction *= own / random
    return drawn


def _check(config: Landscape) -> None:
    if config.points % 2 == 0:
        raise ValueError(
            f"landscape.points is {config.points}; it must be odd, so that the solution itself is "
            "one of them, for example 21"
        )
