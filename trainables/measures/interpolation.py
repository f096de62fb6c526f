"""Loss and metric on a path between two solutions.

Keskar et al. 2017, figure 3 and appendix (the line after Goodfellow et al. 2015): with x_LB the
solution of a large and x_SB that of a small batch,

    linear        x(a) = a x_LB + (1 - a) x_SB,
    curvilinear   x(a) = sin(a pi/2) x_LB + cos(a pi/2) x_SB,

a = 0 being x_SB and a = 1 x_LB on both; on the second a = -1 is -x_LB and a = 2 is -x_SB. Only
parameters that require a gradient are interpolated. The statistics of batch normalization are no
function of those at the ends: they are taken anew at every point, as evaluations take them. Where
the trials are evaluated by `running` ones, which only training could make, they are recalibrated,
at the ends too.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from trainables.collective import Collective
from trainables.config.measures.interpolation import Interpolation
from trainables.datasets.tensors import Split
from trainables.measures.evaluation import evaluate, prepared_copy
from trainables.measures.objective import CurvePoint, Found, MeasureValue, weight_vector
from trainables.measures.solution import Solution
from trainables.methods.losses import evaluated
from trainables.methods.normalization import BatchNorm
from trainables.rules.batching import as_written

Curve = dict[Fraction, dict[str, float]]
"""Losses and metrics by alpha, ascending."""
Losses = dict[Fraction, float]
"""Train losses by alpha."""


def measure(solution: Solution, config: Interpolation) -> Found:
    """The curve from each of the other trials (a = 0) to this solution (a = 1).

    Args:
        solution: x_LB.
        config: the path; a takes `points` equidistant values, and 0 and 1 where these miss them.

    Returns:
        Loss and metric of train and test (`train_loss`, ...) at every a; `loss_barrier`; on a
        linear path `path_curvature` at those ends that it goes on beyond. Nothing without another
        trial.

    Raises:
        ValueError: if weights that are needed are not in the results folder, or the two networks
            differ in more than what is interpolated.
    """
    found: list[MeasureValue | CurvePoint] = []
    for trial_id in solution.other_trial_ids:
        path = _path(solution, config, trial_id)
        curve = {alpha: path.values(alpha) for alpha in alphas(config)}
        found += _summaries(path, curve)
        found += [
            CurvePoint(
                quantity=quantity,
                x=float(alpha),
                value=value,
                method=config.path,
                split=quantity.partition("_")[0],
                other_trial_id=trial_id,
            )
            for alpha, values in curve.items()
            for quantity, value in values.items()
        ]
    return found


def alphas(config: Interpolation) -> list[Fraction]:
    """The points, ascending: equidistant, the ends as written, and both solutions among them."""
    low, high = as_written(config.alpha_min), as_written(config.alpha_max)
    step = (high - low) / (config.points - 1)
    return sorted({low + i * step for i in range(config.points)} | {Fraction(0), Fraction(1)})


def coefficients(path: str, alpha: float) -> tuple[float, float]:
    """Of x_LB and x_SB; exactly (0, 1) at alpha = 0 and (1, 0) at alpha = 1."""
    if path == "linear":
        return alpha, 1 - alpha
    # cos(a pi/2) in a form that is 0 at a = 1.
    return math.sin(alpha * math.pi / 2), math.sin((1 - alpha) * math.pi / 2)


# ---------------------------------------------------------------------------------- along the path


@dataclass(frozen=True, kw_only=True)
class _Path:
    """From another trial's solution to this one."""

    solution: Solution
    config: Interpolation
    trial_id: str
    """The other trial's."""
    here: Tensor
    """x_LB [n]."""
    there: Tensor
    """x_SB [n]."""
    scratch: nn.Module
    """A network to write weights into."""

    def values(self, alpha: Fraction) -> dict[str, float]:
        """Losses and metrics at one point."""
        of_here, of_there = coefficients(self.config.path, float(alpha))
        _write(self.scratch, of_here * self.here + of_there * self.there)
        data = self.solution.data
        normalization = self.config.normalization(self.solution.config.evaluation_normalization)
        self.solution.check_stop()
        ready = prepared_copy(self.scratch, data, normalization)
        values: dict[str, float] = {}
        splits: list[tuple[Split, int | None]] = [("train", self.config.examples), ("test", None)]
        for split, examples in splits:
            self.solution.check_stop()
            # Every worker by itself: one may stop here without the others waiting for it.
            functions = evaluated(self.solution.config)
            values |= evaluate(ready, data, split, normalization, Collective(), functions, examples)
        return values


