"""What is known of a study's data: looked up, or as its results folder has it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from study.file.document import StudyError
from study.grid.spec import StudySpec
from study.plan.plan import Facts
from trainables.config.data import DataConfig
from trainables.config.identity import science
from trainables.datasets.cache import open_data
from trainables.datasets.facts import DataFacts
from trainables.results import head


def facts_of(spec: StudySpec, stored: Sequence[head.Facts], *, runs_code: bool) -> Facts:
    """What is known of each data set, looked up once; what is wrong with one is the file's fault.

    Args:
        spec: whose data.
        stored: what a results folder has of it; other data is opened.
        runs_code: whether a person's function is called for data that is not in the cache.

    Raises:
        StudyError: from what is given back, for what is wrong with the data.
        OSError: from there too, if data is missing or cannot be cached.
    """
    before = {_text(facts["config"]): facts for facts in stored}
    known: dict[str, DataFacts] = {}
    seen: dict[int, tuple[DataConfig, DataFacts]] = {}  # by identity: trials share their sections

    def opened(data: DataConfig) -> DataFacts:
        found = before.get(_key(data))
        if found and not _lies_elsewhere(data, found):
            return _from_plain(found)
        try:
            return open_data(data, spec.import_folder, runs_code=runs_code).facts
        except ValueError as error:
            raise StudyError([spec.document.problem(("data",), str(error))]) from error

    def facts(data: DataConfig) -> DataFacts:
        if id(data) not in seen:
            key = json.dumps(asdict(data), sort_keys=True)
            if key not in known:
                known[key] = opened(data)
            seen[id(data)] = data, known[key]
        return seen[id(data)][1]

    return facts


def stored_facts(sections: Iterable[DataConfig], facts: Facts) -> list[head.Facts]:
    """What is known of each distinct data set, as a results folder keeps it."""
    known = {_key(data): (data, facts(data)) for data in sections}
    return [
        {"config": science(data), "places": _places(data), **asdict(found)}
        for data, found in known.values()
    ]


def _places(data: DataConfig) -> dict[str, str | None]:
    return {"root": data.root, "train": data.train, "test": data.test}


def _lies_elsewhere(data: DataConfig, stored: head.Facts) -> bool:
    """Whether a file names other data than the folder's, which is here to be looked at."""
    here = _places(data)
    if here == stored.get("places", here):
        return False
    return any(place is not None and Path(place).exists() for place in here.values())


def _key(data: DataConfig) -> str:
    """One text for data that is the same wherever it lies."""
    return _text(science(data))


def _text(plain: object) -> str:
    return json.dumps(plain, sort_keys=True)


def _from_plain(stored: head.Facts) -> DataFacts:
    tuples = ("input_shape", "channel_mean", "channel_std")
    known: dict[str, Any] = {
        name: tuple(value) if name in tuples else value
        for name, value in stored.items()
        if name not in ("config", "places")
    }
    return DataFacts(**known)
