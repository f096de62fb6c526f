"""Scaling rules, warmup and decay: progress -> rate. Pure functions of numbers.

rate = peak in force x warmup x decay (design rule 2). Linear warmup counts the examples *after* the
step, so that the first step is not wasted on a rate of zero; decay is evaluated before the step,
over the whole budget. Loads neither torch nor ray.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

from trainables.config.trial import TrialConfig
from trainables.rules.batching import BatchPlan

SCALING: dict[str, Callable[[float], float]] = {
    "none": lambda k: 1.0,
    "linear": lambda k: k,
    "sqrt": math.sqrt,
}
"""Factor on the rate when the batch is k times the reference batch.

linear: Goyal et al. 2017, section 2.1. sqrt: Krizhevsky 2014; Hoffer et al. 2017, section 7.
"""


def peak_rate(
    base_lr: float,
    lr_scaling: Literal["none", "linear", "sqrt"],
    global_batch_size: int,
    lr_reference_batch_size: int | None,
) -> float:
    """base_lr x rule(global_batch_size / lr_reference_batch_size)."""
    if lr_scaling == "none":
        return base_lr
    assert lr_reference_batch_size is not None, "resolve() asks for it"
    return base_lr * SCALING[lr_scaling](global_batch_size / lr_reference_batch_size)


def warmup_factor(
    shape: Literal["linear", "constant"],
    start_ratio: float,
    warmup_epochs: float,
    epoch_before: float,
    epoch_after: float,
) -> float:
    """Share of the peak rate during warmup, 1 after it.

    linear: s + (1 - s) min(1, epoch_after / warmup_epochs), s = warmup_start_lr / peak;
    constant: s while the warmup lasts (Goyal et al. 2017, section 2.2).

    Args:
        shape: linear or constant.
        start_ratio: s.
        warmup_epochs: its length, as scaled.
        epoch_before: examples seen before the step, over the training set's size.
        epoch_after: the same, after the step.
    """
    if epoch_before >= warmup_epochs:
        return 1.0
    if shape == "constant":
        return start_ratio
    return start_ratio + (1 - start_ratio) * min(1.0, epoch_after / warmup_epochs)


def decay_factor(config: TrialConfig, progress: float, epoch: float) -> float:
    """Share of the peak rate after decay.

    cosine: (1 + cos(pi progress)) / 2 (Loshchilov & Hutter 2017, without restarts);
    step: decay_factor ^ (number of decay_epochs that have passed).

    Args:
        config: `decay`, `decay_epochs`, `decay_factor`.
        progress: examples seen over the budget's examples, 0 to 1.
        epoch: examples seen over the training set's size.
    """
    if config.decay == "cosine":
        return (1 + math.cos(math.pi * progress)) / 2
    if config.decay == "step":
        assert config.decay_factor is not None
        return config.decay_factor ** sum(epoch >= boundary for boundary in config.decay_epochs)
    return 1.0


def rate(config: TrialConfig, plan: BatchPlan, step: int) -> float:
    """The learning rate of 0-based optimizer step `step`."""
    phase = plan.phase_at(step)
    before, size = plan.examples_before(step), plan.num_train_examples
    # In epochs, not examples: a length such as 10/3 epochs is rounded as the quotient here is, so
    # that the step at which it ends is found exactly.
    warmup = warmup_factor(
        config.warmup_shape,
        config.warmup_start_lr / phase.peak_lr,
        config.scaled_warmup_epochs,
        before / size,
        (before + phase.global_batch_size) / size,
    )
    decay = decay_factor(config, before / plan.examples, before / size)
    return phase.peak_lr * warmup * decay