def _path(solution: Solution, config: Interpolation, trial_id: str) -> _Path:
    other = solution.other(trial_id)
    _check_same_otherwise(solution.model, other)
    return _Path(
        solution=solution,
        config=config,
        trial_id=trial_id,
        here=weight_vector(solution.model),
        there=weight_vector(other),
        scratch=copy.deepcopy(solution.model),
    )


@torch.no_grad()
def _write(model: nn.Module, vector: Tensor) -> None:
    """Overwrites what `weight_vector` reads, keeping memory formats."""
    weights = [p for p in model.parameters() if p.requires_grad]
    for weight, part in zip(weights, vector.split([p.numel() for p in weights]), strict=True):
        weight.copy_(part.view(weight.shape))


def _check_same_otherwise(model: nn.Module, other: nn.Module) -> None:
    """Refuses networks whose fixed parameters or further buffers are not one and the same."""
    moved = {name for name, p in model.named_parameters(remove_duplicate=False) if p.requires_grad}
    for prefix, module in model.named_modules(remove_duplicate=False):
        if isinstance(module, BatchNorm):
            moved |= {f"{prefix}.{name}".lstrip(".") for name, _ in module.named_buffers()}
    theirs = other.state_dict()
    for name, value in model.state_dict().items():
        if name not in moved and not torch.equal(value, theirs[name]):
            raise ValueError(
                f"interpolation: {name} of the network is neither a weight nor a statistic of "
                "batch normalization, and training changed it: between the two solutions it has "
                "no value; leave interpolation out of the measures for this network"
            )


# -------------------------------------------------------------------------------------- summaries


def loss_barrier(losses: Losses) -> tuple[Fraction, float]:
    """Where on [0, 1] the loss exceeds the straight line between its ends most, and by how much.

    max_a f(x(a)) - [a f(x(1)) + (1 - a) f(x(0))]: 0 or more, since it is 0 at both ends. Entezari
    et al. 2022 (arXiv 2110.06296), definition 2.1, in this form from memory.
    """
    inside = [alpha for alpha in losses if 0 <= alpha <= 1]
    first, last = losses[Fraction(0)], losses[Fraction(1)]
    excess = [losses[a] - (float(a) * last + float(1 - a) * first) for a in inside]
    highest = int(np.argmax(excess))  # the first one that is not a number, if there is any
    return inside[highest], excess[highest]


def second_derivative(losses: Losses, at: int) -> float | None:
    """f'' of the parabola through the loss at an inner point and beside it; None at an end."""
    order = sorted(losses)
    i = order.index(Fraction(at))
    if not 0 < i < len(order) - 1:
        return None
    before, here, after = order[i - 1 : i + 2]
    rise = (losses[after] - losses[here]) / float(after - here)
    fall = (losses[here] - losses[before]) / float(here - before)
    return 2 * (rise - fall) / float(after - before)


def _summaries(path: _Path, curve: Curve) -> Iterator[MeasureValue]:
    """The barrier; of a linear path also the train loss's curvature along it, per unit length."""
    losses = {alpha: values["train_loss"] for alpha, values in curve.items()}
    shared: dict[str, Any] = {
        "evaluations": len(curve),
        "iterations": len(curve),
        "start_loss": losses[Fraction(1)],
        "other_trial_id": path.trial_id,
    }
    where, barrier = loss_barrier(losses)
    yield MeasureValue(
        quantity="loss_barrier",
        method=path.config.path,
        value=barrier,
        stop_reason=f"largest at alpha {float(where):g} of {len(curve)} points",
        **shared,
    )
    length = (path.here - path.there).double().norm().item()
    for at in (0, 1) if path.config.path == "linear" and length > 0 else ():
        if (curvature := second_derivative(losses, at)) is not None:
            yield MeasureValue(
                quantity="path_curvature",
                method=f"at alpha {at}",
                value=curvature / length**2,
                stop_reason="parabola through the nearest points",
                **shared,
            )
