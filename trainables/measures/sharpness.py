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

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from scipy.optimize import Bounds, minimize
from torch import Tensor

from trainables.batching import derive_seed
from trainables.config import Sharpness
from trainables.measures.objective import MeasureValue, Objective

PAPER_ITERATIONS = 10
SCALE = 1e3
"""What f is multiplied by in the second L-BFGS-B run: its first step is at most |gradient| long,
which at a flat minimum never leaves the middle of the box (1e2-1e3 repaired it there)."""
VERTEX_STEPS = 16
"""Steps of the vertex iteration: it rests at 4-7 and then climbs again (measured)."""
RANDOM_STARTS = 2
BLOCK_ROWS = 8192
STORE_BYTES = 5 * 2**28
"""A subspace up to this size is kept (100 columns in float32: 3.3 M parameters); a larger one is
drawn again at every use, about ten times the time of its two products."""

Evaluate = Callable[[Tensor], tuple[float, Tensor]]


@dataclass(frozen=True, kw_only=True)
class Run:
    """What one maximizer from one start came to."""

    label: str
    returned: float
    """The loss at the point it returned."""
    largest: float
    """The largest loss it evaluated."""
    evaluations: int
    iterations: int
    stop_reason: str


def measure(objective: Objective, config: Sharpness, seed: int) -> list[MeasureValue]:
    """phi around the objective's start, as the paper computes it and as high as was found.

    Args:
        objective: The training loss; the box is centred at `objective.start`.
        config: Size of the box, and dimension of the subspace or None for the full space.
        seed: The trial's; the subspace and the random starts come from streams of their own.

    Returns:
        Two rows: `paper`, the value SciPy returns after 10 iterations, and `best`, the largest of
        all values evaluated, with all passes counted; its `iterations` and `stop_reason` are those
        of the method and start that found it.

    Raises:
        ValueError: A setting cannot be met, or the loss is not finite.
    """
    _check(config, objective.start.numel())
    evaluations_before = objective.evaluations
    evaluate, half_widths = _on_box(objective, config, seed)
    zero = torch.zeros_like(half_widths)
    first = evaluate(zero)
    paper = l_bfgs_b(evaluate, half_widths, first)
    runs = [
        paper,
        l_bfgs_b(evaluate, half_widths, first, scale=SCALE),
        vertex_iteration(evaluate, half_widths, zero, "zero", first=first),
    ]
    for number, vertex in enumerate(random_vertices(half_widths, seed), start=1):
        label = f"random vertex {number}"
        runs.append(vertex_iteration(evaluate, half_widths, vertex, label))
    best = max(runs, key=lambda run: run.largest)
    passes = objective.evaluations - evaluations_before
    return [
        _row("paper", paper.returned, first[0], paper, paper.evaluations),
        _row("best", best.largest, first[0], best, passes),
    ]


def phi(largest_loss: float, start_loss: float) -> float:
    """100 (f_max - f_0) / (1 + f_0): the rise of the loss in percent of 1 + loss."""
    return 100 * (largest_loss - start_loss) / (1 + start_loss)


def box(coordinates: Tensor, sharpness_epsilon: float) -> Tensor:
    """Half-widths eps (|c_i| + 1) of the box around the origin, for c = A+ x. [p] -> [p]."""
    return sharpness_epsilon * (coordinates.abs() + 1)


def l_bfgs_b(
    evaluate: Evaluate, half_widths: Tensor, first: tuple[float, Tensor], scale: float = 1.0
) -> Run:
    """10 iterations of SciPy's L-BFGS-B on -scale f from z = 0, without tolerances.

    SciPy's default tolerances stop at a converged network before the first step, at sharpness 0.

    Args:
        evaluate: f and its gradient in z. z: [p].
        half_widths: Of the box, [p].
        first: f and gradient at z = 0, known already.
        scale: Makes the first step longer; f is reported without it.
    """
    largest = first[0]

    def negated(z: npt.NDArray[np.float64]) -> tuple[float, npt.NDArray[np.float64]]:
        nonlocal largest
        loss, gradient = evaluate(torch.from_numpy(z)) if z.any() else first
        largest = max(largest, loss)
        return -scale * loss, gradient.double().cpu().numpy() * -scale

    half = half_widths.double().cpu().numpy()
    result = minimize(
        negated,
        np.zeros_like(half),
        jac=True,
        method="L-BFGS-B",
        bounds=Bounds(-half, half),
        options={"maxiter": PAPER_ITERATIONS, "ftol": 0.0, "gtol": 0.0},
    )
    return Run(
        label="L-BFGS-B" if scale == 1 else f"L-BFGS-B on {scale:g} f",
        returned=-float(result.fun) / scale,
        largest=largest,
        evaluations=int(result.nfev),
        iterations=int(result.nit),
        stop_reason=str(result.message),
    )


def vertex_iteration(
    evaluate: Evaluate,
    half_widths: Tensor,
    z: Tensor,
    start: str,
    first: tuple[float, Tensor] | None = None,
    steps: int = VERTEX_STEPS,
) -> Run:
    """z <- half_widths * sign(gradient), the maximizer over the box of f linearized at z.

    No stopping on small changes: the values rest and climb again. A vertex that maps to itself
    ends it, since nothing can change any more.

    Args:
        evaluate: f and its gradient in z. z: [p].
        half_widths: Of the box, [p].
        z: The start, [p].
        start: Its name.
        first: f and gradient there, if known.
        steps: At most.
    """
    loss, gradient = first or evaluate(z)
    largest, taken = loss, 0
    while taken < steps:
        vertex = half_widths * gradient.sign()
        if torch.equal(vertex, z):
            break
        z, taken = vertex, taken + 1
        loss, gradient = evaluate(z)
        largest = max(largest, loss)
    return Run(
        label=f"vertex iteration from {start}",
        returned=loss,
        largest=largest,
        evaluations=taken + 1,
        iterations=taken,
        stop_reason="all steps taken" if taken == steps else "fixed point",
    )


