"""Batch sharpness: the curvature of a batch's loss along that batch's own gradient.

Andreyev & Beneventano 2024 (arXiv 2412.20553), definition 3: with g_B and H_B the gradient and the
Hessian of the mean loss over a batch B,

    E_B [ g_B^T H_B g_B / |g_B|^2 ]

is what settles at 2 / lr under mini-batch SGD; the top eigenvalue of the full Hessian stays below,
lower for smaller batches. With momentum m it settles between 2 (1 - m) / lr (small batches) and
2 (1 + m) / lr (large ones; arXiv 2604.14108). Two numbers are given: `mean of ratios`, the
definition, and `ratio of means`, E_B [g_B^T H_B g_B] / E_B |g_B|^2, which batches with small
gradients do not decide. Over one batch that holds all examples both are the curvature of the loss
along its gradient, at most the top eigenvalue.

Departures: normalization has its final statistics, as in all measures here, whereas in training
each batch has its own; the paper's networks have no normalization. Dropout, augmentation,
selection and weight decay are left out.
"""

from __future__ import annotations

import numpy as np
import torch

from trainables.config.measures.batch_sharpness import BatchSharpness
from trainables.draws import derive_seed
from trainables.measures.jackknife import Array, jackknife
from trainables.measures.objective import MeasureValue, Objective

METHODS = ("mean of ratios", "ratio of means")


def measure(objective: Objective, config: BatchSharpness, seed: int) -> list[MeasureValue]:
    """Batch sharpness at the objective's start, by both averages, with jackknife standard errors.

    Args:
        objective: The training loss; batches are drawn from its examples.
        config: How many batches, and how large; the size must be given here.
        seed: The trial's; every batch is drawn from a stream of its own.

    Returns:
        Rows `batch_sharpness` by `mean of ratios` and by `ratio of means`.

    Raises:
        ValueError: A setting cannot be met, or a batch's gradient is zero or not finite.
    """
    size = _checked_size(config, objective.num_examples)
    start_loss = objective.value(objective.start)
    drawn = curvatures(objective, size, config.batches, seed)
    if not np.isfinite(drawn).all():
        raise ValueError(
            f"batch-sharpness: the loss is {start_loss}, and a batch's gradient is zero or not "
            "finite, so that it has no direction"
        )
    values, errors = of_means(drawn.mean(axis=0)), jackknife(drawn, of_means)
    return [
        MeasureValue(
            quantity="batch_sharpness",
            method=method,
            value=float(value),
            evaluations=2 * config.batches,
            iterations=config.batches,
            stop_reason=f"{config.batches} batches of {size} drawn",
            start_loss=start_loss,
            standard_error=float(error),
        )
        for method, value, error in zip(METHODS, values, errors, strict=True)
    ]


def curvatures(objective: Objective, size: int, batches: int, seed: int) -> Array:
    """g^T H g / |g|^2, g^T H g and |g|^2 of random batches, [batches, 3].

    Each is drawn without replacement from all examples; the same on every device.
    """
    found = np.empty((batches, 3))
    for i in range(batches):
        generator = torch.Generator().manual_seed(derive_seed(seed, "batch-sharpness", i))
        batch = objective.over(torch.randperm(objective.num_examples, generator=generator)[:size])
        _, gradient = batch.value_and_gradient(objective.start)
        # |g|^2 can be below float32's range: hence float64, and unit vectors.
        length = torch.linalg.vector_norm(gradient, dtype=torch.float64)
        direction = gradient / length
        (product,) = batch.hessian_vector_products(objective.start)(direction[None])
        ratio = float((direction * product).sum(dtype=torch.float64))
        squared = float(length) ** 2
        found[i] = ratio, ratio * squared, squared
    return found


def of_means(means: Array) -> Array:
    """The two averages from the means of `curvatures`. [..., 3] -> [..., 2]."""
    return np.stack([means[..., 0], means[..., 1] / means[..., 2]], axis=-1)


def _checked_size(config: BatchSharpness, num_examples: int) -> int:
    size = config.batch_size
    if size is None or size > num_examples:
        raise ValueError(
            f"batch-sharpness.batch_size is {size}; it must lie between 1 and the {num_examples} "
            f"examples that batches are drawn from, for example {min(256, num_examples)}"
        )
    return size
