"""What is known of each built-in network without building it: layers, options, size, source.

One list of layers per network serves both the count here (`cost`) and the builder
(`trainables.networks.stack`). Nothing here loads torch.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from trainables.config import NetworkConfig

TORCHVISION = "torchvision/"
"""Prefix of the name of a torchvision classification model."""

# --------------------------------------------------------------------------------------- layers


@dataclass(frozen=True, kw_only=True)
class Conv:
    """Convolution with TensorFlow's `same` padding, normalization if any, activation."""

    channels: int
    kernel: int
    stride: int = 1


@dataclass(frozen=True, kw_only=True)
class MaxPool:
    """Max pooling with stride 2 and TensorFlow's `same` padding."""

    kernel: int
    stride: int = 2


@dataclass(frozen=True, kw_only=True)
class Flatten:
    """[C, H, W] to [C H W]."""


@dataclass(frozen=True, kw_only=True)
class Hidden:
    """Linear layer, normalization if any, activation."""

    width: int


@dataclass(frozen=True, kw_only=True)
class Dropout:
    """Each value is zeroed with probability `rate` in training."""

    rate: float


Layer = Conv | MaxPool | Flatten | Hidden | Dropout


def output_shape(layer: Layer, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Shape of one example after the layer; `same` padding gives ceil(size / stride)."""
    match layer:
        case Conv(channels=channels, stride=stride):
            return channels, *(math.ceil(size / stride) for size in shape[1:])
        case MaxPool(stride=stride):
            return shape[0], *(math.ceil(size / stride) for size in shape[1:])
        case Flatten():
            return (math.prod(shape),)
        case Hidden(width=width):
            return (width,)
        case Dropout():
            return shape


def _perceptron(options: Mapping[str, Any]) -> tuple[Layer, ...]:
    dropout = Dropout(rate=options["dropout"])
    hidden = [(Hidden(width=width), dropout) for width in options["hidden"]]
    return Flatten(), *(layer for pair in hidden for layer in pair)


def _keskar(published: tuple[Layer, ...], options: Mapping[str, Any]) -> tuple[Layer, ...]:
    rate = options["dropout"]
    if rate is None:
        return published
    return tuple(
        replace(layer, rate=rate) if isinstance(layer, Dropout) else layer for layer in published
    )


def _alexnet(stride: int) -> tuple[Layer, ...]:
    """Layers of C1 and C3: `shallownet` of the authors' code."""
    convolution = (Conv(channels=64, kernel=5, stride=stride), MaxPool(kernel=3))
    hidden = (Hidden(width=384), Dropout(rate=0.5), Hidden(width=192), Dropout(rate=0.5))
    return *convolution, *convolution, Flatten(), *hidden


def _vgg() -> tuple[Layer, ...]:
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


# ---------------------------------------------------------------------------------------- cards


@dataclass(frozen=True, kw_only=True)
class NetworkCard:
    """One built-in network."""

    options: Mapping[str, Any]
    """Every option and its default."""
    source: str
    layers: Callable[[Mapping[str, Any]], tuple[Layer, ...]]
    """Options to the layers before the output layer, which is linear."""
    input_shape: tuple[int, ...] | None = None
    """Shape of one example as published; None = any."""
    num_classes: int | None = None
    """Classes as published; None = any. Both follow the data when a network is built."""
    images: bool = False
    """Whether an example must be an image [C, H, W]; otherwise any shape is flattened."""
    batch_norm: bool = True
    """Whether it normalizes, by default."""
    dropout: bool = False
    """Whether it drops activations, by default."""


def _keskar_card(
    name: str,
    layers: tuple[Layer, ...],
    input_shape: tuple[int, ...],
    num_classes: int,
    images: bool = True,
) -> NetworkCard:
    return NetworkCard(
        options={"batch_norm": True, "dropout": None, "activation": "relu"},
        source=f"{name} of Keskar et al. 2017 (arXiv 1609.04836)",
        layers=partial(_keskar, layers),
        input_shape=input_shape,
        num_classes=num_classes,
        images=images,
        dropout=any(isinstance(layer, Dropout) and layer.rate > 0 for layer in layers),
    )


def _wide(depth: int) -> tuple[Layer, ...]:
    """Layers of F1 and F2; published without dropout, which the option adds."""
    return Flatten(), *(Hidden(width=512), Dropout(rate=0.0)) * depth


CARDS: dict[str, NetworkCard] = {
    "mlp": NetworkCard(
        options={
            "hidden": [128, 128, 128],
            "batch_norm": True,
            "dropout": 0.0,
            "activation": "relu",
        },
        source="batchgap's quickstart",
        layers=_perceptron,
    ),
    "f1": _keskar_card("F1", _wide(5), (784,), 10, images=False),
    "f2": _keskar_card("F2", _wide(7), (360,), 1973, images=False),
    "c1": _keskar_card("C1", _alexnet(1), (3, 32, 32), 10),
    "c1-stride2": _keskar_card("C1, as its appendix reads,", _alexnet(2), (3, 32, 32), 10),
    "c2": _keskar_card("C2", _vgg(), (3, 32, 32), 10),
    "c3": _keskar_card("C3", _alexnet(1), (3, 32, 32), 100),
    "c4": _keskar_card("C4", _vgg(), (3, 32, 32), 100),
}
"""The built-in networks by the name a study file gives them."""

# -------------------------------------------------------------------------------------- options

ACTIVATIONS = ("relu", "tanh", "gelu")


def _is_widths(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(type(w) is int and w >= 1 for w in value)


def _is_rate(value: Any) -> bool:
    return type(value) in (int, float) and 0 <= value < 1


RULES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "hidden": (_is_widths, "must be a list of layer widths of 1 or more, such as [128, 128]"),
    "batch_norm": (lambda value: isinstance(value, bool), "must be true or false"),
    "dropout": (_is_rate, "must be a rate of at least 0 and below 1, such as 0.5"),
    "activation": (ACTIVATIONS.__contains__, f"must be one of {', '.join(ACTIVATIONS)}"),
}
"""What an option's value must be, and the words that say so."""


def checked_options(config: NetworkConfig) -> dict[str, Any]:
    """The network's options, complete and valid.

    Args:
        config: the study's `network`; of a built-in network the defaults are filled in, of a
            torchvision model or an import string the options pass as they are.

    Returns:
        Every option the builder is called with.

    Raises:
        ValueError: no or two networks named, an unknown name or option, a value out of its range.
    """
    card = _card(config)
    if card is None:
        return dict(config.options)
    for option, value in config.options.items():
        if option not in card.options:
            raise ValueError(
                f"network.options.{option}: {config.name} has no such option; "
                f"{nearest(option, card.options)}"
            )
        holds, rule = RULES[option]
        # None is a value where it is the default: the published dropout rates.
        if not (value is None and card.options[option] is None) and not holds(value):
            raise ValueError(f"network.options.{option}: {rule}, not {value!r}")
    return {**card.options, **config.options}


def without_defaults(config: NetworkConfig) -> NetworkConfig:
    """The same network with only the options that differ from its defaults: one id for one thing.

    Raises:
        ValueError: as `checked_options`.
    """
    card = _card(config)
    options = checked_options(config)
    defaults = {} if card is None else card.options
    differing = {k: v for k, v in options.items() if k not in defaults or v != defaults[k]}
    return replace(config, options=differing)


def check_input_shape(config: NetworkConfig, input_shape: tuple[int, ...]) -> None:
    """Refuse data that the network cannot take, as far as that is known without building it.

    Raises:
        ValueError: convolutions on examples that are not images; a torchvision model on images
            that do not have three channels.
    """
    card = _card(config)
    received = f"the data's examples have shape {list(input_shape)}"
    if card is not None and card.images and len(input_shape) != 3:
        raise ValueError(
            f"network.name: {config.name} takes images [channels, height, width], but {received}; "
            f"mlp, f1 and f2 take any shape"
        )
    torchvision = config.name is not None and config.name.startswith(TORCHVISION)
    if torchvision and (len(input_shape) != 3 or input_shape[0] != 3):
        raise ValueError(
            f"network.name: {config.name} takes images of three channels [3, height, width], but "
            f"{received}; mlp takes any shape, c1 and c2 any number of channels"
        )


def has_batch_norm(config: NetworkConfig) -> bool | None:
    """Whether the network normalizes over the batch; None = not known without building it."""
    if _card(config) is None:
        return None
    return bool(checked_options(config)["batch_norm"])


def cost(
    config: NetworkConfig, input_shape: tuple[int, ...], num_classes: int
) -> tuple[int, int] | None:
    """Parameters, and multiply-adds of the forward pass of one example.

    Multiply-adds are those of convolutions and linear layers, sum of weights x output positions,
    zeros of the padding counted as values.

    Args:
        config: the study's `network`.
        input_shape: shape of one example.
        num_classes: width of the output layer.

    Returns:
        (parameters, multiply-adds); None for a torchvision model and for an import string.
    """
    card = _card(config)
    if card is None:
        return None
    check_input_shape(config, input_shape)
    options = checked_options(config)
    parameters, multiply_adds, shape = 0, 0, input_shape
    for layer in card.layers(options):
        following = output_shape(layer, shape)
        if isinstance(layer, Conv | Hidden):
            area = layer.kernel**2 if isinstance(layer, Conv) else 1
            weights = shape[0] * area * following[0]
            parameters += weights + following[0] * (3 if options["batch_norm"] else 1)
            multiply_adds += weights * math.prod(following[1:])
        shape = following
    (inputs,) = shape
    return parameters + (inputs + 1) * num_classes, multiply_adds + inputs * num_classes


def nearest(name: str, valid: Iterable[str]) -> str:
    """The end of an error about an unknown name: the nearest valid ones, or all if none is."""
    names = list(valid)
    close = difflib.get_close_matches(name, names, n=3)
    return f"did you mean {' or '.join(close)}?" if close else f"there are {', '.join(names)}"


def _card(config: NetworkConfig) -> NetworkCard | None:
    """The card of a built-in network; None for a torchvision model and for an import string."""
    if (config.name is None) == (config.build is None):
        given = "neither" if config.name is None else f"both {config.name!r} and {config.build!r}"
        raise ValueError(
            f"network: needs either a name, such as mlp, or a build, such as my_module:build; "
            f"got {given}"
        )
    if config.name is None or config.name.startswith(TORCHVISION):
        return None
    if config.name not in CARDS:
        known = [*CARDS, f"{TORCHVISION}resnet18"]
        raise ValueError(f"network.name: no network {config.name!r}; {nearest(config.name, known)}")
    return CARDS[config.name]
