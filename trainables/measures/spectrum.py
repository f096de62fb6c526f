"""Eigenvalue density of the Hessian of the training loss, by stochastic Lanczos quadrature.

Ghorbani, Krishnan & Xiao 2019 (arXiv 1901.10159), Papyan 2020 (JMLR 21), after Golub & Welsch and
Lin, Saad & Yang 2016. m Lanczos steps from a unit vector v give a tridiagonal T whose eigenvalues
theta_i (Ritz values) and squared first components w_i of whose eigenvectors are Gauss's quadrature:

    v^T p(H) v = sum_i w_i p(theta_i)     for every polynomial p of degree 2 m - 1 at most

Over random v, E v^T p(H) v = tr p(H) / n, the mean of p over the eigenvalues. With a Gaussian for p
the density at t is estimated by the mean over vectors of

    sum_i w_i N(t; theta_i, sigma^2),     sigma = (theta_max - theta_min) / ((m - 1) sqrt(8 ln 3))

(Papyan's width with kappa = 3: halfway between two Ritz values, were they spread evenly over the
range, a bump has fallen to a third). Departures: signs instead of Gaussian vectors, whose length is
exact, so that E v v^T = I / n still holds after normalization; the range is that of all Ritz values
found, which needs no run of its own; the margin is 5 sigma.
"""

from __future__ import annotations

import math
from itertools import islice

import numpy as np
import torch
from scipy.linalg import eigh_tridiagonal
from scipy.stats import norm

from trainables.config.measures.spectrum import Spectrum
from trainables.draws import derive_seed
from trainables.measures.hessian import Products, tridiagonals
from trainables.measures.jackknife import Array, jackknife
from trainables.measures.objective import CurvePoint, Found, MeasureValue, Objective

KAPPA = 3.0
"""Of the width of the bumps, from Papyan 2020, section D.2."""
GRID_POINTS_PER_SIGMA = 2
"""Fine enough for the trapezoidal rule to integrate a Gaussian to nine digits."""
MARGIN_SIGMAS = 5
SMALLEST_WIDTH = 1e-6
"""Of a bump, relative to the largest |theta|: where all Ritz values are one."""

MEANS: tuple[str, ...] = (
    "hessian_mean_eigenvalue",
    "hessian_mean_square_eigenvalue",
    "hessian_negative_share",
    "hessian_curved_share",
)


def measure(objective: Objective, config: Spectrum, seed: int) -> Found:
    """The spectral density at the objective's start, and what can be said of it in numbers.

    Args:
        objective: The training loss; its Hessian is taken at `objective.start`.
        config: Lanczos steps per vector, and how many vectors.
        seed: The trial's; every vector comes from a stream of its own.

    Returns:
        Rows by `stochastic-lanczos`: `hessian_mean_eigenvalue` tr(H) / n,
        `hessian_mean_square_eigenvalue` tr(H^2) / n, `hessian_negative_share` and
        `hessian_curved_share` (see `of_moments`), `largest_ritz_value` and `smallest_ritz_value`,
        which lie inside the spectrum. Curve points: `spectral_density` at x, with its standard
        error over vectors, and the quadrature itself, `spectral_weight` at the Ritz value x of
        vector `index`, from which any other width can be drawn.

    Raises:
        ValueError: A setting cannot be met, or the loss is not finite.
    """
    x, steps = objective.start, config.lanczos_steps
    _check(config, x.numel())
    start_loss = objective.value(x)
    if not math.isfinite(start_loss):
        raise ValueError(f"spectrum: the loss is {start_loss}; a diverged network has no Hessian")
    products = objective.hessian_vector_products(x)
    nodes, weights = np.empty((2, config.vectors, steps))
    for i in range(config.vectors):
        generator = torch.Generator().manual_seed(derive_seed(seed, "spectrum", i))
        signs = torch.randint(2, x.shape, generator=generator, dtype=torch.int8).to(x) * 2 - 1
        nodes[i], weights[i] = quadrature(products, signs, steps)

    def row(quantity: str, value: float, error: float | None = None) -> MeasureValue:
        return MeasureValue(
            quantity=quantity,
            method="stochastic-lanczos",
            value=float(value),
            evaluations=config.vectors * steps,
            iterations=steps,
            stop_reason=f"{config.vectors} vectors, all steps taken",
            start_loss=start_loss,
            standard_error=error,
        )

    drawn = moments(nodes, weights)
    values = of_moments(drawn.mean(axis=0))
    several = config.vectors > 1
    errors = jackknife(drawn, of_moments).tolist() if several else [None] * len(MEANS)
    return [
        *(row(*parts) for parts in zip(MEANS, values, errors, strict=True)),
        row("largest_ritz_value", nodes.max()),
        row("smallest_ritz_value", nodes.min()),
        *_density_points(nodes, weights),
        *(
            CurvePoint(quantity="spectral_weight", x=theta, value=weight, index=i)
            for i in range(config.vectors)
            for theta, weight in zip(nodes[i].tolist(), weights[i].tolist(), strict=True)
        ),
    ]


