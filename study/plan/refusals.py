"""What a study is told about points that cannot run: the reason, the place, the way out."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from study.file.document import Keys
from study.grid.settings import Setting
from study.grid.spec import StudySpec


def refusals(spec: StudySpec, infeasible: Mapping[str, Sequence[Setting]]) -> list[str]:
    """A line per reason, with what to paste under `exclude`."""
    bad = {id(setting) for settings in infeasible.values() for setting in settings}
    good = [setting for setting in spec.settings if id(setting) not in bad]
    total = sum(len(setting.seeds) for setting in spec.settings)
    lines = []
    for reason, settings in infeasible.items():
        count = sum(len(setting.seeds) for setting in settings)
        message = f"{count} of {total} points cannot run: {reason}"
        if good:
            entries = exclusions(settings, good)
            paste = "".join(f"\n  - {_flow(entry)}" for entry in entries)
            message = f"{message}; or leave them out, under exclude:{paste}"
        lines.append(spec.document.problem(_named(reason, settings[0], spec), message))
    return lines


def _named(reason: str, setting: Setting, spec: StudySpec) -> Keys:
    """Where the file sets what a reason begins with, for the first point that it concerns."""
    if reason.startswith("start."):
        return _named_start(reason.partition(" ")[0], setting, spec)
    match = re.match(r"(?:network\.|data\.)?\w+", reason)
    name = match[0] if match else ""
    section, _, key = name.rpartition(".")
    field = f"{section or 'training'}.{key}"
    places: list[Keys] = [
        ("arms", setting.arm, field),
        ("grid", field),
        ("grid", setting.block, field),
        (section or "training", key),
        ("execution", key),
        (section or "training",),
    ]
    if " of measure " in reason:
        places = [("measures",)]
    return next((keys for keys in places if keys in spec.document.places), ())


def _named_start(name: str, setting: Setting, spec: StudySpec) -> Keys:
    """Where the file writes `start.epoch` or `start.trial`: by itself, or with all of the start."""
    for field in (f"training.{name}", "training.start"):
        parts: Keys = tuple(field.split("."))
        for keys in (
            *(("arms", setting.arm, field), ("grid", field), ("grid", setting.block, field)),
            parts,
        ):
            if keys in spec.document.places:
                return keys
    return ("training",)


def _flow(entry: Mapping[str, Any]) -> str:
    return "{" + ", ".join(f"{key}: {json.dumps(value)}" for key, value in entry.items()) + "}"


# ----------------------------------------------------------------------------- entries to exclude

Box = dict[str, frozenset[str]]
"""Values, as JSON, of some coordinates: the points that have one of them in each."""


def exclusions(bad: Sequence[Setting], good: Sequence[Setting]) -> list[dict[str, Any]]:
    """Entries for `exclude` that match every setting of `bad` and none of `good`."""
    boxes = _cover([_coordinates(s) for s in bad], [_coordinates(s) for s in good])
    entries = []
    for box in boxes:
        values = {key: [json.loads(text) for text in sorted(box[key])] for key in box}
        values = {key: sorted(v) if _sortable(v) else v for key, v in values.items()}
        entries.append({key: v if len(v) > 1 else v[0] for key, v in values.items()})
    return entries


def _sortable(values: Iterable[Any]) -> bool:
    return all(isinstance(value, int | float) for value in values)


def _coordinates(setting: Setting) -> dict[str, str]:
    values = {"block": setting.block, "arm": setting.arm, **setting.grid}
    return {key: json.dumps(value) for key, value in values.items()}


def _cover(bad: Sequence[dict[str, str]], good: Sequence[dict[str, str]]) -> list[Box]:
    """Boxes that hold all of `bad` and none of `good`; few and small, not the fewest."""
    box = {key: frozenset(point[key] for point in bad) for key in bad[0]}
    inside = _within(box, good)
    if not inside:
        for key in list(box):  # leave out what is not needed to tell them apart
            rest = {k: values for k, values in box.items() if k != key}
            box = box if not rest or _within(rest, good) else rest
        return [box]
    splits = [_split(bad, key) for key, values in box.items() if len(values) > 1]
    assert splits, "two settings of one block and arm have the same grid values"

    def conflicts(groups: Sequence[Sequence[dict[str, str]]]) -> tuple[int, int]:
        boxes = [{key: frozenset(p[key] for p in group) for key in box} for group in groups]
        return sum(len(_within(b, inside)) for b in boxes), len(groups)

    return _merged([b for group in min(splits, key=conflicts) for b in _cover(group, good)])


def _within(box: Box, points: Sequence[dict[str, str]]) -> list[dict[str, str]]:
    return [p for p in points if all(p[key] in values for key, values in box.items())]


def _split(points: Sequence[dict[str, str]], key: str) -> list[list[dict[str, str]]]:
    groups: dict[str, list[dict[str, str]]] = {}
    for point in points:
        groups.setdefault(point[key], []).append(point)
    return list(groups.values())


def _merged(boxes: Sequence[Box]) -> list[Box]:
    """Joins boxes that differ in the values of one coordinate only."""
    merged: list[Box] = []
    for box in boxes:
        for i, other in enumerate(merged):
            differ = [k for k in box if k in other and box[k] != other[k]]
            if box.keys() == other.keys() and len(differ) <= 1:
                merged[i] = other | {key: other[key] | box[key] for key in differ}
                break
        else:
            merged.append(box)
    return merged
