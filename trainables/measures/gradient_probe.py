"""Mean |g| of every layer against batch size, at fixed weights, and the law that it follows.

With g the gradient of a parameter tensor's d numbers over a batch of n, E|g| = 1/d sum_i |g_i|,
averaged over batches, falls as n^(-1/2) while the noise of single examples exceeds their mean, and
then levels off (Gao & Zhong 2020, arXiv 2012.08795, figure 3, have the first part only). Fitted is

    E|g| = sqrt(mu^2 + s^2 (1/n - 1/N))

over the N examples that batches are drawn from without replacement: mu is the mean |G_i| of the
gradient over all of them, reached at n = N, and s the noise of one example. n* = (s / mu)^2 is the
batch size at which both weigh alike, a noise scale of the layer by mean sizes instead of squares.

The form is exact for the root of a mean square; for the mean of absolute values it is an
approximation. How far it is off, at its worst size, stands in each row: mostly 1-11 %, and up to
19 % was seen. s is no standard deviation: Gaussian noise of standard deviation sigma has E|g| =
sqrt(2/pi) sigma / sqrt(n), so s = sqrt(2/pi) sigma. (The paper's equation 4 is sqrt(2) larger than
that.) Other departures: weights are frozen, and normalization uses final statistics, dropout is
off; the paper's gradients are those of training.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import torch
from scipy.optimize import nnls

from trainables.config.measures.gradient_probe import GradientProbe
from trainables.draws import derive_seed
from trainables.measures.layers import layer_tensors
from trainables.measures.objective import CurvePoint, Found, MeasureValue, Objective

QUANTITIES: tuple[str, ...] = ("gradient_mu", "gradient_s", "gradient_n_star")
"""What `fit` gives, in its order."""

Array = npt.NDArray[np.float64]


def measure(objective: Objective, config: GradientProbe, seed: int) -> Found:
    """Mean |g| of every layer at each batch size, and mu, s, n* of its law.

    Args:
        objective: The training loss, at the weights that are probed.
        config: The batch sizes, and how many batches to draw of each.
        seed: The trial's; every batch is drawn from a stream of its own.

    Returns:
        Points `mean_abs_gradient` at x = batch size, per layer, with the standard error of the
        mean over draws; rows `gradient_mu`, `gradient_s`, `gradient_n_star` per layer, with
        standard errors by the jackknife over draws. Where the fit finds no mu above 0, n* is
        infinite and has no error; `stop_reason` says so, and how far the fit is off.

    Raises:
        ValueError: A setting cannot be met, or the loss is not finite.
    """
    _check(config, objective.num_examples)
    start_loss = objective.value(objective.start)
    if not math.isfinite(start_loss):
        raise ValueError(f"gradient-probe: the loss is {start_loss}; a diverged network has no law")
    drawn = mean_abs_gradients(objective, config, seed)
    labels = [tensor.label for tensor in layer_tensors(objective.model)]
    sizes = np.array(config.batch_sizes, dtype=float)
    found: list[MeasureValue | CurvePoint] = []
    for layer, values in zip(labels, np.moveaxis(drawn, 2, 0), strict=True):
        found += _points(layer, sizes, values)
        found += _values(layer, sizes, values, objective.num_examples, start_loss)
    return found


def mean_abs_gradients(objective: Objective, config: GradientProbe, seed: int) -> Array:
    """Mean |g| per draw, batch size and tensor, [draws, sizes, tensors].

    Every batch is drawn from all examples, independently of all others; the same on every device.
    """
    numbers = [tensor.num_parameters for tensor in layer_tensors(objective.model)]
    found = np.empty((config.draws, len(config.batch_sizes), len(numbers)))
    for draw in range(config.draws):
        for column, size in enumerate(config.batch_sizes):
            key = derive_seed(seed, "gradient-probe", size, draw)
            generator = torch.Generator().manual_seed(key)
            batch = torch.randperm(objective.num_examples, generator=generator)[:size]
            gradient = objective.over(batch).value_and_gradient(objective.start)[1]
            parts = gradient.abs().split(numbers)
            means = torch.stack([part.mean(dtype=torch.float64) for part in parts])
            found[draw, column] = means.cpu().numpy()
    return found


def fit(sizes: Array, means: Array, num_examples: int) -> Array:
    """mu, s and n* of the law, [3], by least squares of the relative error of the squares.

    (mu^2 + s^2 (1/n - 1/N)) / y^2 = 1 is linear in mu^2 and s^2, neither of which may be negative.

    Args:
        sizes: n, [k].
        means: y, the mean |g| at each, [k].
        num_examples: N.
    """
    if not means.all():
        return np.array([0.0, 0.0, np.nan])  # no gradient, and no law
    inverse = 1 / sizes - 1 / num_examples
    # Both columns of about one size, so that neither is lost in the other's rounding.
    units = np.array([means.max() ** 2, means.max() ** 2 / inverse.max()])
    columns = np.stack([np.ones_like(sizes), inverse], axis=1) * units / means[:, None] ** 2
    solution, _ = nnls(columns, np.ones_like(sizes))
    mu, s = np.sqrt(solution * units)
    return np.array([mu, s, (s / mu) ** 2 if mu > 0 else np.inf])


def law(sizes: Array, mu: float, s: float, num_examples: int) -> Array:
    """sqrt(mu^2 + s^2 (1/n - 1/N)), [k]."""
    values: Array = np.sqrt(mu**2 + s**2 * (1 / sizes - 1 / num_examples))
    return values


def _points(layer: str, sizes: Array, values: Array) -> Iterator[CurvePoint]:
    errors = values.std(axis=0, ddof=1) / math.sqrt(len(values))
    for size, mean, error in zip(sizes, values.mean(axis=0), errors, strict=True):
        yield CurvePoint(
            quantity="mean_abs_gradient",
            x=float(size),
            value=float(mean),
            layer=layer,
            standard_error=float(error),
        )


def _values(
    layer: str, sizes: Array, values: Array, num_examples: int, start_loss: float
) -> Iterator[MeasureValue]:
    means, draws = values.mean(axis=0), len(values)
    found = fit(sizes, means, num_examples)
    without_one = [fit(sizes, (values.sum(axis=0) - v) / (draws - 1), num_examples) for v in values]
    with np.errstate(invalid="ignore"):  # an infinite n* has no spread
        errors = np.std(without_one, axis=0) * math.sqrt(draws - 1)
    remark = _remark(sizes, means, found, num_examples)
    for quantity, value, error in zip(QUANTITIES, found, errors, strict=True):
        yield MeasureValue(
            quantity=quantity,
            method="fit",
            value=float(value),
            evaluations=draws * len(sizes),
            iterations=draws,
            stop_reason=remark,
            start_loss=start_loss,
            standard_error=float(error) if math.isfinite(error) else None,
            layer=layer,
        )


def _remark(sizes: Array, means: Array, found: Array, num_examples: int) -> str:
    if not means.all():
        return "all batches drawn; a gradient is 0 throughout, so that there is no law"
    off = np.abs(law(sizes, found[0], found[1], num_examples) / means - 1).max()
    text = f"all batches drawn; the fit is off by {off:.1%} at most"
    return text if found[0] > 0 else text + "; mu is 0: noise exceeds it at all of these sizes"


def _check(config: GradientProbe, num_examples: int) -> None:
    sizes = config.batch_sizes
    if len(sizes) < 2 or len(set(sizes)) < len(sizes):
        raise ValueError(
            f"gradient-probe.batch_sizes is {list(sizes)}; a law of two parameters takes two or "
            "more different sizes, for example [32, 256]"
        )
    if max(sizes) > num_examples:
        raise ValueError(
            f"gradient-probe.batch_sizes holds {max(sizes)}; it must be at most the {num_examples} "
            f"examples that batches are drawn from, for example {num_examples}"
        )
