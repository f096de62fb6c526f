"""The networks and data sets of a study, each as a study of its own.

Gaps and arms compare points of one network on one data set, so every number is the same in the part
as in the whole; a sentence is about one of them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache

import pandas as pd

from analysis.gaps import by_cell
from analysis.gaps.by_cell import BASELINE_ARM
from analysis.load import Study
from trainables.results.schema import SUBJECT


@lru_cache(maxsize=2)  # parts are compared by identity, so that their tables are cached too
def subjects(study: Study) -> Sequence[tuple[str, Study]]:
    """Name and part of each network and data set that the baseline arm has; one has no name.

    An arm that changes the network goes with the baseline that it changes.
    """
    points = by_cell.labelled_points(study)
    own = points[points["arm"] == BASELINE_ARM]
    names = [name for name in SUBJECT if name in own]
    groups = own.fillna(dict.fromkeys(names, "")).groupby(names, sort=False)["settings"]
    settings = {tuple(map(str, key)): set(values) for key, values in groups}
    if len(settings) < 2:
        return (("", study),)
    matching = by_cell.matching_settings(study)
    there = {
        key: {pair for pair, others in matching.items() if set(others) & own}
        for key, own in settings.items()
    }
    return tuple((_name(key, [*settings]), _part(study, pairs)) for key, pairs in there.items())


def _name(key: Sequence[str], keys: Sequence[Sequence[str]]) -> str:
    """What tells one subject from the others: names, and options as `hidden=[16]`."""
    varied = {i for i in range(len(key)) if len({other[i] for other in keys}) > 1}
    shown = {i - i % 2 for i in varied}  # options go with their name
    return ", ".join(" ".join(filter(None, [key[i], _options(key[i + 1])])) for i in sorted(shown))


def _options(text: str) -> str:
    values = json.loads(text) if text else {}
    return " ".join(f"{name}={json.dumps(value)}" for name, value in values.items())


def _part(study: Study, there: set[tuple[str, str]]) -> Study:
    def kept(points: pd.DataFrame) -> pd.DataFrame:
        if points.empty:
            return points
        named = by_cell.with_settings(study, points)
        wanted = [pair in there for pair in zip(named["arm"], named["settings"], strict=True)]
        return points[wanted].reset_index(drop=True)

    parts: Mapping[str, pd.DataFrame] = {
        name: kept(getattr(study, name)) for name in ("points", "search_points", "crossed_points")
    }
    return replace(study, **parts)
