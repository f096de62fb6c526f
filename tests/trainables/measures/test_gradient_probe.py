"""The gradient probe against gradients of single examples and laws that are known."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from trainables.config.measures.gradient_probe import GradientProbe
from trainables.measures.gradient_probe import fit, law, mean_abs_gradients, measure
from trainables.measures.objective import CurvePoint, MeasureInterrupted, MeasureValue, Objective

CONFIG = GradientProbe(batch_sizes=(1, 4, 16, 40), draws=6)


def objective(num_examples: int = 40, should_stop=None) -> Objective:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 3))
        model(torch.randn(50, 4))
        inputs = torch.randn(num_examples, 4, dtype=torch.float64)
        targets = torch.randint(3, (num_examples,))
    return Objective(model.double().eval(), inputs, targets, 16, should_stop=should_stop)


def gradients(f: Objective) -> list[np.ndarray]:
    """Of every example by itself, per tensor [N, d]."""
    model, (inputs, targets) = f.model, f._examples
    rows = []
    for i in range(len(targets)):
        loss = F.cross_entropy(model(inputs[i : i + 1]), targets[i : i + 1])
        rows.append(torch.autograd.grad(loss, list(model.parameters())))
    return [
        np.stack([part.flatten().numpy() for part in parts]) for parts in zip(*rows, strict=True)
    ]


def points(found) -> dict[tuple[str, float], CurvePoint]:
    return {(p.layer, p.x): p for p in found if isinstance(p, CurvePoint)}


def values(found) -> dict[tuple[str, str], MeasureValue]:
    return {(v.layer, v.quantity): v for v in found if isinstance(v, MeasureValue)}


def test_over_all_examples_it_is_the_mean_size_of_the_full_gradient():
    f = objective()
    at = points(measure(f, CONFIG, seed=0))
    labels = ["0 weight", "0 bias", "1 gamma", "1 beta", "3 weight", "3 bias"]
    assert list(dict.fromkeys(layer for layer, _ in at)) == labels
    for label, rows in zip(labels, gradients(f), strict=True):
        whole = at[label, 40.0]
        assert whole.value == pytest.approx(np.abs(rows.mean(axis=0)).mean(), rel=1e-10)
        assert whole.standard_error == pytest.approx(0, abs=1e-12)


def test_over_many_draws_it_is_the_mean_over_all_batches_there_are():
    f = objective(6)
    config = GradientProbe(batch_sizes=(1, 2, 3), draws=200)
    at = points(measure(f, config, seed=0))
    for label, rows in zip(("0 weight", "0 bias"), gradients(f)[:2], strict=True):
        for size in config.batch_sizes:
            batches = itertools.combinations(range(6), size)
            expected = np.mean([np.abs(rows[list(b)].mean(axis=0)).mean() for b in batches])
            point = at[label, float(size)]
            assert abs(point.value - expected) < 4 * point.standard_error < 0.3 * expected


def test_a_law_is_found_again_exactly():
    sizes = np.array([8.0, 32.0, 128.0, 1000.0])
    for mu, s in ((1e-3, 0.02), (3e-9, 5e-7), (2.0, 0.1)):
        found = fit(sizes, law(sizes, mu, s, 1000), 1000)
        np.testing.assert_allclose(found, (mu, s, (s / mu) ** 2), rtol=1e-6)


def test_pure_noise_has_an_infinite_n_star():
    sizes = np.array([8.0, 32.0, 128.0])
    mu, s, n_star = fit(sizes, law(sizes, 0.0, 0.3, 10**9), 10**9)
    assert mu <= 1e-6 and s == pytest.approx(0.3) and n_star > 1e9
    # Falls faster than noise does: the best mu^2 would be negative.
    assert fit(sizes, 1 / sizes, 10**9)[[0, 2]].tolist() == [0.0, np.inf]


def test_a_gradient_of_0_has_no_law():
    mu, s, n_star = fit(np.array([8.0, 32.0]), np.zeros(2), 100)
    assert (mu, s) == (0, 0) and math.isnan(n_star)


def test_gaussian_noise_has_the_mean_size_sqrt_2_over_pi_sigma_over_sqrt_n():
    """The constant that is sqrt(2) too large in the paper's equation 4."""
    draw, sigma, sizes = np.random.default_rng(0), 0.7, np.array([1.0, 4.0, 16.0, 64.0])
    means = [np.abs(draw.normal(0, sigma / math.sqrt(n), 200_000)).mean() for n in sizes]
    _, s, _ = fit(sizes, np.array(means), 10**12)
    assert s == pytest.approx(math.sqrt(2 / math.pi) * sigma, rel=0.01)


