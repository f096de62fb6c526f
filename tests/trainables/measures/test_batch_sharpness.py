"""Batch sharpness against explicit Hessians of batches, and over all batches that there are."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trainables.config.measures.batch_sharpness import BatchSharpness
from trainables.measures.batch_sharpness import measure
from trainables.measures.objective import Objective

CONFIG = BatchSharpness(batches=20, batch_size=5)


def objective(num_examples: int = 40) -> Objective:
    """Float64, normalization with statistics neither zero nor one."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.ReLU(), nn.Linear(3, 2))
        model(torch.randn(50, 3))
        inputs = torch.randn(num_examples, 3, dtype=torch.float64)
        targets = torch.randint(2, (num_examples,))
    return Objective(model.double().eval(), inputs, targets, 16)


def explicit(f: Objective, batch: Tensor) -> tuple[float, float]:
    """g^T H g and |g|^2 of a batch: plain autograd, H column by column."""
    inputs, targets = (part[batch] for part in f._examples)
    parameters = list(f._model.parameters())

    def flat(parts) -> Tensor:
        return torch.cat([part.flatten() for part in parts])

    loss = F.cross_entropy(f._model(inputs), targets)
    gradient = flat(torch.autograd.grad(loss, parameters, create_graph=True))
    rows = [
        flat(torch.autograd.grad(g, parameters, retain_graph=True, materialize_grads=True))
        for g in gradient
    ]
    g = gradient.detach()
    return (g @ torch.stack(rows) @ g).item(), (g @ g).item()


def averages(pairs: list[tuple[float, float]]) -> tuple[float, float]:
    curvatures, squares = np.array(pairs).T
    return (curvatures / squares).mean(), curvatures.mean() / squares.mean()


def test_both_averages_are_those_of_explicit_hessians(monkeypatch: pytest.MonkeyPatch) -> None:
    f, batches = objective(), []

    def recorded(indices):
        batches.append(indices)
        return Objective.over(f, indices)

    monkeypatch.setattr(f, "over", recorded)
    rows = measure(f, CONFIG, seed=0)
    assert [row.method for row in rows] == ["mean of ratios", "ratio of means"]
    assert {len(set(batch.tolist())) for batch in batches} == {5}
    expected = averages([explicit(f, batch) for batch in batches])
    assert [row.value for row in rows] == pytest.approx(expected, rel=1e-9)
    assert {(row.quantity, row.evaluations) for row in rows} == {("batch_sharpness", 40)}
    assert rows[0].stop_reason == "20 batches of 5 drawn"
    assert rows[0].start_loss == f.value(f.start)


def test_many_batches_come_near_all_that_there_are() -> None:
    f = objective(6)
    every = [explicit(f, torch.tensor(b)) for b in itertools.combinations(range(6), 3)]
    rows = measure(f, BatchSharpness(batches=200, batch_size=3), seed=1)
    for row, exact in zip(rows, averages(every), strict=True):
        assert 0 < row.standard_error < 0.2 * abs(exact)
        assert abs(row.value - exact) < 4 * row.standard_error


def test_the_standard_error_of_the_mean_of_ratios_is_the_usual_one() -> None:
    f = objective()
    found = [measure(f, replace(CONFIG, batches=10), seed)[0] for seed in range(30)]
    spread = np.std([row.value for row in found], ddof=1)
    typical = math.sqrt(np.mean([row.standard_error**2 for row in found]))
    assert typical == pytest.approx(spread, rel=0.3)


def test_over_all_examples_it_is_the_curvature_along_the_gradient() -> None:
    f = objective()
    curvature, squared = explicit(f, torch.arange(40))
    rows = measure(f, BatchSharpness(batches=2, batch_size=40), seed=0)
    assert [row.value for row in rows] == pytest.approx([curvature / squared] * 2, rel=1e-9)
    hessian = f.hessian_vector_products(f.start)(torch.eye(len(f.start)).double())
    assert rows[0].value <= torch.linalg.eigvalsh(hessian)[-1]


def test_tiny_gradients_keep_their_direction_in_float32() -> None:
    """Sure to 1e-26 of one class: the square of the gradient is 0 in float32."""

    def values(dtype: torch.dtype) -> list[float]:
        f = objective()
        f._model[3].bias.data[:] = torch.tensor([30.0, -30])
        inputs = f._examples[0].to(dtype)
        sure = Objective(f._model.to(dtype), inputs, torch.zeros(40, dtype=torch.long))
        assert 0 < sure.value_and_gradient(sure.start)[1].abs().max() < 1e-23
        return [row.value for row in measure(sure, CONFIG, seed=0)]

    assert values(torch.float32) == pytest.approx(values(torch.float64), rel=1e-3)


def test_a_batch_larger_than_the_examples_is_refused() -> None:
    with pytest.raises(ValueError, match=r"batch_size is 41; .*the 40 examples.*for example 40"):
        measure(objective(), replace(CONFIG, batch_size=41), seed=0)


def test_a_gradient_of_zero_has_no_direction() -> None:
    f = objective()
    f._model[3].bias.data[:] = torch.tensor([1e3, -1e3])
    inputs, _ = f._examples
    certain = Objective(f._model, inputs, torch.zeros(40, dtype=torch.long))
    with pytest.raises(ValueError, match="gradient is zero"):
        measure(certain, CONFIG, seed=0)


def test_a_diverged_network_has_none() -> None:
    f = objective()
    f.start[0] = math.nan
    with pytest.raises(ValueError, match="the loss is nan"):
        measure(f, CONFIG, seed=0)
