"""The noise scale against gradients of single examples and against all batches there are."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from trainables.config.measures.noise_scale import NoiseScale
from trainables.measures.jackknife import jackknife
from trainables.measures.noise_scale import estimates, measure, squared_norms
from trainables.measures.objective import MeasureInterrupted, Objective

CONFIG = NoiseScale(small_batch_size=2, large_batch_size=10, pairs=400)


def of_means(squared: np.ndarray) -> np.ndarray:
    return estimates(squared, (2, 10), 40)


def objective(num_examples: int = 40, should_stop=None) -> Objective:
    """51 parameters in float64, normalization with statistics neither zero nor one."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 3))
        model(torch.randn(50, 4))
        inputs = torch.randn(num_examples, 4, dtype=torch.float64)
        targets = torch.randint(3, (num_examples,))
    return Objective(model.double().eval(), inputs, targets, 16, should_stop=should_stop)


def gradients(f: Objective) -> np.ndarray:
    """Of every example by itself, [N, n]: plain autograd, one example at a time."""
    model, (inputs, targets) = f._model, f._examples
    rows = []
    for i in range(len(targets)):
        loss = F.cross_entropy(model(inputs[i : i + 1]), targets[i : i + 1])
        parts = torch.autograd.grad(loss, list(model.parameters()))
        rows.append(torch.cat([part.flatten() for part in parts]).numpy())
    return np.array(rows)


def exact(f: Objective) -> tuple[float, float, float]:
    """tr(Sigma), normalized by N - 1, |G|^2 and their ratio."""
    rows = gradients(f)
    trace, norm = np.cov(rows.T).trace(), (rows.mean(axis=0) ** 2).sum()
    return trace, norm, trace / norm


@pytest.mark.parametrize("sizes", [(1, 2), (2, 5), (1, 6), (3, 7)])
def test_over_all_batches_there_are_the_estimates_are_exact(sizes):
    f = objective(7)
    rows = gradients(f)
    means = [
        np.mean(
            [
                (rows[list(b)].mean(axis=0) ** 2).sum()
                for b in itertools.combinations(range(7), size)
            ]
        )
        for size in sizes
    ]
    np.testing.assert_allclose(estimates(np.array(means), sizes, 7), exact(f), rtol=1e-10)


def test_a_batch_is_the_mean_over_its_examples():
    f = objective()
    rows = gradients(f)
    batch = torch.tensor([3, 17, 39, 4, 0])
    gradient = f.over(batch).value_and_gradient(f.start)[1].numpy()
    np.testing.assert_allclose(gradient, rows[batch.numpy()].mean(axis=0), rtol=1e-10, atol=1e-14)
    assert f.evaluations == 0


def test_the_estimates_lie_within_their_standard_errors():
    f = objective()
    trace, norm, ratio = exact(f)
    found = measure(f, CONFIG, seed=1)
    assert [(v.quantity, v.method) for v in found] == [
        ("gradient_trace_covariance", "batches 2 and 10"),
        ("gradient_squared_norm", "batches 2 and 10"),
        ("noise_scale", "batches 2 and 10"),
        ("gradient_squared_norm", "full-gradient"),
    ]
    for value, truth in zip(found, (trace, norm, ratio), strict=False):
        assert 0 < value.standard_error < 0.5 * truth
        assert abs(value.value - truth) < 4 * value.standard_error
    assert found[-1].value == pytest.approx(norm, rel=1e-10)
    assert found[-1].standard_error is None


