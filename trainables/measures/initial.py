"""The weights that training started from, made again: a function of network and seed, or kept.

Initial weights depend on the network and the seed only, so they need not be stored: they are built
anew. A trial with a warm start began with its trunk's weights, which the results folder keeps.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from trainables.measures.objective import weight_vector
from trainables.methods.normalization import replace_batch_norm
from trainables.networks.build import build
from trainables.prepare import Prepared
from trainables.weights import kept_weights


def initial_model(prepared: Prepared) -> nn.Module:
    """The network as it was before the first step, on the trial's device, in its precision.

    Raises:
        ValueError: if it began with a trunk's weights and these are gone or not as recorded.
    """
    trial, facts = prepared.trial, prepared.facts
    config = trial.config
    model = build(
        config.network, facts.input_shape, facts.num_classes, config.seed, trial.import_folder
    )
    replace_batch_norm(model)
    if prepared.channels_last:
        model = model.to(memory_format=torch.channels_last)
    model.to(device=prepared.device, dtype=prepared.data.dtype)
    if config.start is not None:
        start = kept_weights(prepared.storage, config.start.trial_id, trial.start_step)
        model.load_state_dict(start)
    return model


def initial_vector(prepared: Prepared) -> Tensor:
    """x0 [n]: the `weight_vector` of `initial_model`.

    Raises:
        ValueError: as `initial_model` does.
    """
    return weight_vector(initial_model(prepared))
