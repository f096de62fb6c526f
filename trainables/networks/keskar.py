"""The networks of Keskar et al. 2017 (arXiv 1609.04836), as in the authors' released code.

| name       | published for                       | parameters |
|------------|-------------------------------------|------------|
| f1         | MNIST, 784 inputs, 10 classes       |  1,462,794 |
| f2         | TIMIT, 360 inputs, 1973 classes     |  2,780,085 |
| c1         | CIFAR-10, 3 x 32 x 32, 10 classes   |  1,757,834 |
| c1-stride2 | CIFAR-10, 3 x 32 x 32, 10 classes   |    283,274 |
| c2         | CIFAR-10, 3 x 32 x 32, 10 classes   | 14,991,946 |
| c3         | CIFAR-100, 3 x 32 x 32, 100 classes |  1,775,204 |
| c4         | CIFAR-100, 3 x 32 x 32, 100 classes | 15,038,116 |

The layers follow the data they are given: on other shapes and classes only the counts differ. F2's
360 inputs are from memory of the paper; C1 and C2 were checked against the code.

Where this departs from the paper and the code:

- `c1` follows the code (convolutions of stride 1). The paper's appendix writes [64, 5, 5, 2] with
  2 as the stride: `c1-stride2`, whose pooling, not stated there, is the code's.
- Padding `same` is TensorFlow's: of the values to add, the odd one goes to the end, so that
  pooling an even side adds nothing in front. The authors ran Keras 1 on Theano, whose `same` pools
  add one row and column in front on every side and start there.
- Batch normalization has torch's momentum and epsilon (.1, 1e-5), not Keras 1's (.01 in torch's
  sense, 1e-3). The code normalizes with batch statistics in evaluation too; here that is the
  study's `evaluation_normalization`.
- Outputs are logits; the softmax is part of the loss.

Weights are initialized as Keras 1 does (`initial_weights`, law `glorot`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from trainables.networks.layers import Conv, Dropout, Flatten, Hidden, Layer, MaxPool


def with_dropout(published: tuple[Layer, ...], options: Mapping[str, Any]) -> tuple[Layer, ...]:
    """The published layers, with the option `dropout` as one rate for every place.

    Args:
        published: a network's layers.
        options: `dropout`, or None for the published rates.
    """
    rate = options["dropout"]
    if rate is None:
        return published
    return tuple(
        replace(layer, rate=rate) if isinstance(layer, Dropout) else layer for layer in published
    )


def wide(depth: int) -> tuple[Layer, ...]:
    """Layers of F1 and F2; published without dropout, which the option adds."""
    return Flatten(), *(Hidden(width=512), Dropout(rate=0.0)) * depth


def shallow(stride: int) -> tuple[Layer, ...]:
    """Layers of C1 and C3: `shallownet` of the authors' code."""
    convolution = (Conv(channels=64, kernel=5, stride=stride), MaxPool(kernel=3))
    hidden = (Hidden(width=384), Dropout(rate=0.5), Hidden(width=192), Dropout(rate=0.5))
    return *convolution, *convolution, Flatten(), *hidden


def deep() -> tuple[Layer, ...]:
    """Layers of C2 and C4: `deepnet` of the authors' code."""

    def block(channels: int, *rates: float) -> tuple[Layer, ...]:
        conv = Conv(channels=channels, kernel=3)
        dropped = [(conv, Dropout(rate=rate)) for rate in rates]
        return *(layer for pair in dropped for layer in pair), conv, MaxPool(kernel=2)

    return (
        *block(64, 0.3),
        *block(128, 0.4),
        *block(256, 0.4, 0.4),
        *block(512, 0.4, 0.4),
        *block(512, 0.4, 0.4),
        Flatten(),
        Dropout(rate=0.5),
        Hidden(width=512),
        Dropout(rate=0.5),
    )
