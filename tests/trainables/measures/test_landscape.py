"""The plane against a plain loop over modules, and filter norms against a Python loop."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from trainables.config.measures.landscape import Landscape
from trainables.measures.landscape import filter_normalized_direction, measure
from trainables.measures.objective import CurvePoint, Objective

CONFIG = Landscape(points=5, reach=0.5)


def objective() -> Objective:
    """A convolution, normalization and a linear layer."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(
            nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Linear(12, 3)
        )
        model(torch.randn(20, 2, 4, 4))
        inputs = torch.randn(30, 2, 4, 4, dtype=torch.float64)
        targets = torch.randint(3, (30,))
    return Objective(model.double().eval(), inputs, targets, 16)


def test_every_filter_is_as_long_as_the_weights_own() -> None:
    f = objective()
    across, up = (filter_normalized_direction(f, 0, axis) for axis in (0, 1))
    assert not torch.equal(across, up)
    for direction in (across, up):
        pieces = zip(f._model.named_parameters(), f.pieces(direction), strict=True)
        for (_, weights), piece in pieces:
            if weights.dim() == 1:  # biases, gamma and beta
                assert (piece == 0).all()
                continue
            for filter_, own in zip(piece, weights, strict=True):
                assert filter_.norm().item() == pytest.approx(own.norm().item(), rel=1e-12)


def test_the_plane_is_that_of_a_plain_loop() -> None:
    f = objective()
    across, up = (filter_normalized_direction(f, 3, axis) for axis in (0, 1))
    rows = measure(f, CONFIG, seed=3)
    points = [row for row in rows if isinstance(row, CurvePoint)]
    assert len(points) == 25 and {point.quantity for point in points} == {"train_loss"}
    inputs, targets = f._examples
    losses = []
    with torch.no_grad():
        for point in points:
            flat = f.start + point.x * across + point.y * up
            nn.utils.vector_to_parameters(flat, f._model.parameters())
            losses.append(nn.functional.cross_entropy(f._model(inputs), targets).item())
    np.testing.assert_allclose([point.value for point in points], losses, rtol=1e-10)
    assert sorted({point.x for point in points}) == [-0.5, -0.25, 0, 0.25, 0.5]
    (centre,) = (point.value for point in points if point.x == point.y == 0)
    mean, largest = rows[:2]
    assert mean.value == pytest.approx(np.mean(losses) - centre)
    assert largest.value == pytest.approx(max(losses) - centre)
    assert (mean.quantity, largest.quantity) == ("landscape_mean_rise", "landscape_largest_rise")
    assert (mean.start_loss, mean.evaluations) == (centre, 25)


@pytest.mark.parametrize("factor", [0.1, 10.0])
def test_a_rescaling_before_a_relu_leaves_the_plane(factor: float) -> None:
    """Without biases, which the plane does not scale along with the filters."""

    def network() -> nn.Sequential:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            layers = nn.Linear(4, 5, bias=False), nn.ReLU(), nn.Linear(5, 3, bias=False)
        return nn.Sequential(*layers).double().eval()

    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(20, 4, generator=generator, dtype=torch.float64)
    targets = torch.randint(3, (20,), generator=generator)
    other = network()
    with torch.no_grad():
        other[0].weight *= factor
        other[2].weight /= factor
    planes = [measure(Objective(m, inputs, targets), CONFIG, seed=0) for m in (network(), other)]
    for own, rescaled in zip(*planes, strict=True):
        assert rescaled.value == pytest.approx(own.value, rel=1e-9)


def test_a_filter_of_zeros_stays() -> None:
    f = objective()
    f.start[: 2 * 9] = 0.0
    direction = filter_normalized_direction(f, 0, 0)
    assert (direction[: 2 * 9] == 0).all() and torch.isfinite(direction).all()


def test_the_seed_decides() -> None:
    assert measure(objective(), CONFIG, seed=0) == measure(objective(), CONFIG, seed=0)
    assert measure(objective(), CONFIG, seed=0) != measure(objective(), CONFIG, seed=1)


def test_an_even_number_of_points_is_refused() -> None:
    with pytest.raises(ValueError, match=r"points is 20; it must be odd.*for example 21"):
        measure(objective(), replace(CONFIG, points=20), seed=0)


def test_a_diverged_network_has_none() -> None:
    f = objective()
    f.start[0] = math.nan
    with pytest.raises(ValueError, match="diverged"):
        measure(f, CONFIG, seed=0)