def quadrature(products: Products, start: torch.Tensor, steps: int) -> tuple[Array, Array]:
    """Ritz values, ascending, and their weights, which add up to 1. [n] -> [steps] each.

    Args:
        products: V [k, n] -> V H [k, n].
        start: [n], any length.
        steps: Of Lanczos, at most n.
    """
    *_, found = islice(tridiagonals(products, start), steps)
    ritz, vectors = eigh_tridiagonal(found.diagonal, found.off_diagonal)
    return ritz, vectors[0] ** 2


def moments(nodes: Array, weights: Array) -> Array:
    """Means of lambda, lambda^2, |lambda| and the negative part of |lambda|. [..., m] -> [..., 4].

    The first two are exact for their vector; the others, no polynomials, are approximate.
    """
    parts = [nodes, nodes**2, np.abs(nodes), np.maximum(-nodes, 0)]
    return np.stack([(weights * part).sum(axis=-1) for part in parts], axis=-1)


def of_moments(means: Array) -> Array:
    """Mean eigenvalue, mean square, negative share, curved share. [..., 4] -> [..., 4].

    Negative share: the part of sum |lambda| that negative eigenvalues have. Their mere number
    says nothing, since most eigenvalues are 0 but for rounding. Curved share: (sum |lambda|)^2 /
    (n sum lambda^2), the part of all directions that carries the curvature, 1 if all alike, k / n
    if k alike and the others flat (participation ratio). Both are our choice; NaN where H is 0.
    """
    mean, square, absolute, negative = np.moveaxis(means, -1, 0)
    flat = square == 0
    share = np.divide(negative, absolute, out=np.full_like(mean, np.nan), where=~flat)
    curved = np.divide(absolute**2, square, out=np.full_like(mean, np.nan), where=~flat)
    return np.stack([mean, square, share, curved], axis=-1)


def density(nodes: Array, weights: Array) -> tuple[Array, Array]:
    """The grid [g] and the density of every vector on it [vectors, g], which integrates to 1.

    The grid covers all Ritz values and 5 sigma on either side, two points per sigma.
    """
    low, high, steps = nodes.min(), nodes.max(), nodes.shape[1]
    sigma = (high - low) / ((steps - 1) * math.sqrt(8 * math.log(KAPPA)))
    sigma = max(sigma, SMALLEST_WIDTH * np.abs(nodes).max(), np.finfo(np.float32).tiny)
    low, high = low - MARGIN_SIGMAS * sigma, high + MARGIN_SIGMAS * sigma
    grid = np.linspace(low, high, math.ceil(GRID_POINTS_PER_SIGMA * (high - low) / sigma) + 1)
    bumps = norm.pdf(grid, loc=nodes[..., None], scale=sigma)  # [vectors, m, g]
    return grid, (weights[..., None] * bumps).sum(axis=1)


def _density_points(nodes: Array, weights: Array) -> list[CurvePoint]:
    grid, densities = density(nodes, weights)
    count = len(densities)
    errors = densities.std(axis=0, ddof=1) / math.sqrt(count) if count > 1 else [None] * len(grid)
    return [
        CurvePoint(
            quantity="spectral_density",
            x=float(x),
            value=float(value),
            standard_error=None if error is None else float(error),
        )
        for x, value, error in zip(grid, densities.mean(axis=0), errors, strict=True)
    ]


def _check(config: Spectrum, num_parameters: int) -> None:
    if config.lanczos_steps > num_parameters:
        raise ValueError(
            f"spectrum.lanczos_steps is {config.lanczos_steps}; it must lie between 2 and the "
            f"network's {num_parameters} parameters, for example {min(40, num_parameters)}"
        )
