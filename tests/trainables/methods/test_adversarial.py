"""Adversarial inputs: on a linear model by hand, and in networks with normalization, dropout."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trainables import loop
from trainables.collective import Collective
from trainables.config.data import NetworkConfig
from trainables.config.trial import Trial
from trainables.datasets.cache import open_data
from trainables.draws import stream
from trainables.loop import TrainState, train
from trainables.methods.adversarial import half_adversarial
from trainables.methods.normalization import replace_batch_norm
from trainables.networks.build import build
from trainables.prepare import prepare

EPSILON = 0.1
DROPOUT = NetworkConfig(name="mlp", options={"hidden": [16, 8], "dropout": 0.3})


def trained(trial: Trial) -> TrainState:
    prepared, state = prepare(trial, Collective())
    for _ in train(state, trial.config, trial.execution, prepared.data, Collective()):
        pass
    return state


# ------------------------------------------------------------------------------------------ a model


def linear() -> tuple[Tensor, Tensor, Tensor]:
    """Weights [3, 4], inputs [6, 4] and labels of a softmax regression."""
    generator = torch.Generator().manual_seed(1)
    weights = torch.randn(3, 4, generator=generator, dtype=torch.float64, requires_grad=True)
    inputs = torch.rand(6, 4, generator=generator, dtype=torch.float64)
    return weights, inputs, torch.randint(3, (6,), generator=generator)


def test_on_a_linear_model_it_is_the_formula():
    """grad_x J = W' (p - y): the moved input, its loss, and the slope by the weights by hand."""
    weights, inputs, labels = linear()

    def losses_at(x: Tensor) -> Tensor:
        return F.cross_entropy(x @ weights.T, labels, reduction="none")

    losses = half_adversarial(losses_at, inputs, EPSILON, None)
    (slope,) = torch.autograd.grad(losses.sum(), weights)
    w, targets = weights.detach(), F.one_hot(labels, 3)

    def errors(x: Tensor) -> Tensor:
        return torch.softmax(x @ w.T, dim=1) - targets

    moved = inputs + EPSILON * torch.sign(errors(inputs) @ w)
    rows = torch.arange(6)
    expected = [-torch.log_softmax(x @ w.T, 1)[rows, labels] for x in (inputs, moved)]
    torch.testing.assert_close(losses, (expected[0] + expected[1]) / 2, rtol=1e-13, atol=0)
    by_hand = (errors(inputs).T @ inputs + errors(moved).T @ moved) / 2
    torch.testing.assert_close(slope, by_hand, rtol=1e-12, atol=1e-14)
    assert (expected[1] > expected[0]).all()


def test_it_touches_neither_gradients_nor_inputs_and_needs_no_grad_mode():
    weights, inputs, labels = linear()
    before = inputs.clone()

    def losses_at(x: Tensor) -> Tensor:
        return F.cross_entropy(x @ weights.T, labels, reduction="none")

    with torch.no_grad():
        ahead = half_adversarial(losses_at, inputs, EPSILON, None)
    losses = half_adversarial(losses_at, inputs, EPSILON, None)
    assert not ahead.requires_grad and torch.equal(ahead, losses)
    assert weights.grad is None
    assert torch.equal(inputs, before) and not inputs.requires_grad


def test_running_statistics_are_those_of_the_inputs_as_they_are():
    torch.manual_seed(0)
    model = nn.Sequential(nn.BatchNorm1d(4), nn.Linear(4, 3)).double()
    plain = copy.deepcopy(model)
    state = replace_batch_norm(model)
    _, inputs, labels = linear()
    half_adversarial(
        lambda x: F.cross_entropy(model(x), labels, reduction="none"), inputs, EPSILON, state
    )
    plain(inputs)
    assert model[0].num_batches_tracked == 1
    torch.testing.assert_close(model[0].running_mean, plain[0].running_mean)
    torch.testing.assert_close(model[0].running_var, plain[0].running_var)


# ---------------------------------------------------------------------------------------- the loop


def by_hand(trial: Trial) -> nn.Module:
    """The same training with torch's own layers and no layouts."""
    config, data = trial.config, open_data(trial.config.data)
    inputs = torch.from_numpy(data.train_inputs).double() / 255
    labels = torch.from_numpy(data.train_labels)
    model = build(config.network, tuple(inputs.shape[1:]), 10, config.seed).double()
    optimizer = torch.optim.SGD(model.parameters(), lr=config.peak_lr, foreach=False)
    size = config.global_batch_size
    for step in range(config.optimizer_steps):
        indices = stream(config.seed, len(labels), step * size, (step + 1) * size)
        x, y = inputs[torch.from_numpy(indices)], labels[torch.from_numpy(indices)]
        attacked, probe = copy.deepcopy(model), x.clone().requires_grad_()
        F.cross_entropy(attacked(probe), y).backward()
        moved = x + config.adversarial_epsilon * probe.grad.sign()
        attacked = copy.deepcopy(model)
        (F.cross_entropy(attacked(moved), y) / 2).backward()
        optimizer.zero_grad()
        (F.cross_entropy(model(x), y) / 2).backward()
        for parameter, other in zip(model.parameters(), attacked.parameters(), strict=True):
            parameter.grad += other.grad
        optimizer.step()
    return model


def test_it_is_the_loop_anyone_would_write(make_trial, tmp_path):
    trial = make_trial(tmp_path, precision="float64", adversarial_epsilon=EPSILON, epochs=2.0)
    state, expected = trained(trial).model.state_dict(), by_hand(trial).state_dict()
    for name, value in expected.items():
        torch.testing.assert_close(state[name], value, rtol=1e-9, atol=1e-11, msg=name)


@pytest.mark.parametrize("discard_ratio", [0.0, 0.3])
@pytest.mark.parametrize("micro", [50, 10])
def test_passes_beyond_the_first_are_counted(make_trial, tmp_path, discard_ratio, micro):
    trial = make_trial(
        tmp_path,
        adversarial_epsilon=EPSILON,
        discard_ratio=discard_ratio,
        ghost_batch_size=10,
        execution={"max_micro_batch_size": micro},
    )
    passes = 3 if discard_ratio and micro == 10 else 1
    assert trained(trial).extra_forward_examples == passes * 500


def test_both_passes_have_the_same_dropout_masks(make_trial, tmp_path, monkeypatch):
    seeds: list[int] = []
    seed_dropout = loop._seed_dropout

    def noted(seed: int, device: torch.device) -> None:
        seeds.append(seed)
        seed_dropout(seed, device)

    monkeypatch.setattr(loop, "_seed_dropout", noted)
    trained(make_trial(tmp_path, network=DROPOUT, adversarial_epsilon=EPSILON))
    assert seeds[::2] == seeds[1::2] and len(set(seeds)) == 10
