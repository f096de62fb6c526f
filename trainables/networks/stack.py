"""A network from its list of layers (`trainables.networks.cards`), of plain torch modules."""

from __future__ import annotations

import math
from collections import Counter, OrderedDict
from collections.abc import Iterable

from torch import nn

from trainables.networks.cards import Conv, Dropout, Flatten, Hidden, Layer, MaxPool, output_shape

ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "tanh": nn.Tanh, "gelu": nn.GELU}


def stack(
    layers: Iterable[Layer],
    input_shape: tuple[int, ...],
    num_classes: int,
    *,
    batch_norm: bool,
    activation: str,
) -> nn.Sequential:
    """The layers one after the other, then a linear output layer.

    Each convolution and hidden layer is followed by batch normalization, where asked for, and the
    activation; both keep their bias under normalization, as the published parameter counts do.
    Modules are named by kind and number (`conv1`, `conv1_norm`, `hidden2`, `output`), so that a
    parameter's name stays the same with and without normalization and dropout.

    Args:
        layers: what comes before the output layer.
        input_shape: shape of one example.
        num_classes: width of the output layer.
        batch_norm: whether to normalize.
        activation: `relu`, `tanh` or `gelu`.

    Returns:
        Module from [batch, *input_shape] to logits [batch, num_classes].
    """
    modules: dict[str, nn.Module] = {}
    numbers: Counter[str] = Counter()
    shape = input_shape
    for layer in layers:
        kind = type(layer).__name__.lower()
        numbers[kind] += 1
        name = f"{kind}{numbers[kind]}"
        match layer:
            case Conv():
                modules |= _convolution(name, layer, shape)
            case Hidden(width=width):
                modules[name] = nn.Linear(shape[0], width)
            case MaxPool():
                modules[name] = _max_pool(layer, shape)
            case Flatten():
                modules[name] = nn.Flatten()
            case Dropout(rate=rate) if rate > 0:
                modules[name] = nn.Dropout(rate)
        shape = output_shape(layer, shape)
        if isinstance(layer, Conv | Hidden):
            if batch_norm:
                normalization = nn.BatchNorm2d if isinstance(layer, Conv) else nn.BatchNorm1d
                modules[f"{name}_norm"] = normalization(shape[0])
            modules[f"{name}_activation"] = ACTIVATIONS[activation]()
    modules["output"] = nn.Linear(shape[0], num_classes)
    return nn.Sequential(OrderedDict(modules))


def same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """Values to add before and after, as TensorFlow's `same` does.

    With total = max((ceil(size / stride) - 1) stride + kernel - size, 0): total // 2 before, the
    rest after. So a 3-wide pool of stride 2 pads an even side at its end only.
    """
    total = max((math.ceil(size / stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


def _convolution(name: str, layer: Conv, shape: tuple[int, ...]) -> dict[str, nn.Module]:
    kernel, stride = layer.kernel, layer.stride
    (top, bottom), (left, right) = (same_padding(side, kernel, stride) for side in shape[1:])
    if (top, left) == (bottom, right):
        return {name: nn.Conv2d(shape[0], layer.channels, kernel, stride, padding=(top, left))}
    return {
        f"{name}_pad": nn.ZeroPad2d((left, right, top, bottom)),
        name: nn.Conv2d(shape[0], layer.channels, kernel, stride),
    }


def _max_pool(layer: MaxPool, shape: tuple[int, ...]) -> nn.MaxPool2d:
    # torch pads both sides alike, with minus infinity; its ceil_mode adds the one value more that
    # `same` may want at the end, without the copy that padding first would take.
    before = [same_padding(side, layer.kernel, layer.stride)[0] for side in shape[1:]]
    return nn.MaxPool2d(layer.kernel, layer.stride, padding=tuple(before), ceil_mode=True)
