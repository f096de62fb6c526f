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
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from trainables.networks.cards import CARDS
from trainables.networks.stack import stack


def build(
    name: str, input_shape: tuple[int, ...], num_classes: int, options: Mapping[str, Any]
) -> nn.Module:
    """One of the paper's networks, initialized as Keras 1 does.

    Weights are U(-a, a) with a = sqrt(6 / (fan_in + fan_out)) (Glorot & Bengio 2010), biases zero.

    Args:
        name: `f1`, `f2`, `c1`, `c1-stride2`, `c2`, `c3` or `c4`.
        input_shape: shape of one example; images [C, H, W] for the C networks.
        num_classes: width of the output layer.
        options: `batch_norm`; `dropout`, one rate for every place (in F1 and F2 after every hidden
            layer) or None for the published rates; `activation`. Complete and valid.

    Returns:
        Module from [batch, *input_shape] to logits [batch, num_classes].
    """
    model = stack(
        CARDS[name].layers(options),
        input_shape,
        num_classes,
        batch_norm=options["batch_norm"],
        activation=options["activation"],
    )
    for module in model:
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            assert module.bias is not None
            nn.init.zeros_(module.bias)
    return model
