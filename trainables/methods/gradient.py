"""What happens to the gradient of a global batch before the optimizer sees it.

The gradient is complete here: accumulated, and averaged over the workers, each of which therefore
does the same. An optimizer that asks for several gradients per step (SAM, a line search) gets each
of them so changed.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_

from trainables.config.trial import TrialConfig
from trainables.rules.batching import as_written

GradientChange = Callable[[list[nn.Parameter]], object]
"""Changes the `.grad` of a model's parameters in place."""


def gradient_changes(config: TrialConfig) -> tuple[GradientChange, ...]:
    """What a trial does to its gradients, in order: small values go first, then the norm is cut."""
    changes: list[GradientChange] = []
    if config.discard_gradient_ratio:
        changes.append(partial(discard_small, ratio=config.discard_gradient_ratio))
    if config.max_gradient_norm is not None:
        # g <- g min(1, max_norm / (|g| + 1e-6)), |g| over all parameters together. A value that is
        # not finite makes weights NaN, which the next loss shows; raising would wait for a device.
        changes.append(
            partial(
                clip_grad_norm_,
                max_norm=config.max_gradient_norm,
                error_if_nonfinite=False,
                foreach=True,
            )
        )
    return tuple(changes)


def discard_small(parameters: list[nn.Parameter], ratio: float) -> None:
    """Sets the floor(ratio n) values of smallest size to 0, in each parameter tensor of n values.

    Gao & Zhong 2020 name "discarding small gradient values" without saying where they are ranked:
    per tensor is our reading, since the sizes of layers differ by orders of magnitude. Of equal
    values the first goes first. What is kept is not rescaled.
    """
    for parameter in parameters:
        if parameter.grad is not None:
            dropped = math.floor(as_written(ratio) * parameter.numel())
            if dropped:
                parameter.grad.masked_fill_(_smallest(parameter.grad.abs(), dropped), 0.0)


def _smallest(sizes: Tensor, count: int) -> Tensor:
    """True for exactly `count` of the values, of any shape; of equal ones the first are taken."""
    flat = sizes.flatten()
    below = flat < (threshold := _nth_smallest(flat, count))
    tied = flat == threshold
    room = count - torch.count_nonzero(below)
    taken = below | (tied & (tied.cumsum(0, dtype=torch.int32) <= room))
    return taken.view(sizes.shape)


def _nth_smallest(values: Tensor, n: int) -> Tensor:
    """Counted from 1, of values [m]; found without a sort, and without waiting for the device."""
    if values.device.type == "cpu":
        # NumPy's selection is vectorized: 0.3 against torch's 5 to 8 ms for 400,000 values.
        return torch.from_numpy(np.partition(values.numpy(), n - 1))[n - 1]
    return torch.kthvalue(values, n).values
