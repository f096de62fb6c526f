"""One section of a study file to its frozen dataclass of `trainables.config`.

Types, choices and unknown keys are checked by pydantic against the dataclasses themselves; ranges
by `RULES`, which the JSON Schema shows too; the rest here. No value is converted: `"32"` and `true`
are no numbers. Every problem names the rule and a value that works.
"""

from __future__ import annotations

import json
import math
import operator
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass, replace
from functools import cache
from types import NoneType
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from pydantic import ConfigDict, TypeAdapter, ValidationError, with_config

from study.document import Keys, suggestion
from trainables import config as c
from trainables.networks.cards import checked_options

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

_TORCHVISION = frozenset({"root", "download"})
_FILES = frozenset({"train", "test"})
SOURCES: dict[str, frozenset[str]] = {
    "mnist-5k": frozenset(),
    "mnist": _TORCHVISION,
    "fashion-mnist": _TORCHVISION,
    "cifar10": _TORCHVISION,
    "cifar100": _TORCHVISION,
    "parquet": _FILES,
    "frames": _FILES | {"context"},
    "load": frozenset({"load"}),
}
"""The fields of `data` that only some sources have; every source has the rest."""
SHARED = frozenset(f.name for f in fields(c.DataConfig)) - {"options"}
SHARED -= frozenset().union(*SOURCES.values())
_ROOT = {"root": "data"}
# Paths are no part of a trial's id, so that a name must tell two sets of files apart.
_NAMED_FILES = {"name": "faces", "train": "faces/train.parquet", "test": "faces/test.parquet"}
REQUIRED = {
    "mnist": _ROOT,
    "fashion-mnist": _ROOT,
    "cifar10": _ROOT,
    "cifar100": _ROOT,
    "parquet": _NAMED_FILES,
    "frames": _NAMED_FILES,
    "load": {"load": "my_module:load"},
}
"""Fields that a source cannot do without, each with a value that works."""

_COUNT = {"minimum": 1}
_POSITIVE = {"exclusiveMinimum": 0}
_NOT_NEGATIVE = {"minimum": 0}
_SHARE = {"minimum": 0, "exclusiveMaximum": 1}
RULES: dict[str, dict[str, Any]] = {
    "train_examples": {**_COUNT, "example": 5000},
    "validation_examples": {**_NOT_NEGATIVE, "example": 500},
    "context": {**_NOT_NEGATIVE, "example": 4},
    "momentum": {**_SHARE, "example": 0.9},
    "weight_decay": {**_NOT_NEGATIVE, "example": 0.0005},
    "beta1": {**_SHARE, "example": 0.9},
    "beta2": {**_SHARE, "example": 0.999},
    "epsilon": {**_POSITIVE, "example": 1e-8},
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
    "max_shift": {**_SHARE, "example": 0.1},
    "every_epochs": {**_POSITIVE, "example": 1},
    "sharpness_epsilon": {**_POSITIVE, "example": 0.001},
    "subspace_dim": {**_COUNT, "example": 100},
    "examples": {**_COUNT, "example": 2000},
    "eigenvalues": {**_COUNT, "example": 1},
    "trace_samples": {"minimum": 2, "example": 30},
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
    "exclusiveMaximum": ("below", operator.lt),
}
_FAMILIAR = {"lr": "base_lr", "learning_rate": "base_lr", "batch_size": "global_batch_size"}
"""What other tools call a field."""


# ---------------------------------------------------------------------------------------- sections


def data_config(section: Any, problems: Problems) -> c.DataConfig | None:
    """The `data` section; with `load`, keys that no data set has are the user's options."""
    keys: Keys = ("data",)
    if not _is_mapping(section, keys, "{source: mnist-5k}", problems):
        return None
    before = len(problems)
    source = data_source(section)
    if source not in SOURCES:
        message = f"{shown(source)} is no source; {suggestion(str(source), SOURCES)}"
        problems.append(Problem(keys=(*keys, "source"), message=message))
        return None
    known = SHARED | SOURCES[source]
    rest = {key: value for key, value in section.items() if key not in known}
    for key in () if source == "load" else rest:
        problems.append(_unknown(key, keys, known, _other_source(key, source)))
    for key, example in REQUIRED.get(source, {}).items():
        if section.get(key) is None:
            message = f"missing; source {source} needs it, e.g. {key}: {example}"
            problems.append(Problem(keys=(*keys, key), message=message))
    own = {key: value for key, value in section.items() if key in known}
    config = validated(c.DataConfig, own, keys, problems)
    _check_import_string(section, "load", keys, problems)
    _check_options(rest if source == "load" else {}, "load", keys, problems)
    if config is None or len(problems) > before:
        return None
    return replace(config, source=source, options=rest)


