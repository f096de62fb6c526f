"""Sharpness of a minimum: how far the loss rises in a small box around the weights.

Keskar et al. 2017 (arXiv 1609.04836), Metric 2.1: with A in R^{n x p} and its pseudo-inverse A+,

    C_eps = { z in R^p : |z_i| <= eps (|(A+ x)_i| + 1) }
    phi = 100 (max_{z in C_eps} f(x + A z) - f(x)) / (1 + f(x)).

A is the identity, or p random columns. The paper maximizes by 10 iterations of L-BFGS-B, which
falls short of the maximum, most of all at flat minima; whatever the method, phi is a lower bound.
So two values are reported: `paper`, for comparison with the literature, and `best`, the largest
value that any method here came across. Not stated in the paper and chosen here: the law of A
(N(0, 1), not normalized: only this fits the paper's Table 4), the start z = 0, no tolerances.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from trainables.config.measures.sharpness import Sharpness
from trainables.measures.lbfgsb import minimum_in_box
from trainables.measures.maximum import Box, Found, best_row, search
from trainables.measures.objective import MeasureValue, Objective
from trainables.measures.subspace import RandomSubspace

PAPER_ITERATIONS = 10
NOT_FINITE = (
    "sharpness: the loss in the box is {loss}; a diverged network has no sharpness, and a network "
    "this close to it needs a smaller sharpness_epsilon"
)


@dataclass(frozen=True, kw_only=True)
class Paper:
    """What the paper's maximizer came to."""

    returned: float
    """The loss at the point it returned."""
    largest: float
    """The largest loss it evaluated."""
    evaluations: int
    iterations: int
    message: str


def measure(objective: Objective, config: Sharpness, seed: int) -> list[MeasureValue]:
    """phi around the objective's start, as the paper computes it and as high as was found.

    Args:
        objective: The training loss; the box is centred at `objective.start`.
        config: Size of the box, and dimension of the subspace or None for the full space.
        seed: The trial's; the subspace comes from a stream of its own.

    Returns:
        Two rows: `paper`, the value SciPy returns after 10 iterations, and `best`, the largest of
        all values evaluated, with all passes counted and what each start came to.

    Raises:
        ValueError: A setting cannot be met, or the loss is not finite.
    """
    _check(config, objective.start.numel())
    passes_before = objective.evaluations
    box = box_of(objective, config, seed)
    first = box.value_and_gradient(torch.zeros_like(box.half_widths))
    paper = l_bfgs_b(box, first)
    others = search(box, first)
    found = [Found(start="L-BFGS-B", largest=paper.largest, steps=paper.iterations), *others]
    return [
        MeasureValue(
            quantity="sharpness",
            method="paper",
            value=phi(paper.returned, first[0]),
            evaluations=paper.evaluations,
            iterations=paper.iterations,
            stop_reason=f"L-BFGS-B: {paper.message}",
            start_loss=first[0],
        ),
        best_row(
            "sharpness",
            found,
            first[0],
            lambda loss: phi(loss, first[0]),
            objective.evaluations - passes_before,
        ),
    ]


def phi(largest_loss: float, start_loss: float) -> float:
    """100 (f_max - f_0) / (1 + f_0): the rise of the loss in percent of 1 + loss."""
    return 100 * (largest_loss - start_loss) / (1 + start_loss)


def half_widths(coordinates: Tensor, sharpness_epsilon: float) -> Tensor:
    """eps (|c_i| + 1) for c = A+ x, of the box around the origin. [p] -> [p]."""
    return sharpness_epsilon * (coordinates.abs() + 1)


def box_of(objective: Objective, config: Sharpness, seed: int) -> Box:
    """The paper's box, in the full space or in a random subspace of it, in x's type."""
    x, epsilon = objective.start, config.sharpness_epsilon
    if config.subspace_dim is None:
        return Box(objective=objective, half_widths=half_widths(x, epsilon), not_finite=NOT_FINITE)
    subspace = RandomSubspace(x, config.subspace_dim, seed)
    return Box(
        objective=objective,
        half_widths=half_widths(subspace.coordinates(), epsilon).to(x),
        not_finite=NOT_FINITE,
        push=subspace.push,
        pull=subspace.pull,
    )


def l_bfgs_b(box: Box, first: tuple[float, Tensor]) -> Paper:
    """10 iterations of SciPy's L-BFGS-B on -f from z = 0, without tolerances.

    Args:
        box: Where f is searched.
        first: f and gradient at z = 0, known already.
    """
    largest = first[0]

    def negated(z: npt.NDArray[np.float64]) -> tuple[float, npt.NDArray[np.float64]]:
        nonlocal largest
        loss, gradient = box.value_and_gradient(torch.from_numpy(z)) if z.any() else first
        largest = max(largest, loss)
        return -loss, -gradient.double().cpu().numpy()

    minimum = minimum_in_box(negated, box.half_widths.double().cpu().numpy(), PAPER_ITERATIONS)
    return Paper(
        returned=-minimum.value,
        largest=largest,
        evaluations=minimum.evaluations,
        iterations=minimum.iterations,
        message=minimum.message,
    )


def _check(config: Sharpness, num_parameters: int) -> None:
    if config.subspace_dim is not None and config.subspace_dim > num_parameters:
        raise ValueError(
            f"sharpness.subspace_dim is {config.subspace_dim}; it must lie between 1 and the "
            f"network's {num_parameters} parameters, for example 100, or null for the full space"
        )
