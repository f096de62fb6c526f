"""Looks: how many seeds of which comparisons were complete when a run ended.

Seeds that are added until a comparison is settled do settle it, one way or the other: every time
that a person could have looked counts against what may be said. So each run leaves on record what
was there to be seen at its end. Loads neither torch nor ray.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from study.cross import BASELINE
from study.plan import Plan, Point
from study.searching import ENDED, Rows
from trainables.config import TrialConfig, trial_id

Place = tuple[int, int]
"""Block and batch size: what a comparison is made at."""


def complete_places(plan: Plan, rows: Rows) -> list[dict[str, Any]]:
    """Every block and batch size of which all has ended that is planned there, as plain values.

    Args:
        plan: the study as its results stand.
        rows: the final rows of its trials.
    """
    points: dict[Place, list[Point]] = {}
    for point in plan.points:
        points.setdefault(_place(point), []).append(point)
    still_open = set(_open_places(plan))
    return [
        {
            "block": block,
            "global_batch_size": size,
            "seeds": len({point.seed for point in here if point.stage == "final"}),
            "comparisons": sorted(_comparisons(plan, (block, size))),
        }
        for (block, size), here in points.items()
        if (block, size) not in still_open
        and all(_has_ended(point, rows) for point in here)
        and any(point.stage == "final" for point in here)
    ]


def _place(point: Point) -> Place:
    return point.block, point.training.global_batch_size


def _has_ended(point: Point, rows: Rows) -> bool:
    row = rows.get(point.trial_id)
    return row is not None and row["status"] in ENDED


def _open_places(plan: Plan) -> Iterator[Place]:
    """Where a search goes on, or finals are yet to be asked for."""
    crossed = [c for crossing in plan.crossings if crossing.is_open for c in crossing.cells]
    for cell in (*(cell for cell in plan.searches if not cell.ended), *crossed):
        yield cell.setting.block, cell.setting.training.global_batch_size


def _comparisons(plan: Plan, place: Place) -> set[str]:
    """The arms that are set against the baseline here, each named by its science.

    An arm whose settings were changed is another comparison.
    """
    return {
        f"{arm}-{trial_id(_seedless(plan, config))}"
        for arm, config in _configs(plan, place)
        if arm != BASELINE
    }


def _configs(plan: Plan, place: Place) -> Iterator[tuple[str, TrialConfig]]:
    """Every cell here; of a search with the first of its values."""
    if plan.searches:
        for cell in plan.searches:
            size = cell.setting.training.global_batch_size
            if (cell.setting.block, size) == place:
                yield cell.setting.arm, cell.config
    else:
        for point in plan.points:
            if _place(point) == place:
                yield point.arm, plan.configs[point.trial_id]


def _seedless(plan: Plan, config: TrialConfig) -> TrialConfig:
    """A trial as it is with seed 0, its trunk too."""
    start = config.start
    if start is not None:
        trunk = _seedless(plan, plan.configs[start.trial_id])
        start = replace(start, trial_id=trial_id(trunk))
    return replace(config, seed=0, start=start)
