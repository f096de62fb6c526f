"""Losses and metrics, example by example: what training minimizes and what evaluation averages.

Label smoothing and the focal loss are of training alone: evaluation, `target_train_loss` and every
measure are of the plain `training.loss`, so that trials that differ in them stay comparable.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from trainables.config.trial import TrialConfig
from trainables.task import TASKS

PerExample = Callable[[Tensor, Tensor], Tensor]
"""Outputs [B, num_classes] and labels, [B] classes or [B, num_classes] numbers, to values [B]."""


def cross_entropy(outputs: Tensor, labels: Tensor) -> Tensor:
    """-log p, p the softmax's probability of the label; in nats."""
    return F.cross_entropy(outputs, labels, reduction="none")


def squared_error(outputs: Tensor, labels: Tensor) -> Tensor:
    """|f - y|^2 / 2, summed over the outputs f; y is one-hot where labels are classes.

    Cohen et al. 2021 (arXiv 2103.00065) train so, without a softmax.
    """
    return (outputs - _numbers(outputs, labels)).square().sum(dim=1) / 2


def accuracy(outputs: Tensor, labels: Tensor) -> Tensor:
    """1 where the largest output is the label's, else 0."""
    return (outputs.argmax(dim=1) == labels).to(outputs)


def absolute_error(outputs: Tensor, labels: Tensor) -> Tensor:
    """|f - y|, mean over the outputs."""
    return (outputs - _numbers(outputs, labels)).abs().mean(dim=1)


def _numbers(outputs: Tensor, labels: Tensor) -> Tensor:
    """What the outputs should be."""
    if labels.is_floating_point():
        return labels.to(outputs)
    return F.one_hot(labels, outputs.shape[1]).to(outputs)


LOSSES: dict[str, PerExample] = {"cross-entropy": cross_entropy, "squared-error": squared_error}
"""By `training.loss`."""
METRICS: dict[str, PerExample] = {"accuracy": accuracy, "absolute_error": absolute_error}
"""By the name of a task's metric."""


def evaluated(config: TrialConfig) -> Mapping[str, PerExample]:
    """What a trial is evaluated by, by metric: its loss, and its task's metric."""
    metric = TASKS[config.data.task].metric.name
    return {"loss": LOSSES[config.loss], metric: METRICS[metric]}


def training_loss(config: TrialConfig) -> PerExample:
    """The per-example loss that a trial trains on; `resolve` allows one change of it at a time.

    Label smoothing is torch's: with s = label_smoothing and K classes the target puts 1 - s + s/K
    on the label and s/K on every other class (Szegedy et al. 2016, section 7).
    """
    if config.focal_gamma:
        return partial(focal, gamma=config.focal_gamma)
    if config.label_smoothing:
        smoothing = config.label_smoothing
        return partial(F.cross_entropy, reduction="none", label_smoothing=smoothing)
    return LOSSES[config.loss]


def focal(logits: Tensor, labels: Tensor, gamma: float) -> Tensor:
    """The focal loss (1 - p)^gamma (-log p), p the probability of the label.

    Lin et al. 2017, equation 4, which they write for two classes; here p is the softmax's, without
    their weight per class. Examples that are classified well count less: Gao & Zhong 2020 name "a
    sharper loss function" as a way to enlarge the gradient, and that it be this one is our choice.

    Args:
        logits: [B, num_classes].
        labels: [B].
        gamma: 0 is cross-entropy.
    """
    losses = F.cross_entropy(logits, labels, reduction="none")
    # The power of an exact 0 has an infinite slope where gamma < 1; times the 0 that it belongs
    # to, it would make the gradient NaN.
    missing = -torch.expm1(-losses)
    return missing.clamp_min(torch.finfo(losses.dtype).tiny) ** gamma * losses
