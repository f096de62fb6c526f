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
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from trainables import parsing
from trainables.results import checks, files, layout
from trainables.results.files import DamagedFileError, NewerSchemaError
from trainables.results.storage import Storage

LONGEST = 60
"""Characters of a value that is shown."""
_PLACE = re.compile(r"(^|\.)data\.(root|train|test)$")
_TEXTS = ("name", "question", "stand_ins", "reproduces", "execution")
_OF_TRIALS = ("data", "network", "training", "grid", "exclude", "arms", "seeds", "search")
Facts = Mapping[str, Any]
"""What is known of one data set, as plain values; below `config` the settings that gave it, below
`places` where it lay."""


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
    tables: Mapping[str, str] = field(default_factory=dict)
    """Of an exported study: the SHA-256 of each of its other tables, by file."""


def write(storage: Storage, head: Head) -> None:
    """Writes the head, and the copy for people."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    storage.replace(layout.PLAN, encoded(replace(head, written_at=now)))
    storage.replace(layout.STUDY, head.study.encode())


def encoded(head: Head) -> bytes:
    """The bytes of `plan.parquet`."""
    said: dict[str, Any] = {
        "study": head.study,
        "data": list(head.data),
        "written_at": head.written_at,
    }
    said |= {"tables": dict(head.tables)} if head.tables else {}
    text = json.dumps(said, sort_keys=True)
    metadata = {b"head": text.encode(), b"head_sha256": layout.digest(text.encode()).encode()}
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
    if wrong := checks.wrong("plan", plan):
        raise DamagedFileError(f"{shown}: {wrong}")
    said = _said(content, shown)
    if said is None:
        try:
            return Head(study=_copy(storage), plan=plan)
        except FileNotFoundError as error:
            raise DamagedFileError(f"{storage}/{layout.STUDY}: is missing") from error
    return Head(plan=plan, **said)


def other_than_exported(digests: Mapping[str, str], name: str, content: bytes) -> str | None:
    """What is wrong with a table of an exported study, by the digests that its head has."""
    as_exported = digests.get(name, layout.digest(content)) == layout.digest(content)
    return None if as_exported else "not what was exported"


def copy_differs(storage: Storage) -> bool:
    """Whether `study.yaml` is not the study that the head holds.

    Raises:
        As `read` does.
    """
    return read(storage).study.encode() != files.read_bytes(storage, layout.STUDY)


def keep_version(storage: Storage) -> None:
    """Keeps the head as it stands below `versions/`; of one study and plan once."""
    former = read(storage)
    storage.put_if_absent(layout.version_file(_identity(former)), encoded(former))


def versions(storage: Storage) -> tuple[list[Head], list[str]]:
    """Former heads, the latest last, and what is wrong with those that cannot be read, a line each.

    What a killed run left half written is none of them.
    """
    found, damaged = [], []
    for name in storage.list(layout.VERSIONS):
        if not layout.is_version(name):
            continue
        shown = f"{storage}/{name}"
        try:
            content = files.read_bytes(storage, name)
            said = _said(content, shown) or {"study": ""}
            former = Head(plan=files.decoded(content, shown, "plan"), **said)
        except (DamagedFileError, NewerSchemaError) as error:
            damaged.append(str(error))
            continue
        if layout.version_file(_identity(former)) == name:
            found.append(former)
        else:
            damaged.append(f"{shown}: not the former version that its name says")
    return sorted(found, key=lambda former: former.written_at), damaged


def _identity(of: Head) -> bytes:
    """What makes one version: the study and its plan, whenever it was run."""
    rows = json.dumps(of.plan.to_pylist(), sort_keys=True, default=str)
    return f"{of.study}\n{rows}".encode()


def differences(here: Head, there: Head) -> list[str]:
    """In which settings two studies differ, `training.base_lr 0.02 here, 0.05 there`, one each.

    Of two that ask for the same trials those of the trials are spelled differently and no more;
    where data lies, how trials are laid out and what texts say is no part of what is asked.
    """
    ours, theirs = (dict(_leaves(settings(head))) for head in (here, there))
    same_trials = _asked(here) == _asked(there)
    found = []
    for name in dict.fromkeys((*ours, *theirs)):
        section = name.partition(".")[0]
        if _PLACE.search(name) or section in _TEXTS or (same_trials and section in _OF_TRIALS):
            continue
        first, second = _apart(ours.get(name), theirs.get(name))
        if first != second:
            found.append(f"{name} {_shown(first)} here, {_shown(second)} there")
    return [*found, *_other_data(here, there)]


def settings(of: Head) -> dict[str, Any]:
    """What its study file says.

    Raises:
        DamagedFileError: if that is no mapping of sections.
    """
    try:
        found = parsing.yaml_values(of.study)
    except ValueError as error:
        raise DamagedFileError(f"{layout.STUDY}: {error}") from error
    if not isinstance(found, dict):
        raise DamagedFileError(f"{layout.STUDY}: not a study file")
    return found


def _other_data(here: Head, there: Head) -> Iterator[str]:
    """Data of the same settings and another content."""
    known = {json.dumps(facts["config"], sort_keys=True): facts for facts in there.data}
    for facts in here.data:
        other = known.get(json.dumps(facts["config"], sort_keys=True), facts)
        first, second = (data.get("fingerprint") or "" for data in (facts, other))
        if first != second:
            yield f"fingerprint of the data {first[:12]} here, {second[:12]} there"


def _asked(of: Head) -> set[tuple[Any, ...]]:
    rows = of.plan.select(["arm", "seed", "trial_id", "stage"]).to_pylist()
    return {tuple(row.values()) for row in rows}


def _apart(ours: Any, theirs: Any) -> tuple[Any, Any]:
    """Of two lists of mappings what only one of them has."""
    if not all(isinstance(v, list) and all(isinstance(i, dict) for i in v) for v in (ours, theirs)):
        return ours, theirs
    return [i for i in ours if i not in theirs], [i for i in theirs if i not in ours]


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
        said = parsing.json_values(text)
        known = {f.name for f in fields(Head)} - {"plan"}
        if not isinstance(said, dict) or not {"study"} <= said.keys() <= known:
            raise DamagedFileError(f"{shown}: the study in it is none")
        return said
    except DamagedFileError:
        raise
    except (KeyError, ValueError, OSError, pa.ArrowException) as error:
        raise DamagedFileError(f"{shown}: {error}") from error


def _copy(storage: Storage) -> str:
    try:
        return files.read_bytes(storage, layout.STUDY).decode()
    except UnicodeDecodeError as error:
        raise DamagedFileError(f"{storage}/{layout.STUDY}: {error}") from error
