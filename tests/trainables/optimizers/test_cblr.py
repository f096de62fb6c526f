"""Rates from the curvature: the Hessian's diagonal against autograd's, the update against NumPy."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trainables.config.optimizers.cblr import CBLR
from trainables.optimizers import cblr, layerwise
from trainables.optimizers.build import build

EXACT = CBLR(curvature="exact", trust_coefficient=0.01, momentum=0.8, weight_decay=0.03)
RATES = [0.1, 0.3, 0.02]
ONES = torch.ones(3, 3)

_generator = torch.Generator().manual_seed(0)
INPUTS = torch.randn(20, 4, generator=_generator, dtype=torch.float64)
INPUTS[:, 0] = 0.0  # along a quarter of the first layer's weights the loss has no curvature
LABELS = torch.randint(2, (20,), generator=_generator)


def network() -> nn.Sequential:
    """30 parameters, smooth."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 2)).double()


def closure_of(model: nn.Module) -> Callable[[], Tensor]:
    def closure() -> Tensor:
        model.zero_grad(set_to_none=True)
        loss = F.cross_entropy(model(INPUTS), LABELS)
        loss.backward()
        return loss.detach()

    return closure


def explicit(model: nn.Module) -> tuple[list[Any], list[Any]]:
    """Gradient and diagonal of the Hessian, of every parameter, by autograd."""
    names, values = zip(*model.named_parameters(), strict=True)

    def loss(*parameters: Tensor) -> Tensor:
        held = dict(zip(names, parameters, strict=True))
        return F.cross_entropy(torch.func.functional_call(model, held, INPUTS), LABELS)

    hessian = torch.autograd.functional.hessian(loss, values)
    diagonal = [
        hessian[i][i].reshape(v.numel(), v.numel()).diagonal().reshape(v.shape).numpy()
        for i, v in enumerate(values)
    ]
    return [g.numpy() for g in torch.autograd.grad(loss(*values), values)], diagonal


def matrices(model: nn.Module) -> list[Tensor]:
    return [p for p in model.parameters() if p.ndim > 1]


def step(model: nn.Module, optimizer: torch.optim.Optimizer, lr: float) -> float:
    for group in optimizer.param_groups:
        group["lr"] = lr
    return float(optimizer.step(closure_of(model)))


def arrays(model: nn.Module) -> list[Any]:
    return [p.detach().numpy().copy() for p in model.parameters()]


# ------------------------------------------------------------------------------- the curvature


def test_the_exact_diagonal_is_that_of_the_explicit_hessian():
    model = network()
    _, expected = explicit(model)
    assert sum(h.size for h in expected) == 30
    closure_of(model)()
    with torch.no_grad():
        found = cblr.exact(list(model.parameters()), closure_of(model), step=0)
    for h, wanted in zip(found, expected, strict=True):
        np.testing.assert_allclose(h.numpy(), wanted, rtol=1e-6, atol=1e-9)


def test_the_exact_diagonal_of_weights_that_lie_otherwise_in_memory():
    weight = torch.arange(16.0, dtype=torch.float64).view(2, 2, 2, 2).requires_grad_()
    scale = torch.arange(1.0, 17.0, dtype=torch.float64).view(2, 2, 2, 2)
    last = weight.detach().to(memory_format=torch.channels_last).requires_grad_()
    for w in (weight, last):

        def closure(w: Tensor = w) -> Tensor:
            w.grad = None
            loss = (scale * w**2).sum() / 2
            loss.backward()
            return loss.detach()

        with torch.no_grad():
            (found,) = cblr.exact([w], closure, step=0)
        torch.testing.assert_close(found, scale, rtol=1e-6, atol=0.0)


@pytest.mark.parametrize("relative_length", [1e-5, cblr.RELATIVE_LENGTH])
def test_a_product_is_the_hessians(relative_length):
    model = network()
    weights = matrices(model)
    direction = [torch.randn(w.shape, dtype=w.dtype, generator=_generator) for w in weights]
    loss = F.cross_entropy(model(INPUTS), LABELS)
    gradients = torch.autograd.grad(loss, weights, create_graph=True)
    expected = torch.autograd.grad(gradients, weights, direction)
    before = arrays(model)
    with torch.no_grad():
        found = cblr.product(weights, direction, closure_of(model), relative_length)
    for h, wanted in zip(found, expected, strict=True):
        size = float(wanted.abs().max())
        torch.testing.assert_close(h, wanted, rtol=0.0, atol=10 * relative_length**2 * size)
    assert all(map(np.array_equal, before, arrays(model)))  # to the bit


def test_hutchinsons_mean_tends_to_the_diagonal():
    """On a quadratic, where differences of gradients are exact: variance sum_{j != i} H_ij^2."""
    root = torch.randn(6, 6, dtype=torch.float64, generator=_generator)
    hessian = root @ root.T
    w = torch.zeros(2, 3, dtype=torch.float64, requires_grad=True)

    def closure() -> Tensor:
        w.grad = None
        loss = w.flatten() @ hessian @ w.flatten() / 2
        loss.backward()
        return loss.detach()

    samples = 2000
    with torch.no_grad():
        (found,) = cblr.hutchinson(0, samples, [w], closure, 0)
    errors = (found.flatten() - hessian.diagonal()).abs()
    standard_errors = (hessian - hessian.diagonal().diag()).norm(dim=1) / samples**0.5
    assert (errors < 4 * standard_errors).all()
    assert (errors > 0.01 * standard_errors).any()


