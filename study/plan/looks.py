"""Looks: how many seeds of which comparisons were complete when a run ended.

Seeds that are added until a comparison is settled do settle it, one way or the other: every time
that a person could have looked counts against what may be said. So each run leaves on record what
was there to be seen at its end. Loads neither torch nor ray.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import Any

from study.grid.settings import BASELINE, Setting
from study.plan.cells import ENDED, Rows
from study.plan.finals import matching
from study.plan.plan import Plan
from study.plan.points import Point
from trainables.config.identity import science
from trainables.results.schema import SUBJECT, flatten_data, flatten_network

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
            **subject,
            "seeds": len({point.seed for point in here if point.stage == "final"}),
            "comparisons": comparisons,
        }
        for (block, size), here in points.items()
        if (block, size) not in still_open
        and all(_has_ended(point, rows) for point in here)
        and any(point.stage == "final" for point in here)
        for subject, comparisons in _comparisons(plan, (block, size))
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


def _comparisons(plan: Plan, place: Place) -> Iterator[tuple[dict[str, Any], list[str]]]:
    """Per network and data set of the baseline's, the arms that are set against it here.

    Each arm is named by its science: with other settings it is another comparison.
    """
    settings = plan.spec.settings
    here = [s for s in settings if (s.block, s.training.global_batch_size) == place]
    baselines = [setting for setting in here if setting.arm == BASELINE]
    every = [setting for setting in settings if setting.arm == BASELINE]
    matches = matching(every)
    compared = {id(s): [every[i] for i in matches(s)] for s in here if s.arm != BASELINE}
    subjects = {json.dumps(_subject(setting)): _subject(setting) for setting in baselines}
    for subject in subjects.values():
        own = {id(setting) for setting in baselines if _subject(setting) == subject}
        arms = [s for s in here if own & {id(other) for other in compared.get(id(s), ())}]
        yield subject, sorted({f"{arm.arm}-{_digest(plan, arm)}" for arm in arms})


def _subject(setting: Setting) -> dict[str, Any]:
    """The columns that say which network and data a setting is about."""
    row = flatten_data(setting.data) | flatten_network(setting.network)
    return {name: row[name] for name in SUBJECT}


def _digest(plan: Plan, setting: Setting) -> str:
    """Twelve hex digits of an arm's science as written, without what a search tries."""
    training = science(setting.training)
    for name in plan.spec.search.fields if plan.spec.search else ():
        _, *section, key = name.split(".")
        (training.get(section[0], {}) if section else training).pop(key, None)
    whole = [science(setting.data), science(setting.network), training]
    return hashlib.sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()[:12]
