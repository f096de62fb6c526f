"""Every field that a study file may set: its type, range and what to say where it is wrong.

Types, choices, ranges and unknown keys are checked by pydantic against the dataclasses of
`trainables.config`, which hold them. No value is converted: `"32"` and `true` are no numbers.
"""

from __future__ import annotations

import json
import operator
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, astuple, dataclass, fields, is_dataclass
from functools import cache
from types import NoneType
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from annotated_types import Ge, Gt, Le, Lt
from pydantic import ConfigDict, TypeAdapter, ValidationError, with_config

from study.file.document import Keys, suggestion
from trainables.config.data import DataConfig
from trainables.config.optimizers.kinds import OPTIMIZERS
from trainables.config.ranges import LARGEST, Example
from trainables.config.training import TrainingConfig, WarmStart

T = TypeVar("T")
Section = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Problem:
    """What is wrong with a value, or with a key itself."""

    keys: Keys
    message: str
    at_key: bool = False


Problems = list[Problem]

STRICT = ConfigDict(extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)


_RANGES: dict[type[Any], tuple[str, Callable[[Any, Any], bool]]] = {
    Ge: ("at least", operator.ge),
    Gt: ("above", operator.gt),
    Le: ("at most", operator.le),
    Lt: ("below", operator.lt),
}
_OUT_OF_RANGE = {"greater_than", "greater_than_equal", "less_than", "less_than_equal"}
"""What pydantic calls their errors."""
_FAMILIAR = {"lr": "base_lr", "learning_rate": "base_lr", "batch_size": "global_batch_size"}
"""What other tools call a field."""


@cache
def adapter(kind: type[Any]) -> TypeAdapter[Any]:
    """pydantic's validator of a config dataclass, strict in keys and types."""
    return TypeAdapter(with_config(STRICT)(kind))


def validated(kind: type[T], section: Section, keys: Keys, problems: Problems) -> T | None:
    """The dataclass that a section's plain values make, or None and what is wrong with them."""
    any_kind: Any = kind
    try:
        # As JSON, because strict JSON takes a list for a tuple and an integer for a float.
        config: T = adapter(any_kind).validate_json(json.dumps(section), strict=True)
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=False)
        translated = [_translated(kind, section, keys, e["loc"], e["type"]) for e in found]
        # Of a union each member has an error; a member that was meant, one further inside.
        problems.extend(p for p in translated if not any(_lies_inside(q, p) for q in translated))
        return None
    return config


def _lies_inside(problem: Problem, other: Problem) -> bool:
    depth = len(other.keys)
    return len(problem.keys) > depth and problem.keys[:depth] == other.keys


def _translated(kind: Any, section: Any, keys: Keys, loc: Keys, error: str) -> Problem:
    """One pydantic error in our words; of a union's errors, all those at one value are alike."""
    hint, value, path, example = kind, section, list(keys), None
    for key in loc:
        hint = _unwrapped(hint)
        if error == "missing" and isinstance(value, dict) and key not in value:
            works = example_of(_inner(hint, key))
            message = f"missing; e.g. {key}: {shown(works)}"
            return Problem(keys=(*path, key), message=message, at_key=True)
        if not (isinstance(value, dict) and key in value) and not isinstance(key, int):
            continue  # the name of a union's member
        names = {f.name for f in fields(hint)} if is_dataclass(hint) else set()
        if isinstance(key, str) and key not in names:
            return unknown_key(key, tuple(path), names, None)
        hint, value = _inner(hint, key), value[key]
        example = example_of(hint) or example
        path.append(key)
    if error in _OUT_OF_RANGE:
        message = f"{value} must be {range_words(value, hint)}; e.g. {shown(example)}"
        return Problem(keys=tuple(path), message=message)
    if isinstance(value, float) and value.is_integer():
        example = int(value)
    message = f"{shown(value)} is not {_described(hint)}"
    return Problem(
        keys=tuple(path), message=message + (f"; e.g. {shown(example)}" if example else "")
    )


def _inner(hint: Any, key: str | int) -> Any:
    """The annotation of a field of a dataclass, or of an item of a list; optional or not."""
    if isinstance(key, str):
        return get_type_hints(hint, include_extras=True)[key]
    hint = _bare(hint)
    listed = hint if get_origin(hint) is tuple else None
    listed = listed or next(h for h in get_args(hint) if get_origin(h) is tuple)
    return get_args(listed)[0]