def data_source(section: Section) -> Any:
    """The source of a `data` section: named, or implied by `load`."""
    return section.get("source", "load" if "load" in section else "mnist-5k")


def _other_source(key: str, source: str) -> str | None:
    owners = [name for name, own in SOURCES.items() if key in own]
    return f"not with source {source}, only with {', '.join(owners)}; remove it" if owners else None


def network_config(section: Any, problems: Problems) -> c.NetworkConfig | None:
    """The `network` section: what is not `name` or `build` is an option of the network."""
    keys: Keys = ("network",)
    if not _is_mapping(section, keys, "{name: mlp}", problems):
        return None
    before = len(problems)
    own = {key: value for key, value in section.items() if key in ("name", "build")}
    options = {key: value for key, value in section.items() if key not in own}
    config = validated(c.NetworkConfig, own, keys, problems)
    _check_import_string(section, "build", keys, problems)
    _check_options(options, "name or build", keys, problems)
    if config is None or len(problems) > before:
        return None
    config = replace(config, options=options)
    try:
        checked_options(config)
    except ValueError as error:
        setting, _, message = str(error).partition(": ")
        path = tuple(key for key in setting.split(".") if key != "options")
        problems.append(Problem(keys=path, message=message, at_key="no such option" in message))
        return None
    return config


def training_config(section: Any, problems: Problems) -> c.TrainingConfig | None:
    """The `training` section of one point, complete."""
    keys: Keys = ("training",)
    if not _is_mapping(section, keys, "{global_batch_size: 32, base_lr: 0.02}", problems):
        return None
    rest = {key: value for key, value in section.items() if key != "optimizer"}
    training = validated(c.TrainingConfig, rest, keys, problems)
    optimizer = _tagged(
        OPTIMIZERS, section.get("optimizer", {}), (*keys, "optimizer"), "sgd", problems
    )
    if training is None or optimizer is None:
        return None
    if isinstance(optimizer, c.SGD) and optimizer.nesterov and optimizer.momentum == 0:
        message = "nesterov needs momentum above 0, e.g. momentum: 0.9"
        problems.append(Problem(keys=(*keys, "optimizer", "nesterov"), message=message))
    if list(training.decay_epochs) != sorted(set(training.decay_epochs)):
        message = f"{list(training.decay_epochs)} must ascend, e.g. [30, 60]"
        problems.append(Problem(keys=(*keys, "decay_epochs"), message=message))
    return replace(training, optimizer=optimizer)


def measure_configs(section: Any, problems: Problems) -> tuple[c.MeasureConfig, ...]:
    """The `measures` section; the evaluation along training is there even when not named."""
    keys: Keys = ("measures",)
    if section is not None and not isinstance(section, list):
        problems.append(Problem(keys=keys, message="must be a list, e.g. [{name: sharpness}]"))
        return ()
    found: list[c.MeasureConfig] = []
    for i, item in enumerate(section or []):
        measure = _tagged(MEASURES, item, (*keys, i), None, problems)
        if measure is None:
            continue
        alike = [m for m in found if m == measure or isinstance(m, c.Evaluation)]
        if measure in alike or (alike and isinstance(measure, c.Evaluation)):
            message = f"{measure.name} is listed twice; keep one"
            problems.append(Problem(keys=(*keys, i), message=message))
        found.append(measure)
    if not any(isinstance(measure, c.Evaluation) for measure in found):
        found.insert(0, c.Evaluation())
    return tuple(found)


