"""Crossing: grid x arms, minus what is excluded, as validated sections of every point.

A point's sections are those of the file with the changes of its grid values, then of its arm.
Setting what names a section's kind (`training.optimizer.name`, `network.name`, `network.build`)
starts that section afresh; `data.source` and `data.load` keep the fields that the new source has.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cache
from itertools import product
from typing import Any

from study.document import Document, Keys, dotted, suggestion
from study.sections import (
    OPTIMIZERS,
    SHARED,
    SOURCES,
    Problem,
    Problems,
    data_config,
    data_source,
    dotted_fields,
    nearest_field,
    network_config,
    shown,
    training_config,
)
from trainables import config as c

BASELINE = "baseline"
"""The arm without changes."""

Sections = dict[str, Any]
"""Plain `data`, `network` and `training` of one point."""


@dataclass(frozen=True, kw_only=True)
class Change:
    """One field of a section set to one value, and where in the file that is written."""

    path: tuple[str, ...]
    value: Any
    keys: Keys


@dataclass(frozen=True, kw_only=True)
class Setting:
    """A point of the study without its seed."""

    block: int
    arm: str
    grid: Mapping[str, Any]
    """Value in force of every field that is an axis in some block."""
    data: c.DataConfig
    network: c.NetworkConfig
    training: c.TrainingConfig
    seeds: tuple[int, ...]
    """Those it is trained with: the study's, less what is excluded."""


@dataclass(frozen=True, kw_only=True)
class _Candidate:
    block: int
    arm: str
    sections: Sections
    changes: tuple[Change, ...]


def settings(document: Document, seeds: Sequence[int], problems: list[str]) -> tuple[Setting, ...]:
    """Every setting of the study, in the order blocks, grid values (first axis slowest), arms.

    Args:
        document: the study file.
        seeds: the study's.
        problems: receives a line for everything wrong; the result is of use only if none came.
    """
    found: Problems = []
    written = {name: document.values.get(name) for name in ("data", "network", "training")}
    base = {name: {} if section is None else section for name, section in written.items()}
    blocks = _blocks(document.values.get("grid"), found)
    arms = _arms(document.values.get("arms"), found)
    _check_not_on_axes(base, blocks, found)
    problems.extend(_lines(document, found))
    if found:
        return ()
    candidates = [p for b, block in enumerate(blocks) for p in _crossed(base, b, block, arms)]
    problems.extend(_lines(document, _idle_arms(candidates)))
    kept = _kept(document, candidates, list(arms), len(blocks), seeds, problems)
    axes = list(dict.fromkeys(axis for block in blocks for axis in block))
    return _built(document, kept, axes, problems)


def _lines(document: Document, found: Problems) -> list[str]:
    return [document.problem(p.keys, p.message, at_key=p.at_key) for p in found]


# ------------------------------------------------------------------------------------ grid and arms


def field_path(name: str) -> tuple[str, ...] | None:
    """The parts of a dotted field; None if there is no such field."""
    parts = tuple(name.split("."))
    section, key = parts if len(parts) == 2 else ("", "")
    option = section in ("data", "network") and key.isidentifier() and key != "options"
    return parts if option or name in dotted_fields() else None


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
        if isinstance(inside, dict) and inside.get(key, {}) != {}:
            message = "is an axis of the grid too, which replaces it; remove one of the two"
            problems.append(Problem(keys=tuple(name.split(".")), message=message, at_key=True))


def _crossed(
    base: Sections, b: int, block: Mapping[str, list[Change]], arms: Mapping[str, list[Change]]
) -> Iterator[_Candidate]:
    ordered_arms = {arm: tuple(sorted(changes, key=_order)) for arm, changes in arms.items()}
    for combination in product(*block.values()):
        changes = tuple(sorted(combination, key=_order))
        shared = changed(base, changes)
        for arm, more in ordered_arms.items():
            yield _Candidate(
                block=b, arm=arm, sections=changed(shared, more), changes=(*changes, *more)
            )


