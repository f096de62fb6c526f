"""Layer-wise rates, LAMB and SGD with the rate folded in, each against its rule in NumPy."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from tests.stored import at
from trainables.config.optimizers.kinds import OptimizerConfig
from trainables.config.optimizers.lamb import LAMB
from trainables.config.optimizers.layerwise import LARS, MCLR, PercentDelta
from trainables.config.optimizers.sgd import SGD
from trainables.config.optimizers.sgd_folded import SGDFolded
from trainables.optimizers import layerwise
from trainables.optimizers.build import build
from trainables.results import files
from trainables.run import trial as trials

RATES = [0.1, 0.3, 0.3, 0.02, 0.5]
Array = Any
Rule = Callable[..., list[Array]]


# ------------------------------------------------------------------------------------------ oracles


def lars(c: LARS, w: Array, g: Array) -> float:
    size, change = np.sqrt((w**2).sum()), np.sqrt((g**2).sum())
    below = change + c.weight_decay * size
    return c.trust_coefficient * size / below if size and change else 1.0


def percent_delta(c: PercentDelta, w: Array, g: Array) -> float:
    g, w = g[w != 0], w[w != 0]
    mean = np.abs((g + c.weight_decay * w) / w).mean() if w.size and g.any() else 0
    return c.trust_coefficient / mean if mean else 1.0


def mclr(c: MCLR, w: Array, g: Array) -> float:
    if c.medians == "absolute":
        w, g = np.abs(w), np.abs(g)
    middle = (w.size - 1) // 2
    w_m, g_m = np.sort(w.ravel())[middle], np.sort(g.ravel())[middle]
    below = g_m + c.weight_decay * w_m
    return c.trust_coefficient * abs(w_m / below) if w_m and g_m and below else 1.0


def layer_wise(c: Any, weights: list[Array], gradient: Callable[[Array], Array]) -> list[Any]:
    ratio = {"lars": lars, "percent-delta": percent_delta, "mclr": mclr}[c.name]
    weights, v, path = [*weights], [np.zeros_like(w) for w in weights], []
    for lr in RATES:
        for i, w in enumerate(weights):
            g, adapt = gradient(w), w.ndim > 1 or c.adapt_vectors
            beta, own = (c.weight_decay, ratio(c, w, g)) if adapt else (0.0, 1.0)
            v[i] = c.momentum * v[i] + lr * own * (g + beta * w)
            weights[i] = w - v[i]
        path.append([*weights])
    return path


def lamb(c: LAMB, weights: list[Array], gradient: Callable[[Array], Array]) -> list[Any]:
    weights, path = [*weights], []
    m, v = ([np.zeros_like(w) for w in weights] for _ in range(2))
    for t, lr in enumerate(RATES, start=1):
        for i, w in enumerate(weights):
            g, adapt = gradient(w), w.ndim > 1 or c.adapt_vectors
            m[i] = c.beta1 * m[i] + (1 - c.beta1) * g
            v[i] = c.beta2 * v[i] + (1 - c.beta2) * g**2
            u = m[i] / (1 - c.beta1**t) / (np.sqrt(v[i] / (1 - c.beta2**t)) + c.epsilon)
            u = u + c.weight_decay * w if adapt else u
            norms = np.linalg.norm(w), np.linalg.norm(u)
            weights[i] = w - lr * (norms[0] / norms[1] if adapt and all(norms) else 1.0) * u
        path.append([*weights])
    return path


def folded(c: SGDFolded, weights: list[Array], gradient: Callable[[Array], Array]) -> list[Any]:
    weights, v, path, last = [*weights], [np.zeros_like(w) for w in weights], [], RATES[0]
    for lr in RATES:
        keep = c.momentum * (lr / last if c.momentum_correction else 1.0)
        for i, w in enumerate(weights):
            v[i] = keep * v[i] + lr * (gradient(w) + c.weight_decay * w)
            weights[i] = w - v[i]
        last = lr
        path.append([*weights])
    return path


FAMILY: list[OptimizerConfig] = [
    kind(**settings, trust_coefficient=0.02, **own)
    for kind, own in (
        (LARS, {}),
        (PercentDelta, {}),
        (MCLR, {}),
        (MCLR, {"medians": "signed"}),
    )
    for settings in (
        {"momentum": 0.0},
        {"momentum": 0.8, "weight_decay": 0.03},
        {"momentum": 0.8, "weight_decay": 0.03, "adapt_vectors": True},
    )
]
CASES: list[tuple[OptimizerConfig, Rule]] = [
    *((config, layer_wise) for config in FAMILY),
    (LAMB(), lamb),
    (LAMB(beta1=0.5, beta2=0.9, epsilon=1e-2, weight_decay=0.1), lamb),
    (LAMB(weight_decay=0.1, adapt_vectors=True), lamb),
    (SGDFolded(momentum=0.0), folded),
    (SGDFolded(weight_decay=0.03), folded),
    (SGDFolded(momentum=0.8, momentum_correction=False), folded),
]


def network() -> nn.Sequential:
    """Matrices, biases, normalization; one matrix starts at 0, one weight of another is 0."""
    model = nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4), nn.Linear(4, 3), nn.Linear(3, 2))
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(torch.randn(p.shape, generator=generator))
        model[0].weight[1, 2] = 0.0
        model[3].weight.zero_()
    return model.double()


def descend(model: nn.Module, optimizer: torch.optim.Optimizer, lr: float) -> float:
    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = sum(((p - 0.3) ** 4).sum() for p in model.parameters())
        assert isinstance(loss, torch.Tensor)
        loss.backward()
        return loss.detach()

    for group in optimizer.param_groups:
        group["lr"] = lr
    return float(optimizer.step(closure))


def arrays(model: nn.Module) -> list[Array]:
    return [p.detach().numpy().copy() for p in model.parameters()]


@pytest.mark.parametrize(("config", "rule"), CASES, ids=str)
def test_every_step_is_the_rule(config, rule):
    model = network()
    expected = rule(config, arrays(model), lambda w: 4 * (w - 0.3) ** 3)
    optimizer = build(config, model)
    for lr, weights in zip(RATES, expected, strict=True):
        before = sum(((w - 0.3) ** 4).sum() for w in arrays(model))
        assert descend(model, optimizer, lr) == pytest.approx(before, rel=1e-12)
        for found, wanted in zip(arrays(model), weights, strict=True):
            np.testing.assert_allclose(found, wanted, rtol=1e-11)


@pytest.mark.parametrize(
    ("config", "kind", "options"),
    [
        (LARS(weight_decay=0.03), "Lars", {"momentum": 0.9, "trust_coeff": 0.001, "eps": 0.0}),
        (LAMB(weight_decay=0.03), "Lamb", {"max_grad_norm": None}),
    ],
    ids=["lars", "lamb"],
)
def test_timm_holds_the_same_rule_at_a_constant_rate(config, kind, options):
    timm_optim = pytest.importorskip("timm.optim")
    model, other = (nn.Linear(5, 4, bias=False).double() for _ in range(2))
    other.load_state_dict(model.state_dict())
    ours = build(config, model)
    peer = getattr(timm_optim, kind)(other.parameters(), lr=0.1, weight_decay=0.03, **options)
    for _ in range(5):
        descend(model, ours, 0.1)
        descend(other, peer, 0.1)
    torch.testing.assert_close(model.weight, other.weight, rtol=1e-9, atol=0.0)


# --------------------------------------------------------------------------------------- properties


def test_percent_delta_moves_weights_by_that_percentage_on_average():
    model = nn.Linear(20, 30, bias=False).double()
    before = model.weight.detach().clone()
    optimizer = build(PercentDelta(momentum=0.0), model)
    descend(model, optimizer, 0.01)
    share = ((model.weight.detach() - before) / before).abs().mean()
    assert float(share) == pytest.approx(0.01, rel=1e-12)


@pytest.mark.parametrize("radius", [*layerwise.RADII.values(), layerwise.mclr_signed])
@pytest.mark.parametrize("scale", [1e-3, 50.0])
def test_the_radius_is_inverse_to_the_gradient_and_has_the_weights_unit(radius, scale):
    generator = torch.Generator().manual_seed(0)
    w, g = (torch.randn(7, 6, generator=generator, dtype=torch.float64) for _ in range(2))
    one = radius([w], [g], 0.0, 1.0)
    torch.testing.assert_close(radius([w], [g * scale], 0.0, 1.0), one / scale)
    torch.testing.assert_close(radius([w * scale], [g], 0.0, 2.0), one * scale * 2)


@pytest.mark.parametrize("radius", [*layerwise.RADII.values(), layerwise.mclr_signed])
@pytest.mark.parametrize("beta", [0.0, 0.1])
def test_a_size_of_zero_gives_ratio_one(radius, beta):
    zero, one = torch.zeros(3, 3), torch.ones(3, 3)
    assert radius([zero, one, zero], [one, zero, zero], beta, 0.02).tolist() == [1.0, 1.0, 1.0]


def test_where_all_weights_and_gradients_are_alike_the_three_rules_are_one():
    w, g = torch.full((4, 5), -2.0), torch.full((4, 5), -0.5)
    found = {name: radius([w], [g], 0.25, 0.1).item() for name, radius in layerwise.RADII.items()}
    assert list(found.values()) == pytest.approx([0.1 * 2 / (0.5 + 0.25 * 2)] * 3)


@pytest.mark.parametrize("size", [1, 2, 5, 6, 101])
def test_the_median_is_torchs(size):
    values = torch.randn(size, 4, generator=torch.Generator().manual_seed(size))
    assert torch.equal(layerwise.median(values, absolute=False), values.median())
    assert torch.equal(layerwise.median(values, absolute=True), values.abs().median())


@pytest.mark.parametrize("config", [LARS(momentum=0.0, weight_decay=9.0), LAMB(weight_decay=9.0)])
def test_vectors_are_neither_adapted_nor_decayed(config):
    model, plain = network(), network()
    descend(model, build(config, model), 0.1)
    other = SGD() if isinstance(config, LARS) else LAMB(weight_decay=0.0)
    descend(plain, build(other, plain), 0.1)
    for (name, p), q in zip(model.named_parameters(), plain.parameters(), strict=True):
        same = torch.allclose(p, q, rtol=1e-12)
        assert same == (p.ndim == 1) or name == "3.weight", name


def test_with_momentum_correction_it_is_torchs_sgd_at_any_rate():
    settings = {"momentum": 0.9, "weight_decay": 0.01}
    models = {config: network() for config in (SGD(**settings), SGDFolded(**settings))}
    optimizers = {config: build(config, model) for config, model in models.items()}
    for lr in RATES:
        for config, model in models.items():
            descend(model, optimizers[config], lr)
    outside, inside = map(arrays, models.values())
    for a, b in zip(outside, inside, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)


def test_parameters_without_gradient_are_left_alone():
    for config, _ in CASES:
        model = network()
        optimizer = build(config, model)
        before = arrays(model)
        optimizer.step()
        assert all(map(np.array_equal, before, arrays(model)))


@pytest.mark.parametrize("config", [case[0] for case in CASES], ids=str)
def test_no_rule_waits_for_a_device_that_is_not_the_cpu(config):
    model = network().to("meta")  # has no numbers: who asks for one, fails
    optimizer = build(config, model)
    for lr in RATES:
        for p in model.parameters():
            p.grad = torch.empty_like(p)
        for group in optimizer.param_groups:
            group["lr"] = lr
        optimizer.step()


# ---------------------------------------------------------------------------- saved and in trials


@pytest.mark.parametrize("config", [case[0] for case in CASES], ids=str)
def test_a_restored_state_goes_on_bit_for_bit(config):
    model, restored = network(), network()
    optimizer = build(config, model)
    for lr in RATES[:3]:
        descend(model, optimizer, lr)
    buffer = io.BytesIO()
    torch.save([model.state_dict(), optimizer.state_dict()], buffer)
    weights, state = torch.load(io.BytesIO(buffer.getvalue()), weights_only=True)
    again = build(config, restored)
    restored.load_state_dict(weights)
    again.load_state_dict(state)
    for lr in RATES[3:]:
        descend(model, optimizer, lr)
        descend(restored, again, lr)
    assert all(map(np.array_equal, arrays(model), arrays(restored)))


IN_TRIALS: list[tuple[OptimizerConfig, float]] = [
    (LARS(weight_decay=5e-4), 5.0),
    (PercentDelta(), 0.01),
    (MCLR(), 0.01),
    (MCLR(medians="signed"), 0.001),
    (LAMB(), 0.01),
    (SGDFolded(), 0.01),
    (SGDFolded(momentum_correction=False, weight_decay=5e-4), 0.01),
]


@pytest.mark.parametrize(("config", "base_lr"), IN_TRIALS, ids=str)
def test_a_trial_of_twenty_steps(make_trial, tmp_path, config, base_lr):
    settings = {"optimizer": config, "base_lr": base_lr, "decay": "cosine"}
    settings |= {"warmup_epochs": 0.5, "warmup_start_lr": base_lr / 10}
    trial = make_trial(tmp_path, 50, optimizer_steps=20, **settings)
    assert [beat.status for beat in trials.run(trial)][-1] == "complete"
    path = Path(trial.folder) / "trials" / f"{trial.trial_id}.parquet"
    (row,) = files.read_rows(*at(path))
    assert row["optimizer"] == config.name
    assert row["train_loss"] < 2.3
    momentum = config.beta1 if isinstance(config, LAMB) else config.momentum
    assert momentum ** (row["momentum_half_life_examples"] / 50) == pytest.approx(0.5)
    plain = isinstance(config, SGDFolded)
    assert (row["weight_decay_per_epoch"] is not None) == plain  # of the rest it is in the ratio


def test_momentum_correction_refuses_a_warmup_from_zero(make_trial, tmp_path):
    settings = {"warmup_epochs": 0.5, "base_lr": 0.1}
    with pytest.raises(ValueError, match=r"^warmup_start_lr 0: .*e\.g\. 0\.01$"):
        make_trial(tmp_path, 50, optimizer=SGDFolded(), **settings)
    make_trial(tmp_path, 50, optimizer=SGDFolded(momentum_correction=False), **settings)
    make_trial(tmp_path, 50, optimizer=SGDFolded(), **settings, warmup_start_lr=0.01)
    without = [
        make_trial(tmp_path, 50, optimizer=SGDFolded(momentum=0.0, momentum_correction=on))
        for on in (True, False)
    ]
    assert without[0].trial_id == without[1].trial_id
