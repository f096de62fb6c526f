"""Pairs: which trials at the baseline batch size a trial is compared with by measures between two.

The other one has the same data, network, seed and arm, and is the one that
`analysis.gaps.comparison` compares it with on the grid's axes; where the arm has no such point the
baseline arm's is taken. Loads neither torch nor ray.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from analysis.gaps.comparison import compared_with
from study.grid.settings import BASELINE
from study.plan.points import Point

_SIZE = "training.global_batch_size"


def other_trial_ids(
    points: Sequence[Point], baseline_batch_size: int
) -> dict[str, tuple[str, ...]]:
    """What each trial is compared with, by trial id; none for those at the baseline batch size."""
    at_baseline: dict[tuple[str, int], list[Point]] = {}
    for point in points:
        if point.training.global_batch_size == baseline_batch_size:
            at_baseline.setdefault((point.arm, point.seed), []).append(point)
    found: dict[str, dict[str, None]] = {}
    for point in points:
        if point.training.global_batch_size == baseline_batch_size:
            continue
        for arm in (point.arm, BASELINE):
            if others := _equal(point, at_baseline.get((arm, point.seed), [])):
                ids = dict.fromkeys(other.trial_id for other in others)
                found.setdefault(point.trial_id, {}).update(ids)
                break
    return {trial_id: tuple(others) for trial_id, others in found.items()}


def _equal(own: Point, among: Sequence[Point]) -> list[Point]:
    """Of some points at the baseline batch size those that are equal in all else."""
    alike = [p for p in among if (p.data, p.network) == (own.data, own.network)]
    return [alike[i] for i in compared_with(_axes(own), [_axes(point) for point in alike])]


def _axes(point: Point) -> dict[str, Any]:
    return {axis: value for axis, value in point.grid.items() if axis != _SIZE}
