"""Curvature radii against the explicit Hessian of 30 parameters."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from trainables.measures.curvature import curvature_radii, hessian_diagonal, radius
from trainables.measures.objective import Objective

SIZES = (12, 3, 9, 3, 9, 3)


def objective() -> Objective:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layers = [nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 3), nn.Tanh(), nn.Linear(3, 3)]
        model = nn.Sequential(*layers).double().eval()
        return Objective(model, torch.randn(20, 4).double(), torch.randint(3, (20,)))


def explicit_hessian(f: Objective) -> Tensor:
    return f.hessian_vector_products(f.start)(torch.eye(f.start.numel(), dtype=torch.float64))


def test_all_vectors_of_a_small_space_give_the_diagonal_exactly():
    """Over all sign vectors the terms off the diagonal cancel."""
    hessian = torch.tensor([[2.0, 1.0, -3.0], [1.0, -1.0, 0.5], [-3.0, 0.5, 0.0]]).double()
    signs = torch.cartesian_prod(*[torch.tensor([-1.0, 1.0], dtype=torch.float64)] * 3)
    mean = (signs * (signs @ hessian)).mean(dim=0)
    torch.testing.assert_close(mean, hessian.diagonal())


def test_a_diagonal_hessian_takes_one_vector():
    d = torch.tensor([3.0, -2.0, 0.0, 1e-3])
    found = hessian_diagonal(lambda v: v * d, torch.zeros(4), samples=1, seed=3)
    assert found.tolist() == pytest.approx([3.0, -2.0, 0.0, 1e-3])
    assert found.dtype == torch.float64


def test_the_estimate_converges_to_the_explicit_diagonal_at_its_rate():
    f = objective()
    hessian = explicit_hessian(f)
    products = f.hessian_vector_products(f.start)
    off_diagonal = hessian - torch.diag(hessian.diagonal())
    for samples in (50, 800):
        found = hessian_diagonal(products, f.start, samples, seed=1)
        allowed = (off_diagonal.square().sum(dim=1) / samples).sqrt()
        z = ((found - hessian.diagonal()) / allowed).numpy()
        assert np.abs(z).max() < 4 and 0.6 < z.std() < 1.5


def test_radii_by_hand():
    found = radius(torch.tensor([0.0, 1.0, 2.0]), torch.tensor([2.0, -1.0, 0.0]))
    assert found.tolist() == pytest.approx([0.5, 2**1.5, math.inf])


def test_radii_of_tensors_with_the_exact_diagonal(monkeypatch):
    """With the exact diagonal for the estimate, mean and median are those of the formula."""
    f = objective()
    diagonal = explicit_hessian(f).diagonal()
    monkeypatch.setattr(
        "trainables.measures.curvature.hessian_diagonal", lambda *args: diagonal.clone()
    )
    gradient = f.value_and_gradient(f.start)[1].numpy()
    radii = np.abs((1 + gradient**2) ** 1.5 / diagonal.numpy())
    found = curvature_radii(f, [12, 3, 9, 3, 9, 3], samples=1, seed=0)
    for part, expected in zip(found, np.split(radii, np.cumsum(SIZES)[:-1]), strict=True):
        assert part.mean == pytest.approx(expected.mean())
        assert part.median == pytest.approx(np.sort(expected)[(len(expected) - 1) // 2])


def test_infinite_radii_are_in_the_median_and_not_in_the_mean():
    """A dead unit: the loss does not depend on its weights."""
    model = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2)).double()
    with torch.no_grad():
        model[0].bias.copy_(torch.tensor([50.0, -50.0]))
    f = Objective(model.eval(), torch.randn(6, 2).double(), torch.randint(2, (6,)))
    found = curvature_radii(f, [4, 2, 4, 2], samples=4, seed=0)
    assert found[0].mean is not None and math.isfinite(found[0].mean)
    with torch.no_grad():
        model[0].bias.fill_(-50.0)
    f = Objective(model.eval(), torch.randn(6, 2).double(), torch.randint(2, (6,)))
    dead = curvature_radii(f, [4, 2, 4, 2], samples=4, seed=0)
    assert (dead[0].mean, dead[0].median) == (None, math.inf)
    assert dead[3].mean is not None


def test_the_vectors_depend_on_the_seed_alone():
    f = objective()
    products = f.hessian_vector_products(f.start)
    torch.manual_seed(5)
    first = hessian_diagonal(products, f.start, 3, seed=0)
    torch.manual_seed(6)
    assert torch.equal(first, hessian_diagonal(products, f.start, 3, seed=0))
    assert not torch.equal(first, hessian_diagonal(products, f.start, 3, seed=1))
