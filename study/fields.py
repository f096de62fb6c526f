"""Every field that a study file may set: its type, range and what to say where it is wrong.

Types, choices and unknown keys are checked by pydantic against the dataclasses of
`trainables.config`, ranges by `RULES`, which the JSON Schema shows too. No value is converted:
`"32"` and `true` are no numbers.
"""

from __future__ import annotations

import json
import operator
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass
from functools import cache
from types import NoneType
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from pydantic import ConfigDict, TypeAdapter, ValidationError, with_config

from study.document import Keys, suggestion
from trainables import config as c

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


def _named(kinds: Any) -> dict[str, type[Any]]:
    return {kind.name: kind for kind in get_args(kinds)}


OPTIMIZERS = _named(c.OptimizerConfig)
MEASURES = _named(c.MeasureConfig)

_COUNT = {"minimum": 1}
_POSITIVE = {"exclusiveMinimum": 0}
_NOT_NEGATIVE = {"minimum": 0}
_SHARE = {"minimum": 0, "exclusiveMaximum": 1}
RULES: dict[str, dict[str, Any]] = {
    "train_examples": {**_COUNT, "example": 5000},
    "validation_examples": {**_NOT_NEGATIVE, "example": 500},
    "context": {**_NOT_NEGATIVE, "example": 4},
    "image_size": {**_COUNT, "example": 224},
    "momentum": {**_SHARE, "example": 0.9},
    "weight_decay": {**_NOT_NEGATIVE, "example": 0.0005},
    "beta1": {**_SHARE, "example": 0.9},
    "beta2": {**_SHARE, "example": 0.999},
    "trust_coefficient": {**_POSITIVE, "example": 0.001},
    "epsilon": {**_POSITIVE, "example": 1e-8},
    "rho": {**_POSITIVE, "example": 0.05},
    "proximal_weight": {**_POSITIVE, "example": 0.001},
    "inner_steps": {**_COUNT, "example": 3},
    "sufficient_decrease": {**_POSITIVE, "exclusiveMaximum": 1, "example": 0.0001},
    "backtracking": {**_POSITIVE, "exclusiveMaximum": 1, "example": 0.5},
    "max_backtracks": {**_COUNT, "example": 20},
    "history_size": {**_COUNT, "example": 10},
    "until_epoch": {**_POSITIVE, "example": 1},
    "global_batch_size": {**_COUNT, "example": 32},
    "peak_lr": {**_POSITIVE, "example": 0.02},
    "base_lr": {**_POSITIVE, "example": 0.02},
    "lr_reference_batch_size": {**_COUNT, "example": 32},
    "warmup_epochs": {**_NOT_NEGATIVE, "example": 5},
    "warmup_start_lr": {**_NOT_NEGATIVE, "example": 0},
    "decay_epochs": {**_POSITIVE, "example": [30, 60]},
    "decay_factor": {**_POSITIVE, "example": 0.1},
    "epochs": {**_POSITIVE, "example": 30},
    "optimizer_steps": {**_COUNT, "example": 1000},
    "steps_of_batch_size": {**_COUNT, "example": 32},
    "target_train_loss": {**_POSITIVE, "example": 0.01},
    "max_epochs": {**_POSITIVE, "example": 100},
    "discard_ratio": {**_SHARE, "example": 0.3},
    "discard_epochs": {**_POSITIVE, "example": 15},
    "ghost_batch_size": {"minimum": 2, "example": 32},
    "discard_gradient_ratio": {**_SHARE, "example": 0.3},
    "max_gradient_norm": {**_POSITIVE, "example": 5},
    "label_smoothing": {**_SHARE, "example": 0.1},
    "focal_gamma": {**_NOT_NEGATIVE, "example": 2},
    "adversarial_epsilon": {**_NOT_NEGATIVE, "example": 0.01},
    "trial": {"example": {"training.global_batch_size": 256, "training.epochs": 100}},
    "epoch": {**_POSITIVE, "example": 10},
    "max_rotation": {**_NOT_NEGATIVE, "maximum": 180, "example": 10},
    "max_shift": {**_SHARE, "example": 0.1},
    "every_epochs": {**_POSITIVE, "example": 1},
    "sharpness_epsilon": {**_POSITIVE, "example": 0.001},
    "subspace_dim": {**_COUNT, "example": 100},
    "examples": {**_COUNT, "example": 2000},
    "eigenvalues": {**_COUNT, "example": 1},
    "trace_samples": {"minimum": 2, "example": 30},
    "small_batch_size": {**_COUNT, "example": 32},
    "large_batch_size": {"minimum": 2, "example": 512},
    "pairs": {"minimum": 2, "example": 100},
    "every_steps": {**_COUNT, "example": 1},
    "curvature_samples": {**_NOT_NEGATIVE, "example": 1},
    "batch_sizes": {**_COUNT, "example": [32, 256]},
    "draws": {"minimum": 2, "example": 20},
    "relative_radius": {**_POSITIVE, "example": 0.01},
    "points": {"minimum": 3, "example": 25},
    "alpha_min": {"maximum": 0, "example": -1},
    "alpha_max": {"minimum": 1, "example": 2},
    "seeds": {**_COUNT, "example": 1},
    "grace_epochs": {**_POSITIVE, "example": 1},
    "reduction_factor": {"minimum": 2, "example": 3},
    "reach": {**_POSITIVE, "example": 1},
    "lanczos_steps": {"minimum": 2, "example": 40},
    "vectors": {**_COUNT, "example": 4},
    "directions": {**_COUNT, "example": 100},
    "steep_rise": {**_POSITIVE, "example": 0.1},
    "batches": {"minimum": 2, "example": 50},
    "batch_size": {**_COUNT, "example": 256},
    "num_workers": {**_COUNT, "example": 1},
    "threads_per_worker": {**_COUNT, "example": 1},
    "gpus_per_worker": {**_POSITIVE, "example": 1},
    "max_micro_batch_size": {**_COUNT, "example": 256},
    "max_concurrent_trials": {**_COUNT, "example": 2},
    "heartbeat_seconds": {**_POSITIVE, "example": 2},
    "checkpoint_seconds": {**_POSITIVE, "example": 60},
    "keep_weights": {**_POSITIVE, "example": [10, 20]},
}
"""Numbers' ranges in the words of JSON Schema, and a value that works; of a list, its items'."""
_RANGES: dict[str, tuple[str, Callable[[float, float], bool]]] = {
    "minimum": ("at least", operator.ge),
    "exclusiveMinimum": ("above", operator.gt),
    "maximum": ("at most", operator.le),
    "exclusiveMaximum": ("below", operator.lt),
}
_FAMILIAR = {"lr": "base_lr", "learning_rate": "base_lr", "batch_size": "global_batch_size"}
"""What other tools call a field."""


