"""From a study's `network` to a torch module with seeded initial weights."""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from trainables.config.data import NetworkConfig
from trainables.draws import derive_seed
from trainables.imports import load_object
from trainables.networks.cards import CARDS, NetworkCard, check_input_shape, checked_options
from trainables.networks.initial_weights import initialize
from trainables.networks.stack import stack


def build(
    config: NetworkConfig,
    input_shape: tuple[int, ...],
    num_classes: int,
    seed: int,
    import_folder: str | None = None,
) -> nn.Module:
    """The network with its initial weights, on the CPU, in float32, in training mode.

    The weights are a function of the network and the seed alone, whatever was drawn before, and
    torch's global generators are left as they were. A user's network is held to this as far as it
    draws from torch's generator, which its layers' own initialization does.

    Args:
        config: the study's `network`.
        input_shape: shape of one example.
        num_classes: number of classes of the data.
        seed: the trial's seed.
        import_folder: folder in which `config.build` is looked up last.

    Returns:
        Module from [batch, *input_shape] to logits [batch, num_classes].

    Raises:
        ValueError: an unknown network or option; data that does not fit it; an import string that
            fails, gives no module, or one without parameters to train, not on the CPU, or whose
            outputs are not logits of the classes.
    """
    check_input_shape(config, input_shape)
    options = checked_options(config)
    with torch.random.fork_rng(devices=[]):
        # Not torch.manual_seed, which would set the generators of the GPUs too.
        torch.default_generator.manual_seed(derive_seed(seed, "initial-weights"))
        if config.build is not None:
            model = _users(config.build, input_shape, num_classes, options, import_folder)
        elif config.name in CARDS:
            model = _built_in(CARDS[config.name], input_shape, num_classes, options)
        else:
            assert config.name is not None
            model = _torchvision(config.name, input_shape, num_classes, options)
        model = model.float()
        # In here too: layers that take their shape from the first input draw their weights now.
        _check_outputs(config.label, model, input_shape, num_classes)
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise ValueError(f"network {config.label}: has no parameter that requires a gradient")
    return model.train()


def parameter_shapes_hash(model: nn.Module) -> str:
    """SHA-256 of the parameters' names and shapes, in order: the identity of a user's network."""
    shapes = [(name, list(parameter.shape)) for name, parameter in model.named_parameters()]
    return hashlib.sha256(json.dumps(shapes).encode()).hexdigest()


def _built_in(
    card: NetworkCard, input_shape: tuple[int, ...], num_classes: int, options: Mapping[str, Any]
) -> nn.Module:
    model = stack(
        card.layers(options),
        input_shape,
        num_classes,
        batch_norm=options["batch_norm"],
        activation=options["activation"],
    )
    initialize(model, card.initial_weights, options.get("zero_init_residual", False))
    return model


def _torchvision(
    name: str, input_shape: tuple[int, ...], num_classes: int, options: Mapping[str, Any]
) -> nn.Module:
    # Imported here: it takes about as long as importing torch, and other networks do without.
    from trainables.networks import torchvision_models

    return torchvision_models.build(name, input_shape, num_classes, options)


def _users(
    import_string: str,
    input_shape: tuple[int, ...],
    num_classes: int,
    options: Mapping[str, Any],
    import_folder: str | None,
) -> nn.Module:
    builder = load_object(import_string, import_folder)
    call = f"network.build: {import_string}({input_shape}, {num_classes}, **{dict(options)})"
    _check_call(builder, call, input_shape, num_classes, options)
    try:
        model = builder(input_shape, num_classes, **options)
    except (Exception, SystemExit) as error:
        raise ValueError(f"{call} raised {type(error).__name__}: {error}") from error
    if not isinstance(model, nn.Module):
        raise ValueError(f"{call} gave {type(model).__name__}, not a torch.nn.Module")
    devices = {parameter.device.type for parameter in model.parameters()} - {"cpu"}
    if devices:
        raise ValueError(
            f"{call} put parameters on {', '.join(sorted(devices))}; build on the CPU, where the "
            f"seed is in force: the model is moved afterwards"
        )
    return model


def _check_call(builder: Any, call: str, *given: Any) -> None:
    """Refuses what cannot be called so, before any of its code runs."""
    expected = "expected is a function build(input_shape, num_classes, **options)"
    if not callable(builder):
        raise ValueError(f"{call}: {type(builder).__name__} cannot be called; {expected}")
    *positional, options = given
    try:
        inspect.signature(builder).bind(*positional, **options)
    except TypeError as error:
        has = f"its parameters are {inspect.signature(builder)}"
        raise ValueError(f"{call}: {error}; {has}; {expected}") from error
    except ValueError:  # written in C: it does not say
        return


def _check_outputs(
    label: str, model: nn.Module, input_shape: tuple[int, ...], num_classes: int
) -> None:
    examples = f"two examples of shape {list(input_shape)}"
    try:
        with torch.no_grad():
            logits = model.eval()(torch.zeros(2, *input_shape))
    except Exception as error:
        raise ValueError(
            f"network {label}: fails on {examples}: {type(error).__name__}: {error}"
        ) from error
    received = list(logits.shape) if isinstance(logits, torch.Tensor) else type(logits).__name__
    if received != [2, num_classes]:
        raise ValueError(
            f"network {label}: gives {received} for {examples}, expected [2, {num_classes}]: "
            f"a tensor with one logit for each of the data's {num_classes} classes"
        )
