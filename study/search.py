"""The `search` section: which numbers of `training` are tuned apart for every cell, and how.

A *cell* is a setting of the study: block, arm, grid values, batch size. Here are the section and
the points that are known beforehand, those of a grid and random ones; `study.searching` follows a
search through its results. Loads neither torch nor ray.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from itertools import product
from types import NoneType
from typing import Any, Literal, get_args, get_type_hints

import numpy as np

from study.changes import Change, Sections, changed, field_path
from study.document import Document, Keys
from study.fields import (
    OPTIMIZERS,
    RULES,
    Problem,
    Problems,
    dotted_fields,
    in_range,
    nearest_field,
    range_words,
    shown,
    unknown_key,
    validated,
)
from trainables import config as c
from trainables.batching import derive_seed

Values = dict[str, float]
"""What a search tries at one point: a number per dotted field."""
Objective = Literal["validation_accuracy", "validation_loss", "test_accuracy", "test_loss"]

FIRST_SEED = 1_000_000
"""Seeds of a search begin here, where those of studies do not lie."""
GRACE_EPOCHS, REDUCTION_FACTOR = 1.0, 3
"""Of asha, where the study leaves them open."""
DIGITS = 4
"""Significant digits of a drawn number: more would only make it unreadable."""


@dataclass(frozen=True, kw_only=True)
class Range:
    """Where a number is drawn from, both ends included."""

    low: float
    high: float
    log: bool = False
    """Whether its logarithm is uniform."""


@dataclass(frozen=True, kw_only=True)
class SearchConfig:
    """The `search` section of a study file."""

    fields: Mapping[str, tuple[float, ...] | Range] = field(default_factory=dict)
    """Dotted fields of `training`: values to choose from, or a range to draw from."""
    method: Literal["grid", "random", "optuna"] = "grid"
    points: int | None = None
    """random, optuna: points per cell."""
    seeds: int = 1
    """Each point is trained with so many seeds, of the search's own."""
    optimize: Objective = "validation_accuracy"
    """What the winner has the best mean of, at the end of training."""
    scheduler: Literal["none", "asha"] = "none"
    """asha stops trials that fall behind (Li et al. 2020)."""
    grace_epochs: float | None = None
    """asha: no trial is stopped before so many epochs; default: 1."""
    reduction_factor: int | None = None
    """asha: one trial in so many goes on at each rung, and the next lies so many times later;
    default: 3."""

    @property
    def maximizes(self) -> bool:
        """Whether more is better."""
        return self.optimize.endswith("accuracy")

    @property
    def own_seeds(self) -> tuple[int, ...]:
        """The seeds that its trials are trained with."""
        return tuple(range(FIRST_SEED, FIRST_SEED + self.seeds))

    @property
    def points_per_cell(self) -> int:
        """How many points a cell tries, those that are drawn twice counted twice."""
        if self.points is not None:
            return self.points
        return math.prod(len(v) for v in self.fields.values() if not isinstance(v, Range))


# --------------------------------------------------------------------------------------- section


def search_config(
    document: Document, seeds: Sequence[int], problems: list[str]
) -> SearchConfig | None:
    """The `search` section, if there is one; what is wrong with it joins `problems`."""
    section = document.values.get("search")
    if section is None:
        return None
    found: Problems = []
    config = _checked(section, seeds, found)
    for name in config.fields if config else ():
        _check_set_once(name, document.values, found)
    problems.extend(document.problem(p.keys, p.message, at_key=p.at_key) for p in found)
    return config if not found else None


def _checked(section: Any, seeds: Sequence[int], problems: Problems) -> SearchConfig | None:
    keys: Keys = ("search",)
    written = section.get("fields") if isinstance(section, dict) else None
    if not isinstance(written, dict) or not written:
        message = "must have fields to tune, e.g. fields: {training.base_lr: [0.01, 0.02, 0.05]}"
        problems.append(Problem(keys=keys, message=message))
        return None
    config = validated(SearchConfig, {**section, "fields": {}}, keys, problems)
    chosen: dict[str, tuple[float, ...] | Range] = {}
    for name, values in written.items():
        place = (*keys, "fields", name)
        kind = _number_kind(name, place, problems)
        if kind and (numbers := _numbers(name, values, kind, place, problems)):
            chosen[name] = numbers
    if config is None or len(chosen) < len(written):
        return None
    config = replace(config, fields=chosen)
    _check_method(config, problems)
    for name in ("grace_epochs", "reduction_factor") if config.scheduler == "none" else ():
        if getattr(config, name) is not None:
            message = "only with scheduler: asha; remove it, or add that"
            problems.append(Problem(keys=(*keys, name), message=message, at_key=True))
    if overlap := set(config.own_seeds) & set(seeds):
        message = f"seed {min(overlap)} is the search's own; the study's must be below {FIRST_SEED}"
        problems.append(Problem(keys=("seeds",), message=message))
    return config


