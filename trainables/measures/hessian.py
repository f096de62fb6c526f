"""Extreme eigenvalues and trace of the Hessian of the training loss.

Top eigenvalues and the most negative one come from Lanczos' iteration with full
re-orthogonalization (Golub & Van Loan, Matrix Computations, section 10.3), the trace from
Hutchinson's estimator (1990). Both touch the Hessian through products with vectors only.

Where it is asked for, the variance of an example's gradient along the top eigenvector u,

    sigma_u^2 = 1/N sum_i (u' (g_i - g))^2,    g = 1/N sum_i g_i.

The mean gradient of a batch of b drawn from the N without replacement has the variance
sigma_u^2 / b (N - b) / (N - 1) along u: the noise by which Liao, Kolomvaki & Kyrillidis 2026
(arXiv 2604.21016) explain how far the top eigenvalue stays below 2 / lr under SGD. Theirs is that
of a batch, ours that of an example, so that batch sizes are told apart by the solutions alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import numpy.typing as npt
import torch
from scipy.linalg import eigh_tridiagonal
from torch import Tensor

from trainables.config.measures.hessian import Hessian
from trainables.draws import derive_seed
from trainables.measures.objective import MeasureValue, Objective

TOP_TOLERANCE = 1e-4
"""Relative error at which a top eigenvalue counts as found."""
BOTTOM_TOLERANCE = 0.1
"""The same for the most negative eigenvalue, the edge of a dense bulk: it takes three to five
times the steps of the top ones even so (measured on the MNIST MLP at batch 32 and 1000)."""
FEWEST_MAX_STEPS = 100
VECTORS_AT_ONCE = 8
"""Hutchinson's vectors per product: bounds memory, and shares what is built per product."""

Array = npt.NDArray[np.float64]
Products = Callable[[Tensor], Tensor]


@dataclass(frozen=True, kw_only=True)
class Extremes:
    """Outermost Ritz values of a Lanczos run, outermost first, with estimates of their error."""

    top: Array
    top_errors: Array
    bottom: float
    bottom_error: float
    steps: int
    converged: bool
    basis: Sequence[Tensor]
    top_in_basis: Array
    """The largest one's Ritz vector."""

    @property
    def top_vector(self) -> Tensor:
        """The largest one's Ritz vector, [n], of length 1."""
        vector = torch.zeros_like(self.basis[0])
        for share, direction in zip(self.top_in_basis, self.basis, strict=True):
            vector += float(share) * direction
        vector /= vector.norm()
        return vector


@dataclass(frozen=True, kw_only=True)
class Tridiagonal:
    """T after some Lanczos steps, on the basis Q: lists that the next step lengthens."""

    diagonal: list[float]
    off_diagonal: list[float]
    beta: float
    """The length of what is left of the last product."""
    basis: list[Tensor]


def measure(objective: Objective, config: Hessian, seed: int) -> list[MeasureValue]:
    """Top `eigenvalues`, the most negative one, and the trace, at the objective's start.

    Args:
        objective: The training loss; its Hessian is taken at `objective.start`.
        config: How many top eigenvalues, whether the bottom one too, vectors for the trace.
        seed: The trial's; start and trace vectors come from streams of their own.

    Returns:
        Rows `hessian_top_eigenvalue` (index 0 is the largest, algebraically),
        `hessian_bottom_eigenvalue` if wanted (the smallest: positive if there is no negative one),
        both by `lanczos`, `hessian_trace` by `hutchinson` with its standard error, and
        `top_gradient_variance`, sigma_u^2 above, if wanted.

    Raises:
        ValueError: A setting cannot be met, or the loss is not finite.
    """
    x = objective.start
    _check(config, x.numel())
    start_loss = objective.value(x)
    if not math.isfinite(start_loss):
        raise ValueError(f"hessian: the loss is {start_loss}; a diverged network has no Hessian")
    products = objective.hessian_vector_products(x)
    extremes = lanczos(
        products, draw_start(x, seed), eigenvalues=config.eigenvalues, bottom=config.bottom
    )
    trace, standard_error = hutchinson(products, x, samples=config.trace_samples, seed=seed)
    rows = _eigenvalue_rows(extremes, start_loss, config.bottom)
    if config.gradient_variance:
        rows.append(_variance_row(objective, extremes.top_vector, start_loss))
    return [
        *rows,
        MeasureValue(
            quantity="hessian_trace",
            method="hutchinson",
            value=trace,
            evaluations=config.trace_samples,
            iterations=config.trace_samples,
            stop_reason="all samples drawn",
            start_loss=start_loss,
            standard_error=standard_error,
        ),
    ]


