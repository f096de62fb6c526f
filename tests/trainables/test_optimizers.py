"""Each optimizer against its update rule in a few lines of NumPy."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import nn

from trainables.config import SGD, Adam, AdamW, OptimizerConfig
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


CASES: list[tuple[OptimizerConfig, Callable[..., Rule]]] = [
    (SGD(), sgd),
    (SGD(momentum=0.9), sgd),
    (SGD(momentum=0.8, weight_decay=0.03), sgd),
    (SGD(momentum=0.8, weight_decay=0.03, nesterov=True), sgd),
    (Adam(), adam),
    (Adam(beta1=0.5, beta2=0.9, epsilon=1e-2, weight_decay=0.1), adam),
    (AdamW(), adam),
    (AdamW(beta1=0.5, beta2=0.9, epsilon=1e-2, weight_decay=0.1), adam),
]


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


@pytest.mark.parametrize(("config", "rule"), CASES, ids=str)
def test_they_are_fused_and_wait_for_the_loops_rate(config, rule):
    optimizer = build(config, network())
    assert all(group["fused"] and group["lr"] == 0.0 for group in optimizer.param_groups)


@pytest.mark.parametrize("config", [SGD(momentum=0.9, weight_decay=0.1), AdamW()], ids=str)
def test_what_needs_no_gradient_is_left_alone(config):
    model = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 1))
    model[0].requires_grad_(False)
    optimizer = build(config, model)
    held = [p for group in optimizer.param_groups for p in group["params"]]
    assert [id(p) for p in held] == [id(p) for p in model[1].parameters()]