def _unwrapped(hint: Any) -> Any:
    """The dataclass of an optional section."""
    is_optional = NoneType in get_args(hint)
    return next((h for h in get_args(hint) if is_optional and is_dataclass(h)), hint)


def _bare(hint: Any) -> Any:
    """A type without what is annotated to it."""
    return get_args(hint)[0] if get_origin(hint) is Annotated else hint


def example_of(hint: Any) -> Any:
    """The value that is annotated to a field as one that works; None without any."""
    extras = get_args(hint)[1:] if get_origin(hint) is Annotated else ()
    return next((extra.value for extra in extras if isinstance(extra, Example)), None)


def limits(hint: Any) -> list[tuple[str, Callable[[Any, Any], bool], Any]]:
    """Word, comparison and bound of each limit of a number, an optional one's too."""
    if get_origin(hint) is not Annotated:
        return [limit for inner in get_args(hint) for limit in limits(inner)]
    whole, *extras = get_args(hint)
    own = [(*_RANGES[type(e)], *astuple(e)) for e in extras if type(e) in _RANGES]
    return own or limits(whole)


def _described(hint: Any) -> str:
    simple = {int: "a whole number", float: "a number", bool: "true or false"}
    simple |= {str: "text (in quotes, if it looks like a number)", NoneType: "null"}
    hint = _bare(hint)
    if hint in simple:
        return simple[hint]
    if is_dataclass(hint):
        needed = [f.name for f in fields(hint) if f.default is MISSING]
        return f"a mapping with {', '.join(needed)}"
    if get_origin(hint) is Literal:
        return f"one of {', '.join(get_args(hint))}"
    if get_origin(hint) is tuple:
        return f"a list, every item {_described(get_args(hint)[0])}"
    return " or ".join(_described(h) for h in get_args(hint))


def unknown_key(key: str, keys: Keys, valid: Iterable[str], message: str | None) -> Problem:
    """A key that its section does not have: `message`, or what may have been meant."""
    return Problem(
        keys=(*keys, key),
        message=message or f"unknown key; {nearest_field('.'.join(map(str, (*keys, key))), valid)}",
        at_key=True,
    )


def nearest_field(name: str, valid: Iterable[str]) -> str:
    """What a person may have meant by an unknown dotted name, whose last part is not in `valid`."""
    names = list(valid)
    section, _, key = name.rpartition(".")
    known = _FAMILIAR.get(key, key)
    plain = (field for field in dotted_fields() if not field.startswith("training.start."))
    if elsewhere := [field for field in plain if field.endswith(f".{known}")]:
        here = [field for field in elsewhere if field == f"{section}.{known}"]
        return f"did you mean {(here or elsewhere)[0]}?"
    return suggestion(key, sorted(names))


@cache
def dotted_fields() -> tuple[str, ...]:
    """Every field that `grid`, `arms` and `exclude` may name, options of one's own aside."""
    optimizer = dict.fromkeys(f.name for kind in OPTIMIZERS.values() for f in fields(kind))
    return (
        *("data", "network", "training.optimizer"),
        *(f"data.{f.name}" for f in fields(DataConfig) if f.name != "options"),
        *("network.name", "network.build"),
        *(f"training.{f.name}" for f in fields(TrainingConfig) if f.name != "optimizer"),
        *(f"training.optimizer.{name}" for name in optimizer),
        *(f"training.start.{f.name}" for f in fields(WarmStart)),
    )


def in_range(value: float, hint: Any) -> bool:
    """Whether a number keeps to the limits annotated to its field."""
    return all(holds(value, bound) for _, holds, bound in limits(hint))


def range_words(value: float, hint: Any) -> str:
    """The limits that a number breaks as words, `at least 0 and below 1`.

    That of all whole numbers is left out where it is not what was broken.
    """
    broken = [(w, bound) for w, holds, bound in limits(hint) if bound != LARGEST or value > bound]
    return " and ".join(f"{word} {bound}" for word, bound in broken)


def shown(value: Any) -> str:
    """A value as YAML would have it on one line."""
    return json.dumps(value) if not isinstance(value, str) else repr(value)