def execution_config(section: Any, problems: Problems) -> c.ExecutionConfig:
    """The `execution` section."""
    keys: Keys = ("execution",)
    if section is None or not _is_mapping(section, keys, "{num_workers: 1}", problems):
        return c.ExecutionConfig()
    return validated(c.ExecutionConfig, section, keys, problems) or c.ExecutionConfig()


def _tagged(
    kinds: Mapping[str, type[Any]], section: Any, keys: Keys, default: str | None, found: Problems
) -> Any:
    """A section whose `name` says which dataclass it is."""
    example = f"{{name: {next(iter(kinds))}}}"
    if not _is_mapping(section, keys, example, found):
        return None
    name = section.get("name", default)
    if name is None:
        found.append(Problem(keys=(*keys, "name"), message=f"missing; one of {', '.join(kinds)}"))
        return None
    if not isinstance(name, str) or name not in kinds:
        message = f"there is no {shown(name)}; {suggestion(str(name), kinds)}"
        found.append(Problem(keys=(*keys, "name"), message=message))
        return None
    return validated(kinds[name], section, keys, found)


def _is_mapping(section: Any, keys: Keys, example: str, problems: Problems) -> bool:
    if not isinstance(section, dict):
        message = f"{shown(section)} is not a mapping, e.g. {example}"
        problems.append(Problem(keys=keys, message=message))
    return isinstance(section, dict)


def _check_import_string(section: Section, key: str, keys: Keys, problems: Problems) -> None:
    text = section.get(key)
    if isinstance(text, str) and not re.fullmatch(r"[^\W\d][\w.]*:[^\W\d]\w*", text):
        message = f"{shown(text)} is not of the form module:function, e.g. my_module:{key}"
        problems.append(Problem(keys=(*keys, key), message=message))


def _check_options(options: Section, beside: str, keys: Keys, problems: Problems) -> None:
    """Options are hashed into ids and written as JSON: plain finite values and lists of them."""
    for key, value in options.items():
        for item in value if isinstance(value, list) else [value]:
            if isinstance(item, dict | list):
                message = f"must be a plain value or a list of them; write options beside {beside}"
                problems.append(Problem(keys=(*keys, key), message=message))
            elif isinstance(item, float) and not math.isfinite(item):
                problems.append(Problem(keys=(*keys, key), message=f"{item} is not finite"))


# -------------------------------------------------------------------------------------- validation


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
        if error == "missing" and isinstance(value, dict) and key not in value:
            example = RULES.get(str(key), {}).get("example")
            message = f"missing; e.g. {key}: {example}"
            return Problem(keys=(*path, key), message=message, at_key=True)
        if not (isinstance(value, dict) and key in value) and not isinstance(key, int):
            break  # the name of a union's member
        names = {f.name for f in fields(hint)} if is_dataclass(hint) else set()
        if isinstance(key, str) and key not in names:
            return _unknown(key, tuple(path), names, None)
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


def _unknown(key: str, keys: Keys, valid: Iterable[str], message: str | None) -> Problem:
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
    if elsewhere := [field for field in dotted_fields() if field.endswith(f".{known}")]:
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
    )


def _check_ranges(section: Section, keys: Keys, problems: Problems) -> None:
    for key, value in section.items():
        if key == "batch_schedule":
            for i, phase in enumerate(value):
                _check_ranges(phase, (*keys, key, i), problems)
        elif rule := RULES.get(key):
            for item in value if isinstance(value, list) else [value]:
                if isinstance(item, int | float) and not _in_range(item, rule):
                    message = f"{item} must be {_range_words(rule)}; e.g. {shown(rule['example'])}"
                    problems.append(Problem(keys=(*keys, key), message=message))


def _in_range(value: float, rule: Mapping[str, Any]) -> bool:
    return all(holds(value, rule[word]) for word, (_, holds) in _RANGES.items() if word in rule)


def _range_words(rule: Mapping[str, Any]) -> str:
    words = [f"{text} {rule[word]}" for word, (text, _) in _RANGES.items() if word in rule]
    return " and ".join(words)


def shown(value: Any) -> str:
    """A value as YAML would have it on one line."""
    return json.dumps(value) if not isinstance(value, str) else repr(value)
