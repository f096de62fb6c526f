"""Residual networks of He et al. 2016 (arXiv 1512.03385).

| name           | as in                                     | classes | parameters |
|----------------|-------------------------------------------|---------|------------|
| resnet18-cifar | ResNet-18 with a 3 x 3 stem, not pooled   | 10      | 11,173,962 |
| resnet44       | section 4.2, n = 7                        | 10      |    658,586 |
| resnet50-goyal | table 1, 50 layers, as torchvision has it | 1000    | 25,557,032 |

`resnet18-cifar` is what small images are commonly given (kuangliu/pytorch-cifar); Gao & Zhong 2020
name a ResNet-18 without saying which. `resnet44` has the parameter-free shortcuts of the paper
(option A, zeros in new channels); the released code of Hoffer et al. 2017 projects instead (1 x 1
convolution and normalization): `shortcut: projection`, 661,338 parameters. `resnet50-goyal` is the
function of `torchvision/resnet50` (stride in the 3 x 3 convolutions, as in Goyal et al. 2017) with
the initial weights of Goyal et al., section 5.1: the last normalization of each block scales by 0,
and the output layer is N(0, .01^2). That its bias starts at 0 is from memory.

Convolutions have no bias beside normalization. Weights have He's initialization by fan-out
(`initial_weights`), as the code of all of these does but the first's, which leaves torch's default.
`zero_init_residual` (Goyal's zero scales) is an option of all. `dropout`, not published here, lies
between the two convolutions of a block, as in `wrn16-4`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from trainables.networks.layers import (
    AveragePool,
    Conv,
    Dropout,
    Layer,
    MaxPool,
    Residual,
    Subsample,
)

Branch = Callable[[int, int], tuple[Layer, ...]]
"""Width and stride of a block to the layers of its branch."""

convolution = partial(Conv, symmetric=True, bias=False)


def resnet18(options: Mapping[str, Any]) -> tuple[Layer, ...]:
    """Layers of `resnet18-cifar`.

    Args:
        options: `width`, channels of the stem and the first stage; `dropout`; `shortcut`.
    """
    return _small(options, (2, 2, 2, 2))


def resnet44(options: Mapping[str, Any]) -> tuple[Layer, ...]:
    """Layers of `resnet44`, with the options of `resnet18`."""
    return _small(options, (7, 7, 7))


def resnet50(options: Mapping[str, Any]) -> tuple[Layer, ...]:
    """Layers of `resnet50-goyal`.

    Args:
        options: `width`, channels of the stem; `shortcut`.
    """
    stem = (
        convolution(channels=options["width"], kernel=7, stride=2),
        MaxPool(kernel=3, symmetric=True),
    )
    return *stem, *_stages(options, (3, 4, 6, 3), _bottleneck, 4), AveragePool()


def _small(options: Mapping[str, Any], blocks: tuple[int, ...]) -> tuple[Layer, ...]:
    stem = convolution(channels=options["width"], kernel=3)
    return stem, *_stages(options, blocks, partial(_basic, options["dropout"]), 1), AveragePool()


def _stages(
    options: Mapping[str, Any], blocks: tuple[int, ...], branch: Branch, expansion: int
) -> tuple[Layer, ...]:
    """Stages of so many blocks; each after the first halves the sides and doubles the width."""
    layers: list[Layer] = []
    before = options["width"]
    for stage, number in enumerate(blocks):
        width = options["width"] * 2**stage
        after = width * expansion
        for stride in [2 if stage else 1, *[1] * (number - 1)]:
            same = stride == 1 and before == after
            shortcut = () if same else (_shortcut(options["shortcut"], after, stride),)
            layers.append(Residual(branch=branch(width, stride), shortcut=shortcut))
            before = after
    return tuple(layers)


def _shortcut(kind: str, channels: int, stride: int) -> Layer:
    if kind == "zeros":
        return Subsample(channels=channels, stride=stride)
    return convolution(channels=channels, kernel=1, stride=stride, activated=False)


def _basic(dropout: float, width: int, stride: int) -> tuple[Layer, ...]:
    return (
        convolution(channels=width, kernel=3, stride=stride),
        Dropout(rate=dropout),
        convolution(channels=width, kernel=3, activated=False),
    )


def _bottleneck(width: int, stride: int) -> tuple[Layer, ...]:
    return (
        convolution(channels=width, kernel=1),
        convolution(channels=width, kernel=3, stride=stride),
        convolution(channels=4 * width, kernel=1, activated=False),
    )