def random_vertices(half_widths: Tensor, seed: int) -> list[Tensor]:
    """Corners of the box drawn uniformly, [p] each; the same on every device."""
    vertices = []
    for number in range(RANDOM_STARTS):
        generator = torch.Generator().manual_seed(derive_seed(seed, "random vertex", number))
        signs = torch.randint(2, half_widths.shape, generator=generator) * 2 - 1
        vertices.append(half_widths * signs.to(half_widths))
    return vertices


class RandomSubspace:
    """A in R^{n x p} with N(0, 1) entries, not normalized: x + A z is what is searched.

    A is drawn on the CPU in float32, in blocks of 8192 whole rows from one generator, so that it
    depends on seed, n and p only. Up to 1.25 GiB it is kept in x's type on x's device; beyond,
    each product draws it again, block by block.
    """

    def __init__(self, x: Tensor, subspace_dim: int, seed: int) -> None:
        """Fix A for x: [n]; memory up to 1.25 GiB."""
        self._x = x
        self._dim = subspace_dim
        self._seed = derive_seed(seed, "subspace", subspace_dim)
        stored = x.numel() * subspace_dim * x.element_size() <= STORE_BYTES
        self._kept = list(self._draw()) if stored else None

    def push(self, z: Tensor) -> Tensor:
        """A z, [p] -> [n]."""
        return torch.cat([block @ z for block in self._blocks()])

    def pull(self, gradient: Tensor) -> Tensor:
        """A^T g, [n] -> [p]: the gradient in z."""
        result = torch.zeros(self._dim, dtype=torch.float64, device=gradient.device)
        parts = gradient.split(BLOCK_ROWS)
        for block, part in zip(self._blocks(), parts, strict=True):
            result += part @ block
        return result.to(gradient)

    def coordinates(self) -> Tensor:
        """A+ x, [p], in float64 by a QR factorization taken block by block.

        The triangular factor of [A x] holds that of A and, in its last column, Q^T x.
        """
        factor = torch.zeros(0, self._dim + 1, dtype=torch.float64, device=self._x.device)
        parts = self._x.split(BLOCK_ROWS)
        for block, part in zip(self._blocks(), parts, strict=True):
            rows = torch.cat([block, part[:, None]], dim=1).double()
            factor = torch.linalg.qr(torch.cat([factor, rows]), mode="r").R
        triangle, projected = factor[: self._dim, :-1], factor[: self._dim, -1:]
        solution: Tensor = torch.linalg.solve_triangular(triangle, projected, upper=True)
        return solution[:, 0]

    def _blocks(self) -> Iterator[Tensor]:
        return self._draw() if self._kept is None else iter(self._kept)

    def _draw(self) -> Iterator[Tensor]:
        generator = torch.Generator().manual_seed(self._seed)
        for part in self._x.split(BLOCK_ROWS):
            yield torch.randn(len(part), self._dim, generator=generator).to(self._x)


def _on_box(objective: Objective, config: Sharpness, seed: int) -> tuple[Evaluate, Tensor]:
    """f as a function of z, with gradient, and the box's half-widths, in x's type."""
    x = objective.start

    def at(point: Tensor) -> tuple[float, Tensor]:
        loss, gradient = objective.value_and_gradient(point)
        if not math.isfinite(loss):
            raise ValueError(
                f"sharpness: the loss in the box is {loss}; a diverged network has no sharpness, "
                "and a network this close to it needs a smaller sharpness_epsilon"
            )
        return loss, gradient

    if config.subspace_dim is None:
        return lambda z: at(x + z.to(x)), box(x, config.sharpness_epsilon)
    subspace = RandomSubspace(x, config.subspace_dim, seed)
    half_widths = box(subspace.coordinates(), config.sharpness_epsilon).to(x)

    def evaluate(z: Tensor) -> tuple[float, Tensor]:
        loss, gradient = at(x + subspace.push(z.to(x)))
        return loss, subspace.pull(gradient)

    return evaluate, half_widths


def _row(
    method: str, largest: float, start_loss: float, run: Run, evaluations: int
) -> MeasureValue:
    return MeasureValue(
        quantity="sharpness",
        method=method,
        value=phi(largest, start_loss),
        evaluations=evaluations,
        iterations=run.iterations,
        stop_reason=f"{run.label}: {run.stop_reason}",
        start_loss=start_loss,
    )


def _check(config: Sharpness, num_parameters: int) -> None:
    if not config.sharpness_epsilon > 0:
        raise ValueError(
            f"sharpness.sharpness_epsilon is {config.sharpness_epsilon}; the box needs a positive "
            "size, for example 1e-3"
        )
    if config.subspace_dim is not None and not 1 <= config.subspace_dim <= num_parameters:
        raise ValueError(
            f"sharpness.subspace_dim is {config.subspace_dim}; it must lie between 1 and the "
            f"network's {num_parameters} parameters, for example 100, or null for the full space"
        )
