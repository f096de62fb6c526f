"""Loss and metric of a network on the splits, and the network as measures look at it.

What is looked at is never the network in training but a copy, whose batch normalization is fixed by
one of three recorded choices: `recalibrated` (means over fixed chunks of training examples, the
default), `running` (as training left them), `batch` (statistics of the evaluated chunk itself, as
Keskar et al.'s released code has it). The training state, its random draws included, is untouched.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from contextlib import nullcontext

import torch
from torch import nn

from trainables.collective import Collective
from trainables.config.measures.interpolation import RECALIBRATION_EXAMPLES
from trainables.config.measures.measure import Normalization
from trainables.datasets.tensors import Split, Tensors
from trainables.draws import fixed_sample
from trainables.measures.objective import default_chunk_size
from trainables.methods.losses import PerExample
from trainables.methods.normalization import recalibrate, state_of, use_batch_statistics

NORMALIZATION_BATCH_SIZE = 1000
"""Examples whose statistics are taken together, for recalibration and for `batch`."""


def prepared_copy(model: nn.Module, data: Tensors, normalization: Normalization) -> nn.Module:
    """A copy in evaluation mode, its statistics fixed.

    recalibrated: means over chunks of 1000 training examples (one chunk where there are fewer),
    10,000 at most, without augmentation and dropout. Each worker computes it by itself.
    """
    ready = copy.deepcopy(model).eval()
    ready.zero_grad(set_to_none=True)
    state = state_of(ready)
    if state is None or normalization != "recalibrated":
        return ready
    state.collective = Collective()
    size = len(data.train[1])
    sample = torch.from_numpy(fixed_sample(size, RECALIBRATION_EXAMPLES).copy())
    whole = max(len(sample) // NORMALIZATION_BATCH_SIZE, 1) * NORMALIZATION_BATCH_SIZE
    chunks = sample[:whole].split(NORMALIZATION_BATCH_SIZE)
    recalibrate(ready, state, (data.batch("train", chunk)[0] for chunk in chunks))
    return ready


@torch.no_grad()
def evaluate(
    ready: nn.Module,
    data: Tensors,
    split: Split,
    normalization: Normalization,
    collective: Collective,
    functions: Mapping[str, PerExample],
    examples: int | None = None,
) -> dict[str, float]:
    """Means over a split, by column: `test_loss`, `test_accuracy`.

    Chunks (of 1000 examples with `batch`, what is left over joining the last one) are dealt to the
    workers in turn, so the layout changes neither the statistics of `batch` nor more than the last
    digits of a sum in float64.

    Args:
        ready: from `prepared_copy`, with the same `normalization`.
        data: the examples.
        split: which of them.
        normalization: decides on the statistics of the forward pass.
        collective: the workers that share the work.
        functions: what to take the mean of, by metric (`losses.evaluated`).
        examples: only so many (of the training split, a fixed sample).
    """
    labels = getattr(data, split)[1]
    indices = torch.arange(len(labels))
    if examples is not None and examples < len(labels):
        indices = torch.from_numpy(fixed_sample(len(labels), examples).copy())
    size = NORMALIZATION_BATCH_SIZE if normalization == "batch" else default_chunk_size(ready)
    cuts = [size * i for i in range(1, len(indices) // size)]
    chunks = indices.tensor_split(cuts)[collective.rank :: collective.world_size]
    total = torch.zeros(len(functions), dtype=torch.float64, device=labels.device)
    batch_statistics = use_batch_statistics(state_of(ready))
    with batch_statistics if normalization == "batch" else nullcontext():
        for chunk in chunks:
            inputs, targets = data.batch(split, chunk)
            outputs = ready(inputs)
            values = [function(outputs, targets) for function in functions.values()]
            total += torch.stack(values).sum(dim=1, dtype=torch.float64)
    means = (collective.sum(total) / len(indices)).tolist()
    return {f"{split}_{name}": mean for name, mean in zip(functions, means, strict=True)}
