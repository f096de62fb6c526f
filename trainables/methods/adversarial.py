"""Adversarial training: half of the loss is that of inputs moved against the network.

Goodfellow, Shlens & Szegedy 2015 (arXiv 1412.6572), section 6, with their alpha = 1/2:

    loss(x) = J(x) / 2 + J(x + epsilon sign(grad_x J(x))) / 2

J being the training loss at the current weights, in training mode.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from trainables.config.trial import TrialConfig
from trainables.methods.normalization import NormalizationState, no_update

LossesAt = Callable[[Tensor], Tensor]
"""Inputs [b, ...] to their training losses [b]: one forward pass, always the same function."""


def input_losses(
    config: TrialConfig, normalization: NormalizationState | None
) -> Callable[[LossesAt, Tensor], Tensor]:
    """How the losses of a micro-batch come of its inputs: as they are, or with adversarial ones."""
    epsilon = config.adversarial_epsilon
    if not epsilon:
        return lambda losses_at, inputs: losses_at(inputs)
    return lambda losses_at, inputs: half_adversarial(losses_at, inputs, epsilon, normalization)


def half_adversarial(
    losses_at: LossesAt,
    inputs: Tensor,
    epsilon: float,
    normalization: NormalizationState | None,
) -> Tensor:
    """The mean of each example's loss and of its loss after the fast gradient sign step.

    The step is a constant of the differentiation, as in the paper. Moved inputs may leave the range
    of the data (0 to 1, or what standardizing makes of it): nothing is cut off. Two passes forward
    and not one over both halves, so that each half is normalized by its own statistics; running
    statistics move with the inputs as they are, which is what evaluation sees.

    The step's gradient is taken through the graph of the first pass, by the inputs alone: it
    neither fills `.grad` nor makes workers reduce. Batch statistics tie the examples of a group, so
    that it is the gradient of the sum of their losses.

    Args:
        losses_at: one pass forward, the same dropout masks every time.
        inputs: [b, ...], which are left alone.
        epsilon: length of the step along each coordinate, in units of the inputs.
        normalization: of the model, if it has any.

    Returns:
        [b], with a graph where gradients are enabled.
    """
    differentiable = torch.is_grad_enabled()
    with torch.enable_grad():
        leaf = inputs.detach().requires_grad_()
        losses = losses_at(leaf)
        (gradient,) = torch.autograd.grad(losses.sum(), leaf, retain_graph=differentiable)
    with no_update(normalization):
        moved = losses_at(torch.add(inputs, gradient.sign(), alpha=epsilon))
    return (losses + moved) / 2
