"""What of a study has ended and what is measured: the one reader of both. Reading never locks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from trainables.config.trial import DONE
from trainables.results import checks, files, provenance
from trainables.results.files import DamagedFileError, Row
from trainables.results.layout import (
    attempts_of,
    is_export,
    keyed_of,
    one_file,
    part_of,
    parts,
    parts_below,
    prefix_of,
    trial_file,
)
from trainables.results.storage import Storage
from trainables.task import COLUMNS as METRIC_COLUMNS

COLUMNS = (
    "trial_id",
    "status",
    "error",
    "optimizer_step",
    "num_train_examples",
    "every_epochs",
    "every_steps",
    "training_seconds",
    "evaluation_seconds",
    *(column for column in METRIC_COLUMNS if not column.startswith("train_")),
    "data_fingerprint",
    "data_source_hash",
    "network_source_hash",
    "parameter_shapes_hash",
)


@dataclass(frozen=True, kw_only=True)
class Ledger:
    """What a results folder says of its trials."""

    rows: Mapping[str, Row]
    """The final row of every trial that ended, by trial id; `COLUMNS`."""
    measured: frozenset[str]
    """Keys `ID-HASH` of the measures that were taken."""
    damaged: Mapping[str, str] = field(default_factory=dict)
    """Rows that cannot be read, by file, and why; such a trial counts as not done."""

    @property
    def finished(self) -> dict[str, Row]:
        """The rows of the trials that are done."""
        return {key: row for key, row in self.rows.items() if row["status"] in DONE}

    def are_complete(self, trial_ids: Iterable[str]) -> bool:
        """Whether all of the trials are complete."""
        return _are_complete(map(self.rows.get, trial_ids))


def read_ledger(storage: Storage) -> Ledger:
    """Reads the final row of every trial; an absent folder has none.

    Raises:
        NewerSchemaError: if a newer batchgap wrote any of it.
    """
    provenance.check_version(storage)
    tables, damaged = [], {}
    exported = [one_file("trials")] if is_export(storage) else []
    for name in (*exported, *(part.name for part in parts(storage, "trials"))):
        try:
            read = files.read_table(storage, name, COLUMNS)
            if wrong := checks.wrong("trials", read):
                raise DamagedFileError(f"{storage}/{name}: {wrong}")
            tables.append(read)
        except FileNotFoundError:
            continue  # a run removed it since the folder was listed
        except DamagedFileError as error:
            damaged[name] = str(error)
    rows = pa.concat_tables(tables).to_pylist() if tables else []
    return Ledger(
        rows={row["trial_id"]: row for row in rows},
        measured=frozenset(_measured(storage, prefix_of("measures"))),
        damaged=damaged,
    )


def set_aside(storage: Storage, ledger: Ledger) -> None:
    """Hides rows that cannot be read, so that their trials can be run again."""
    for name in ledger.damaged:
        storage.set_aside(name)


def is_measured(storage: Storage, key: str) -> bool:
    """Whether a measure was taken, and its file is what its name says."""
    return any(found == key for found in _measured(storage, keyed_of("measures", key)))


def _measured(storage: Storage, prefix: str) -> Iterable[str]:
    """Keys of the measures whose bytes still have the digest in their file's name."""
    for part in parts_below(storage, prefix):
        try:
            is_whole = part.is_named_by(files.read_bytes(storage, part.name))
        except (FileNotFoundError, DamagedFileError):
            continue  # replaced meanwhile, or `verify` names it
        if is_whole and part.key is not None:
            yield part.key


# ---------------------------------------------------------------------------------- single trials


def trial_row(storage: Storage, trial_id: str) -> dict[str, Any] | None:
    """The row of a trial that ended in whatever way; None before that."""
    try:
        return files.read_rows(storage, trial_file(trial_id))[0]
    except FileNotFoundError:
        return None


def finished_row(storage: Storage, trial_id: str) -> dict[str, Any] | None:
    """The final row of a trial that need not be trained again."""
    row = trial_row(storage, trial_id)
    return row if row is not None and row["status"] in DONE else None


def are_complete(storage: Storage, trial_ids: Iterable[str]) -> bool:
    """Whether all of the trials are complete."""
    return _are_complete(trial_row(storage, trial_id) for trial_id in trial_ids)


def _are_complete(rows: Iterable[Row | None]) -> bool:
    return all(row is not None and row["status"] == "complete" for row in rows)


def read_attempts(storage: Storage, trial_ids: Iterable[str]) -> dict[str, Row]:
    """The latest attempt of each of the trials that was ever started."""
    wanted = set(trial_ids)
    begun = (part for part in parts(storage, "attempts") if part.rank == 0)
    started = (part for part in begun if part.trial_id in wanted)
    latest: dict[str, Row] = {}
    for part in sorted(started, key=lambda part: part.number or 0):
        try:
            (row,) = files.read_rows(storage, part.name)
        except (ValueError, FileNotFoundError):
            continue  # `verify` names it; the display can do without
        latest[row["trial_id"]] = row
    return latest


def attempts_after(storage: Storage, trial_id: str, number: int) -> list[Row]:
    """A trial's attempts behind one, and those of its workers that failed, in their order."""
    later = [
        part
        for part in parts_below(storage, attempts_of(trial_id))
        if part.number is not None and part.number > number
    ]
    found: list[Row] = []
    for part in sorted(later, key=lambda part: (part.number, part.rank)):
        with suppress(DamagedFileError, FileNotFoundError):  # `verify` names it; it is only a log
            found += files.read_rows(storage, part.name)
    return found


def latest_attempt(storage: Storage, trial_id: str) -> int:
    """The number of a trial's latest attempt; 0 before the first."""
    begun = (part_of(name) for name in storage.list(attempts_of(trial_id)))
    return max((part.number or 0 for part in begun if part is not None), default=0)
