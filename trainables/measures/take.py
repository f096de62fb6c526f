"""Taking a measure of a network: from its config to rows of the measures and curves tables."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from trainables.config.identity import parameters_text
from trainables.config.measures.kinds import MeasureConfig
from trainables.config.measures.measure import Normalization
from trainables.datasets.tensors import Tensors
from trainables.draws import fixed_sample
from trainables.measures import (
    adaptive_sharpness,
    batch_sharpness,
    distance,
    gradient_probe,
    hessian,
    interpolation,
    landscape,
    noise_scale,
    random_directions,
    sharpness,
    spectrum,
)
from trainables.measures.evaluation import prepared_copy
from trainables.measures.initial import initial_model
from trainables.measures.objective import CurvePoint, Found, MeasureValue, Objective
from trainables.measures.solution import Solution
from trainables.methods.losses import LOSSES

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
    "gradient-probe": gradient_probe.measure,
}
"""Measures that need the training loss around the weights and nothing else."""
OF_SOLUTION: dict[str, Callable[[Solution, Any], Found]] = {
    "distance": distance.measure,
    "interpolation": interpolation.measure,
}
"""Measures that need weights of other moments or trials, or statistics of their own."""


@dataclass(frozen=True, kw_only=True)
class Taken:
    """Rows of the measures table, and of the curves table, of one measure."""

    values: list[Row]
    curves: list[Row]


def take(measure: MeasureConfig, solution: Solution) -> Taken:
    """The rows of one measure of one network; a measure that fails is a row with its error.

    Args:
        measure: what to take.
        solution: the network; of the training examples a measure sees a fixed sample.

    Raises:
        MeasureInterrupted: if the solution's `should_stop` said so.
    """
    began = time.perf_counter()
    found: Found = ()
    try:
        found = _found(measure, solution)
    except (ValueError, RuntimeError, ArithmeticError) as error:
        values: list[Row] = [{"error": f"{type(error).__name__}: {error}"}]
    else:
        values = [_value_row(value) for value in found if isinstance(value, MeasureValue)]
    shared = {
        "measure": measure.name,
        "parameters": parameters_text(measure),
        **_conditions(measure, solution),
    }
    certificate = {
        "algorithm": measure.algorithm,
        "sharpness_epsilon": getattr(measure, "sharpness_epsilon", None),
        "subspace_dim": getattr(measure, "subspace_dim", None),
        "precision": str(solution.data.dtype).removeprefix("torch."),
        "seconds": time.perf_counter() - began,
        "torch_version": torch.__version__,
    }
    points = [point for point in found if isinstance(point, CurvePoint)]
    return Taken(
        values=[shared | certificate | row for row in values],
        curves=[shared | _point_row(point, solution.data) for point in points],
    )


def _found(measure: MeasureConfig, solution: Solution) -> Found:
    if measure.name in OF_SOLUTION:
        return OF_SOLUTION[measure.name](solution, measure)
    sample = _sample(measure, solution)
    inputs, targets = solution.data.batch("train", torch.from_numpy(sample.copy()))
    model = initial_model(solution.prepared) if measure.is_of_start else solution.model
    ready = prepared_copy(
        model, solution.data, measure.normalization(solution.config.evaluation_normalization)
    )
    loss = LOSSES[solution.config.loss]
    objective = Objective(ready, inputs, targets, loss=loss, should_stop=solution.should_stop)
    in_force = measure.in_force(solution.global_batch_size)
    return OF_OBJECTIVE[measure.name](objective, in_force, solution.config.seed)


def _conditions(measure: MeasureConfig, solution: Solution) -> Row:
    """What the measure looks at; a distance needs no examples."""
    if not measure.looks_at_examples:
        return {}
    return {
        "examples": len(_sample(measure, solution)),
        "normalization": _normalization(measure, solution),
        "split": "train",
    }


def _normalization(measure: MeasureConfig, solution: Solution) -> Normalization:
    return measure.normalization(solution.config.evaluation_normalization)


def _sample(measure: MeasureConfig, solution: Solution) -> npt.NDArray[np.int64]:
    return fixed_sample(len(solution.data.train[1]), measure.sample[1])


def _value_row(value: MeasureValue) -> Row:
    row = dict(vars(value))
    starts = row["starts"] and json.dumps(row["starts"])
    return row | {"certificate": row.pop("stop_reason"), "starts": starts}


def _point_row(point: CurvePoint, data: Tensors) -> Row:
    """Of the test set a curve always sees the whole."""
    return vars(point) | ({"examples": len(data.test[1])} if point.split == "test" else {})
