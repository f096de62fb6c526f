"""Taking a measure of a network: from its config to rows of the measures table."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from trainables.batching import fixed_sample
from trainables.config import BatchSharpness, Evaluation, MeasureConfig, science
from trainables.datasets.tensors import Tensors
from trainables.measures import (
    adaptive_sharpness,
    batch_sharpness,
    hessian,
    landscape,
    noise_scale,
    random_directions,
    sharpness,
    spectrum,
)
from trainables.measures.objective import CurvePoint, Found, MeasureValue, Objective

Row = dict[str, Any]

OF_OBJECTIVE: dict[str, Callable[[Objective, Any, int], Found]] = {
    "sharpness": sharpness.measure,
    "adaptive-sharpness": adaptive_sharpness.measure,
    "hessian": hessian.measure,
    "spectrum": spectrum.measure,
    "noise-scale": noise_scale.measure,
    "batch-sharpness": batch_sharpness.measure,
    "random-directions": random_directions.measure,
    "landscape": landscape.measure,
}
"""Measures that need the training loss around the weights and nothing else."""


@dataclass(frozen=True, kw_only=True)
class Taken:
    """Rows of the measures table, and of the curves table, of one measure."""

    values: list[Row]
    curves: list[Row]


def take(
    measure: MeasureConfig,
    ready: nn.Module,
    data: Tensors,
    seed: int,
    should_stop: Callable[[], bool],
    global_batch_size: int,
) -> Taken:
    """The rows of one measure of one network; a measure that fails is a row with its error.

    Args:
        measure: what to take.
        ready: the network as `evaluation.prepared_copy` gives it.
        data: the examples; the measure sees a fixed sample of the training split.
        seed: the trial's, from which the measure's own draws derive.
        should_stop: asked between chunks.
        global_batch_size: of the training at this point, for a measure that leaves its own open.

    Raises:
        MeasureInterrupted: if `should_stop` said so.
    """
    began = time.perf_counter()
    sample = fixed_sample(len(data.train[1]), measure_examples(measure))
    found: Found = ()
    try:
        inputs, targets = data.batch("train", torch.from_numpy(sample.copy()))
        objective = Objective(ready, inputs, targets, should_stop=should_stop)
        in_force = _in_force(measure, global_batch_size)
        found = OF_OBJECTIVE[measure.name](objective, in_force, seed)
    except (ValueError, RuntimeError, ArithmeticError) as error:
        values: list[Row] = [{"error": f"{type(error).__name__}: {error}"}]
    else:
        values = [_row(value) for value in found if isinstance(value, MeasureValue)]
    shared = {
        "measure": measure.name,
        "examples": len(sample),
        "parameters": json.dumps(science(measure), sort_keys=True),
    }
    certificate = {
        "sharpness_epsilon": getattr(measure, "sharpness_epsilon", None),
        "subspace_dim": getattr(measure, "subspace_dim", None),
        "split": "train",
        "precision": str(data.dtype).removeprefix("torch."),
        "seconds": time.perf_counter() - began,
        "torch_version": torch.__version__,
    }
    return Taken(
        values=[shared | certificate | row for row in values],
        curves=[shared | vars(point) for point in found if isinstance(point, CurvePoint)],
    )


def _in_force(measure: MeasureConfig, global_batch_size: int) -> MeasureConfig:
    if isinstance(measure, BatchSharpness) and measure.batch_size is None:
        return replace(measure, batch_size=global_batch_size)
    return measure


def measure_examples(measure: MeasureConfig) -> int | None:
    """How many training examples a measure looks at; None = all."""
    return None if isinstance(measure, Evaluation) else getattr(measure, "examples", None)


def _row(value: MeasureValue) -> Row:
    row = dict(vars(value))
    return row | {"certificate": row.pop("stop_reason")}
