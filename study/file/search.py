"""The `search` section read from a study file; what is wrong has its place and a way out.

Loads neither torch nor ray.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

from study.file.candidates import FEWEST, Range, annotation, is_whole, nearest_power, number_kinds
from study.file.document import Document, Keys
from study.file.fields import (
    Problem,
    Problems,
    dotted_fields,
    example_of,
    in_range,
    nearest_field,
    range_words,
    shown,
    unknown_key,
    validated,
)
from study.file.search_config import FIRST_SEED, REDUCTION_FACTOR, SearchConfig
from trainables import limits


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
    if config and "training.base_lr" in config.fields:
        _check_one_knob(document.values, found)
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
    if too_many := limits.beyond("POINTS", config.points_per_cell * config.seeds):
        problems.append(Problem(keys=keys, message=too_many))
        return None
    before = len(problems)
    _check_method(config, problems)
    if len(problems) == before:
        _check_points(config, problems)
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
    elif not name.startswith("training.") or name.startswith("training.start."):
        message = "is no setting of the training itself; list its values in grid"
    elif {int, float} & set(number_kinds(name)):
        return int if is_whole(name) else float
    else:
        message = "is not a number, and only numbers are searched; list its values in grid"
    problems.append(Problem(keys=keys, message=message, at_key=True))
    return None


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
    hint = annotation(name)
    if type(value) not in (int, kind) or not math.isfinite(value):
        what = "a whole number" if kind is int else "a number"
        problems.append(Problem(keys=keys, message=f"{shown(value)} is not {what}"))
    elif not in_range(value, hint):
        message = f"{value} must be {range_words(value, hint)}; e.g. {shown(example_of(hint))}"
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
        message = f"missing; method {config.method} needs it, e.g. points: 16"
        problems.append(Problem(keys=("search", "points"), message=message))
    single = config.fields[config.single] if config.single else None
    if config.method == "random" and isinstance(single, tuple):
        message = "random with one list: a list is taken as written; use method: grid"
        problems.append(Problem(keys=("search", "method"), message=message))


def _check_points(config: SearchConfig, problems: Problems) -> None:
    """Whether the shared candidates are evenly spaced, distinct, and enough for the scheduler."""
    points, name = config.points_per_cell, config.single
    single = config.fields[name] if name else None
    message = None
    if config.method == "optuna" and points < 2 * FEWEST:
        message = (
            f"{points}: optuna begins with {FEWEST} points that all cells share; take at least "
            f"{2 * FEWEST}, or use method: random"
        )
    elif (
        config.method == "random"
        and isinstance(single, Range)
        and points != (nearest := nearest_power(points))
    ):
        message = (
            f"{points}: one range is halved evenly by powers of two only, and more of them only "
            f"add; the nearest is {nearest}"
        )
    if message is None and name is not None and isinstance(single, Range):
        message = _coinciding(config, name)
    if message is not None:
        problems.append(Problem(keys=("search", "points"), message=message))
    elif config.scheduler == "asha":
        _check_enough(config, problems)


def _coinciding(config: SearchConfig, name: str) -> str | None:
    """What is wrong where candidates of a range are the same number, rounded."""
    values = [point[name] for point in config.candidates]
    if len(set(values)) == len(values):
        return None
    distinct = [f"{value:g}" for value in sorted(set(values))]
    fewer = [n for n in (16, 8, 4) if n < len(values) and len({*values[:n]}) == n]
    points = [n * (2 if config.method == "optuna" else 1) for n in fewer[:1]]
    return (
        f"{config.points}: rounded, only {len(distinct)} of the {len(values)} values of {name} "
        f"differ; take {''.join(f'points: {n}, ' for n in points)}a wider range, or method: grid "
        f"with a list such as [{', '.join(distinct[:5])}]"
    )


def _check_enough(config: SearchConfig, problems: Problems) -> None:
    """The first trials at a rung go on whatever they are: below eta^2 points that is most of it."""
    factor = config.reduction_factor or REDUCTION_FACTOR
    points, least = config.points_per_cell, factor**2
    if points >= least:
        return
    if config.method == "random" and isinstance(config.fields.get(config.single or ""), Range):
        least = 1 << (least - 1).bit_length()
    what = f"{least} values in all" if config.method == "grid" else f"points: {least}"
    message = (
        f"asha: {points} points are too few for reduction_factor {factor}, since the first to come "
        f"go on whatever they are; take {what} or more, or scheduler: none"
    )
    problems.append(Problem(keys=("search", "scheduler"), message=message))


def _check_set_once(name: str, written: Mapping[str, Any], problems: Problems) -> None:
    """A searched field that is set elsewhere too would have two values."""
    places = {keys[0] for keys, _ in _set_to(name, written)}
    for place in ("training", "grid", "arms"):
        if place in places:
            message = f"is set in {place} too; remove it there, or do not search it"
            problems.append(Problem(keys=("search", "fields", name), message=message, at_key=True))


def _check_one_knob(written: Mapping[str, Any], problems: Problems) -> None:
    """A rate that is scaled from batch to batch would be tuned twice, and mean no peak rate."""
    for keys, value in _set_to("training.lr_scaling", written):
        if value != "none":
            message = (
                f"{shown(value)} beside a searched base_lr; one knob: the search tunes the rate of "
                "every batch size apart; remove it, or write none"
            )
            problems.append(Problem(keys=keys, message=message))


def _set_to(name: str, written: Mapping[str, Any]) -> Iterator[tuple[Keys, Any]]:
    """Every place of the file that gives a field of `training` a value, and the value."""
    inside: Any = written
    for key in name.split("."):
        inside = inside.get(key) if isinstance(inside, dict) else None
    if inside is not None:
        yield tuple(name.split(".")), inside
    grid, arms = written.get("grid"), written.get("arms")
    blocks = list(enumerate(grid)) if isinstance(grid, list) else [(None, grid)]
    for number, block in blocks:
        keys: Keys = ("grid", name) if number is None else ("grid", number, name)
        values = block.get(name) if isinstance(block, dict) else None
        for i, value in enumerate(values if isinstance(values, list) else []):
            yield (*keys, i), value
    for arm, changes in arms.items() if isinstance(arms, dict) else ():
        if isinstance(changes, dict) and name in changes:
            yield ("arms", arm, name), changes[name]
