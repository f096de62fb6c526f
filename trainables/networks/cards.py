"""What is known of each built-in network without building it: layers, options, size, source.

The layers of each are in the module of its paper or family; they serve both the count here (`cost`)
and the builder (`trainables.networks.stack`). Nothing here loads torch.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

from trainables.config.data import NetworkConfig
from trainables.networks import alexnet, keskar, mlp, resnet, vgg, wide_resnet
from trainables.networks.layers import Dropout, Layer, count

TORCHVISION = "torchvision/"
"""Prefix of the name of a torchvision classification model."""

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
    initial_weights: Literal["torch", "glorot", "he", "goyal"] = "torch"
    """Law of the initial weights (`trainables.networks.initial_weights`)."""


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
        layers=partial(keskar.with_dropout, layers),
        input_shape=input_shape,
        num_classes=num_classes,
        images=images,
        dropout=any(isinstance(layer, Dropout) and layer.rate > 0 for layer in layers),
        initial_weights="glorot",
    )


_CIFAR = (3, 32, 32)
_NORMALIZED = {"batch_norm": True, "activation": "relu"}
_RESIDUAL = _NORMALIZED | {"zero_init_residual": False}

CARDS: dict[str, NetworkCard] = {
    "mlp": NetworkCard(
        options={
            "hidden": [128, 128, 128],
            "batch_norm": True,
            "dropout": 0.0,
            "activation": "relu",
        },
        source="batchgap's quickstart",
        layers=mlp.perceptron,
    ),
    "f1": _keskar_card("F1", keskar.wide(5), (784,), 10, images=False),
    "f2": _keskar_card("F2", keskar.wide(7), (360,), 1973, images=False),
    "c1": _keskar_card("C1", keskar.shallow(1), _CIFAR, 10),
    "c1-stride2": _keskar_card("C1, as its appendix reads,", keskar.shallow(2), _CIFAR, 10),
    "c2": _keskar_card("C2", keskar.deep(), _CIFAR, 10),
    "c3": _keskar_card("C3", keskar.shallow(1), _CIFAR, 100),
    "c4": _keskar_card("C4", keskar.deep(), _CIFAR, 100),
    "alexnet-cifar": NetworkCard(
        options={
            "width": 64,
            "hidden": [4096, 4096],
            "batch_norm": False,
            "dropout": 0.5,
            "activation": "relu",
        },
        source="AlexNet for CIFAR-10, as in icpm/pytorch-cifar10",
        layers=alexnet.alexnet,
        input_shape=_CIFAR,
        num_classes=10,
        images=True,
        batch_norm=False,
        dropout=True,
    ),
    "vgg-cifar": NetworkCard(
        options={"width": 64, "hidden": [4096, 4096], "dropout": 0.5, **_NORMALIZED},
        source="VGG-16 for CIFAR-10, as in eladhoffer/convNet.pytorch",
        layers=vgg.vgg,
        input_shape=_CIFAR,
        num_classes=10,
        images=True,
        dropout=True,
        initial_weights="he",
    ),
    "resnet18-cifar": NetworkCard(
        options={"width": 64, "dropout": 0.0, "shortcut": "projection", **_RESIDUAL},
        source="ResNet-18 of He et al. 2016 (arXiv 1512.03385) for CIFAR-10",
        layers=resnet.resnet18,
        input_shape=_CIFAR,
        num_classes=10,
        images=True,
        initial_weights="he",
    ),
    "resnet44": NetworkCard(
        options={"width": 16, "dropout": 0.0, "shortcut": "zeros", **_RESIDUAL},
        source="ResNet-44 of He et al. 2016 (arXiv 1512.03385), section 4.2",
        layers=resnet.resnet44,
        input_shape=_CIFAR,
        num_classes=10,
        images=True,
        initial_weights="he",
    ),
    "resnet50-goyal": NetworkCard(
        options={"width": 64, "shortcut": "projection", **_RESIDUAL, "zero_init_residual": True},
        source="ResNet-50 with the initial weights of Goyal et al. 2017 (arXiv 1706.02677)",
        layers=resnet.resnet50,
        input_shape=(3, 224, 224),
        num_classes=1000,
        images=True,
        initial_weights="goyal",
    ),
    "wrn16-4": NetworkCard(
        options={"width": 16, "dropout": 0.0, **_NORMALIZED},
        source="WRN-16-4 of Zagoruyko & Komodakis 2016 (arXiv 1605.07146)",
        layers=wide_resnet.wrn16_4,
        input_shape=_CIFAR,
        num_classes=10,
        images=True,
        initial_weights="he",
    ),
}
"""The built-in networks by the name a study file gives them."""

# -------------------------------------------------------------------------------------- options

ACTIVATIONS = ("relu", "tanh", "gelu")
SHORTCUTS = ("zeros", "projection")


def _is_widths(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(type(w) is int and w >= 1 for w in value)


def _is_width(value: Any) -> bool:
    return type(value) is int and value >= 1


def _is_rate(value: Any) -> bool:
    return type(value) in (int, float) and 0 <= value < 1


RULES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "hidden": (_is_widths, "must be a list of layer widths of 1 or more, such as [128, 128]"),
    "width": (_is_width, "must be a number of channels of 1 or more, such as 16"),
    "batch_norm": (lambda value: isinstance(value, bool), "must be true or false"),
    "zero_init_residual": (lambda value: isinstance(value, bool), "must be true or false"),
    "shortcut": (SHORTCUTS.__contains__, f"must be one of {', '.join(SHORTCUTS)}"),
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
    options = {**card.options, **config.options}
    if options.get("zero_init_residual") and not options["batch_norm"]:
        raise ValueError(
            f"network.options.zero_init_residual: scales by 0 what normalizes a block of "
            f"{config.name}, and batch_norm is false; set zero_init_residual: false"
        )
    return options


def without_defaults(config: NetworkConfig) -> NetworkConfig:
    """The same network with only the options that differ from its defaults: one id for one thing.

    Raises:
        ValueError: as `checked_options`.
    """
    card = _card(config)
    options = checked_options(config)
    defaults = {} if card is None else card.options
    differing = {k: v for k, v in options.items() if k not in defaults or v != defaults[k]}
    if card is not None and options.get("hidden") == []:
        differing.pop("dropout", None)  # it lies beside hidden layers only
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

    Multiply-adds are those of convolutions and linear layers (`layers.count`).

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
    layers = card.layers(options)
    parameters, multiply_adds, shape = count(layers, input_shape, options["batch_norm"])
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