def _idle_arms(candidates: Sequence[_Candidate]) -> Problems:
    """Arms that are the baseline again at every point."""
    idle = {candidate.arm for candidate in candidates} - {BASELINE}
    for candidate in candidates:  # the baseline comes first at each combination
        if candidate.arm == BASELINE:
            baseline = candidate.sections
        elif candidate.arm in idle and candidate.sections != baseline:
            idle.remove(candidate.arm)
    message = "changes nothing at any point; remove it, or give it a value of its own"
    return [Problem(keys=("arms", arm), message=message, at_key=True) for arm in sorted(idle)]


# ----------------------------------------------------------------------------------------- changes

_KINDS: set[tuple[str, ...]] = {
    *(("data", "source"), ("data", "load"), ("network", "name"), ("network", "build")),
    ("training", "optimizer", "name"),
}


def _order(change: Change) -> tuple[int, bool]:
    """Whole sections first, then what names a section's kind, then the other fields."""
    return len(change.path), change.path not in _KINDS


def changed(sections: Sections, changes: Sequence[Change]) -> Sections:
    """The sections with the changes applied in order; the given ones stay as they are."""
    for change in changes:
        section, *rest = change.path
        new = _with(sections[section], rest, change) if rest else change.value
        sections = {**sections, section: new}
    return sections


def _with(section: Any, path: Sequence[str], change: Change) -> Any:
    key, *rest = path
    kept = section if isinstance(section, dict) else {}
    if rest:
        return {**kept, key: _with(kept.get(key, {}), rest, change)}
    if change.path in _KINDS and change.value != _kind(kept, change.path):
        kept = _kept_by_new_source(kept, change) if change.path[0] == "data" else {}
    return {**kept, key: change.value}


def _kind(section: Mapping[str, Any], path: tuple[str, ...]) -> Any:
    if path == ("data", "source"):
        return data_source(section)
    return section.get("name", "sgd") if len(path) == 3 else section.get(path[-1])


def _kept_by_new_source(section: Mapping[str, Any], change: Change) -> dict[str, Any]:
    source = "load" if change.path[-1] == "load" else change.value
    known = (SHARED | SOURCES.get(source, frozenset())) - {"source", "load"}
    return {key: value for key, value in section.items() if key in known}


def origin(changes: Sequence[Change], keys: Keys) -> Keys:
    """Where in the file a point's value at `keys` of its sections is written."""
    for change in reversed(changes):
        if keys[: len(change.path)] == change.path:
            return (*change.keys, *keys[len(change.path) :])
    return keys


# --------------------------------------------------------------------------------------- exclusion


def _kept(
    document: Document,
    candidates: Sequence[_Candidate],
    arms: Sequence[str],
    num_blocks: int,
    seeds: Sequence[int],
    problems: list[str],
) -> list[tuple[_Candidate, tuple[int, ...]]]:
    """The candidates that are not excluded, with the seeds that are left to them."""
    entries = document.values.get("exclude")
    entries = [] if entries is None else entries
    found: Problems = []
    known: dict[str, list[Any]] = {
        "arm": list(arms),
        "seed": list(seeds),
        "block": list(range(num_blocks)),
    }
    if not isinstance(entries, list) or not all(isinstance(e, dict) and e for e in entries):
        message = "must be a list of mappings, e.g. [{training.global_batch_size: 2500}]"
        found.append(Problem(keys=("exclude",), message=message))
        entries = []
    for i, entry in enumerate(entries):
        _check_exclude(entry, ("exclude", i), known, found)
    if found:
        problems.extend(_lines(document, found))
        return []
    gone: list[set[int]] = [set() for _ in candidates]
    for i, entry in enumerate(entries):
        hits = [n for n, candidate in enumerate(candidates) if _matches(entry, candidate)]
        for n in hits:
            gone[n] |= {seed for seed in seeds if _is_any_of(seed, entry.get("seed", seed))}
        if not hits:
            message = _no_match(entry, candidates)
            problems.append(document.problem(("exclude", i), message))
    kept = [
        (candidate, tuple(seed for seed in seeds if seed not in removed))
        for candidate, removed in zip(candidates, gone, strict=True)
        if len(removed) < len(seeds)
    ]
    if not kept:
        problems.append(document.problem(("exclude",), "excludes every point; remove an entry"))
    return kept