@cache
def adapter(kind: type[Any]) -> TypeAdapter[Any]:
    """pydantic's validator of a config dataclass, strict in keys and types."""
    return TypeAdapter(with_config(STRICT)(kind))


def validated(kind: type[T], section: Section, keys: Keys, problems: Problems) -> T | None:
    """The dataclass that a section's plain values make, or None and what is wrong with them."""
    before = len(problems)
    any_kind: Any = kind
    try:
        # As JSON, because strict JSON takes a list for a tuple and an integer for a float.
        config: T = adapter(any_kind).validate_json(json.dumps(section), strict=True)
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=False)
        problems.extend(_translated(kind, section, keys, e["loc"], e["type"]) for e in found)
        return None
    _check_ranges(section, keys, problems)
    return config if len(problems) == before else None


def _translated(kind: Any, section: Any, keys: Keys, loc: Keys, error: str) -> Problem:
    """One pydantic error in our words; of a union's errors, all those at one value are alike."""
    hint, value, path = kind, section, list(keys)
    for key in loc:
        hint = _unwrapped(hint)
        if error == "missing" and isinstance(value, dict) and key not in value:
            example = RULES.get(str(key), {}).get("example")
            message = f"missing; e.g. {key}: {shown(example)}"
            return Problem(keys=(*path, key), message=message, at_key=True)
        if not (isinstance(value, dict) and key in value) and not isinstance(key, int):
            break  # the name of a union's member
        names = {f.name for f in fields(hint)} if is_dataclass(hint) else set()
        if isinstance(key, str) and key not in names:
            return unknown_key(key, tuple(path), names, None)
        hint, value = _inner(hint, key), value[key]
        path.append(key)
    field = next(key for key in reversed(path) if isinstance(key, str))
    example = RULES.get(field, {}).get("example")
    if isinstance(value, float) and value.is_integer():
        example = int(value)
    message = f"{shown(value)} is not {_described(hint)}"
    return Problem(
        keys=tuple(path), message=message + (f"; e.g. {shown(example)}" if example else "")
    )


def _inner(hint: Any, key: str | int) -> Any:
    """The type of a field of a dataclass, or of an item of a list; optional or not."""
    if isinstance(key, str):
        return get_type_hints(hint)[key]
    listed = hint if get_origin(hint) is tuple else None
    listed = listed or next(h for h in get_args(hint) if get_origin(h) is tuple)
    return get_args(listed)[0]


def _unwrapped(hint: Any) -> Any:
    """The dataclass of an optional section."""
    is_optional = NoneType in get_args(hint)
    return next((h for h in get_args(hint) if is_optional and is_dataclass(h)), hint)


def _described(hint: Any) -> str:
    simple = {int: "a whole number", float: "a number", bool: "true or false"}
    simple |= {str: "text (in quotes, if it looks like a number)", NoneType: "null"}
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
        *(f"data.{f.name}" for f in fields(c.DataConfig) if f.name != "options"),
        *("network.name", "network.build"),
        *(f"training.{f.name}" for f in fields(c.TrainingConfig) if f.name != "optimizer"),
        *(f"training.optimizer.{name}" for name in optimizer),
        *(f"training.start.{f.name}" for f in fields(c.WarmStart)),
    )


def _check_ranges(section: Section, keys: Keys, problems: Problems) -> None:
    for key, value in section.items():
        if key == "batch_schedule":
            for i, phase in enumerate(value):
                _check_ranges(phase, (*keys, key, i), problems)
        elif isinstance(value, dict):
            _check_ranges(value, (*keys, key), problems)
        elif rule := RULES.get(key):
            for item in value if isinstance(value, list) else [value]:
                if isinstance(item, int | float) and not in_range(item, rule):
                    message = f"{item} must be {range_words(rule)}; e.g. {shown(rule['example'])}"
                    problems.append(Problem(keys=(*keys, key), message=message))


def in_range(value: float, rule: Mapping[str, Any]) -> bool:
    """Whether a number keeps to its rule."""
    return all(holds(value, rule[word]) for word, (_, holds) in _RANGES.items() if word in rule)


def range_words(rule: Mapping[str, Any]) -> str:
    """A rule as words: `at least 0 and below 1`."""
    words = [f"{text} {rule[word]}" for word, (text, _) in _RANGES.items() if word in rule]
    return " and ".join(words)


def shown(value: Any) -> str:
    """A value as YAML would have it on one line."""
    return json.dumps(value) if not isinstance(value, str) else repr(value)
