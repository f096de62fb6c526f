"""A network from its list of layers (`trainables.networks.layers`), of plain torch modules."""

from __future__ import annotations

import math
from collections import Counter, OrderedDict
from collections.abc import Iterable

from torch import Tensor, nn

from trainables.networks.layers import (
    Activated,
    AveragePool,
    Conv,
    Dropout,
    Flatten,
    Hidden,
    Layer,
    MaxPool,
    Residual,
    Subsample,
    has_bias,
    output_shape,
)

ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "tanh": nn.Tanh, "gelu": nn.GELU}

Modules = dict[str, nn.Module]


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
    activation; they keep their bias under normalization where the published parameter counts do.
    Modules are named by kind and number (`conv1`, `conv1_norm`, `hidden2`, `residual3`, `output`),
    so that a weight's name stays the same with and without normalization and dropout.

    Args:
        layers: what comes before the output layer.
        input_shape: shape of one example.
        num_classes: width of the output layer.
        batch_norm: whether to normalize.
        activation: `relu`, `tanh` or `gelu`.

    Returns:
        Module from [batch, *input_shape] to logits [batch, num_classes].
    """
    modules, shape = _modules(layers, input_shape, batch_norm, activation)
    modules["output"] = nn.Linear(shape[0], num_classes)
    return nn.Sequential(OrderedDict(modules))


class Block(nn.Module):
    """after(branch(before(x)) + carried), carried = shortcut(before(x)), or x without one."""

    def __init__(
        self, before: nn.Module, branch: nn.Module, shortcut: nn.Module | None, after: nn.Module
    ) -> None:
        super().__init__()
        self.before, self.branch, self.shortcut, self.after = before, branch, shortcut, after

    def forward(self, inputs: Tensor) -> Tensor:
        """[batch, C, H, W] to [batch, C', H', W']."""
        hidden = self.before(inputs)
        carried = inputs if self.shortcut is None else self.shortcut(hidden)
        result: Tensor = self.after(self.branch(hidden) + carried)
        return result


class ZeroPadded(nn.Module):
    """Every `stride`-th row and column, and so many channels of zeros after the others."""

    def __init__(self, stride: int, channels: int) -> None:
        super().__init__()
        self.stride, self.channels = stride, channels

    def forward(self, inputs: Tensor) -> Tensor:
        """[batch, C, H, W] to [batch, C + channels, ceil(H / stride), ceil(W / stride)]."""
        kept = inputs[:, :, :: self.stride, :: self.stride]
        return nn.functional.pad(kept, (0, 0, 0, 0, 0, self.channels))


def same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """Values to add before and after, as TensorFlow's `same` does.

    With total = max((ceil(size / stride) - 1) stride + kernel - size, 0): total // 2 before, the
    rest after. So a 3-wide pool of stride 2 pads an even side at its end only.
    """
    total = max((math.ceil(size / stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


def _modules(
    layers: Iterable[Layer], shape: tuple[int, ...], batch_norm: bool, activation: str
) -> tuple[Modules, tuple[int, ...]]:
    """The layers' modules by name, and the shape of one example after them."""
    modules: Modules = {}
    numbers: Counter[str] = Counter()
    for layer in layers:
        kind = type(layer).__name__.lower()
        numbers[kind] += 1
        name = f"{kind}{numbers[kind]}"
        match layer:
            case Conv():
                modules |= _convolution(name, layer, shape, has_bias(layer, batch_norm))
            case Hidden(width=width):
                modules[name] = nn.Linear(shape[0], width)
            case MaxPool():
                modules[name] = _max_pool(layer, shape)
            case AveragePool():
                modules |= {name: nn.AdaptiveAvgPool2d(1), f"{name}_flat": nn.Flatten()}
            case Flatten():
                modules[name] = nn.Flatten()
            case Dropout(rate=rate) if rate > 0:
                modules[name] = nn.Dropout(rate)
            case Subsample(channels=channels, stride=stride):
                modules[name] = ZeroPadded(stride, channels - shape[0])
            case Residual():
                modules[name] = _block(layer, shape, batch_norm, activation)
        shape = output_shape(layer, shape)
        normalized = isinstance(layer, Activated) or getattr(layer, "normalized", False)
        if batch_norm and normalized:
            normalization = nn.BatchNorm1d if len(shape) == 1 else nn.BatchNorm2d
            modules[f"{name}_norm"] = normalization(shape[0])
        if isinstance(layer, Activated | Hidden) or getattr(layer, "activated", False):
            modules[f"{name}_activation"] = ACTIVATIONS[activation]()
    return modules, shape


def _block(layer: Residual, shape: tuple[int, ...], batch_norm: bool, activation: str) -> nn.Module:
    def sequence(layers: tuple[Layer, ...]) -> nn.Sequential:
        return nn.Sequential(OrderedDict(_modules(layers, shape, batch_norm, activation)[0]))

    return Block(
        before=sequence((Activated(),)) if layer.preactivated else nn.Identity(),
        branch=sequence(layer.branch),
        shortcut=sequence(layer.shortcut) if layer.shortcut else None,
        after=nn.Identity() if layer.preactivated else ACTIVATIONS[activation](),
    )


def _convolution(name: str, layer: Conv, shape: tuple[int, ...], bias: bool) -> Modules:
    kernel, stride = layer.kernel, layer.stride
    padding = [_padding(layer, side) for side in shape[1:]]
    (top, bottom), (left, right) = padding
    if (top, left) == (bottom, right):
        both = (top, left)
        return {name: nn.Conv2d(shape[0], layer.channels, kernel, stride, padding=both, bias=bias)}
    return {
        f"{name}_pad": nn.ZeroPad2d((left, right, top, bottom)),
        name: nn.Conv2d(shape[0], layer.channels, kernel, stride, bias=bias),
    }


def _max_pool(layer: MaxPool, shape: tuple[int, ...]) -> nn.MaxPool2d:
    # torch pads both sides alike, with minus infinity; its ceil_mode adds the one value more that
    # `same` may want at the end, without the copy that padding first would take.
    before = tuple(_padding(layer, side)[0] for side in shape[1:])
    same = not layer.symmetric
    return nn.MaxPool2d(layer.kernel, layer.stride, padding=before, ceil_mode=same)


def _padding(layer: Conv | MaxPool, side: int) -> tuple[int, int]:
    if layer.symmetric:
        return ((layer.kernel - 1) // 2,) * 2
    return same_padding(side, layer.kernel, layer.stride)
