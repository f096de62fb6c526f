"""Wide residual network of Zagoruyko & Komodakis 2016 (arXiv 1605.07146): `wrn16-4`.

16 layers, widened 4 times: a stem of 16 channels, three stages of two preactivated blocks with 64,
128 and 256 channels; 2,748,890 parameters on CIFAR-10, 2,772,020 on CIFAR-100. Weights have He's
initialization by fan-out, as in the authors' code. A block that changes the shape projects what its
first normalization and activation give, as there.

Hoffer et al. 2017 name this network. What their released code (eladhoffer/bigBatch) builds under
its name is another one: two blocks per stage that activate after the sum, and a stem of 64.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trainables.networks.layers import Activated, AveragePool, Conv, Dropout, Layer, Residual

STAGES, BLOCKS, WIDENING = 3, 2, 4


def wrn16_4(options: Mapping[str, Any]) -> tuple[Layer, ...]:
    """Layers of `wrn16-4`.

    Args:
        options: `width`, channels of the stem, a quarter of the first stage's; `dropout`, between
            the two convolutions of a block.
    """
    before = options["width"]
    layers: list[Layer] = [_bare(before, 3, 1)]
    for stage in range(STAGES):
        after = WIDENING * options["width"] * 2**stage
        for stride in [2 if stage else 1, *[1] * (BLOCKS - 1)]:
            branch = (
                Conv(channels=after, kernel=3, stride=stride, symmetric=True, bias=False),
                Dropout(rate=options["dropout"]),
                _bare(after, 3, 1),
            )
            shortcut = () if before == after else (_bare(after, 1, stride),)
            layers.append(Residual(branch=branch, shortcut=shortcut, preactivated=True))
            before = after
    return *layers, Activated(), AveragePool()


def _bare(channels: int, kernel: int, stride: int) -> Conv:
    """A convolution alone: what follows normalizes and activates."""
    return Conv(
        channels=channels,
        kernel=kernel,
        stride=stride,
        symmetric=True,
        bias=False,
        normalized=False,
        activated=False,
    )