def _check_exclude(
    entry: Mapping[str, Any], keys: Keys, known: Mapping[str, list[Any]], problems: Problems
) -> None:
    for name, value in entry.items():
        if name not in known:
            if field_path(name) is None:
                message = f"unknown field; {nearest_field(name, (*known, *dotted_fields()))}"
                problems.append(Problem(keys=(*keys, name), message=message, at_key=True))
            continue
        for wanted in value if isinstance(value, list) else [value]:
            if wanted not in known[name]:
                names = [str(item) for item in known[name]]
                message = f"there is no {name} {shown(wanted)}; {suggestion(str(wanted), names)}"
                problems.append(Problem(keys=(*keys, name), message=message))


def _matches(entry: Mapping[str, Any], candidate: _Candidate) -> bool:
    return all(
        name == "seed" or _is_any_of(_value(candidate, name), wanted)
        for name, wanted in entry.items()
    )


def _is_any_of(value: Any, wanted: Any) -> bool:
    """Equal to what is wanted or, where that is a list, to one of its items."""
    return bool(value == wanted) or (isinstance(wanted, list) and value in wanted)


def _value(candidate: _Candidate, name: str) -> Any:
    """The value in force of an `arm`, a `block` or a dotted field."""
    if name in ("arm", "block"):
        return getattr(candidate, name)
    return value_in_force(candidate.sections, name)


def value_in_force(sections: Sections, name: str) -> Any:
    """The value of a dotted field, its default where nothing sets it."""
    value: Any = sections
    path = field_path(name)
    assert path is not None, f"{name} was checked"
    for key in path:
        value = value.get(key, _MISSING) if isinstance(value, dict) else _MISSING
    if value is not _MISSING:
        return value
    optimizer = sections["training"].get("optimizer", {})
    return _defaults(optimizer.get("name", "sgd")).get(name)


_MISSING = object()


@cache
def _defaults(optimizer: str) -> dict[str, Any]:
    """The default of every dotted field that has a plain one."""
    of_optimizer = OPTIMIZERS.get(optimizer, c.SGD)
    kinds = {"data": c.DataConfig, "training": c.TrainingConfig, "training.optimizer": of_optimizer}
    return {
        f"{section}.{f.name}": list(f.default) if isinstance(f.default, tuple) else f.default
        for section, kind in kinds.items()
        for f in fields(kind)
    }


def _no_match(entry: Mapping[str, Any], candidates: Sequence[_Candidate]) -> str:
    """Why an entry matches nothing: one of its fields alone does not, or all of them together."""
    for name, wanted in entry.items():
        if name == "seed":
            continue
        values = [_value(candidate, name) for candidate in candidates]
        if not any(_is_any_of(value, wanted) for value in values):
            there = ", ".join(dict.fromkeys(map(shown, values)))
            return f"matches no point: {name} is never {shown(wanted)}; its values are {there}"
    return f"matches no point: no point has all of {', '.join(entry)} so; remove it or correct it"


# -------------------------------------------------------------------------------------- validation


def _built(
    document: Document,
    kept: Sequence[tuple[_Candidate, tuple[int, ...]]],
    axes: Sequence[str],
    problems: list[str],
) -> tuple[Setting, ...]:
    """Validates every distinct section once."""
    builders = {"data": data_config, "network": network_config, "training": training_config}
    done: dict[tuple[str, str], tuple[Any, Problems]] = {}
    seen: dict[tuple[int, str, tuple[str, ...]], _Candidate] = {}
    built = []
    for candidate, seeds in kept:
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


def _twins(document: Document, candidate: _Candidate, twin: _Candidate) -> str:
    """Two combinations of grid values that are one setting, which would count double."""
    differ = [
        change
        for change, other in zip(candidate.changes, twin.changes, strict=True)
        if change.value != other.value
    ]
    values = " and ".join(f"{'.'.join(p.path)} {shown(p.value)}" for p in differ)
    message = (
        f"{values} makes no difference in arm {candidate.arm}, which sets or resets it; exclude "
        f"it there, or remove it from the arm"
    )
    return document.problem(differ[0].keys, message)
