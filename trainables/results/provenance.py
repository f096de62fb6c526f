"""Under what conditions numbers were made: versions, commit, hardware, fingerprints.

`provenance.json` describes the latest run, and below `earlier` those that differed from it; `runs`
is what each had completed at its end (`study.plan.looks`), `times` how long each took beside what
had been estimated.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from trainables.installation import environment
from trainables.parsing import json_values
from trainables.results.files import DamagedFileError, NewerSchemaError
from trainables.results.layout import PROVENANCE
from trainables.results.schema import SCHEMA_VERSION
from trainables.results.storage import Storage


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
        content = json_values(storage.read(PROVENANCE))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise DamagedFileError(f"{path}: {error}; delete it and run again") from error
    if not isinstance(content, dict) or not isinstance(content.get("schema_version"), int):
        raise DamagedFileError(f"{path}: names no schema version; delete it and run again")
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
