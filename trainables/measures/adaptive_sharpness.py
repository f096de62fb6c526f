"""Adaptive sharpness: how far the loss rises in a box whose sides follow the weights' own sizes.

Kwon et al. 2021 (ASAM, arXiv 2102.11600), in the elementwise, worst-case, l-infinity form of
Andriushchenko et al. 2023 (arXiv 2302.07011):

    max { f(x + d) - f(x) : |d_i| <= r |x_i| }

To multiply one ReLU layer by c > 0 and to divide the next by it leaves the function as it is, and
multiplies and divides the box alike: the maximum stays too, which Keskar's sharpness does not
(Dinh et al. 2017). Departures: Kwon's box is r (|x_i| + .01) for weights and r for biases (its
public code), which is not invariant; ours has no such term, so that a weight of 0 stays 0.

The maximizer is the vertex iteration of `measures.sharpness`, from x and from random vertices.
There L-BFGS-B stands for a paper's method; no paper's number rests on it here, and in Keskar's box
the vertex iteration found the larger values at several times less cost. Andriushchenko et al. use
20 steps of Auto-PGD. Whatever the method, the value is a lower bound.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from trainables.config import AdaptiveSharpness
from trainables.measures.objective import MeasureValue, Objective
from trainables.measures.sharpness import random_vertices, vertex_iteration


def measure(objective: Objective, config: AdaptiveSharpness, seed: int) -> list[MeasureValue]:
    """The largest rise of the loss that was found in the box around the objective's start, in nats.

    Args:
        objective: The training loss; the box is centred at `objective.start`.
        config: The box's size relative to each weight.
        seed: The trial's; the random starts come from streams of their own.

    Returns:
        One row by `best`, the largest of all values evaluated: a lower bound, with all passes
        counted; `iterations` and `stop_reason` are those of the start that found it.

    Raises:
        ValueError: The radius is not positive, or the loss is not finite.
    """
    if not config.relative_radius > 0:
        raise ValueError(
            f"adaptive-sharpness.relative_radius is {config.relative_radius}; the box needs a "
            "positive size, for example 0.01"
        )
    x, evaluations_before = objective.start, objective.evaluations
    half_widths = config.relative_radius * x.abs()

    def evaluate(z: Tensor) -> tuple[float, Tensor]:
        loss, gradient = objective.value_and_gradient(x + z)
        if not math.isfinite(loss):
            raise ValueError(
                f"adaptive-sharpness: the loss in the box is {loss}; a diverged network has no "
                "sharpness, and a network this close to it needs a smaller relative_radius"
            )
        return loss, gradient

    zero = torch.zeros_like(x)
    first = evaluate(zero)
    runs = [vertex_iteration(evaluate, half_widths, zero, "zero", first=first)]
    for number, vertex in enumerate(random_vertices(half_widths, seed), start=1):
        runs.append(vertex_iteration(evaluate, half_widths, vertex, f"random vertex {number}"))
    best = max(runs, key=lambda run: run.largest)
    return [
        MeasureValue(
            quantity="adaptive_sharpness",
            method="best",
            value=best.largest - first[0],
            evaluations=objective.evaluations - evaluations_before,
            iterations=best.iterations,
            stop_reason=f"{best.label}: {best.stop_reason}",
            start_loss=first[0],
        )
    ]
