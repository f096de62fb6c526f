"""Statistics of layers against numbers made by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from trainables.measures.layers import STATISTICS, copied, layer_tensors, statistics, trained


def test_statistics_by_hand():
    layer = nn.Linear(2, 1).double()
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[3.0, -4.0]]))
        layer.bias.fill_(2.0)
    before = copied(trained(layer))
    layer.weight.grad = torch.tensor([[0.3, 0.4]], dtype=torch.float64)
    layer.bias.grad = torch.tensor([-2.0], dtype=torch.float64)
    with torch.no_grad():
        layer.weight += torch.tensor([[0.5, -0.1]], dtype=torch.float64)
        layer.bias -= 1.0
    found = statistics(before, trained(layer))
    expected = [
        [5.0, 0.35, 0.5, 0.3, (0.3 * 0.5 + 0.4 * 0.1) / 2],
        [2.0, 2.0, 2.0, 1.0, 2.0],
    ]
    np.testing.assert_allclose(found, expected, rtol=1e-7)
    assert layer.weight.tolist() == [[3.5, -4.1]], "weights and gradients stay as they are"
    assert layer.weight.grad.tolist() == [[0.3, 0.4]]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_statistics_against_numpy(dtype: torch.dtype):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(12, 4))
    model = model.to(dtype=dtype, memory_format=torch.channels_last)
    before = copied(trained(model))
    model(torch.randn(5, 2, 4, 4, dtype=dtype)).square().sum().backward()
    old = [w.detach().clone() for w in trained(model)]
    with torch.no_grad():
        for w in trained(model):
            w.sub_(torch.randn_like(w) * 0.01)
    found = statistics(before, trained(model))
    for row, w0, w in zip(found, old, trained(model), strict=True):
        a, b, g = (t.detach().double().numpy() for t in (w0, w, w.grad))
        expected = [
            np.linalg.norm(a),
            np.abs(g).mean(),
            np.linalg.norm(g),
            np.abs(b - a).mean(),
            np.abs(g * (b - a)).mean(),
        ]
        np.testing.assert_allclose(row, expected, rtol=1e-5 if dtype == torch.float32 else 1e-12)


def test_sgd_strides_are_the_rate_times_the_gradient():
    """Gao & Zhong's figures 4 and 7: E|dw| / lr = E|g| and loss stride / lr = E(g^2)."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)).double()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.03)
    before = copied(trained(model))
    nn.functional.cross_entropy(
        model(torch.randn(7, 4).double()), torch.randint(3, (7,))
    ).backward()
    optimizer.step()
    for row, w in zip(statistics(before, trained(model)), trained(model), strict=True):
        by_name = dict(zip(STATISTICS, row, strict=True))
        assert by_name["parameter_stride"] / 0.03 == pytest.approx(by_name["mean_abs_gradient"])
        squares = w.grad.square().mean().item()
        assert by_name["loss_stride"] / 0.03 == pytest.approx(squares, rel=1e-10)


def test_a_parameter_without_gradient_has_gradient_0():
    layer = nn.Linear(2, 1)
    layer.weight.grad = torch.ones(1, 2)
    _, bias = statistics(copied(trained(layer)), trained(layer))
    assert bias[1:] == [0.0, 0.0, 0.0, 0.0]


class Odd(nn.Module):
    """Parameters of its own, two of them weights by their names, and one frozen."""

    def __init__(self) -> None:
        super().__init__()
        self.in_weight = nn.Parameter(torch.zeros(2, 2))
        self.out_weight = nn.Parameter(torch.zeros(2))
        self.in_bias = nn.Parameter(torch.zeros(3))
        self.frozen = nn.Parameter(torch.zeros(3), requires_grad=False)
        self.norm = nn.LayerNorm(4)
        self.one, self.other = nn.Linear(4, 4), nn.Linear(4, 4)
        self.other.weight = self.one.weight


def test_names_keep_weights_biases_and_normalization_apart():
    found = [(t.layer, t.kind, t.num_parameters) for t in layer_tensors(Odd())]
    assert found == [
        ("in_weight", "weight", 4),
        ("out_weight", "weight", 2),
        ("in_bias", "bias", 3),
        ("norm", "gamma", 4),
        ("norm", "beta", 4),
        ("one", "weight", 16),
        ("one", "bias", 4),
        ("other", "bias", 4),
    ]
    assert [t.num_parameters for t in layer_tensors(Odd())] == [p.numel() for p in trained(Odd())]
    (weight, bias) = layer_tensors(nn.Linear(2, 3))
    assert (weight.label, bias.label) == ("network weight", "network bias")
