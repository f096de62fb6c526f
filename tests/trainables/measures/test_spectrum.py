"""The spectral density against explicit Hessians, and against curvlinops' quadrature."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from trainables.config.measures.spectrum import Spectrum
from trainables.measures.objective import CurvePoint, MeasureValue, Objective
from trainables.measures.spectrum import KAPPA, density, measure, moments, of_moments, quadrature


def objective(should_stop=None) -> Objective:
    """A trained-looking network of 43 parameters."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 3))
        model = model.double()
        inputs = torch.randn(40, 4, dtype=torch.float64)
        model(inputs)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter += 0.5 * torch.randn_like(parameter)
        targets = torch.randint(3, (40,))
    return Objective(model.eval(), inputs, targets, 16, should_stop=should_stop)


def with_explicit_products(f: Objective) -> Tensor:
    """The Hessian, by whose matrix `f` multiplies from here on: thousands of products at once."""
    products = f.hessian_vector_products(f.start)
    hessian = products(torch.eye(len(f.start), dtype=f.start.dtype))
    vector = torch.randn(1, len(f.start), generator=torch.Generator().manual_seed(5)).double()
    torch.testing.assert_close(products(vector), vector @ hessian)
    f.hessian_vector_products = lambda x: lambda vectors: vectors @ hessian
    return hessian


def found(f: Objective, config: Spectrum, seed: int = 0) -> dict[str, MeasureValue]:
    rows = measure(f, config, seed)
    return {row.quantity: row for row in rows if isinstance(row, MeasureValue)}


def curve(rows, quantity: str) -> list[CurvePoint]:
    return [row for row in rows if isinstance(row, CurvePoint) and row.quantity == quantity]


def symmetric(size: int) -> Tensor:
    matrix = torch.randn(size, size, generator=torch.Generator().manual_seed(2)).double()
    return matrix + matrix.T


def test_all_steps_from_one_vector_give_every_eigenvalue_with_its_share_of_the_vector() -> None:
    matrix = symmetric(12)
    values, vectors = torch.linalg.eigh(matrix)
    start = torch.randn(12, generator=torch.Generator().manual_seed(0)).double()
    nodes, weights = quadrature(lambda v: v @ matrix, start, 12)
    np.testing.assert_allclose(nodes, values, rtol=1e-9)
    np.testing.assert_allclose(weights, (vectors.T @ start / start.norm()) ** 2, rtol=1e-7)


def test_few_steps_integrate_polynomials_exactly() -> None:
    matrix = symmetric(30)
    start = torch.randn(30, generator=torch.Generator().manual_seed(0)).double()
    nodes, weights = quadrature(lambda v: v @ matrix, start, 4)
    for power in range(8):  # 2 m - 1 = 7
        exact = start @ torch.linalg.matrix_power(matrix, power) @ start / start.square().sum()
        assert (weights * nodes**power).sum() == pytest.approx(exact.item(), rel=1e-9)
    eighth = start @ torch.linalg.matrix_power(matrix, 8) @ start / start.square().sum()
    assert (weights * nodes**8).sum() != pytest.approx(eighth.item(), rel=1e-3)


def test_over_all_vectors_there_are_the_moments_are_the_traces() -> None:
    """All 2^5 sign vectors of 5 dimensions: the expectation itself."""
    matrix, size = symmetric(5), 5
    signs = torch.cartesian_prod(*[torch.tensor([-1.0, 1.0]).double()] * size)
    pairs = [quadrature(lambda v: v @ matrix, vector, size) for vector in signs]
    nodes, weights = (np.array(part) for part in zip(*pairs, strict=True))
    values = torch.linalg.eigvalsh(matrix).numpy()
    expected = [
        values.mean(),
        (values**2).mean(),
        np.abs(values).mean(),
        -values.clip(max=0).mean(),
    ]
    np.testing.assert_allclose(moments(nodes, weights).mean(axis=0), expected, rtol=1e-9)


def test_the_rows_agree_with_the_explicit_hessian_of_a_network() -> None:
    f = objective()
    values = torch.linalg.eigvalsh(with_explicit_products(f)).numpy()
    rows = found(f, Spectrum(lanczos_steps=30, vectors=200))
    truth = {
        "hessian_mean_eigenvalue": values.mean(),
        "hessian_mean_square_eigenvalue": (values**2).mean(),
        "hessian_negative_share": -values.clip(max=0).sum() / np.abs(values).sum(),
        "hessian_curved_share": np.abs(values).sum() ** 2 / (values**2).sum() / len(values),
    }
    for quantity, exact in truth.items():
        row = rows[quantity]
        assert 0 < row.standard_error < 0.2 * exact
        assert abs(row.value - exact) < 4 * row.standard_error
        assert (row.method, row.evaluations) == ("stochastic-lanczos", 6000)
    assert rows["largest_ritz_value"].value == pytest.approx(values[-1], rel=1e-6)
    assert rows["smallest_ritz_value"].value == pytest.approx(values[0], rel=1e-3)
    assert rows["largest_ritz_value"].start_loss == f.value(f.start)


