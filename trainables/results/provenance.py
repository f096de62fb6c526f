"""Under what conditions numbers were made: versions, commit, hardware, fingerprints.

`provenance.json` describes the latest run, and below `earlier` those that differed from it; `runs`
is what each had completed at its end (`study.plan.looks`), `times` how long each took beside what
had been estimated.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from typing import Any

from pydantic import TypeAdapter, ValidationError

from trainables.installation import environment
from trainables.parsing import json_values
from trainables.results.files import DamagedFileError, NewerSchemaError
from trainables.results.layout import PROVENANCE
from trainables.results.schema import SCHEMA_VERSION
from trainables.results.storage import Storage

Plain = str | int | float | bool | None
Values = dict[str, Plain]


@dataclass(frozen=True, kw_only=True)
class _Run:
    """What was complete at one place of a study when a run ended."""

    block: int
    global_batch_size: int
    seeds: int
    comparisons: tuple[str, ...]
    network: Plain = None
    network_options: Plain = None
    data: Plain = None
    data_options: Plain = None


@dataclass(frozen=True, kw_only=True)
class _Time:
    """How long a run took."""

    trials: int
    seconds: float
    estimated_seconds: float | None = None


@dataclass(frozen=True, kw_only=True)
class _Content:
    """The file, as far as anything reads it; what else it says is kept."""

    schema_version: int
    versions: Values = field(default_factory=dict)
    commit: str | None = None
    hardware: Values = field(default_factory=dict)
    data: dict[str, dict[str, Any]] = field(default_factory=dict)
    earlier: tuple[dict[str, Any], ...] = ()
    runs: tuple[_Run, ...] = ()
    times: tuple[_Time, ...] = ()


@cache
def _adapter() -> TypeAdapter[_Content]:
    return TypeAdapter(_Content)


def write(storage: Storage, data: Mapping[str, Mapping[str, Any]]) -> None:
    """Records this machine and installation, and keeps what earlier runs recorded.

    Args:
        storage: the results folder.
        data: fingerprint, source hash and what is at chance, by data label.
    """
    old = read(storage)
    new = {"schema_version": SCHEMA_VERSION, **environment(), "data": data}
    earlier, runs, times = (old.pop(name, []) for name in ("earlier", "runs", "times"))
    if {key: value for key, value in old.items() if key != "written_at"} not in ({}, new):
        earlier = [*earlier, old]
    now = datetime.now(UTC).isoformat(timespec="seconds")
    kept = {"earlier": earlier, "runs": runs, "times": times}
    _write(storage, new | {"written_at": now} | kept)


def add_runs(storage: Storage, runs: Sequence[Mapping[str, Any]]) -> None:
    """Records what is complete at the end of a run, and keeps what other runs recorded.

    Args:
        storage: the results folder, whose provenance was written.
        runs: plain values; what is on record already is not recorded again.
    """
    content = read(storage)
    known = content.get("runs", [])
    if new := [dict(run) for run in runs if dict(run) not in known]:
        _write(storage, content | {"runs": [*known, *new]})


def add_time(storage: Storage, time: Mapping[str, Any]) -> None:
    """Records how long a run took, beside what was estimated for it."""
    content = read(storage)
    _write(storage, content | {"times": [*content.get("times", []), dict(time)]})


def _write(storage: Storage, content: Mapping[str, Any]) -> None:
    storage.replace(PROVENANCE, json.dumps(content, indent=1).encode())


def read(storage: Storage) -> dict[str, Any]:
    """What a folder's provenance says; empty where there is none.

    Raises:
        DamagedFileError: if the file is not what was written.
    """
    path = f"{storage}/{PROVENANCE}"
    try:
        text = storage.read(PROVENANCE)
    except FileNotFoundError:
        return {}
    try:
        content = json_values(text)
        if not isinstance(content, dict) or type(content.get("schema_version")) is not int:
            raise ValueError("names no schema version")
        if content["schema_version"] <= SCHEMA_VERSION:
            _adapter().validate_json(text, strict=True)
    except ValidationError as error:
        wrong = error.errors(include_url=False)[0]
        place = ".".join(map(str, wrong["loc"]))
        raise DamagedFileError(
            f"{path}: {place}: {wrong['msg']}; delete it and run again"
        ) from error
    except ValueError as error:
        raise DamagedFileError(f"{path}: {error}; delete it and run again") from error
    return content


def check_version(storage: Storage) -> None:
    """Refuses a folder that a newer batchgap wrote to.

    Raises:
        NewerSchemaError: if its provenance names a newer schema than this one.
    """
    version = read(storage).get("schema_version", SCHEMA_VERSION)
    if version > SCHEMA_VERSION:
        raise NewerSchemaError(
            f"{storage}: schema {version}, this batchgap reads {SCHEMA_VERSION}; "
            "update batchgap, or give the study another name"
        )
