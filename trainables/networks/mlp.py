"""The quickstart's network: a small multilayer perceptron.

Flatten, then [Linear, BN, activation, dropout] per hidden width, then Linear. With the default
widths 128, 128, 128 it has 135,562 parameters on MNIST. Initial weights are torch's default.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trainables.networks.layers import Dropout, Flatten, Hidden, Layer


def perceptron(options: Mapping[str, Any]) -> tuple[Layer, ...]:
    """Layers of `mlp`.

    Args:
        options: `hidden`, the widths, and `dropout`.
    """
    dropout = Dropout(rate=options["dropout"])
    hidden = [(Hidden(width=width), dropout) for width in options["hidden"]]
    return Flatten(), *(layer for pair in hidden for layer in pair)
