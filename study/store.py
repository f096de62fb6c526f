"""The results folder as a whole: what is done, what is left, who may write, what is damaged.

`trainables.results` reads and writes one file; this module knows how a study's files belong
together. Reading never locks; one process at a time runs a study. Loads neither torch nor ray.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa
from filelock import FileLock, Timeout

from study import provenance
from trainables import results
from trainables.config import DONE, DataConfig, MeasureConfig, Trial
from trainables.imports import source_hash
from trainables.measure_config import is_between
from trainables.results import DamagedFileError

LEDGER_COLUMNS = (
    "trial_id",
    "status",
    "error",
    "optimizer_step",
    "num_train_examples",
    "every_epochs",
    "training_seconds",
    "evaluation_seconds",
    "test_accuracy",
    "test_loss",
    "validation_accuracy",
    "validation_loss",
    "data_fingerprint",
    "data_source_hash",
    "network_source_hash",
    "parameter_shapes_hash",
)

Row = Mapping[str, Any]


class FolderError(RuntimeError):
    """A results folder that must not be written to; the text says why, and the way out."""


class Fingerprinted(Protocol):
    """What the store needs to know of a data set (`datasets.cache.DataFacts`)."""

    @property
    def fingerprint(self) -> str:
        """SHA-256 over the arrays."""

    @property
    def source_hash(self) -> str | None:
        """SHA-256 of the user's loader."""

    @property
    def chance(self) -> Mapping[str, float]:
        """What a network reaches that learned nothing, by metric."""


# ----------------------------------------------------------------------------------- the ledger


@dataclass(frozen=True, kw_only=True)
class Ledger:
    """What a results folder says of its trials."""

    rows: Mapping[str, Row]
    """The final row of every trial that ended, by trial id; `LEDGER_COLUMNS`."""
    measured: frozenset[str]
    """Keys `ID-HASH` of the measures that were taken."""
    damaged: Mapping[Path, str] = field(default_factory=dict)
    """Rows that cannot be read, and why; such a trial counts as not done."""

    @property
    def finished(self) -> dict[str, Row]:
        """The rows of the trials that are done."""
        return {key: row for key, row in self.rows.items() if row["status"] in DONE}


def study_folder(name: str, root: Path) -> Path:
    """Where a study's results lie: `root/NAME`, absolute."""
    return root.absolute() / results.checked_name(name)


def read_ledger(folder: Path) -> Ledger:
    """Reads the final row of every trial; an absent folder has none.

    Raises:
        NewerSchemaError: if a newer batchgap wrote any of it.
    """
    provenance.check_version(folder)
    tables, damaged = [], {}
    for path in sorted((folder / "trials").glob("[!.]*.parquet")):
        try:
            tables.append(results.read_table(path, "trials", LEDGER_COLUMNS))
        except FileNotFoundError:
            continue  # a run removed it since the folder was listed
        except DamagedFileError as error:
            damaged[path] = str(error)
    rows = pa.concat_tables(tables).to_pylist() if tables else []
    return Ledger(
        rows={row["trial_id"]: row for row in rows},
        measured=frozenset(_measured(folder)),
        damaged=damaged,
    )


def _measured(folder: Path) -> Iterator[str]:
    """Keys of the measures whose bytes still have the digest in their file's name."""
    for path in (folder / "measures").glob("[!.]*-*-*.parquet"):
        key, _, digest = path.stem.rpartition("-")
        if results.sha256(path).startswith(digest):
            yield key


def read_attempts(folder: Path, trial_ids: Iterable[str]) -> dict[str, Row]:
    """The latest attempt of each of the trials that was ever started."""
    wanted = set(trial_ids)
    latest: dict[str, Row] = {}
    for path in sorted((folder / "attempts").glob("[!.]*-*.parquet"), key=_attempt_number):
        if path.stem.rpartition("-")[0] in wanted:
            try:
                (row,) = results.read_rows(path, "attempts")
            except (ValueError, FileNotFoundError):
                continue  # `verify` names it; the display can do without
            latest[row["trial_id"]] = row
    return latest


def _attempt_number(path: Path) -> int:
    number = path.stem.rpartition("-")[2]
    return int(number) if number.isdigit() else 0


def remaining(trials: Iterable[Trial], ledger: Ledger) -> list[Trial]:
    """The trials to hand to a runner: not done, or complete with a measure that can be taken."""
    done = ledger.finished
    return [
        trial
        for trial in trials
        if trial.trial_id not in done
        or (
            missing_measures(trial, ledger)
            and has_weights(trial, done[trial.trial_id]["optimizer_step"])
        )
    ]


def missing_measures(trial: Trial, ledger: Ledger) -> list[MeasureConfig]:
    """The measures at the end that a complete trial lacks (a diverged one can have none).

    Those between trials are lacking only once all the trials that they compare with are complete.
    """
    if not are_complete([trial.trial_id], ledger):
        return []
    comparable = are_complete(trial.other_trial_ids, ledger)
    return [
        measure
        for key, measure in results.end_measures(trial).items()
        if key not in ledger.measured and (comparable or not is_between(measure))
    ]


