"""Gradient noise scale: how much the gradients of single examples differ from their mean.

McCandlish et al. 2018 (arXiv 1812.06162), appendix A.1: B_simple = tr(Sigma) / |G|^2, from the
squared norms of gradients over batches of two sizes. With G the mean of the N gradients g_i and
S^2 = sum_i |g_i - G|^2 / (N - 1), a batch drawn without replacement has

    E|G_B|^2 = |G|^2 + S^2 (1/B - 1/N)

(variance of a mean under simple random sampling). So means of |G_1|^2 and |G_2|^2 at B1 < B2 give

    tr(Sigma) = (|G_1|^2 - |G_2|^2) / (1/B1 - 1/B2)
    |G|^2     = |G_2|^2 - tr(Sigma) (1/B2 - 1/N)

without bias, where tr(Sigma) is S^2, normalized by N - 1. Departures from the paper: the term 1/N,
since its batches are as good as drawn from an endless supply; frozen weights and plain means over
pairs of draws, where it averages along training; standard errors, by the jackknife.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from trainables.config.measures.noise_scale import NoiseScale
from trainables.draws import derive_seed
from trainables.measures.jackknife import Array, jackknife
from trainables.measures.objective import MeasureValue, Objective

QUANTITIES: tuple[str, ...] = (
    "gradient_trace_covariance",
    "gradient_squared_norm",
    "noise_scale",
)
"""What `estimates` gives, in its order."""


def measure(objective: Objective, config: NoiseScale, seed: int) -> list[MeasureValue]:
    """tr(Sigma), |G|^2 and B_simple at the objective's start, with jackknife standard errors.

    Args:
        objective: The training loss; G is its gradient over all of its N examples.
        config: The two batch sizes, and how many pairs of batches to draw.
        seed: The trial's; every pair is drawn from a stream of its own.

    Returns:
        Rows `gradient_trace_covariance`, `gradient_squared_norm` and `noise_scale` (in examples)
        by `batches B1 and B2`, and `gradient_squared_norm` by `full-gradient`, which is exact.
        The first three may be negative, and their `stop_reason` says so.

    Raises:
        ValueError: A setting cannot be met, or the loss is not finite.
    """
    _check(config, objective.num_examples)
    start_loss, gradient = objective.value_and_gradient(objective.start)
    if not math.isfinite(start_loss):
        raise ValueError(f"noise-scale: the loss is {start_loss}; a diverged network has none")
    sizes = (config.small_batch_size, config.large_batch_size)
    drawn = squared_norms(objective, sizes, config.pairs, seed)

    def of_means(squared: Array) -> Array:
        return estimates(squared, sizes, objective.num_examples)

    values, errors = of_means(drawn.mean(axis=0)), jackknife(drawn, of_means)
    exact = MeasureValue(
        quantity="gradient_squared_norm",
        method="full-gradient",
        value=_squared_norm(gradient),
        evaluations=1,
        iterations=1,
        stop_reason="exact",
        start_loss=start_loss,
    )
    return [
        *(
            MeasureValue(
                quantity=quantity,
                method=f"batches {sizes[0]} and {sizes[1]}",
                value=float(value),
                evaluations=2 * config.pairs,
                iterations=config.pairs,
                stop_reason=_remark(float(value)),
                start_loss=start_loss,
                standard_error=float(error),
            )
            for quantity, value, error in zip(QUANTITIES, values, errors, strict=True)
        ),
        exact,
    ]


def squared_norms(objective: Objective, sizes: tuple[int, int], pairs: int, seed: int) -> Array:
    """|G_B|^2 of batches drawn at random without replacement, [pairs, 2].

    The two batches of a pair are drawn one after the other, each from all examples, so that they
    may overlap; the same on every device.
    """
    found = np.empty((pairs, 2))
    for pair in range(pairs):
        generator = torch.Generator().manual_seed(derive_seed(seed, "noise-scale", pair))
        for column, size in enumerate(sizes):
            batch = torch.randperm(objective.num_examples, generator=generator)[:size]
            gradient = objective.over(batch).value_and_gradient(objective.start)[1]
            found[pair, column] = _squared_norm(gradient)
    return found


def estimates(squared: Array, sizes: tuple[int, int], num_examples: int) -> Array:
    """tr(Sigma), |G|^2 and their ratio from mean squared norms. [..., 2] -> [..., 3].

    The ratio's bias is of the order of 1 / pairs; it is not a number where |G|^2 is exactly 0.
    """
    small, large = squared[..., 0], squared[..., 1]
    trace = (small - large) / (1 / sizes[0] - 1 / sizes[1])
    norm = large - trace * (1 / sizes[1] - 1 / num_examples)
    ratio = np.divide(trace, norm, out=np.full_like(trace, np.nan), where=norm != 0)
    return np.stack([trace, norm, ratio], axis=-1)


def _squared_norm(gradient: Tensor) -> float:
    return float(gradient.double().square().sum())


def _remark(value: float) -> str:
    if math.isnan(value):
        return "all pairs drawn; the gradient is 0, so that there is no ratio"
    if value < 0:
        return "all pairs drawn; negative: noise exceeds it, more pairs or larger batches may help"
    return "all pairs drawn"


def _check(config: NoiseScale, num_examples: int) -> None:
    small, large = config.small_batch_size, config.large_batch_size
    works = large if 2 <= large <= num_examples else max(num_examples // 2, 2)
    example = f"for example small_batch_size {max(works // 16, 1)} and large_batch_size {works}"
    if large > num_examples:
        raise ValueError(
            f"noise-scale.large_batch_size is {large}; it must be at most the {num_examples} "
            f"examples that batches are drawn from, {example}"
        )
    if small >= large:
        raise ValueError(
            f"noise-scale.small_batch_size is {small}; it must be smaller than "
            f"large_batch_size {large}, {example}"
        )
