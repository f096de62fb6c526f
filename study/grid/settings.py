"""Crossing: grid x arms, minus what is excluded, as validated sections of every point.

A point's sections are those of the file with the changes of its grid values, then of its arm.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from study.file.changes import (
    Candidate,
    Change,
    Sections,
    changed,
    field_path,
    order,
    origin,
    value_in_force,
)
from study.file.document import Document, Keys, dotted
from study.file.fields import Problem, Problems, dotted_fields, nearest_field, shown
from study.file.sections import data_config, network_config
from study.grid.exclude import kept
from study.grid.warm_start import point_training
from trainables import limits
from trainables.config.data import DataConfig, NetworkConfig
from trainables.config.training import TrainingConfig

BASELINE = "baseline"
"""The arm without changes."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """A point of the study without its seed."""

    block: int
    arm: str
    grid: Mapping[str, Any]
    """Value in force of every field that is an axis in some block."""
    data: DataConfig
    network: NetworkConfig
    training: TrainingConfig
    seeds: tuple[int, ...]
    """Those it is trained with: the study's, less what is excluded."""


def axis_label(axis: str) -> str:
    """An axis as columns of the results name it: `training.start.epoch` is `start_epoch`."""
    return axis.replace("training.start.", "start_").rpartition(".")[2]


def settings(
    document: Document, seeds: Sequence[int], problems: list[str], searched: int = 0
) -> tuple[Setting, ...]:
    """Every setting of the study, in the order blocks, grid values (first axis slowest), arms.

    Args:
        document: the study file.
        seeds: the study's.
        searched: how many trials a search takes at each.
        problems: receives a line for everything wrong; the result is of use only if none came.
    """
    found: Problems = []
    written = {name: document.values.get(name) for name in ("data", "network", "training")}
    base = {name: {} if section is None else section for name, section in written.items()}
    blocks = _blocks(document.values.get("grid"), found)
    arms = _arms(document.values.get("arms"), found)
    _check_not_on_axes(base, blocks, found)
    crossed = sum(math.prod(map(len, block.values())) for block in blocks) * len(arms)
    if message := limits.beyond("POINTS", crossed * (len(seeds) + searched)):
        found.append(Problem(keys=("grid",), message=message))
    problems.extend(_lines(document, found))
    if found:
        return ()
    candidates = [p for b, block in enumerate(blocks) for p in _crossed(base, b, block, arms)]
    found = _idle_arms(candidates)
    entries = document.values.get("exclude")
    excluded: Problems = []
    left = kept([] if entries is None else entries, candidates, seeds, excluded)
    problems.extend(_lines(document, found + excluded))
    axes = list(dict.fromkeys(axis for block in blocks for axis in block))
    return _built(document, left, axes, problems)


def _lines(document: Document, found: Problems) -> list[str]:
    return [document.problem(p.keys, p.message, at_key=p.at_key) for p in found]


# ------------------------------------------------------------------------------------ grid and arms


def _blocks(grid: Any, problems: Problems) -> list[dict[str, list[Change]]]:
    """The axes of every block: dotted field -> changes. Without a grid one block without axes."""
    if grid is None or isinstance(grid, dict):
        return [_axes(grid or {}, ("grid",), problems)]
    if not isinstance(grid, list) or not all(isinstance(block, dict) for block in grid) or not grid:
        message = "must be a mapping of fields to lists, or a list of such mappings"
        problems.append(Problem(keys=("grid",), message=message))
        return []
    return [_axes(block, ("grid", b), problems) for b, block in enumerate(grid)]


def _axes(block: Mapping[str, Any], keys: Keys, problems: Problems) -> dict[str, list[Change]]:
    axes = {}
    for name, values in block.items():
        path = _checked_field(name, (*keys, name), problems)
        if not isinstance(values, list) or not values:
            message = f"must be a list of values, e.g. [{shown(values) if values else 32}]"
            problems.append(Problem(keys=(*keys, name), message=message))
        elif path:
            for i, value in enumerate(values):
                if value in values[:i]:
                    message = f"{shown(value)} is listed twice; keep one"
                    problems.append(Problem(keys=(*keys, name, i), message=message))
            axes[name] = [
                Change(path=path, value=value, keys=(*keys, name, i))
                for i, value in enumerate(values)
            ]
    return axes


def _checked_field(name: str, keys: Keys, problems: Problems) -> tuple[str, ...] | None:
    path = field_path(name)
    if path is None:
        message = f"unknown field; {nearest_field(name, dotted_fields())}"
        problems.append(Problem(keys=keys, message=message, at_key=True))
    return path