def test_over_many_seeds_they_are_unbiased_and_the_standard_errors_are_right():
    f = objective()
    rows = gradients(f)
    # Batches of the gradients at hand: 300 seeds in a moment.
    found, errors = [], []
    draw = np.random.default_rng(0)
    for _ in range(300):
        drawn = np.array(
            [
                [(rows[draw.permutation(40)[:size]].mean(axis=0) ** 2).sum() for size in (2, 10)]
                for _ in range(20)
            ]
        )
        found.append(estimates(drawn.mean(axis=0), (2, 10), 40))
        errors.append(jackknife(drawn, of_means))
    trace, norm, _ = exact(f)
    spread, mean = np.std(found, axis=0, ddof=1), np.mean(found, axis=0)
    for i, truth in enumerate((trace, norm)):
        assert abs(mean[i] - truth) < 4 * spread[i] / math.sqrt(300)
        assert np.sqrt(np.mean(np.square(errors), axis=0))[i] == pytest.approx(spread[i], rel=0.15)
    # Without the term 1/N the squared norm would be low, beyond doubt.
    assert mean[1] - trace / 40 < norm - 4 * spread[1] / math.sqrt(300)


def test_over_seeds_the_draws_themselves_are_unbiased():
    f = objective()
    trace, norm, _ = exact(f)
    config = replace(CONFIG, pairs=10)
    found = np.array([[v.value for v in measure(f, config, seed)[:2]] for seed in range(60)])
    allowed = 4 * found.std(axis=0, ddof=1) / math.sqrt(60)
    assert (np.abs(found.mean(axis=0) - (trace, norm)) < allowed).all()


def test_the_whole_training_set_as_the_large_batch_gives_the_norm_exactly():
    f = objective()
    found = measure(f, replace(CONFIG, large_batch_size=40, pairs=5), seed=0)
    assert found[1].value == pytest.approx(exact(f)[1], rel=1e-10)
    assert found[1].standard_error == pytest.approx(0, abs=1e-12)


def test_a_negative_estimate_is_kept_and_said():
    f = objective()
    config = NoiseScale(small_batch_size=8, large_batch_size=9, pairs=2)
    found = [v for seed in range(20) for v in measure(f, config, seed)]
    negative = [v for v in found if v.value < 0]
    assert negative
    assert all(("negative" in v.stop_reason) == (v.value < 0) for v in found)


def test_a_gradient_of_zero_has_no_ratio():
    trace, norm, ratio = estimates(np.zeros(2), (2, 10), 40)
    assert (trace, norm) == (0, 0) and math.isnan(ratio)


@pytest.mark.parametrize(
    "change, says",
    [
        ({"large_batch_size": 41}, r"large_batch_size is 41; .*the 40 .*1 and large_batch_size 20"),
        ({"small_batch_size": 10}, r"small_batch_size is 10; .*10, .*1 and large_batch_size 10"),
        ({"small_batch_size": 12}, r"small_batch_size is 12; .*smaller than large_batch_size 10"),
        ({"small_batch_size": 1, "large_batch_size": 1}, r"1 and large_batch_size 20$"),
    ],
)
def test_settings_that_cannot_be_met(change, says):
    with pytest.raises(ValueError, match=says):
        measure(objective(), replace(CONFIG, **change), seed=0)


def test_a_diverged_network_has_none():
    f = objective()
    f.start[:] = math.nan
    with pytest.raises(ValueError, match="the loss is nan"):
        measure(f, CONFIG, seed=0)


def test_the_result_depends_on_the_seed_alone():
    config = replace(CONFIG, pairs=5)
    torch.manual_seed(3)
    before = torch.get_rng_state()
    first = measure(objective(), config, seed=0)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(4)
    assert measure(objective(), config, seed=0) == first
    assert measure(objective(), config, seed=1) != first
    # A pair's draws do not depend on how many pairs there are.
    few, more = (squared_norms(objective(), (2, 10), pairs, seed=0) for pairs in (3, 5))
    np.testing.assert_array_equal(few, more[:3])


def test_a_stop_is_noticed_between_batches_and_leaves_the_network():
    calls = itertools.count()
    f = objective(should_stop=lambda: next(calls) > 6)
    before = {name: value.clone() for name, value in f._model.state_dict().items()}
    with pytest.raises(MeasureInterrupted):
        measure(f, CONFIG, seed=0)
    assert next(calls) == 8
    assert all(torch.equal(before[name], value) for name, value in f._model.state_dict().items())