def test_the_form_holds_for_gaussian_gradients_with_a_mean_to_a_few_percent():
    draw, sizes = np.random.default_rng(0), np.array([1.0, 4, 16, 64, 256, 1024, 4096])
    centre = draw.normal(0, 0.05, 20_000)
    means = [np.abs(centre + draw.normal(0, 1 / math.sqrt(n), 20_000)).mean() for n in sizes]
    mu, s, n_star = fit(sizes, np.array(means), 10**12)
    off = np.abs(law(sizes, mu, s, 10**12) / means - 1)
    assert off.max() < 0.03
    assert n_star == pytest.approx(1 / 0.05**2, rel=0.1)


def test_the_values_are_those_of_the_fit_to_the_points_and_say_how_far_it_is_off():
    f = objective()
    found = measure(f, CONFIG, seed=0)
    at, of = points(found), values(found)
    sizes = np.array(CONFIG.batch_sizes, dtype=float)
    means = np.array([at["0 weight", n].value for n in sizes])
    mu, s, n_star = fit(sizes, means, 40)
    for name, value in (("mu", mu), ("s", s), ("n_star", n_star)):
        row = of["0 weight", f"gradient_{name}"]
        assert row.value == pytest.approx(value) and row.standard_error > 0
        off = np.abs(law(sizes, mu, s, 40) / means - 1).max()
        assert f"off by {off:.1%} at most" in row.stop_reason
        assert row.evaluations == 24 and row.start_loss == f.value(f.start)


def test_standard_errors_are_those_of_repetition():
    f = objective()
    config = GradientProbe(batch_sizes=(2, 8, 30), draws=12)
    repeated = [values(measure(f, config, seed))["3 weight", "gradient_s"] for seed in range(40)]
    spread = np.std([v.value for v in repeated], ddof=1)
    claimed = np.sqrt(np.mean([v.standard_error**2 for v in repeated]))
    assert claimed == pytest.approx(spread, rel=0.35)


def test_a_batch_does_not_depend_on_the_other_sizes_or_the_number_of_draws():
    f = objective()
    few = mean_abs_gradients(f, replace(CONFIG, batch_sizes=(4, 16), draws=2), seed=0)
    more = mean_abs_gradients(f, CONFIG, seed=0)
    np.testing.assert_array_equal(few, more[:2, 1:3])
    torch.manual_seed(3)
    before = torch.get_rng_state()
    assert measure(f, CONFIG, seed=0) == measure(objective(), CONFIG, seed=0)
    assert torch.equal(torch.get_rng_state(), before)
    assert measure(f, CONFIG, seed=1) != measure(f, CONFIG, seed=0)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"batch_sizes": (41, 4)}, r"holds 41; .*the 40 examples"),
        ({"batch_sizes": (4,)}, r"is \[4\]; .*two or more different"),
        ({"batch_sizes": (4, 4)}, "two or more different"),
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


def test_a_stop_is_noticed_between_batches():
    calls = itertools.count()
    with pytest.raises(MeasureInterrupted):
        measure(objective(should_stop=lambda: next(calls) > 6), CONFIG, seed=0)
    assert next(calls) == 8
