"""Which examples of a global batch contribute to the gradient.

Small-loss discarding (Gao & Zhong 2020, section 3.2): the floor(p B) examples with the smallest
training loss are left out, and the gradient is that of the mean over the kept. Selection masks the
loss, not the batch: every example passes forward and takes part in normalization. Its control drops
as many at random.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from trainables.config.trial import TrialConfig
from trainables.draws import derive_seed
from trainables.rules.batching import as_written

Selection = Callable[[Callable[[], Tensor], int, int, int], Tensor]
"""Of the losses [B] of a global batch, if it asks for them, the step, B, and how many contribute,
the mask [B]."""


def selection(config: TrialConfig, device: torch.device) -> Selection:
    """The rule of a trial: by loss, or by chance, which asks for no losses."""

    def by_loss(losses: Callable[[], Tensor], step: int, size: int, kept: int) -> Tensor:
        return keep_largest(losses(), kept)

    def by_chance(losses: Callable[[], Tensor], step: int, size: int, kept: int) -> Tensor:
        return keep_random(config.seed, step, size, kept).to(device, non_blocking=True)

    return by_chance if config.discard_rule == "random" else by_loss


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


def keep_random(seed: int, step: int, size: int, kept: int) -> Tensor:
    """True for the examples that contribute, every subset of them equally likely.

    Args:
        seed: the trial's.
        step: 0-based optimizer step, of which with the seed the draw is a function.
        size: global_batch_size.
        kept: how many contribute.

    Returns:
        [global_batch_size], in the order of stream positions.
    """
    generator = np.random.Generator(np.random.Philox(derive_seed(seed, "discard", step)))
    mask = np.ones(size, dtype=bool)
    mask[generator.permutation(size)[: size - kept]] = False
    return torch.from_numpy(mask)
