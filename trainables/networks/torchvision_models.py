"""Any classification model of torchvision, by name: `torchvision/resnet18`.

The models are torchvision's own, with their published initial weights' law; a ResNet keeps its
ImageNet stem (7 x 7 of stride 2, then pooling), which leaves little of a 32 x 32 image.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torchvision
from torch import nn

from trainables.networks.cards import TORCHVISION, nearest

AUXILIARY = {"googlenet", "inception_v3"}
"""Models with classifiers along the way, whose outputs in training are not a single tensor."""


def build(
    name: str, input_shape: tuple[int, ...], num_classes: int, options: Mapping[str, Any]
) -> nn.Module:
    """A torchvision model without pretrained weights.

    GoogLeNet and Inception v3 are built without their auxiliary classifiers.

    Args:
        name: `torchvision/MODEL`.
        input_shape: shape of one image [3, H, W]; not used, the models take their input's size.
        num_classes: width of the output layer.
        options: keyword arguments of the model, such as `image_size` of a vision transformer.

    Returns:
        Module from [batch, 3, H, W] to logits [batch, num_classes].

    Raises:
        ValueError: an unknown model or option, or one that the study decides.
    """
    model = name.removeprefix(TORCHVISION)
    names = torchvision.models.list_models(module=torchvision.models)
    if model not in names:
        raise ValueError(
            f"network.name: torchvision has no model {model!r}; {nearest(model, names)}"
        )
    for option in ("weights", "num_classes"):
        if option in options:
            raise ValueError(
                f"network.options.{option}: not an option of {name}: initial weights follow from "
                f"the seed, classes from the data; leave it out"
            )
    if model in AUXILIARY:
        if options.get("aux_logits"):
            raise ValueError(
                f"network.options.aux_logits: must be false, not {options['aux_logits']!r}: "
                f"training takes one output per example"
            )
        options = {"aux_logits": False, "init_weights": True, **options}
    try:
        built: nn.Module = torchvision.models.get_model(
            model, weights=None, num_classes=num_classes, **options
        )
    except Exception as error:  # whatever torchvision makes of the user's options
        raise ValueError(
            f"network.options: {name} cannot be built with {dict(options)}: "
            f"{type(error).__name__}: {error}"
        ) from error
    return built
