"""What training minimizes, example by example: cross-entropy, label smoothing, the focal loss.

Training alone: evaluation, `target_train_loss` and every measure are of plain cross-entropy,
whatever a trial trains on, so that trials of different losses stay comparable.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from trainables.config.trial import TrialConfig

Loss = Callable[[Tensor, Tensor], Tensor]
"""Logits [B, num_classes] and labels [B] to the losses [B] of the examples, in nats."""


def training_loss(config: TrialConfig) -> Loss:
    """The per-example loss that a trial trains on; `resolve` allows one change of it at a time.

    Label smoothing is torch's: with s = label_smoothing and K classes the target puts 1 - s + s/K
    on the label and s/K on every other class (Szegedy et al. 2016, section 7).
    """
    if config.focal_gamma:
        return partial(focal, gamma=config.focal_gamma)
    return partial(F.cross_entropy, reduction="none", label_smoothing=config.label_smoothing)


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
