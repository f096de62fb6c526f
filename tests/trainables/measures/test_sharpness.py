"""Sharpness against corner enumeration, SciPy called plainly, and NumPy's pseudo-inverse."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import scipy.optimize
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from trainables.config.measures.sharpness import Sharpness
from trainables.measures import subspace as subspaces
from trainables.measures.objective import Objective
from trainables.measures.sharpness import half_widths as box
from trainables.measures.sharpness import measure, phi
from trainables.measures.subspace import RandomSubspace

LOSSES = st.floats(0, 1e3)


def network(seed: int = 0) -> nn.Module:
    """51 parameters, normalization with statistics that are neither zero nor one."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 3))
        model(torch.randn(50, 4))
    return model.double().eval()


def objective(model: nn.Module | None = None, chunk_size: int = 16) -> Objective:
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(40, 4, generator=generator, dtype=torch.float64)
    targets = torch.randint(3, (40,), generator=generator)
    return Objective(model or network(), inputs, targets, chunk_size)


def softmax_regression() -> Objective:
    """8 weights: the loss is convex in them, so that its maximum over a box is at a corner."""
    generator = torch.Generator().manual_seed(4)
    inputs = torch.randn(30, 3, generator=generator, dtype=torch.float64)
    model = nn.Linear(3, 2).double().eval()
    with torch.no_grad():
        model.weight.copy_(torch.randn(2, 3, generator=generator))
        model.bias.zero_()
    return Objective(model, inputs, (inputs[:, 0] > 0).long())


@pytest.mark.parametrize("epsilon", [1e-3, 0.3])
def test_best_is_the_best_corner_of_a_small_box(epsilon):
    f = softmax_regression()
    half_widths = box(f.start, epsilon)
    corners = itertools.product([-1.0, 1.0], repeat=len(f.start))
    largest = max(
        f.value(f.start + half_widths * torch.tensor(signs, dtype=torch.float64))
        for signs in corners
    )
    exact = phi(largest, f.value(f.start))
    _, best = measure(f, Sharpness(sharpness_epsilon=epsilon), seed=0)
    assert 0.99 * exact <= best.value <= exact * (1 + 1e-9)


@pytest.mark.parametrize("epsilon", [1e-3, 5e-2])
def test_paper_is_scipy_called_plainly(epsilon):
    model = network()
    f = objective(model)
    inputs, targets = map(torch.cat, zip(*f._chunks, strict=True))
    x = f.start.numpy()

    def negated(z):
        nn.utils.vector_to_parameters(torch.from_numpy(x + z), model.parameters())
        loss = F.cross_entropy(model(inputs), targets)
        gradient = torch.autograd.grad(loss, list(model.parameters()))
        return -loss.item(), -torch.cat([g.flatten() for g in gradient]).numpy()

    half = epsilon * (np.abs(x) + 1)
    plain = scipy.optimize.minimize(
        negated,
        np.zeros_like(x),
        jac=True,
        method="L-BFGS-B",
        bounds=list(zip(-half, half, strict=True)),
        options={"maxiter": 10, "ftol": 0, "gtol": 0},
    )
    start_loss = -negated(np.zeros_like(x))[0]
    paper, _ = measure(f, Sharpness(sharpness_epsilon=epsilon), seed=0)
    assert paper.value == pytest.approx(phi(-plain.fun, start_loss), rel=1e-6)
    assert (paper.iterations, paper.evaluations) == (plain.nit, plain.nfev)
    assert paper.stop_reason.endswith(plain.message)
    assert paper.start_loss == pytest.approx(start_loss, abs=1e-12)


@pytest.mark.parametrize("subspace_dim", [None, 6])
@pytest.mark.parametrize("epsilon", [5e-4, 0.1])
def test_best_is_the_largest_value_evaluated_within_the_box(subspace_dim, epsilon, monkeypatch):
    f = objective()
    config = Sharpness(sharpness_epsilon=epsilon, subspace_dim=subspace_dim)
    values, points = [], []

    def recorded(x, label=None):
        value, gradient = Objective.value_and_gradient(f, x, label)
        if label is None:
            values.append(value)
            points.append(x - f.start)
        return value, gradient

    monkeypatch.setattr(f, "value_and_gradient", recorded)
    paper, best = measure(f, config, seed=0)
    assert best.value == phi(max(values), values[0])
    assert 0 < paper.value <= best.value
    assert best.evaluations == len(values) + 3 == f.evaluations  # three classes
    assert list(best.starts) == ["L-BFGS-B", "zero", "class 0", "class 1", "class 2"]
    assert max(best.starts.values()) == best.value
    assert 1 <= best.starts_near_largest <= 5
    steps, half_widths = torch.stack(points), box(f.start, epsilon)
    if subspace_dim is not None:
        columns = torch.cat(list(RandomSubspace(f.start, subspace_dim, 0)._blocks()))
        coordinates, residual = torch.linalg.lstsq(columns, steps.T)[:2]
        assert (residual < 1e-20).all()
        steps = coordinates.T
        half_widths = box(torch.linalg.pinv(columns) @ f.start, epsilon)
    assert (steps.abs() <= half_widths * (1 + 1e-9)).all()