def are_complete(trial_ids: Iterable[str], ledger: Ledger) -> bool:
    """Whether all of the trials are complete."""
    rows = (ledger.rows.get(trial_id) for trial_id in trial_ids)
    return all(row is not None and row["status"] == "complete" for row in rows)


def has_weights(trial: Trial, optimizer_step: int) -> bool:
    """Whether a trial's weights after a step are there."""
    return results.weights_path(Path(trial.folder), trial.trial_id, optimizer_step).exists()


def set_aside(ledger: Ledger) -> None:
    """Renames rows that cannot be read, so that their trials can be run again."""
    for path in ledger.damaged:
        path.replace(path.with_name(f".{path.name}.damaged"))


def forget(folder: Path, trials: Iterable[Trial]) -> None:
    """Removes the final rows of trials that are to be trained again."""
    for trial in trials:
        (folder / "trials" / f"{trial.trial_id}.parquet").unlink(missing_ok=True)


# ------------------------------------------------------------------------------ opening to write


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Holds the folder for one run; it is made if need be.

    Raises:
        FolderError: if another run holds it; the text names that process.
        OSError: if the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    holder = folder / ".holder.json"
    lock = FileLock(folder / ".lock", timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise FolderError(f"{folder}: another run is on it{_who(read_holder(folder))}") from None
    try:
        now = datetime.now(UTC).isoformat(timespec="seconds")
        content = {"pid": os.getpid(), "host": socket.gethostname(), "since": now}
        results.write_bytes(holder, json.dumps(content).encode())
        yield
    finally:
        holder.unlink(missing_ok=True)
        lock.release()


def _who(holder: Mapping[str, Any] | None) -> str:
    if holder is None:
        return ""
    return f": process {holder['pid']} on {holder['host']}, since {holder['since']}"


def read_holder(folder: Path) -> dict[str, Any] | None:
    """Which process runs the study now, as far as can be told without locking."""
    try:
        holder: dict[str, Any] = json.loads((folder / ".holder.json").read_text())
        here = holder["host"] == socket.gethostname()
        return None if here and not _is_alive(holder["pid"]) else holder
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def check_same_study(folder: Path, trials: Sequence[Trial]) -> None:
    """Refuses a folder that holds another study: no trial in common, other data and network.

    Raises:
        FolderError: naming both, and the way out.
    """
    path = folder / "plan.parquet"
    if not path.exists():
        return
    columns = ["trial_id", "data", "network"]
    old = results.read_table(path, "plan", columns).to_pylist()
    if {row["trial_id"] for row in old} & {t.trial_id for t in trials}:
        return
    before = {(row["data"], row["network"]) for row in old}
    now = {(t.config.data.label, t.config.network.label) for t in trials}
    if before and not before & now:
        (data, network), (new_data, new_network) = min(before), min(now)
        raise FolderError(
            f"{folder}: holds another study, of {network} on {data}, not {new_network} on "
            f"{new_data}; give this one another name"
        )


def check_unchanged(
    trials: Sequence[Trial],
    ledger: Ledger,
    facts: Callable[[DataConfig], Fingerprinted],
    shapes: Mapping[str, str],
) -> None:
    """Refuses to add trials on data or code that differ from what done trials saw.

    Args:
        trials: the study's.
        ledger: what is done.
        facts: what is known of a data set now.
        shapes: hash of the parameters' shapes now, by trial, where the network was built.

    Raises:
        FolderError: naming what changed, and the way out.
    """
    done = ledger.finished
    for trial in trials:
        if (row := done.get(trial.trial_id)) is None:
            continue
        data, network = trial.config.data, trial.config.network
        known = facts(data)
        code = network.build and source_hash(network.build, trial.import_folder)
        for what, recorded, current in (
            (f"data {data.label!r}", row["data_fingerprint"], known.fingerprint),
            (f"the code of data {data.load!r}", row["data_source_hash"], known.source_hash),
            (f"the code of network {network.build!r}", row["network_source_hash"], code),
            (
                f"the parameters of network {network.label!r}",
                row["parameter_shapes_hash"] if trial.trial_id in shapes else None,
                shapes.get(trial.trial_id),
            ),
        ):
            if recorded is not None and recorded != current:
                raise FolderError(
                    f"{what} changed since trial {trial.trial_id} was done ({recorded[:12]} then, "
                    f"{(current or 'none')[:12]} now); restore it, or give the study another name"
                )


def write_head(
    folder: Path, study_yaml: str, plan: pa.Table, data: Mapping[str, Fingerprinted]
) -> None:
    """Writes what describes the study: `study.yaml`, `plan.parquet`, `provenance.json`.

    Args:
        folder: the results folder, locked.
        study_yaml: the study as resolved.
        plan: the plan's table.
        data: what is known of the data, by label.
    """
    results.write_bytes(folder / "study.yaml", study_yaml.encode())
    results.write_table(folder / "plan.parquet", plan)
    facts = {
        label: {
            "fingerprint": known.fingerprint,
            "source_hash": known.source_hash,
            "chance": dict(known.chance),
        }
        for label, known in data.items()
    }
    provenance.write(folder, facts)