def test_the_density_integrates_to_one_and_has_the_spectrum_s_moments() -> None:
    f = objective()
    values = torch.linalg.eigvalsh(with_explicit_products(f)).numpy()
    rows = measure(f, Spectrum(lanczos_steps=40, vectors=100), seed=0)
    points = curve(rows, "spectral_density")
    x, y = np.array([[p.x, p.value] for p in points]).T
    assert np.trapezoid(y, x) == pytest.approx(1, abs=1e-5)
    mean = next(row for row in rows if row.quantity == "hessian_mean_eigenvalue")
    assert np.trapezoid(x * y, x) == pytest.approx(mean.value, rel=1e-5)
    # The truth smoothed likewise, within a few standard errors everywhere.
    sigma = np.ptp(values) / 39 / math.sqrt(8 * math.log(KAPPA))
    bumps = np.exp(-(((x[:, None] - values) / sigma) ** 2) / 2) / sigma / math.sqrt(2 * math.pi)
    errors = np.array([p.standard_error for p in points])
    assert (np.abs(y - bumps.mean(axis=1)) < 5 * errors + 1e-3 * y.max()).all()


def test_the_kept_quadrature_gives_the_density_again() -> None:
    rows = measure(objective(), Spectrum(lanczos_steps=10, vectors=3), seed=0)
    points = curve(rows, "spectral_weight")
    assert [p.index for p in points] == [i for i in range(3) for _ in range(10)]
    pairs = [(p.x, p.value) for p in points]
    nodes, weights = (np.array(v).reshape(3, 10) for v in zip(*pairs, strict=True))
    np.testing.assert_allclose(weights.sum(axis=1), 1, rtol=1e-9)
    grid, densities = density(nodes, weights)
    shown = curve(rows, "spectral_density")
    np.testing.assert_allclose([p.x for p in shown], grid)
    np.testing.assert_allclose([p.value for p in shown], densities.mean(axis=0))


def test_one_vector_has_no_standard_error() -> None:
    rows = measure(objective(), Spectrum(lanczos_steps=5, vectors=1), seed=0)
    assert all(row.standard_error is None for row in rows)


def test_a_hessian_that_is_a_multiple_of_the_identity() -> None:
    nodes, weights = np.full((2, 3), 4.0), np.full((2, 3), 1 / 3)
    grid, densities = density(nodes, weights)
    np.testing.assert_allclose(np.trapezoid(densities, grid, axis=1), 1, rtol=1e-5)
    assert 3.9 < grid[0] < grid[-1] < 4.1
    np.testing.assert_allclose(of_moments(moments(nodes, weights)[0]), [4, 16, 0, 1])


def test_a_loss_without_curvature_has_no_shares() -> None:
    mean, square, negative, curved = of_moments(np.zeros(4))
    assert (mean, square) == (0, 0) and math.isnan(negative) and math.isnan(curved)
    grid, densities = density(np.zeros((1, 3)), np.full((1, 3), 1 / 3))
    assert np.trapezoid(densities[0], grid) == pytest.approx(1, abs=1e-5)


@pytest.mark.filterwarnings("ignore:.torch.jit.script:FutureWarning")  # torch's own use, in jvp
def test_agrees_with_curvlinops_on_a_matrix() -> None:
    papyan = pytest.importorskip("curvlinops.papyan2020traces.spectrum")
    values = torch.cat([torch.linspace(-1, 1, 60), torch.tensor([5.0, 9.0])]).double()
    start = torch.ones(62, dtype=torch.float64)
    nodes, weights = quadrature(lambda v: v * values, start, 20)
    grid, densities = density(nodes[None], weights[None])
    # Its nodes from ours, since its Lanczos draws a start of its own; only the smoothing is held.
    first = torch.from_numpy(np.sqrt(weights))[None]
    their_grid, theirs = papyan.lanczos_approximate_spectrum_from_iter(
        (torch.from_numpy(nodes), first), (nodes.min(), nodes.max()), 1024, KAPPA, margin=0.0
    )
    ours = np.interp(their_grid.numpy(), grid, densities[0])
    np.testing.assert_allclose(ours, theirs.numpy(), atol=0.05 * densities.max())


def test_the_seed_decides() -> None:
    config = Spectrum(lanczos_steps=5, vectors=2)
    assert measure(objective(), config, seed=0) == measure(objective(), config, seed=0)
    assert measure(objective(), config, seed=0) != measure(objective(), config, seed=1)


def test_more_steps_than_parameters_is_refused() -> None:
    with pytest.raises(ValueError, match=r"lanczos_steps is 44; .* 43 parameters.*example 40"):
        measure(objective(), replace(Spectrum(), lanczos_steps=44), seed=0)


def test_a_diverged_network_has_none() -> None:
    f = objective()
    f.start[0] = math.nan
    with pytest.raises(ValueError, match="diverged"):
        measure(f, Spectrum(lanczos_steps=5), seed=0)