def test_draws_are_a_function_of_seed_step_and_sample():
    weights = matrices(network())

    def drawn(*names: int) -> Tensor:
        seed = cblr.derive_seed(names[0], "curvature", *names[1:])
        return torch.cat([s.flatten() for s in cblr._signs(weights, seed)])

    assert torch.equal(drawn(0, 1, 2), drawn(0, 1, 2))
    assert set(drawn(0, 1, 2).tolist()) == {-1.0, 1.0}
    for other in ((1, 1, 2), (0, 2, 2), (0, 1, 3)):
        assert not torch.equal(drawn(0, 1, 2), drawn(*other))


# ----------------------------------------------------------------------------------- the radius


def radius(g: Tensor, h: Tensor, factor: float = 0.5) -> float:
    return cblr.radius([h], [torch.empty_like(g)], [g], 0.1, factor).item()


def test_the_radius_is_the_median_of_the_curvature_radii():
    g = torch.tensor([[0.5, -2.0, 1.0], [0.0, 3.0, 0.1]], dtype=torch.float64)
    h = torch.tensor([[0.1, -0.2, 0.7], [2.0, 0.3, 5.0]], dtype=torch.float64)
    every = np.abs((1 + g.numpy() ** 2) ** 1.5 / h.numpy())
    assert radius(g, h) == pytest.approx(0.5 * np.sort(every.ravel())[2])


def test_a_weight_without_curvature_is_infinitely_far_and_most_of_them_give_ratio_one():
    assert radius(ONES * 0, torch.tensor([0.0, 4.0, 2.0])) == 0.5 * 0.5
    assert radius(ONES * 0, torch.tensor([0.0, 0.0, 2.0])) == 1.0
    assert radius(ONES, ONES * 0) == 1.0


def test_lars_percent_delta_and_mclr_are_its_special_cases():
    """Where the curvature is the secant's, g / w, alike in all weights, and g is small."""
    w, g = ONES * 2, ONES * 1e-6
    expected = cblr.radius([g / w], [w], [g], 0.0, 0.1)
    for rule in layerwise.RADII.values():
        torch.testing.assert_close(rule([w], [g], 0.0, 0.1), expected)


# ------------------------------------------------------------------------------------ the update


@pytest.mark.parametrize("adapt_vectors", [False, True])
def test_every_step_is_the_rule(adapt_vectors):
    config = CBLR(**vars(EXACT) | {"adapt_vectors": adapt_vectors})
    model = network()
    optimizer = build(config, model)
    v = [np.zeros_like(w) for w in arrays(model)]
    for lr in RATES:
        weights, (gradients, diagonal) = arrays(model), explicit(model)
        loss = F.cross_entropy(model(INPUTS), LABELS).item()
        assert step(model, optimizer, lr) == loss
        for i, (w, g, h) in enumerate(zip(weights, gradients, diagonal, strict=True)):
            adapt = w.ndim > 1 or adapt_vectors
            with np.errstate(divide="ignore"):
                radii = np.sort(np.abs((1 + g**2) ** 1.5 / h).ravel())
            own = config.trust_coefficient * radii[(w.size - 1) // 2] if adapt else 1.0
            decayed = g + config.weight_decay * w if adapt else g
            v[i] = config.momentum * v[i] + lr * own * decayed
            weights[i] = w - v[i]
        for found, wanted in zip(arrays(model), weights, strict=True):
            np.testing.assert_allclose(found, wanted, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("config", [EXACT, CBLR(curvature_samples=3)], ids=["exact", "hutchinson"])
def test_looking_at_the_curvature_moves_nothing(config):
    model = network()
    before, (gradients, _) = arrays(model), explicit(model)
    optimizer = build(config, model)
    step(model, optimizer, 0.0)
    assert all(map(np.array_equal, before, arrays(model)))
    for p, g in zip(model.parameters(), gradients, strict=True):
        np.testing.assert_allclose(p.grad.numpy(), g, rtol=1e-12, atol=1e-16)


@pytest.mark.parametrize("samples", [1, 3])
def test_it_costs_two_gradients_a_vector(samples):
    model, calls = network(), []
    closure = closure_of(model)

    def counted() -> Tensor:
        calls.append(None)
        return closure()

    build(CBLR(curvature_samples=samples), model).step(counted)  # type: ignore[arg-type]
    assert len(calls) == 1 + 2 * samples


def test_the_trials_seed_decides_and_a_restored_state_draws_on():
    def trained(seed: int, stop: int | None = None) -> list[Any]:
        model = network()
        optimizer = build(CBLR(curvature_samples=2), model, seed)
        for i, lr in enumerate(RATES * 2):
            if i == stop:
                buffer = io.BytesIO()
                torch.save([model.state_dict(), optimizer.state_dict()], buffer)
                buffer.seek(0)
                weights, state = torch.load(buffer, weights_only=True)
                model = network()
                model.load_state_dict(weights)
                optimizer = build(CBLR(curvature_samples=2), model, seed)
                optimizer.load_state_dict(state)
            step(model, optimizer, lr)
        return arrays(model)

    assert all(map(np.array_equal, trained(0), trained(0, stop=3)))
    assert not any(map(np.array_equal, trained(0), trained(1)))


def test_exact_refuses_a_network_that_is_too_large():
    model = nn.Sequential(nn.Linear(100, 10), nn.Linear(10, 1))
    with pytest.raises(
        ValueError, match=r"^curvature exact: .* each of 1010 weights .* at most 1000"
    ):
        build(EXACT, model)
    build(EXACT, model[:1])  # 1000, and biases, which are not adapted
    build(CBLR(), model)
