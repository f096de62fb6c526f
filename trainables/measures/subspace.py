"""A random subspace of the weights, for sharpness in fewer dimensions (Keskar et al. 2017)."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from trainables.draws import derive_seed

BLOCK_ROWS = 8192
STORE_BYTES = 5 * 2**28
"""A subspace up to this size is kept (100 columns in float32: 3.3 M parameters); a larger one is
drawn again at every use, about ten times the time of its two products."""


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
