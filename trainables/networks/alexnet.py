"""AlexNet for 32 x 32 images: `alexnet-cifar`, 23,272,266 parameters on CIFAR-10.

Gao & Zhong 2020 (arXiv 2012.08795) train "AlexNet" on CIFAR-10 and do not say which. This is the
variant most in use (icpm/pytorch-cifar10 and many copies of it): five 3 x 3 convolutions, the first
of stride 2, three poolings, and two fully connected layers of 4096, whose gradients figures 3 to 5
and 9 of the paper could be about: `hidden1` (the first) and `hidden2` (the second) here. That the
paper means this variant is an assumption.

Where this departs from that code: `batch_norm`, off as there, normalizes convolutions and hidden
layers; pooling an odd side keeps its last row and column (of 32 x 32 no side is odd). Initial
weights are torch's default, as there. ImageNet's AlexNet is `torchvision/alexnet`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trainables.networks.layers import Conv, Dropout, Flatten, Hidden, Layer, MaxPool


def alexnet(options: Mapping[str, Any]) -> tuple[Layer, ...]:
    """Layers of `alexnet-cifar`.

    Args:
        options: `width`, channels of the first convolution (the others have 3, 6, 4, 4 times as
            many); `hidden`, widths of the fully connected layers; `dropout`, before each of them.
    """
    width, dropout = options["width"], Dropout(rate=options["dropout"])
    second, third, fourth = (
        Conv(channels=factor * width, kernel=3, symmetric=True) for factor in (3, 6, 4)
    )
    pool = MaxPool(kernel=2)
    first = Conv(channels=width, kernel=3, stride=2, symmetric=True)
    hidden = [(dropout, Hidden(width=inner)) for inner in options["hidden"]]
    return (
        *(first, pool, second, pool, third, fourth, fourth, pool, Flatten()),
        *(layer for pair in hidden for layer in pair),
    )
