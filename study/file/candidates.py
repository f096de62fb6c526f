"""The candidates of a search that every cell tries: the same ones for all arms and batch sizes.

Two arms that draw apart differ in the luck of their draws before they differ in anything else: with
own draws an arm that does nothing won in every third study (docs/methods/search.md). So candidates
are a function of the searched fields and their number alone, never of the cell, and more of them
only add. Loads neither torch nor ray.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from itertools import product
from types import NoneType
from typing import Any, get_args, get_type_hints

from analysis.search.finals import rounded
from trainables.config.optimizers.kinds import OPTIMIZERS
from trainables.config.training import TrainingConfig

Values = dict[str, float]
"""What a search tries at one point: a number per dotted field."""

FEWEST = 4
"""Candidates of one searched range."""


@dataclass(frozen=True, kw_only=True)
class Range:
    """Where a number is taken from."""

    low: float
    high: float
    log: bool = False
    """Whether its logarithm is spread evenly."""


Fields = Mapping[str, tuple[float, ...] | Range]
"""What is searched: values to choose from, or a range, by dotted field of `training`."""


def listed(searched: Fields) -> Iterator[Values]:
    """Every combination of the listed values, the first field slowest."""
    for combination in product(*searched.values()):  # type: ignore[arg-type]
        yield dict(zip(searched, combination, strict=True))


def spread(searched: Fields, count: int, seed: int) -> list[Values]:
    """The first `count` points of one sequence that fills what is searched ever more finely.

    Args:
        searched: fields with values to choose from or ranges.
        count: how many; of a single list at most its length.
        seed: of the scrambling, where there are several fields.
    """
    if len(searched) > 1:
        shares = _halton(len(searched), count, seed)
    else:
        (only,) = searched.values()
        shares = [[share] for share in _shares(only, count)]
    return [
        {
            name: _at(name, searched[name], share)
            for name, share in zip(searched, point, strict=True)
        }
        for point in shares
    ]


def _shares(values: tuple[float, ...] | Range, count: int) -> list[float]:
    """Van der Corput's first points; of a list those that come to a value for the first time."""
    if isinstance(values, Range):
        return [van_der_corput(number) for number in range(count)]
    first: dict[int, float] = {}
    for number in itertools.count():
        if len(first) == min(count, len(values)):
            return list(first.values())
        share = van_der_corput(number)
        first.setdefault(int(share * len(values)), share)
    raise AssertionError("van der Corput's sequence comes near every share")


def van_der_corput(number: int) -> float:
    """Point `number` of van der Corput's sequence in base 2: 0, 1/2, 1/4, 3/4, 1/8, ...

    The first 2^m of them are evenly spaced, and the next 2^m lie half-way between.
    """
    share, place = 0.0, 0.5
    while number:
        share, number, place = share + place * (number & 1), number >> 1, place / 2
    return share


def _halton(dimensions: int, count: int, seed: int) -> list[list[float]]:
    """Scrambled Halton points: of several fields, and of any number of points, evenly spread."""
    import numpy as np
    from scipy.stats import qmc  # takes half a second, and few studies need it

    # A generator, because what scipy makes of a bare number differs between its versions.
    generator = np.random.Generator(np.random.Philox(seed))
    points: list[list[float]] = qmc.Halton(dimensions, scramble=True, seed=generator).random(count)
    return [[float(share) for share in point] for point in points]


def _at(name: str, values: tuple[float, ...] | Range, share: float) -> float:
    """What lies at a share of the way through a field's values, from 0 to below 1."""
    if not isinstance(values, Range):
        return values[int(share * len(values))]
    low, high = values.low, values.high
    value = low * (high / low) ** share if values.log else low + share * (high - low)
    return round(value) if is_whole(name) else within(rounded(value), values)


def within(value: float, ends: Range) -> float:
    """A rounded number, brought back into its range where rounding led out of it."""
    return min(max(value, ends.low), ends.high)


def nearest_power(count: int) -> int:
    """The power of two nearest to a number of points, of `FEWEST` or more."""
    power = FEWEST
    while abs(2 * power - count) <= abs(power - count):
        power *= 2
    return power


def half_power(count: int) -> int:
    """The largest power of two that is at most half of a number of points."""
    return 1 << ((count // 2).bit_length() - 1)


def number_kinds(name: str) -> tuple[Any, ...]:
    """The types that a field of `training` may have, absence apart."""
    owner, key = _owner(name)
    hint = get_type_hints(owner)[key]
    kinds = [hint] if isinstance(hint, type) else get_args(hint)
    return tuple(kind for kind in kinds if kind is not NoneType)


def annotation(name: str) -> Any:
    """The type of a field of `training` with its limits and example."""
    owner, key = _owner(name)
    return get_type_hints(owner, include_extras=True)[key]


def _owner(name: str) -> tuple[type[Any], str]:
    """The dataclass that has a field of `training`; of optimizers the first, and its name there."""
    _, *section, key = name.split(".")
    owners = list(OPTIMIZERS.values()) if section else [TrainingConfig]
    return next(o for o in owners if key in {f.name for f in fields(o)}), key


def is_whole(name: str) -> bool:
    """Whether a searched field takes whole numbers only."""
    return float not in number_kinds(name)
