"""Training losses against their formulas in NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from trainables.config.data import DataConfig, NetworkConfig
from trainables.config.optimizers.sgd import SGD
from trainables.config.trial import TrialConfig
from trainables.methods.losses import focal, training_loss


def config(**fields: float) -> TrialConfig:
    return TrialConfig(
        data=DataConfig(),
        network=NetworkConfig(name="mlp"),
        seed=0,
        optimizer=SGD(),
        global_batch_size=8,
        peak_lr=0.1,
        optimizer_steps=1,
        **fields,
    )


@pytest.fixture
def batch() -> tuple[Tensor, Tensor]:
    """Logits [12, 5] and labels, from hopeless to certain."""
    generator = torch.Generator().manual_seed(0)
    logits = 4 * torch.randn(12, 5, generator=generator, dtype=torch.float64)
    return logits.requires_grad_(), torch.randint(5, (12,), generator=generator)


def log_softmax(logits: Tensor) -> np.ndarray:
    z = logits.detach().numpy()
    return z - np.log(np.exp(z).sum(axis=1, keepdims=True))


def test_by_default_it_is_cross_entropy_to_the_bit(batch):
    assert torch.equal(training_loss(config())(*batch), F.cross_entropy(*batch, reduction="none"))


def test_smoothed_labels_are_a_mixture_with_the_uniform_target(batch):
    logits, labels = batch
    logs, s = log_softmax(logits), 0.3
    target = np.full(logs.shape, s / 5)
    target[np.arange(12), labels] += 1 - s
    losses = training_loss(config(label_smoothing=s))(logits, labels)
    np.testing.assert_allclose(losses.detach(), -(target * logs).sum(axis=1), rtol=1e-13)


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0])
def test_the_focal_loss_and_its_slope_are_the_formula(batch, gamma):
    logits, labels = batch
    losses = training_loss(config(focal_gamma=gamma))(logits, labels)
    log_p = log_softmax(logits)[np.arange(12), labels]
    p = np.exp(log_p)
    np.testing.assert_allclose(losses.detach(), -((1 - p) ** gamma) * log_p, rtol=1e-12)
    # Lin et al. 2017, appendix B, by one logit: the chain rule through p of the softmax.
    (gradient,) = torch.autograd.grad(losses.sum(), logits)
    slope = gamma * (1 - p) ** (gamma - 1) * p * log_p - (1 - p) ** gamma
    one_hot = np.eye(5)[labels]
    expected = slope[:, None] * (one_hot - np.exp(log_softmax(logits)))
    np.testing.assert_allclose(gradient, expected, rtol=1e-10, atol=1e-14)


def test_the_focal_loss_at_0_is_cross_entropy(batch):
    assert torch.equal(focal(*batch, gamma=0.0), F.cross_entropy(*batch, reduction="none"))


@pytest.mark.parametrize("gamma", [0.1, 1.0, 2.0])
def test_a_certain_example_gives_no_gradient_and_no_nan(gamma):
    logits = torch.tensor([[200.0, 0.0, 0.0], [0.0, 200.0, 0.0]], requires_grad=True)
    losses = focal(logits, torch.tensor([0, 0]), gamma)
    assert losses.tolist() == [0.0, 200.0]
    losses.sum().backward()
    assert torch.equal(logits.grad[0], torch.zeros(3))
    assert logits.grad[1].tolist() == [-1.0, 1.0, 0.0]
