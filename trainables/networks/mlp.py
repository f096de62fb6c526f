"""The quickstart's network: a small multilayer perceptron."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from trainables.networks.cards import CARDS
from trainables.networks.stack import stack


def build(
    name: str, input_shape: tuple[int, ...], num_classes: int, options: Mapping[str, Any]
) -> nn.Module:
    """Flatten, then [Linear, BN, activation, dropout] per hidden width, then Linear.

    With the default widths 128, 128, 128 it has 135,562 parameters on MNIST. Initial weights are
    torch's default: U(-1/sqrt(inputs), 1/sqrt(inputs)) for weights and biases.

    Args:
        name: `mlp`.
        input_shape: shape of one example, flattened.
        num_classes: width of the output layer.
        options: `hidden`, `batch_norm`, `dropout` and `activation`, complete and valid.

    Returns:
        Module from [batch, *input_shape] to logits [batch, num_classes].
    """
    return stack(
        CARDS[name].layers(options),
        input_shape,
        num_classes,
        batch_norm=options["batch_norm"],
        activation=options["activation"],
    )
