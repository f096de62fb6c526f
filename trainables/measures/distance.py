"""How far training went: |x - x0| from its start, and |x - x'| between two solutions.

x holds every parameter that requires a gradient; normalization statistics and other buffers are
apart. Norms are Euclidean, summed in float64. Keskar et al. 2017 report the ratio
|x_SB - x0| / |x_LB - x0| of a small-batch and a large-batch solution that share their start x0: 3
to 10. Hoffer et al. 2017 follow |x - x0| along training.
"""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from trainables.config.measures.distance import Distance
from trainables.measures.initial import initial_vector
from trainables.measures.objective import Found, MeasureValue, weight_vector
from trainables.measures.solution import Solution


def measure(solution: Solution, config: Distance) -> Found:
    """Distances of a solution x from its start x0 and from other solutions x'.

    Args:
        solution: x; x0 is rebuilt, or read where the start was another trial's weights.
        config: has no setting that changes a value.

    Returns:
        Rows `distance_from_start` |x - x0| and `relative_distance_from_start` |x - x0| / |x0|; for
        each other trial `distance_between` |x - x'| and `distance_ratio` |x' - x0| / |x - x0|,
        with this trial's x0 in both.

    Raises:
        ValueError: if weights that are needed are not in the results folder.
    """
    start = initial_vector(solution.prepared).double()
    here = weight_vector(solution.model).double()
    return [*_from_start(here, start), *_from_others(solution, here, start)]


def _from_start(here: Tensor, start: Tensor) -> Iterator[MeasureValue]:
    moved = (here - start).norm()
    yield _row("distance_from_start", moved)
    yield _row("relative_distance_from_start", moved / start.norm())


def _from_others(solution: Solution, here: Tensor, start: Tensor) -> Iterator[MeasureValue]:
    for trial_id in solution.other_trial_ids:
        there = weight_vector(solution.other(trial_id)).double()
        ratio = (there - start).norm() / (here - start).norm()
        yield _row("distance_between", (here - there).norm(), trial_id)
        yield _row("distance_ratio", ratio, trial_id)


def _row(quantity: str, value: Tensor, other_trial_id: str | None = None) -> MeasureValue:
    return MeasureValue(
        quantity=quantity,
        method="weights",
        value=value.item(),
        evaluations=0,
        iterations=0,
        stop_reason="exact",
        other_trial_id=other_trial_id,
    )
