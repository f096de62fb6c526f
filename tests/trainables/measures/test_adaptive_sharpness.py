"""Adaptive sharpness against corner enumeration, and against the rescaling that it ignores."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import nn

from trainables.config.measures.adaptive_sharpness import AdaptiveSharpness
from trainables.config.measures.sharpness import Sharpness
from trainables.measures import sharpness
from trainables.measures.adaptive_sharpness import measure
from trainables.measures.objective import Objective


def network() -> nn.Sequential:
    """35 parameters, without normalization."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 3)).double().eval()


def objective(model: nn.Module, classes: int = 3) -> Objective:
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(40, 4, generator=generator, dtype=torch.float64)
    return Objective(model, inputs, torch.randint(classes, (40,), generator=generator), 16)


def rescaled(model: nn.Sequential, factor: float) -> nn.Sequential:
    """The same function: ReLU(c z) = c ReLU(z) for c > 0."""
    first, relu, last = model
    with torch.no_grad():
        first.weight *= factor
        first.bias *= factor
        last.weight /= factor
    return nn.Sequential(first, relu, last).eval()


@pytest.mark.parametrize("factor", [0.01, 1 / 3, 100])
def test_a_rescaling_that_leaves_the_function_leaves_the_value(factor: float) -> None:
    before, after = objective(network()), objective(rescaled(network(), factor))
    assert after.value(after.start) == pytest.approx(before.value(before.start), rel=1e-12)
    config = AdaptiveSharpness(relative_radius=0.05)
    (own,), (other,) = (measure(f, config, seed=0) for f in (before, after))
    assert other.value == pytest.approx(own.value, rel=1e-9)
    assert (other.iterations, other.stop_reason) == (own.iterations, own.stop_reason)
    # Keskar's is another after it.
    keskar = [sharpness.measure(f, Sharpness(), seed=0)[1].value for f in (before, after)]
    assert keskar[1] != pytest.approx(keskar[0], rel=0.1)


@pytest.mark.parametrize("radius", [1e-3, 0.3])
def test_it_is_the_best_corner_of_a_small_box(radius: float) -> None:
    """8 weights, one of them 0; the loss is convex in them, so that its maximum is at a corner."""
    model = nn.Linear(4, 2, bias=False).double().eval()
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[1.0, -2, 0.5, 0], [-0.3, 0.7, 2, -1]]))
    f = objective(model, classes=2)
    half_widths = radius * f.start.abs()
    corners = itertools.product([-1.0, 1.0], repeat=8)
    largest = max(f.value(f.start + half_widths * torch.tensor(c).double()) for c in corners)
    (row,) = measure(f, AdaptiveSharpness(relative_radius=radius), seed=0)
    exact = largest - f.value(f.start)
    assert 0.99 * exact <= row.value <= exact * (1 + 1e-9)
    assert row.start_loss == pytest.approx(f.value(f.start))


def test_it_is_the_largest_rise_within_the_box(monkeypatch: pytest.MonkeyPatch) -> None:
    f, values, points = objective(network()), [], []
    with torch.no_grad():
        f.start[:3] = 0.0

    def recorded(x, label=None):
        value, gradient = Objective.value_and_gradient(f, x, label)
        if label is None:
            values.append(value)
            points.append((x - f.start).abs())
        return value, gradient

    monkeypatch.setattr(f, "value_and_gradient", recorded)
    (row,) = measure(f, AdaptiveSharpness(), seed=0)
    assert row.value == max(values) - values[0] > 0
    assert (row.quantity, row.method) == ("adaptive_sharpness", "best")
    assert row.evaluations == len(values) + 3  # three classes
    assert list(row.starts) == ["zero", "class 0", "class 1", "class 2"]
    steps = torch.stack(points)
    assert (steps <= 0.01 * f.start.abs() * (1 + 1e-9)).all()
    assert (steps[:, :3] == 0).all()


def test_all_weights_zero_is_no_box_and_no_rise() -> None:
    f = objective(network())
    f.start.zero_()
    (row,) = measure(f, AdaptiveSharpness(), seed=0)
    assert row.value == 0


def test_the_seed_decides() -> None:
    f = objective(network())
    config = AdaptiveSharpness(relative_radius=0.5)
    assert measure(f, config, seed=3) == measure(f, config, seed=3)


def test_a_diverged_network_has_none() -> None:
    f = objective(network())
    f.start[0] = math.nan
    with pytest.raises(ValueError, match="diverged"):
        measure(f, AdaptiveSharpness(), seed=0)
