"""Each optimizer against its update rule in a few lines of NumPy."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import nn

from trainables.config.optimizers.adagrad import AdaGrad
from trainables.config.optimizers.adam import Adam, AdamW
from trainables.config.optimizers.conservative import Conservative
from trainables.config.optimizers.kinds import OptimizerConfig
from trainables.config.optimizers.sam import SAM
from trainables.config.optimizers.sgd import SGD
from trainables.optimizers import sam as sam_module
from trainables.optimizers.build import build

Vector = npt.NDArray[np.float64]
Rule = Iterator[Vector]
RATES = [0.0, 0.1, 0.3, 0.3, 0.02, 0.5]


def sgd(c: SGD, w: Vector, gradient: Callable[[Vector], Vector]) -> Rule:
    v = np.zeros_like(w)
    for lr in RATES:
        g = gradient(w) + c.weight_decay * w
        v = c.momentum * v + g
        w = w - lr * (g + c.momentum * v if c.nesterov else v)
        yield w


def adam(c: Adam | AdamW, w: Vector, gradient: Callable[[Vector], Vector]) -> Rule:
    m = v = np.zeros_like(w)
    for t, lr in enumerate(RATES, start=1):
        g = gradient(w)
        if isinstance(c, Adam):
            g = g + c.weight_decay * w
        else:
            w = w - lr * c.weight_decay * w
        m = c.beta1 * m + (1 - c.beta1) * g
        v = c.beta2 * v + (1 - c.beta2) * g**2
        w = w - lr * (m / (1 - c.beta1**t)) / (np.sqrt(v / (1 - c.beta2**t)) + c.epsilon)
        yield w


def adagrad(c: AdaGrad, w: Vector, gradient: Callable[[Vector], Vector]) -> Rule:
    v = np.zeros_like(w)
    for lr in RATES:
        g = gradient(w) + c.weight_decay * w
        v = v + g**2
        w = w - lr * g / (np.sqrt(v) + c.epsilon)
        yield w


def sam(c: SAM, w: Vector, gradient: Callable[[Vector], Vector]) -> Rule:
    v = np.zeros_like(w)
    for lr in RATES:
        g = gradient(w)
        v = c.momentum * v + gradient(w + c.rho * g / np.sqrt((g**2).sum())) + c.weight_decay * w
        w = w - lr * v
        yield w


def conservative(c: Conservative, w: Vector, gradient: Callable[[Vector], Vector]) -> Rule:
    """Adam on f_B(x) + proximal_weight / 2 |x - x_k|^2, its averages kept from batch to batch."""
    m = v = np.zeros_like(w)
    t = 0
    for lr in RATES:
        x = w
        for _ in range(c.inner_steps):
            g = gradient(x) + c.proximal_weight * (x - w)
            t += 1
            m = c.beta1 * m + (1 - c.beta1) * g
            v = c.beta2 * v + (1 - c.beta2) * g**2
            x = x - lr * (m / (1 - c.beta1**t)) / (np.sqrt(v / (1 - c.beta2**t)) + c.epsilon)
        w = x
        yield w


CASES: list[tuple[OptimizerConfig, Callable[..., Rule]]] = [
    (SGD(), sgd),
    (SGD(momentum=0.9), sgd),
    (SGD(momentum=0.8, weight_decay=0.03), sgd),
    (SGD(momentum=0.8, weight_decay=0.03, nesterov=True), sgd),
    (Adam(), adam),
    (Adam(beta1=0.5, beta2=0.9, epsilon=1e-2, weight_decay=0.1), adam),
    (AdamW(), adam),
    (AdamW(beta1=0.5, beta2=0.9, epsilon=1e-2, weight_decay=0.1), adam),
    (AdaGrad(), adagrad),
    (AdaGrad(epsilon=0.1, weight_decay=0.1), adagrad),
    (SAM(), sam),
    (SAM(rho=0.5, momentum=0.0, weight_decay=0.03), sam),
    (Conservative(), conservative),
    (Conservative(inner_steps=1), conservative),
    (Conservative(proximal_weight=5.0, inner_steps=4, beta1=0.5, beta2=0.9), conservative),
]
FUSED = [case[0] for case in CASES if not isinstance(case[0], AdaGrad)]


def network() -> nn.Linear:
    model = nn.Linear(5, 1, bias=False).double()
    with torch.no_grad():
        model.weight.copy_(torch.linspace(-1, 2, 5))
    return model


@pytest.mark.parametrize(("config", "rule"), CASES, ids=str)
def test_every_step_is_the_rule(config, rule):
    model = network()
    optimizer = build(config, model)
    target = torch.tensor([0.3, 0.0, -1.0, 2.0, 5.0], dtype=torch.float64)
    expected = rule(
        config,
        model.weight.detach().numpy()[0].copy(),
        lambda w: 4 * (w - target.numpy()) ** 3,
    )

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = ((model.weight[0] - target) ** 4).sum()
        loss.backward()
        return loss.detach()

    for lr, weights in zip(RATES, expected, strict=True):
        optimizer.param_groups[0]["lr"] = lr
        before = ((model.weight[0] - target) ** 4).sum().item()
        assert optimizer.step(closure).item() == before
        np.testing.assert_allclose(model.weight.detach().numpy()[0], weights, rtol=1e-12)


@pytest.mark.parametrize("config", FUSED, ids=str)
def test_they_are_fused_and_wait_for_the_loops_rate(config):
    optimizer = build(config, network())
    assert all(group["fused"] and group["lr"] == 0.0 for group in optimizer.param_groups)


@pytest.mark.parametrize("config", [SGD(momentum=0.9, weight_decay=0.1), AdamW()], ids=str)
def test_what_needs_no_gradient_is_left_alone(config):
    model = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 1))
    model[0].requires_grad_(False)
    optimizer = build(config, model)
    held = [p for group in optimizer.param_groups for p in group["params"]]
    assert [id(p) for p in held] == [id(p) for p in model[1].parameters()]


# --------------------------------------------------------------------------------------- decay


def normalized() -> nn.Sequential:
    """A parameter and a bias of every kind of normalization, between two layers that decay."""
    return nn.Sequential(
        nn.Linear(4, 4),
        nn.BatchNorm1d(4),
        nn.LayerNorm(4),
        nn.RMSNorm(4),
        nn.Unflatten(1, (4, 1)),
        nn.GroupNorm(2, 4),
        nn.InstanceNorm1d(4, affine=True),
        nn.Flatten(),
        nn.Linear(4, 1),
    )


@pytest.mark.parametrize("decays", [True, False])
def test_without_decay_normalization_only_the_other_layers_decay(decays):
    model = normalized()
    before = [p.detach().clone() for p in model.parameters()]
    optimizer = build(SGD(weight_decay=0.5, decay_normalization=decays), model)
    for p in model.parameters():
        p.grad = torch.zeros_like(p)
    for group in optimizer.param_groups:
        group["lr"] = 1.0
    optimizer.step()
    for (name, p), was in zip(model.named_parameters(), before, strict=True):
        shrinks = decays or name.startswith(("0.", "8."))
        torch.testing.assert_close(p.detach(), was * (0.5 if shrinks else 1.0), msg=name)


def test_a_network_of_normalization_alone_has_nothing_to_decay():
    optimizer = build(SGD(weight_decay=0.5, decay_normalization=False), nn.BatchNorm1d(3))
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.0]


# ---------------------------------------------------------------------------- several gradients


def test_at_a_gradient_of_zero_sam_has_nowhere_to_climb():
    weights = [torch.ones(3), torch.ones(2)]
    sam_module.climb(weights, [torch.zeros(3), torch.zeros(2)], rho=0.5)
    assert all(torch.equal(w, torch.ones_like(w)) for w in weights)


def test_sam_climbs_by_rho():
    weights = [torch.zeros(3), torch.zeros(2, 2)]
    gradients = [torch.tensor([3.0, 0.0, 0.0]), torch.tensor([[0.0, 4.0], [0.0, 0.0]])]
    sam_module.climb(weights, gradients, rho=0.5)
    assert weights[0].tolist() == pytest.approx([0.3, 0, 0])
    assert weights[1].flatten().tolist() == pytest.approx([0, 0.4, 0, 0])