def test_a_converged_network_is_not_reported_as_flat():
    """SciPy's default gtol of 1e-5 would stop before the first step here, at exactly 0."""
    f = softmax_regression()
    f.start.zero_()[[0, 3]] = torch.tensor([-150.0, 150.0]).double()  # the separating weight
    _, gradient = f.value_and_gradient(f.start)
    assert gradient.abs().max() < 1e-5
    paper, best = measure(f, Sharpness(), seed=0)
    assert 0 < paper.value <= best.value
    assert paper.iterations > 0


@given(LOSSES, LOSSES, st.floats(0.1, 10))
def test_phi_is_the_relative_rise_of_one_plus_the_loss(start, rise, factor):
    """phi does not change when 1 + f is multiplied, and is 100 where it doubles."""
    value = phi(start + rise, start)
    scaled = phi(factor * (1 + start + rise) - 1, factor * (1 + start) - 1)
    assert scaled == pytest.approx(value, rel=1e-6, abs=1e-9)
    assert phi(start, start) == 0
    assert phi(1 + 2 * start, start) == pytest.approx(100)


def test_the_box_grows_with_each_weight_on_its_own():
    assert box(torch.tensor([0.0, -3.0, 1.0]), 1e-3).tolist() == pytest.approx([1e-3, 4e-3, 2e-3])


@pytest.mark.parametrize("parameters, dim", [(51, 1), (51, 7), (20_000, 5), (30, 30)])
def test_subspace_products_and_pseudo_inverse_agree_with_numpy(parameters, dim):
    x = torch.randn(parameters, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    subspace = RandomSubspace(x, dim, seed=3)
    columns = torch.cat(list(subspace._blocks())).numpy()
    assert columns.shape == (parameters, dim)
    expected = np.linalg.pinv(columns) @ x.numpy()
    np.testing.assert_allclose(subspace.coordinates(), expected, rtol=1e-7, atol=1e-12)
    z = torch.linspace(-1, 1, dim, dtype=torch.float64)
    np.testing.assert_allclose(subspace.push(z), columns @ z.numpy(), atol=1e-11)
    np.testing.assert_allclose(subspace.pull(x), columns.T @ x.numpy(), atol=1e-9)


def test_the_subspace_is_standard_normal_and_does_not_depend_on_type_or_memory(monkeypatch):
    x = torch.zeros(30_000)
    kept = torch.cat(list(RandomSubspace(x, 10, seed=0)._blocks()))
    assert kept.mean().item() == pytest.approx(0, abs=0.01)
    assert kept.std().item() == pytest.approx(1, abs=0.01)
    monkeypatch.setattr(subspaces, "STORE_BYTES", 0)
    drawn_again = RandomSubspace(x.double(), 10, seed=0)
    for _ in range(2):
        assert torch.equal(torch.cat(list(drawn_again._blocks())), kept.double())


def test_the_whole_space_as_a_subspace_reaches_as_far_as_its_box():
    """p = n: A is invertible, and the values found lie in the image of its box."""
    f = softmax_regression()
    dim = len(f.start)
    subspace = RandomSubspace(f.start, dim, seed=2)
    half_widths = box(subspace.coordinates(), 0.01)
    corners = itertools.product([-1.0, 1.0], repeat=dim)
    largest = max(
        f.value(f.start + subspace.push(half_widths * torch.tensor(c, dtype=torch.float64)))
        for c in corners
    )
    _, best = measure(f, Sharpness(sharpness_epsilon=0.01, subspace_dim=dim), seed=2)
    assert best.value == pytest.approx(phi(largest, f.value(f.start)), rel=0.01)


@pytest.mark.parametrize("subspace_dim", [None, 6])
def test_the_seed_decides_and_the_chunks_do_not(subspace_dim):
    config = Sharpness(sharpness_epsilon=0.01, subspace_dim=subspace_dim)
    rows = measure(objective(), config, seed=0)
    assert measure(objective(), config, seed=0) == rows
    other_chunks = measure(objective(chunk_size=7), config, seed=0)
    for a, b in zip(rows, other_chunks, strict=True):
        assert b.value == pytest.approx(a.value, rel=1e-6)
    other_seed = measure(objective(), config, seed=1)
    assert (other_seed[0].value == rows[0].value) == (subspace_dim is None)


def test_float32_agrees_with_float64():
    config = Sharpness(sharpness_epsilon=5e-3)
    exact = measure(objective(), config, seed=0)
    f = objective()
    inputs, targets = map(torch.cat, zip(*f._chunks, strict=True))
    rounded = measure(Objective(network().float(), inputs.float(), targets), config, seed=0)
    for a, b in zip(exact, rounded, strict=True):
        assert b.value == pytest.approx(a.value, rel=1e-3)


def test_a_subspace_larger_than_the_space_is_refused():
    with pytest.raises(ValueError, match=r"sharpness.subspace_dim is 100"):
        measure(objective(), replace(Sharpness(), subspace_dim=100), seed=0)


@pytest.mark.parametrize("weight", [math.nan, math.inf])
def test_a_diverged_network_is_refused(weight):
    f = objective()
    f.start[0] = weight
    with pytest.raises(ValueError, match="diverged"):
        measure(f, Sharpness(), seed=0)
