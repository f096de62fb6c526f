"""Taking a measure of a network: from its config to rows of the measures table."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from trainables.batching import fixed_sample
from trainables.config import Evaluation, Hessian, MeasureConfig, NoiseScale, Sharpness, science
from trainables.datasets.tensors import Tensors
from trainables.measures import hessian, noise_scale, sharpness
from trainables.measures.objective import MeasureValue, Objective


def take(
    measure: MeasureConfig,
    ready: nn.Module,
    data: Tensors,
    seed: int,
    should_stop: Callable[[], bool],
) -> list[dict[str, Any]]:
    """The rows of one measure of one network; a measure that fails is a row with its error.

    Args:
        measure: what to take.
        ready: the network as `evaluation.prepared_copy` gives it.
        data: the examples; the measure sees a fixed sample of the training split.
        seed: the trial's, from which the measure's own draws derive.
        should_stop: asked between chunks.

    Raises:
        MeasureInterrupted: if `should_stop` said so.
    """
    began = time.perf_counter()
    sample = fixed_sample(len(data.train[1]), measure_examples(measure))
    try:
        values = _values(measure, ready, data, sample, seed, should_stop)
    except (ValueError, RuntimeError, ArithmeticError) as error:
        rows = [{"error": f"{type(error).__name__}: {error}"}]
    else:
        rows = [_row(value) for value in values]
    common = {
        "measure": measure.name,
        "sharpness_epsilon": getattr(measure, "sharpness_epsilon", None),
        "subspace_dim": getattr(measure, "subspace_dim", None),
        "examples": len(sample),
        "parameters": json.dumps(science(measure), sort_keys=True),
        "split": "train",
        "precision": str(data.dtype).removeprefix("torch."),
        "seconds": time.perf_counter() - began,
        "torch_version": torch.__version__,
    }
    return [common | row for row in rows]


def measure_examples(measure: MeasureConfig) -> int | None:
    """How many training examples a measure looks at; None = all."""
    return None if isinstance(measure, Evaluation) else measure.examples


def _values(
    measure: MeasureConfig,
    ready: nn.Module,
    data: Tensors,
    sample: Any,
    seed: int,
    should_stop: Callable[[], bool],
) -> list[MeasureValue]:
    inputs, targets = data.batch("train", torch.from_numpy(sample.copy()))
    objective = Objective(ready, inputs, targets, should_stop=should_stop)
    if isinstance(measure, Sharpness):
        return sharpness.measure(objective, measure, seed)
    if isinstance(measure, NoiseScale):
        return noise_scale.measure(objective, measure, seed)
    assert isinstance(measure, Hessian)
    return hessian.measure(objective, measure, seed)


def _row(value: MeasureValue) -> dict[str, Any]:
    row = dict(vars(value))
    return row | {"certificate": row.pop("stop_reason")}