def _number_kind(name: str, keys: Keys, problems: Problems) -> type[Any] | None:
    """Whether a field is a whole number or any; None for what cannot be searched."""
    known = dotted_fields()
    if name == "training.global_batch_size":
        message = "is what the search tunes for, each size apart; list the sizes in grid"
    elif name not in known and not name.startswith(("data.", "network.")):
        message = f"unknown field; {nearest_field(name, known)}"
    elif not name.startswith("training."):
        message = "is no field of training; list its values in grid"
    elif {int, float} & set(_hints(name)):
        return int if is_whole(name) else float
    else:
        message = "is not a number, and only numbers are searched; list its values in grid"
    problems.append(Problem(keys=keys, message=message, at_key=True))
    return None


def _hints(name: str) -> tuple[Any, ...]:
    """The types that a field of `training` may have, absence apart."""
    _, *section, key = name.split(".")
    owners = list(OPTIMIZERS.values()) if section else [c.TrainingConfig]
    hint = next(get_type_hints(o)[key] for o in owners if key in {f.name for f in fields(o)})
    kinds = [hint] if isinstance(hint, type) else get_args(hint)
    return tuple(kind for kind in kinds if kind is not NoneType)


def _numbers(
    name: str, values: Any, kind: type[Any], keys: Keys, problems: Problems
) -> tuple[float, ...] | Range | None:
    """A field's values or range, each number of the field's kind and within its rule."""
    before = len(problems)
    if isinstance(values, list) and values:
        for i, value in enumerate(values):
            _check_number(name, value, kind, (*keys, i), problems)
            if value in values[:i]:
                message = f"{shown(value)} is listed twice; keep one"
                problems.append(Problem(keys=(*keys, i), message=message))
        return tuple(values) if len(problems) == before else None
    if not isinstance(values, dict) or not {"low", "high"} <= values.keys():
        message = "must be a list of numbers, or a range such as {low: 0.001, high: 1, log: true}"
        problems.append(Problem(keys=keys, message=message))
        return None
    names = tuple(f.name for f in fields(Range))
    problems += [unknown_key(key, keys, names, None) for key in values if key not in names]
    for end in ("low", "high"):
        _check_number(name, values[end], kind, (*keys, end), problems)
    if not isinstance(values.get("log", False), bool):
        message = f"{shown(values['log'])} is not true or false"
        problems.append(Problem(keys=(*keys, "log"), message=message))
    if len(problems) > before:
        return None
    drawn = Range(**values)
    if drawn.low >= drawn.high:
        message = f"low {drawn.low} must be below high {drawn.high}; swap the two"
        problems.append(Problem(keys=keys, message=message))
    elif drawn.log and drawn.low <= 0:
        message = f"low {drawn.low} has no logarithm; take a low above 0, or leave out log"
        problems.append(Problem(keys=keys, message=message))
    return drawn if len(problems) == before else None


def _check_number(name: str, value: Any, kind: type[Any], keys: Keys, problems: Problems) -> None:
    rule = RULES.get(name.rpartition(".")[2], {})
    if type(value) not in (int, kind) or not math.isfinite(value):
        what = "a whole number" if kind is int else "a number"
        problems.append(Problem(keys=keys, message=f"{shown(value)} is not {what}"))
    elif not in_range(value, rule):
        message = f"{value} must be {range_words(rule)}; e.g. {shown(rule['example'])}"
        problems.append(Problem(keys=keys, message=message))