def draw_start(x: Tensor, seed: int) -> Tensor:
    """Lanczos' start, a random direction like x: the same on every device."""
    generator = torch.Generator().manual_seed(derive_seed(seed, "lanczos"))
    return torch.randn(x.numel(), generator=generator, dtype=torch.float64).to(x)


def lanczos(
    products: Products,
    start: Tensor,
    *,
    eigenvalues: int,
    bottom: bool = True,
    max_steps: int | None = None,
) -> Extremes:
    """Extreme eigenvalues of a symmetric H from products with it.

    After m steps H Q = Q T + beta_m q_{m+1} e_m^T, T tridiagonal. A Ritz pair (theta, s) of T
    has the residual r = beta_m |s_m|; some eigenvalue lies within r of theta, and within r^2 / gap
    if gap is the distance to the rest of the spectrum, taken here from the other Ritz values.
    Steps are taken until r^2 / gap and the last step's change are both at most 1e-4 |theta| for
    each top eigenvalue (no finer than 1e-6 of the largest), and r <= 0.1 |theta| for the bottom
    one (or 1e-4 of the largest). The estimates are good, not certain: two eigenvalues closer to
    each other than their wanted digits may be taken for one.
    The basis is kept, n values per step. An eigenvalue that occurs several times is found once.

    Args:
        products: V [k, n] -> V H [k, n].
        start: [n], any length; its type and device are used throughout.
        eigenvalues: How many of the algebraically largest, at most n.
        bottom: Whether to wait for the bottom eigenvalue too.
        max_steps: Default 100, or ten per eigenvalue if that is more; never above n.
    """
    limit = min(max_steps or max(FEWEST_MAX_STEPS, 10 * eigenvalues), start.numel())
    previous_top = np.full(eigenvalues, np.inf)
    for found in islice(tridiagonals(products, start), limit):
        extremes = _extremes(found, previous_top, bottom)
        if extremes.converged:
            break
        if extremes.steps >= eigenvalues:
            previous_top = extremes.top
    return extremes


def tridiagonals(products: Products, start: Tensor) -> Iterator[Tridiagonal]:
    """T after every Lanczos step, without end.

    The basis is orthogonalized in full against all its vectors, twice, and kept: n values per step.

    Args:
        products: V [k, n] -> V H [k, n].
        start: [n], any length; its type and device are used throughout.
    """
    diagonal: list[float] = []
    off_diagonal: list[float] = []
    basis = [start / start.norm()]
    while True:
        (residual,) = products(basis[-1][None])
        diagonal.append(_dot(residual, basis[-1]))
        beta = _orthogonalize(residual, basis)
        yield Tridiagonal(diagonal=diagonal, off_diagonal=off_diagonal, beta=beta, basis=basis)
        if beta <= torch.finfo(start.dtype).eps * max(map(abs, diagonal)):
            residual, beta = _fresh_direction(basis), 0.0
        off_diagonal.append(beta)
        basis.append(residual / residual.norm())


def hutchinson(products: Products, x: Tensor, *, samples: int, seed: int) -> tuple[float, float]:
    """Trace of H as the mean of v^T H v over Rademacher v, with the mean's standard error.

    Unbiased; one sample has the variance 2 sum_{i != j} H_ij^2.

    Args:
        products: V [k, n] -> V H [k, n].
        x: [n], for size, type and device.
        samples: Vectors, at least 2.
        seed: The trial's.
    """
    generator = torch.Generator().manual_seed(derive_seed(seed, "hutchinson"))
    values: list[float] = []
    while len(values) < samples:
        shape = (min(VECTORS_AT_ONCE, samples - len(values)), x.numel())
        signs = torch.randint(2, shape, generator=generator, dtype=torch.int8).to(x) * 2 - 1
        values += (signs * products(signs)).sum(dim=1, dtype=torch.float64).tolist()
    return float(np.mean(values)), float(np.std(values, ddof=1) / math.sqrt(samples))


