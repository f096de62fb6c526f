"""Lanczos and Hutchinson against explicit matrices, and against curvlinops with SciPy's eigsh."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.sparse.linalg import eigsh
from torch import Tensor, nn

from trainables.config.measures.hessian import Hessian
from trainables.measures.hessian import hutchinson, lanczos, measure
from trainables.measures.objective import Objective


def objective(
    width: int = 4, dtype: torch.dtype = torch.float64, chunk_size: int = 16
) -> Objective:
    """A trained-looking network with normalization; 4-wide it has 51 parameters."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        model = nn.Sequential(
            nn.Linear(4, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Linear(width, 3)
        ).double()
        inputs = torch.randn(40, 4, dtype=torch.float64)
        model(inputs)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter += 0.5 * torch.randn_like(parameter)
        targets = torch.randint(3, (40,))
    return Objective(model.to(dtype).eval(), inputs.to(dtype), targets, chunk_size)


def explicit(f: Objective) -> Tensor:
    """Every column of the Hessian (the products are held against autograd elsewhere)."""
    identity = torch.eye(len(f.start), dtype=f.start.dtype)
    return f.hessian_vector_products(f.start)(identity)


def products_of(matrix: Tensor):
    return lambda vectors: vectors @ matrix


def random_start(size: int) -> Tensor:
    return torch.randn(size, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize("eigenvalues", [1, 3])
def test_eigenvalues_agree_with_the_explicit_hessian(eigenvalues):
    f = objective()
    spectrum = torch.linalg.eigvalsh(explicit(f))
    rows = measure(f, Hessian(eigenvalues=eigenvalues), seed=0)
    top = [row for row in rows if row.quantity == "hessian_top_eigenvalue"]
    (bottom,) = (row for row in rows if row.quantity == "hessian_bottom_eigenvalue")
    assert [row.index for row in top] == list(range(eigenvalues))
    assert [row.value for row in top] == pytest.approx(
        spectrum.flip(0)[:eigenvalues].tolist(), rel=1e-4
    )
    assert bottom.value == pytest.approx(spectrum[0].item(), rel=0.1)
    assert all("converged" in row.stop_reason for row in [*top, bottom])
    assert top[0].evaluations <= len(f.start)


def test_all_eigenvalues_of_a_small_matrix():
    matrix = torch.randn(12, 12, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    matrix += matrix.T.clone()
    extremes = lanczos(products_of(matrix), random_start(12), eigenvalues=12)
    np.testing.assert_allclose(extremes.top[::-1], torch.linalg.eigvalsh(matrix), rtol=1e-9)


SPECTRA = {
    "bulk with outliers": torch.cat([torch.tensor([-3.0, 7, 9, 10]), torch.linspace(-1, 1, 196)]),
    "no outlier": torch.linspace(-1, 1, 200),
    "decaying": torch.cat([0.9 ** torch.arange(150), -0.05 * 0.8 ** torch.arange(50)]),
    "low rank": torch.cat([torch.tensor([10.0, 5, 4, -1]), torch.zeros(196)]),
    "semidefinite": torch.cat([torch.tensor([10.0, 5]), torch.linspace(0, 0.3, 198)]),
}


@pytest.mark.parametrize("spectrum", SPECTRA.values(), ids=SPECTRA.keys())
@pytest.mark.parametrize("eigenvalues", [1, 3])
def test_converged_eigenvalues_are_within_tolerance(spectrum, eigenvalues):
    diagonal = spectrum.double()
    expected = diagonal.sort(descending=True).values
    for seed in range(20):
        start = torch.randn(200, generator=torch.Generator().manual_seed(seed)).double()
        extremes = lanczos(lambda vectors: vectors * diagonal, start, eigenvalues=eigenvalues)
        assert extremes.converged
        np.testing.assert_allclose(extremes.top, expected[:eigenvalues], rtol=1e-4)
        allowed = max(0.1 * abs(expected[-1]), 1e-3 * expected[0])
        assert abs(extremes.bottom - expected[-1]) <= allowed


def test_most_steps_end_a_run_that_has_not_converged():
    extremes = lanczos(
        lambda vectors: vectors * SPECTRA["no outlier"],
        random_start(200),
        eigenvalues=1,
        max_steps=4,
    )
    assert (extremes.steps, extremes.converged) == (4, False)
    assert abs(extremes.top[0] - 1) > 1e-4


def test_an_invariant_subspace_does_not_end_the_search():
    """Rank 1 in 30 dimensions: Krylov's space is exhausted after two steps."""
    direction = random_start(30)
    matrix = torch.outer(direction, direction)
    extremes = lanczos(products_of(matrix), torch.ones(30, dtype=torch.float64), eigenvalues=4)
    largest = direction.square().sum().item()
    np.testing.assert_allclose(extremes.top, [largest, 0, 0, 0], atol=1e-9 * largest)


def test_trace_is_exact_over_a_basis_and_unbiased_over_samples():
    f = objective()
    hessian = explicit(f)
    trace = hessian.trace().item()
    mean, standard_error = hutchinson(products_of(hessian), f.start, samples=4000, seed=3)
    off_diagonal = hessian - torch.diag(hessian.diagonal())
    expected_error = math.sqrt(2 * off_diagonal.square().sum().item() / 4000)
    assert standard_error == pytest.approx(expected_error, rel=0.1)
    assert abs(mean - trace) < 4 * expected_error
    diagonal = torch.diag(hessian.diagonal())
    assert hutchinson(products_of(diagonal), f.start, samples=2, seed=3) == pytest.approx(
        (trace, 0.0), abs=1e-12
    )


def test_trace_row_is_the_estimate_over_the_network():
    f = objective()
    *_, row = measure(f, Hessian(trace_samples=20), seed=5)
    hessian = explicit(f)
    expected = hutchinson(products_of(hessian), f.start, samples=20, seed=5)
    assert (row.value, row.standard_error) == pytest.approx(expected, rel=1e-9)
    assert (row.quantity, row.method, row.evaluations) == ("hessian_trace", "hutchinson", 20)
    assert row.start_loss == f.value(f.start)


@pytest.mark.filterwarnings("ignore:.torch.jit.script:FutureWarning")  # torch's own use, in jvp
@pytest.mark.parametrize("which", ["LA", "SA"])
def test_agrees_with_curvlinops_and_eigsh(which):
    curvlinops = pytest.importorskip("curvlinops")
    f = objective(width=12)
    model, (inputs, targets) = f._model, map(torch.cat, zip(*f._chunks, strict=True))
    operator = curvlinops.HessianLinearOperator(
        model, nn.CrossEntropyLoss(), list(model.parameters()), [(inputs, targets)]
    ).to_scipy()
    (expected,) = eigsh(operator, k=1, which=which, return_eigenvectors=False)
    top, bottom, _ = measure(f, Hessian(), seed=0)
    if which == "LA":
        assert top.value == pytest.approx(expected, rel=1e-4)
    else:
        assert bottom.value == pytest.approx(expected, rel=0.1)


def test_without_the_bottom_eigenvalue_it_stops_when_the_top_is_found():
    f = objective()
    *top, bottom, _ = measure(f, Hessian(eigenvalues=2), seed=0)
    rows = measure(f, Hessian(eigenvalues=2, bottom=False), seed=0)
    assert [row.quantity for row in rows] == ["hessian_top_eigenvalue"] * 2 + ["hessian_trace"]
    assert [row.value for row in rows[:2]] == pytest.approx([row.value for row in top], rel=1e-3)
    assert rows[0].iterations <= bottom.iterations
    assert rows[0].stop_reason == "converged"


def test_float32_agrees_with_float64():
    exact = measure(objective(), Hessian(eigenvalues=2), seed=0)
    rounded = measure(objective(dtype=torch.float32), Hessian(eigenvalues=2), seed=0)
    for a, b in zip(exact, rounded, strict=True):
        assert b.value == pytest.approx(a.value, rel=2e-4)


def test_the_seed_decides_and_the_chunks_do_not():
    config = Hessian(eigenvalues=2, trace_samples=4)
    first = measure(objective(), config, seed=0)
    assert measure(objective(), config, seed=0) == first
    other_chunks = measure(objective(chunk_size=7), config, seed=0)
    other_seed = measure(objective(), config, seed=1)
    for a, b in zip(first, other_chunks, strict=True):
        assert b.value == pytest.approx(a.value, rel=1e-9)
    assert other_seed[-1].value != first[-1].value
    assert other_seed[0].value == pytest.approx(first[0].value, rel=1e-4)


def test_more_eigenvalues_than_parameters_is_refused():
    with pytest.raises(ValueError, match=r"hessian.eigenvalues is 1000000"):
        measure(objective(), replace(Hessian(), eigenvalues=10**6), seed=0)


def test_a_diverged_network_is_refused():
    f = objective()
    f.start[0] = math.nan
    with pytest.raises(ValueError, match="diverged"):
        measure(f, Hessian(), seed=0)


def test_the_gradient_s_variance_along_the_top_eigenvector_agrees_with_autograd():
    f = objective()
    _, vectors = torch.linalg.eigh(explicit(f))
    one_by_one = [f.over(torch.tensor([i])).value_and_gradient(f.start)[1] for i in range(40)]
    slopes = torch.stack(one_by_one) @ vectors[:, -1]
    rows = measure(f, Hessian(gradient_variance=True), seed=0)
    (found,) = (row for row in rows if row.quantity == "top_gradient_variance")
    assert found.value == pytest.approx(float(slopes.var(correction=0)), rel=1e-3)
    assert "top_gradient_variance" not in {row.quantity for row in measure(f, Hessian(), seed=0)}


def test_the_top_vector_is_that_of_the_largest_eigenvalue():
    matrix = torch.diag(torch.tensor([3.0, -7.0, 1.0, 5.0, 0.5], dtype=torch.float64))
    found = lanczos(products_of(matrix), random_start(5), eigenvalues=1)
    assert found.top_vector.abs().tolist() == pytest.approx([0, 0, 0, 1, 0], abs=1e-5)


def test_directional_derivatives_are_those_of_every_example_in_any_chunking():
    f, small = objective(), objective(chunk_size=7)
    direction = random_start(len(f.start))
    expected = [
        float(f.over(torch.tensor([i])).value_and_gradient(f.start)[1] @ direction)
        for i in range(40)
    ]
    for g in (f, small):
        assert g.directional_derivatives(g.start, direction).tolist() == pytest.approx(expected)
