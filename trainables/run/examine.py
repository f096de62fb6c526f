"""The process that builds a network that is not ours, to look at it (`trainables.networks.own`)."""

from __future__ import annotations

import faulthandler
import json
import os
import sys
from typing import Any


def main() -> None:
    """Reads what to build from stdin, and writes what was seen of it to stdout, both as JSON."""
    with os.fdopen(os.dup(1), "w") as answer:
        os.dup2(2, 1)  # what the user's code prints is no part of the answer
        asked = json.load(sys.stdin)
        # From outside Python's locks: it ends what never gives them back, and says where it was.
        faulthandler.dump_traceback_later(asked.pop("limit_seconds"), exit=True)
        try:
            json.dump(_seen(**asked), answer)
        except ValueError as error:
            json.dump({"error": str(error)}, answer)
        except Exception as error:
            label = asked["config"]["name"] or asked["config"]["build"]
            text = f"network {label}: {type(error).__name__}: {error}"
            json.dump({"error": text}, answer)


def _seen(
    config: dict[str, Any],
    input_shape: list[int],
    num_classes: int,
    seed: int,
    import_folder: str | None,
) -> dict[str, Any]:
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from trainables.config.data import NetworkConfig
    from trainables.methods.normalization import replace_batch_norm
    from trainables.networks.build import build, parameter_shapes_hash

    shape = tuple(input_shape)
    model = build(NetworkConfig(**config), shape, num_classes, seed, import_folder)
    counter = FlopCounterMode(display=False)
    examples = 2  # as `build` checks it with; some networks need more than one
    with torch.no_grad(), counter:
        model.eval()(torch.zeros(examples, *shape))
    return {
        "num_parameters": sum(parameter.numel() for parameter in model.parameters()),
        "multiply_adds": counter.get_total_flops() // (2 * examples),
        "shapes_hash": parameter_shapes_hash(model),
        "has_batch_norm": replace_batch_norm(model) is not None,
    }
