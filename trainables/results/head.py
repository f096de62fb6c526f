"""The head of a results folder: the study as resolved, its plan, what was known of its data.

`plan.parquet` is all three, written at once: the plan's rows, and in its metadata the study file's
text and the data's facts, with a digest, since page checksums do not cover metadata. `study.yaml`
beside it is a copy for people. Folders of older batchgaps have only that copy.

A head that another study takes the place of stays below `versions/`. Light.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from ruamel.yaml import YAML

from trainables.results import files, layout
from trainables.results.files import DamagedFileError
from trainables.results.storage import Storage

LONGEST = 40
"""Characters of a value that is shown."""
_PLACE = re.compile(r"(^|\.)data\.(root|train|test)$")
Facts = Mapping[str, Any]
"""What is known of one data set, as plain values; below `config` the settings that gave it."""


@dataclass(frozen=True, kw_only=True)
class Head:
    """What a results folder is of."""

    study: str
    """The study file as resolved, YAML."""
    plan: pa.Table
    data: Sequence[Facts] = ()
    """One for each data set; empty in folders of older batchgaps."""
    written_at: str = ""
    """When, in UTC; empty where it is not on record."""


def write(storage: Storage, head: Head) -> None:
    """Writes the head, and the copy for people."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    storage.replace(layout.PLAN, encoded(replace(head, written_at=now)))
    storage.replace(layout.STUDY, head.study.encode())


def encoded(head: Head) -> bytes:
    """The bytes of `plan.parquet`."""
    said = {"study": head.study, "data": list(head.data), "written_at": head.written_at}
    text = json.dumps(said, sort_keys=True)
    metadata = {"head": text, "head_sha256": layout.digest(text.encode())}
    return files.encoded(
        head.plan.replace_schema_metadata({**(head.plan.schema.metadata or {}), **metadata})
    )


def read(storage: Storage) -> Head:
    """The head of a results folder, or of its exported form.

    Raises:
        FileNotFoundError: if the folder holds no study.
        DamagedFileError: if it is not what was written.
        NewerSchemaError: if a newer batchgap wrote it.
    """
    content = files.read_bytes(storage, layout.PLAN)
    shown = f"{storage}/{layout.PLAN}"
    plan = files.decoded(content, shown, layout.table_of(layout.PLAN))
    said = _said(content, shown)
    if said is None:
        return Head(study=_copy(storage), plan=plan)
    return Head(plan=plan, **said)


def copy_differs(storage: Storage) -> bool:
    """Whether `study.yaml` is not the study that the head holds.

    Raises:
        As `read` does.
    """
    return read(storage).study != _copy(storage)


def keep_version(storage: Storage) -> None:
    """Keeps the head as it stands below `versions/`, once."""
    content = encoded(read(storage))
    storage.put_if_absent(layout.version_file(content), content)


def versions(storage: Storage) -> list[Head]:
    """Former heads, the latest last.

    Raises:
        DamagedFileError: if one is not what its name says.
    """
    found = []
    for name in storage.list(layout.VERSIONS):
        content = files.read_bytes(storage, name)
        shown = f"{storage}/{name}"
        said = _said(content, shown)
        if said is None or layout.version_file(content) != name:
            raise DamagedFileError(f"{shown}: not a former version of the study")
        found.append(Head(plan=files.decoded(content, shown, "plan"), **said))
    return sorted(found, key=lambda head: head.written_at)


def differences(here: Head, there: Head) -> list[str]:
    """In which settings two studies differ, `training.base_lr 0.02 here, 0.05 there`, one each.

    Where data lies is no setting.
    """
    ours, theirs = (dict(_leaves(YAML(typ="safe", pure=True).load(h.study))) for h in (here, there))
    names = [name for name in dict.fromkeys((*ours, *theirs)) if not _PLACE.search(name)]
    return [
        f"{name} {_shown(ours.get(name))} here, {_shown(theirs.get(name))} there"
        for name in names
        if ours.get(name) != theirs.get(name)
    ]


def _leaves(section: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    if not isinstance(section, dict):
        yield name, section
        return
    for key, value in section.items():
        yield from _leaves(value, f"{name}.{key}" if name else str(key))


def _shown(value: Any) -> str:
    """A value as a study file has it, short."""
    if value is None:
        return "absent"
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."


def _said(content: bytes, shown: str) -> dict[str, Any] | None:
    """What the metadata says; None of an older batchgap's."""
    try:
        metadata = pq.read_schema(pa.BufferReader(content)).metadata or {}
        if not {b"head", b"head_sha256"} & metadata.keys():
            return None
        text = metadata[b"head"]
        if layout.digest(text) != metadata[b"head_sha256"].decode():
            raise DamagedFileError(f"{shown}: the study in it is not what was written")
        return dict(json.loads(text))
    except DamagedFileError:
        raise
    except (KeyError, ValueError, pa.ArrowException) as error:
        raise DamagedFileError(f"{shown}: {error}") from error


def _copy(storage: Storage) -> str:
    try:
        return files.read_bytes(storage, layout.STUDY).decode()
    except UnicodeDecodeError as error:
        raise DamagedFileError(f"{storage}/{layout.STUDY}: {error}") from error
