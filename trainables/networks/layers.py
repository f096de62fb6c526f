"""What networks are made of, without building them: layers, shapes, sizes.

A network is a list of layers, which serves the count here and in `cards.cost`, and the builder
(`trainables.networks.stack`). Nothing here loads torch.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Conv:
    """Convolution with TensorFlow's `same` padding, normalization if any, activation."""

    channels: int
    kernel: int
    stride: int = 1
    symmetric: bool = False
    """Pad (kernel - 1) / 2 on every side, as networks written for torch do."""
    bias: bool = True
    """Whether a bias stays where the network normalizes; where it does not, there is one."""
    normalized: bool = True
    activated: bool = True


@dataclass(frozen=True, kw_only=True)
class MaxPool:
    """Max pooling with stride 2 and TensorFlow's `same` padding."""

    kernel: int
    stride: int = 2
    symmetric: bool = False
    """As of a convolution."""


@dataclass(frozen=True, kw_only=True)
class AveragePool:
    """[C, H, W] to the mean over all positions, [C]."""


@dataclass(frozen=True, kw_only=True)
class Flatten:
    """[C, H, W] to [C H W]."""


@dataclass(frozen=True, kw_only=True)
class Hidden:
    """Linear layer, normalization if any, activation."""

    width: int
    normalized: bool = True


@dataclass(frozen=True, kw_only=True)
class Dropout:
    """Each value is zeroed with probability `rate` in training."""

    rate: float


@dataclass(frozen=True, kw_only=True)
class Activated:
    """Normalization if any, and activation, of what comes before."""


@dataclass(frozen=True, kw_only=True)
class Subsample:
    """Every `stride`-th row and column; new channels hold zeros (He et al. 2016, option A)."""

    channels: int
    stride: int


@dataclass(frozen=True, kw_only=True)
class Residual:
    """A block: its branch and its shortcut, added.

    activation(branch(x) + shortcut(x)); preactivated, with a = activation(norm(x)),
    branch(a) + shortcut(a), or branch(a) + x without a shortcut (He et al. 2016b).
    """

    branch: tuple[Layer, ...]
    shortcut: tuple[Layer, ...] = ()
    """Empty: the identity."""
    preactivated: bool = False


Layer = Conv | MaxPool | AveragePool | Flatten | Hidden | Dropout | Activated | Subsample | Residual


def output_shape(layer: Layer, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Shape of one example after the layer; both paddings give ceil(size / stride)."""
    match layer:
        case Conv(channels=channels, stride=stride) | Subsample(channels=channels, stride=stride):
            return channels, *(math.ceil(size / stride) for size in shape[1:])
        case MaxPool(stride=stride):
            return shape[0], *(math.ceil(size / stride) for size in shape[1:])
        case AveragePool():
            return (shape[0],)
        case Flatten():
            return (math.prod(shape),)
        case Hidden(width=width):
            return (width,)
        case Residual(branch=branch):
            for inner in branch:
                shape = output_shape(inner, shape)
            return shape
        case Dropout() | Activated():
            return shape


def count(
    layers: Iterable[Layer], shape: tuple[int, ...], batch_norm: bool
) -> tuple[int, int, tuple[int, ...]]:
    """Parameters, multiply-adds of one example, and its shape after all layers.

    Multiply-adds are those of convolutions and linear layers, sum of weights x output positions,
    zeros of the padding counted as values.

    Args:
        layers: one after the other.
        shape: of one example before the first.
        batch_norm: whether layers normalize.
    """
    parameters = multiply_adds = 0
    for layer in layers:
        following = output_shape(layer, shape)
        if isinstance(layer, Conv | Hidden):
            area = layer.kernel**2 if isinstance(layer, Conv) else 1
            weights = shape[0] * area * following[0]
            multiply_adds += weights * math.prod(following[1:])
            parameters += weights + following[0] * _vectors(layer, batch_norm)
        elif isinstance(layer, Activated):
            parameters += 2 * shape[0] * batch_norm
        elif isinstance(layer, Residual):
            parameters += 2 * shape[0] * (batch_norm and layer.preactivated)
            for path in (layer.branch, layer.shortcut):
                inner, work, _ = count(path, shape, batch_norm)
                parameters, multiply_adds = parameters + inner, multiply_adds + work
        shape = following
    return parameters, multiply_adds, shape


def has_bias(layer: Conv | Hidden, batch_norm: bool) -> bool:
    """Whether the layer has a bias."""
    return isinstance(layer, Hidden) or layer.bias or not batch_norm


def _vectors(layer: Conv | Hidden, batch_norm: bool) -> int:
    """Parameters per output channel besides the weights: bias, scale and shift."""
    return has_bias(layer, batch_norm) + 2 * (batch_norm and layer.normalized)
