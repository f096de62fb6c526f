"""Changes to a study's sections: what a grid value, or an arm, makes of them.

Setting what names a section's kind (`training.optimizer.name`, `network.name`, `network.build`)
starts that section afresh; `data.source` and `data.load` keep the fields that the new source has.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from functools import cache
from typing import Any

from study.file.document import Keys
from study.file.fields import dotted_fields
from study.file.sections import data_source
from trainables.config.data import DataConfig
from trainables.config.optimizers.kinds import OPTIMIZERS
from trainables.config.optimizers.sgd import SGD
from trainables.config.sources import SHARED, SOURCES
from trainables.config.training import TrainingConfig

Sections = dict[str, Any]
"""Plain `data`, `network` and `training` of one point."""


@dataclass(frozen=True, kw_only=True)
class Change:
    """One field of a section set to one value, and where in the file that is written."""

    path: tuple[str, ...]
    value: Any
    keys: Keys


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A point's sections, not yet validated, and the changes that made them."""

    block: int
    arm: str
    sections: Sections
    changes: tuple[Change, ...]


def field_path(name: str) -> tuple[str, ...] | None:
    """The parts of a dotted field; None if there is no such field."""
    parts = tuple(name.split("."))
    section, key = parts if len(parts) == 2 else ("", "")
    option = section in ("data", "network") and key.isidentifier() and key != "options"
    return parts if option or name in dotted_fields() else None


_KINDS: set[tuple[str, ...]] = {
    *(("data", "source"), ("data", "load"), ("network", "name"), ("network", "build")),
    ("training", "optimizer", "name"),
}


def order(change: Change) -> tuple[int, bool]:
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
    own = SOURCES[source].settings if source in SOURCES else frozenset()
    known = (SHARED | own) - {"source", "load"}
    return {key: value for key, value in section.items() if key in known}


def origin(changes: Sequence[Change], keys: Keys) -> Keys:
    """Where in the file a point's value at `keys` of its sections is written."""
    for change in reversed(changes):
        if keys[: len(change.path)] == change.path:
            return (*change.keys, *keys[len(change.path) :])
    return keys


def value_in_force(sections: Sections, name: str) -> Any:
    """The value of a dotted field, its default where nothing sets it."""
    path = field_path(name)
    assert path is not None, f"{name} was checked"
    value = _at(sections, path)
    if value is not MISSING:
        return value
    optimizer = _at(sections, ("training", "optimizer", "name"))
    return _defaults(optimizer if isinstance(optimizer, str) else "sgd").get(name)


def _at(sections: Any, path: Sequence[str]) -> Any:
    for key in path:
        sections = sections.get(key, MISSING) if isinstance(sections, dict) else MISSING
    return sections


@cache
def _defaults(optimizer: str) -> dict[str, Any]:
    """The default of every dotted field that has a plain one."""
    of_optimizer = OPTIMIZERS.get(optimizer, SGD)
    kinds = {"data": DataConfig, "training": TrainingConfig, "training.optimizer": of_optimizer}
    return {
        f"{section}.{f.name}": list(f.default) if isinstance(f.default, tuple) else f.default
        for section, kind in kinds.items()
        for f in fields(kind)
        if f.default is not MISSING
    }
