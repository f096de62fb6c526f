"""VGG for 32 x 32 images: `vgg-cifar`, 33,646,666 parameters on CIFAR-10.

Hoffer et al. 2017 train "VGG" on CIFAR-10; neither the paper nor its code says which (the code for
it is not in the released eladhoffer/bigBatch). Assumed here is what the same author's later
eladhoffer/convNet.pytorch builds by default for CIFAR: configuration D of Simonyan & Zisserman 2015
(VGG-16) with batch normalization after every convolution, then two fully connected layers of 4096,
not normalized, each followed by dropout .5. With `hidden: []` it is the common VGG-16 of 14,728,266
parameters, whose only linear layer is the output.

Where this departs from that code: convolutions have He's initialization (`initial_weights`, law
`he`), as the paper's other networks do; pooling an odd side keeps its last row and column.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trainables.networks.layers import Conv, Dropout, Flatten, Hidden, Layer, MaxPool

CONVOLUTIONS = ((1, 1), (2, 2), (4, 4, 4), (8, 8, 8), (8, 8, 8))
"""Channels as multiples of the width, pooled after each group: configuration D."""


def vgg(options: Mapping[str, Any]) -> tuple[Layer, ...]:
    """Layers of `vgg-cifar`.

    Args:
        options: `width`, channels of the first convolution; `hidden`, widths of the fully
            connected layers; `dropout`, after each of them.
    """
    layers: list[Layer] = []
    for group in CONVOLUTIONS:
        channels = [factor * options["width"] for factor in group]
        layers += [Conv(channels=c, kernel=3, symmetric=True) for c in channels]
        layers.append(MaxPool(kernel=2))
    layers.append(Flatten())
    for inner in options["hidden"]:
        layers += [Hidden(width=inner, normalized=False), Dropout(rate=options["dropout"])]
    return tuple(layers)
