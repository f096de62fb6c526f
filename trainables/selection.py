"""Which examples of a global batch contribute to the gradient.

Small-loss discarding (Gao & Zhong 2020, section 3.2): the floor(p B) examples with the smallest
training loss are left out, and the gradient is that of the mean over the kept. Selection masks the
loss, not the batch: every example passes forward and takes part in normalization.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from trainables.batching import as_written
from trainables.config import TrialConfig


def kept_examples(config: TrialConfig, global_batch_size: int, epoch: float) -> int:
    """How many examples of a batch contribute: B - floor(p B) within the window, else B."""
    window = config.discard_epochs
    if window is not None and epoch >= window:
        return global_batch_size
    dropped = math.floor(as_written(config.discard_ratio) * global_batch_size)
    return global_batch_size - dropped


def keep_largest(losses: Tensor, kept: int) -> Tensor:
    """1 for the examples that contribute, 0 for the dropped.

    Args:
        losses: [global_batch_size], in the order of stream positions, which breaks ties: of equal
            losses the one that comes first is dropped first.
        kept: how many contribute.

    Returns:
        [global_batch_size], of the losses' type. A loss that is not finite counts as large.
    """
    order = torch.argsort(losses, stable=True)
    mask = torch.ones_like(losses)
    mask[order[: losses.numel() - kept]] = 0
    return mask
