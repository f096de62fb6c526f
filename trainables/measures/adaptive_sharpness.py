"""Adaptive sharpness: how far the loss rises in a box whose sides follow the weights' own sizes.

Kwon et al. 2021 (ASAM, arXiv 2102.11600), in the elementwise, worst-case, l-infinity form of
Andriushchenko et al. 2023 (arXiv 2302.07011):

    max { f(x + d) - f(x) : |d_i| <= r |x_i| }

To multiply one ReLU layer by c > 0 and to divide the next by it leaves the function as it is, and
multiplies and divides the box alike: the maximum stays too, which Keskar's sharpness does not
(Dinh et al. 2017). Departures: Kwon's box is r (|x_i| + .01) for weights and r for biases (its
public code), which is not invariant; ours has no such term, so that a weight of 0 stays 0.

The maximizer is that of `measures.maximum`; Andriushchenko et al. use 20 steps of Auto-PGD. Either
way the value is a lower bound.
"""

from __future__ import annotations

import torch

from trainables.config.measures.adaptive_sharpness import AdaptiveSharpness
from trainables.measures.maximum import Box, best_row, search
from trainables.measures.objective import MeasureValue, Objective

NOT_FINITE = (
    "adaptive-sharpness: the loss in the box is {loss}; a diverged network has no sharpness, and a "
    "network this close to it needs a smaller relative_radius"
)


def measure(objective: Objective, config: AdaptiveSharpness, seed: int) -> list[MeasureValue]:
    """The largest rise of the loss that was found in the box around the objective's start, in nats.

    Args:
        objective: The training loss; the box is centred at `objective.start`.
        config: The box's size relative to each weight.
        seed: As all measures of an objective take it; nothing is drawn here.

    Returns:
        One row by `best`, the largest of all values evaluated: a lower bound, with all passes
        counted, and what each start came to.

    Raises:
        ValueError: The loss is not finite.
    """
    passes_before = objective.evaluations
    box = box_of(objective, config)
    first = box.value_and_gradient(torch.zeros_like(box.half_widths))
    return [
        best_row(
            "adaptive_sharpness",
            search(box, first),
            first[0],
            lambda loss: loss - first[0],
            objective.evaluations - passes_before,
        )
    ]


def box_of(objective: Objective, config: AdaptiveSharpness) -> Box:
    """The box whose half-widths are r |x_i|."""
    half_widths = config.relative_radius * objective.start.abs()
    return Box(objective=objective, half_widths=half_widths, not_finite=NOT_FINITE)