def _check_method(config: SearchConfig, problems: Problems) -> None:
    for name, values in config.fields.items():
        if config.method == "grid" and isinstance(values, Range):
            message = "a range has no grid; list its values, or use method: random"
            problems.append(Problem(keys=("search", "fields", name), message=message))
    if config.method == "grid" and config.points is not None:
        message = "a grid tries all of its values; remove it, or use method: random"
        problems.append(Problem(keys=("search", "points"), message=message, at_key=True))
    if config.method != "grid" and config.points is None:
        message = f"missing; method {config.method} needs it, e.g. points: 20"
        problems.append(Problem(keys=("search", "points"), message=message))


def _check_set_once(name: str, written: Mapping[str, Any], problems: Problems) -> None:
    """A searched field that is set elsewhere too would have two values."""
    inside: Any = written
    for key in name.split("."):
        inside = inside.get(key) if isinstance(inside, dict) else None
    grid, arms = written.get("grid"), written.get("arms")
    blocks = [block for block in (grid if isinstance(grid, list) else [grid]) if block]
    changes = list(arms.values()) if isinstance(arms, dict) else []
    where = [
        "training" if inside is not None else "",
        "grid" if any(name in block for block in blocks) else "",
        "arms" if any(isinstance(change, dict) and name in change for change in changes) else "",
    ]
    for place in filter(None, where):
        message = f"is set in {place} too; remove it there, or do not search it"
        problems.append(Problem(keys=("search", "fields", name), message=message, at_key=True))


# ---------------------------------------------------------------------------------------- points


def first_values(search: SearchConfig) -> Values:
    """Values that stand for those of a cell before any is chosen: the first, or the low end."""
    return {
        name: values.low if isinstance(values, Range) else values[0]
        for name, values in search.fields.items()
    }


def with_first_values(document: Document, search: SearchConfig) -> Document:
    """The document as if the first values stood in `training`, so that settings are whole."""
    sections: Sections = {"training": document.values.get("training") or {}}
    changes = []
    for name, value in first_values(search).items():
        path = field_path(name)
        assert path is not None, f"{name} was checked"
        changes.append(Change(path=path, value=value, keys=("search", "fields", name)))
    return replace(document, values={**document.values, **changed(sections, changes)})


def with_values(training: c.TrainingConfig, values: Values) -> c.TrainingConfig:
    """A cell's `training` with what a search tries.

    Raises:
        ValueError: if its optimizer has no such field.
    """
    for name, value in values.items():
        _, *section, key = name.split(".")
        if not section:
            training = replace(training, **{key: value})  # type: ignore[arg-type]
        elif key not in {f.name for f in fields(training.optimizer)}:
            raise ValueError(f"optimizer {training.optimizer.name} has no {key}")
        else:
            changes: dict[str, Any] = {key: value}
            training = replace(training, optimizer=replace(training.optimizer, **changes))
    return training


def grid_points(search: SearchConfig) -> Iterator[Values]:
    """Every combination of the listed values, the first field slowest."""
    for combination in product(*search.fields.values()):  # type: ignore[arg-type]
        yield dict(zip(search.fields, combination, strict=True))


def random_points(search: SearchConfig, cell: str) -> Iterator[Values]:
    """Points drawn for a cell: a function of its name and their number, nothing else."""
    for number in range(search.points_per_cell):
        yield {
            name: _drawn(name, values, derive_seed(0, "search", cell, name, number))
            for name, values in search.fields.items()
        }


def _drawn(name: str, values: tuple[float, ...] | Range, seed: int) -> float:
    generator = np.random.Generator(np.random.Philox(seed))
    if not isinstance(values, Range):
        return values[int(generator.integers(len(values)))]
    low, high = values.low, values.high
    if is_whole(name) and not values.log:
        return int(generator.integers(int(low), int(high), endpoint=True))
    share = generator.random()
    value = low * (high / low) ** share if values.log else low + share * (high - low)
    return round(value) if is_whole(name) else rounded(value, values)


def rounded(value: float, within: Range) -> float:
    """A drawn number to `DIGITS` significant digits, within its range."""
    return min(max(float(f"{value:.{DIGITS}g}"), within.low), within.high)


def is_whole(name: str) -> bool:
    """Whether a searched field takes whole numbers only."""
    return float not in _hints(name)