def _extremes(found: Tridiagonal, previous_top: Array, bottom: bool) -> Extremes:
    ritz, vectors = eigh_tridiagonal(found.diagonal, found.off_diagonal)
    residuals = found.beta * np.abs(vectors[-1])
    scale = np.abs(ritz).max()
    # min(r, r^2 / gap); the smallest float only keeps 0 / 0 away
    errors = residuals**2 / np.maximum(np.maximum(_gaps(ritz), residuals), np.finfo(float).tiny)
    top, top_errors = (part[::-1][: len(previous_top)] for part in (ritz, errors))
    allowed = TOP_TOLERANCE * np.maximum(np.abs(top), 1e-2 * scale)
    moved = np.abs(previous_top - top) if len(top) == len(previous_top) else np.inf
    top_found = bool((np.maximum(top_errors, moved) <= allowed).all())
    bottom_error = float(residuals[0])  # r^2 / gap is too hopeful at the edge of a dense bulk
    bottom_found = bottom_error <= max(BOTTOM_TOLERANCE * abs(ritz[0]), TOP_TOLERANCE * scale)
    return Extremes(
        top=top,
        top_errors=top_errors,
        bottom=float(ritz[0]),
        bottom_error=bottom_error,
        steps=len(ritz),
        converged=top_found and (bottom_found or not bottom),
        basis=found.basis,
        top_in_basis=vectors[:, -1],
    )


def _gaps(ritz: Array) -> Array:
    """Distance from each value, ascending, to its nearest neighbour; 0 for a lone one."""
    if len(ritz) == 1:
        return np.zeros(1)
    distances = np.concatenate([[np.inf], np.diff(ritz), [np.inf]])
    gaps: Array = np.minimum(distances[:-1], distances[1:])
    return gaps


def _dot(a: Tensor, b: Tensor) -> float:
    return float((a * b).sum(dtype=torch.float64))


def _orthogonalize(vector: Tensor, basis: list[Tensor]) -> float:
    """Remove the basis from `vector` in place, twice (once is not enough); its length then."""
    for _ in range(2):
        for direction in basis:
            vector -= torch.dot(vector, direction) * direction
    return float(torch.linalg.vector_norm(vector, dtype=torch.float64))


def _fresh_direction(basis: list[Tensor]) -> Tensor:
    """A direction outside an invariant subspace that came before all was found."""
    generator = torch.Generator().manual_seed(len(basis))
    vector = torch.randn(basis[0].numel(), generator=generator, dtype=torch.float64).to(basis[0])
    _orthogonalize(vector, basis)
    return vector


def _variance_row(objective: Objective, vector: Tensor, start_loss: float) -> MeasureValue:
    slopes = objective.directional_derivatives(objective.start, vector)
    return MeasureValue(
        quantity="top_gradient_variance",
        method="all examples",
        value=float(slopes.var(correction=0)),
        evaluations=1,
        iterations=1,
        stop_reason=f"{len(slopes)} examples",
        start_loss=start_loss,
    )


def _eigenvalue_rows(extremes: Extremes, start_loss: float, bottom: bool) -> list[MeasureValue]:
    def row(quantity: str, value: float, error: float, index: int = 0) -> MeasureValue:
        unfinished = f"most steps taken, error about {error:.1e}"
        return MeasureValue(
            quantity=quantity,
            method="lanczos",
            value=float(value),
            evaluations=extremes.steps,
            iterations=extremes.steps,
            stop_reason="converged" if extremes.converged else unfinished,
            start_loss=start_loss,
            index=index,
        )

    pairs = zip(extremes.top, extremes.top_errors, strict=True)
    rows = [
        row("hessian_top_eigenvalue", value, error, i) for i, (value, error) in enumerate(pairs)
    ]
    if bottom:
        rows.append(row("hessian_bottom_eigenvalue", extremes.bottom, extremes.bottom_error))
    return rows


def _check(config: Hessian, num_parameters: int) -> None:
    if config.eigenvalues > num_parameters:
        raise ValueError(
            f"hessian.eigenvalues is {config.eigenvalues}; it must lie between 1 and the "
            f"network's {num_parameters} parameters, for example 1"
        )