def _arms(section: Any, problems: Problems) -> dict[str, list[Change]]:
    """The changes of every arm, the baseline first."""
    arms: dict[str, list[Change]] = {BASELINE: []}
    if section is not None and not isinstance(section, dict):
        message = "must be a mapping of names to changes, e.g. warmup: {training.warmup_epochs: 5}"
        problems.append(Problem(keys=("arms",), message=message))
        return arms
    for arm, changes in (section or {}).items():
        keys: Keys = ("arms", arm)
        if arm == BASELINE and changes:
            message = "the baseline is the arm without changes; give it another name"
            problems.append(Problem(keys=keys, message=message, at_key=True))
        elif not arm or "." in arm or not arm.isprintable():
            message = "an arm's name holds letters, digits, '-' or spaces, no dots"
            problems.append(Problem(keys=keys, message=message, at_key=True))
        elif arm != BASELINE and not (isinstance(changes, dict) and changes):
            message = "must be a mapping of fields to values, e.g. {training.warmup_epochs: 5}"
            problems.append(Problem(keys=keys, message=message))
        else:
            paths = {n: _checked_field(n, (*keys, n), problems) for n in changes or {}}
            arms[arm] = [
                Change(path=path, value=changes[name], keys=(*keys, name))
                for name, path in paths.items()
                if path
            ]
    return arms


def _check_not_on_axes(
    base: Sections, blocks: Sequence[Mapping[str, Any]], problems: Problems
) -> None:
    """A field of the base that every block replaces would be read by nobody."""
    for name in set.intersection(*(set(block) for block in blocks)) if blocks else ():
        *sections, key = name.split(".")
        inside: Any = base
        for section in sections:
            inside = inside.get(section, {}) if isinstance(inside, dict) else {}
        if isinstance(inside, dict) and inside.get(key) not in (None, {}):
            message = "is an axis of the grid too, which replaces it; remove one of the two"
            problems.append(Problem(keys=tuple(name.split(".")), message=message, at_key=True))


def _crossed(
    base: Sections, b: int, block: Mapping[str, list[Change]], arms: Mapping[str, list[Change]]
) -> Iterator[Candidate]:
    ordered_arms = {arm: tuple(sorted(changes, key=order)) for arm, changes in arms.items()}
    for combination in product(*block.values()):
        changes = tuple(sorted(combination, key=order))
        shared = changed(base, changes)
        for arm, more in ordered_arms.items():
            yield Candidate(
                block=b, arm=arm, sections=changed(shared, more), changes=(*changes, *more)
            )


def _idle_arms(candidates: Sequence[Candidate]) -> Problems:
    """Arms that are the baseline again at every point."""
    idle = {candidate.arm for candidate in candidates} - {BASELINE}
    for candidate in candidates:  # the baseline comes first at each combination
        if candidate.arm == BASELINE:
            baseline = candidate.sections
        elif candidate.arm in idle and candidate.sections != baseline:
            idle.remove(candidate.arm)
    message = "changes nothing at any point; remove it, or give it a value of its own"
    return [Problem(keys=("arms", arm), message=message, at_key=True) for arm in sorted(idle)]


# -------------------------------------------------------------------------------------- validation


def _built(
    document: Document,
    left: Sequence[tuple[Candidate, tuple[int, ...]]],
    axes: Sequence[str],
    problems: list[str],
) -> tuple[Setting, ...]:
    """Validates every distinct section once."""
    builders = {"data": data_config, "network": network_config, "training": point_training}
    done: dict[tuple[str, str], tuple[Any, Problems]] = {}
    seen: dict[tuple[int, str, tuple[str, ...]], Candidate] = {}
    built = []
    for candidate, seeds in left:
        configs, texts = {}, []
        for name, build in builders.items():
            texts.append(json.dumps(candidate.sections[name], sort_keys=True))
            if (name, texts[-1]) not in done:
                found: Problems = []
                done[name, texts[-1]] = (build(candidate.sections[name], found), found)
            configs[name], found = done[name, texts[-1]]
            for p in found:
                line = document.problem(
                    origin(candidate.changes, p.keys),
                    p.message,
                    at_key=p.at_key,
                    name=dotted(p.keys),
                )
                problems.append(line)
        twin = seen.setdefault((candidate.block, candidate.arm, tuple(texts)), candidate)
        if twin is not candidate:
            problems.append(_twins(document, candidate, twin))
        if not problems:
            grid = {axis: value_in_force(candidate.sections, axis) for axis in axes}
            built.append(
                Setting(block=candidate.block, arm=candidate.arm, grid=grid, seeds=seeds, **configs)
            )
    return tuple(built)


def _twins(document: Document, candidate: Candidate, twin: Candidate) -> str:
    """Two combinations of grid values that are one setting, which would count double."""
    differ = [
        change
        for change, other in zip(candidate.changes, twin.changes, strict=True)
        if change.value != other.value
    ]
    values = " and ".join(f"{'.'.join(p.path)} {shown(p.value)}" for p in differ)
    message = (
        f"{values} makes no difference in arm {candidate.arm}, which sets or resets it; remove it "
        f"from the arm, or give these values an entry of the grid of their own and leave the arm "
        f"out there, e.g. exclude: [{{arm: {candidate.arm}, block: 1}}]"
    )
    return document.problem(differ[0].keys, message)
