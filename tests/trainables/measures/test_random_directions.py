"""Rises along random directions against a plain loop, and against the curvature they come from."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from trainables.config.measures.random_directions import RandomDirections
from trainables.measures.objective import CurvePoint, Objective
from trainables.measures.random_directions import measure

CONFIG = RandomDirections(directions=50, relative_radius=0.3, steep_rise=0.002)


def objective(scale: float = 1.0) -> Objective:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3)).double().eval()
        inputs = scale * torch.randn(40, 4, dtype=torch.float64)
        targets = torch.randint(3, (40,))
    return Objective(model, inputs, targets, 16)


def test_the_rows_are_those_of_a_plain_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    f, points, losses = objective(), [], []

    def recorded(x):
        points.append(x)
        losses.append(Objective.value(f, x))
        return losses[-1]

    monkeypatch.setattr(f, "value", recorded)
    rows = measure(f, CONFIG, seed=0)
    rises = np.array(losses[1:]) - losses[0]
    steps = torch.stack(points[1:]) - f.start
    np.testing.assert_allclose(steps.norm(dim=1), 0.3 * f.start.norm())
    share = np.mean(rises >= 0.002)
    assert 0 < share < 1
    values = {row.quantity: row for row in rows[:3]}
    assert values["steep_share"].value == share
    assert values["steep_share"].standard_error == math.sqrt(share * (1 - share) / 50)
    assert values["median_rise"].value == np.median(rises)
    assert values["largest_rise"].value == rises.max()
    assert {(row.evaluations, row.start_loss) for row in rows[:3]} == {(51, losses[0])}
    curve = rows[3:]
    assert all(isinstance(point, CurvePoint) and point.quantity == "rise" for point in curve)
    np.testing.assert_allclose([point.value for point in curve], np.sort(rises))
    np.testing.assert_allclose([point.x for point in curve], np.arange(1, 51) / 50)


def test_a_short_step_rises_by_the_trace_on_average() -> None:
    """E rise = r^2 |x|^2 tr(H) / (2 n) to second order; the gradient's part averages to 0."""
    f = objective()
    size = len(f.start)
    hessian = f.hessian_vector_products(f.start)(torch.eye(size).double())
    expected = (1e-2 * f.start.norm()) ** 2 * hessian.trace() / (2 * size)
    config = replace(CONFIG, directions=500, relative_radius=1e-2)
    points = measure(f, config, seed=1)[3:]
    rises = np.array([point.value for point in points])
    assert abs(rises.mean() - expected.item()) < 4 * rises.std() / math.sqrt(500)


def test_the_directions_are_uniform(monkeypatch: pytest.MonkeyPatch) -> None:
    f, points = objective(), []
    monkeypatch.setattr(f, "value", lambda x: points.append(x) or 0.0)
    measure(f, replace(CONFIG, directions=400), seed=0)
    units = torch.nn.functional.normalize(torch.stack(points[1:]) - f.start)
    assert units.mean(dim=0).norm() < 2 / math.sqrt(400)
    assert abs(units[::2] @ units[1::2].T).mean() == pytest.approx(
        math.sqrt(2 / math.pi / len(f.start)), rel=0.1
    )


def test_the_seed_decides() -> None:
    assert measure(objective(), CONFIG, seed=0) == measure(objective(), CONFIG, seed=0)
    assert measure(objective(), CONFIG, seed=0) != measure(objective(), CONFIG, seed=1)


def test_a_diverged_network_has_none() -> None:
    f = objective()
    f.start[0] = math.nan
    with pytest.raises(ValueError, match="diverged"):
        measure(f, CONFIG, seed=0)
