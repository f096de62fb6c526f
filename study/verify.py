"""Which files of a results folder are damaged, missing, or belong to nothing.

A page checksum finds a flipped bit within a file but not in its footer, and no file knows that it
should exist; so a trial's row lists its files with rows and digest, and a measure's name carries
its digest. Loads neither torch nor ray.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from study import provenance
from trainables import results
from trainables.results import DamagedFileError, NewerSchemaError
from trainables.schema import TABLES

Row = Mapping[str, Any]
Problem = Literal["damaged", "missing", "newer", "orphan"]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that is not as it should be."""

    path: str
    """Below the results folder."""
    problem: Problem
    """`orphan`: whole, but no trial accounts for it. It does no harm."""
    detail: str


def verify(folder: Path) -> list[Finding]:
    """Checks every file of a results folder against what its trials say of it.

    Raises:
        FileNotFoundError: if there is no results folder.
    """
    if not (folder / "plan.parquet").exists() and not (folder / "trials").exists():
        raise FileNotFoundError(f"{folder}: no results there")
    trials, unreadable = _read_all(folder)
    listed = {file["path"]: file for row in trials.values() for file in row["files"] or ()}
    findings = [
        *_head(folder),
        *unreadable,
        *_listed_files(folder, listed),
        *_misnamed_trials(trials),
        *_disagreeing_shapes(trials),
        *_orphans(folder, trials, listed),
    ]
    return sorted(findings, key=lambda finding: (finding.problem == "orphan", finding.path))


def _read_all(folder: Path) -> tuple[dict[str, Row], list[Finding]]:
    """Opens every Parquet file once: the trials' rows by the file's stem, and what is wrong."""
    trials: dict[str, Row] = {}
    findings = []
    paths = [(path, name) for name in TABLES for path in (folder / name).glob("[!.]*.parquet")]
    for path, table in [(folder / "plan.parquet", "plan"), *paths]:
        try:
            content = results.read_table(path, table)
        except FileNotFoundError:
            continue  # replaced by a run in the meantime; what must exist is checked elsewhere
        except (DamagedFileError, NewerSchemaError) as error:
            findings.append(_unreadable(path, folder, error))
            continue
        if table == "trials":
            trials.update((path.stem, row) for row in content.to_pylist())
        elif table in ("measures", "curves") and not results.sha256(path).startswith(_digest(path)):
            detail = "its digest is not the one in its name"
            findings.append(Finding(path=_below(path, folder), problem="damaged", detail=detail))
    return trials, findings


def _unreadable(path: Path, folder: Path, error: ValueError) -> Finding:
    newer = isinstance(error, NewerSchemaError)
    detail = str(error).removeprefix(f"{path}: ").splitlines()[0]
    problem: Problem = "newer" if newer else "damaged"
    return Finding(path=_below(path, folder), problem=problem, detail=detail)


def _below(path: Path, folder: Path) -> str:
    return path.relative_to(folder).as_posix()


def _head(folder: Path) -> Iterator[Finding]:
    for name in ("study.yaml", "provenance.json", "plan.parquet"):
        if not (folder / name).exists():
            yield Finding(path=name, problem="missing", detail="every study has one")
    try:
        provenance.check_version(folder)
    except NewerSchemaError as error:
        yield Finding(path="provenance.json", problem="newer", detail=str(error))
    except DamagedFileError as error:
        yield Finding(path="provenance.json", problem="damaged", detail=str(error))


def _listed_files(folder: Path, listed: Mapping[str, Row]) -> Iterator[Finding]:
    """Every file that a trial's row lists exists, unchanged, with so many rows."""
    for name, file in listed.items():
        path = folder / name
        if not path.resolve().is_relative_to(folder.resolve()):
            detail = "a trial's row lists it, and it lies outside the folder"
            yield Finding(path=name, problem="damaged", detail=detail)
        elif not path.exists():
            yield Finding(path=name, problem="missing", detail="its trial's row lists it")
        elif results.sha256(path) != file["sha256"]:
            detail = "its digest is not the one in its trial's row"
            yield Finding(path=name, problem="damaged", detail=detail)
        elif file["rows"] is not None and results.file_record(path, folder) != dict(file):
            detail = f"it does not hold the {file['rows']} rows that its trial's row says"
            yield Finding(path=name, problem="damaged", detail=detail)


def _digest(path: Path) -> str:
    """The digest in the name of a measure's file or its curves', `ID-HASH-DIGEST`."""
    return path.stem.rpartition("-")[2]


def _misnamed_trials(trials: Mapping[str, Row]) -> Iterator[Finding]:
    for stem, row in trials.items():
        if row["trial_id"] != stem:
            detail = f"it holds the row of trial {row['trial_id']}"
            yield Finding(path=f"trials/{stem}.parquet", problem="damaged", detail=detail)


def _disagreeing_shapes(trials: Mapping[str, Row]) -> Iterator[Finding]:
    """A network with the same options on the same data has the same parameters in every trial."""
    seen: dict[tuple[Any, ...], tuple[str, str]] = {}
    for stem, row in sorted(trials.items()):
        network = tuple(row[name] for name in ("network", "network_options", "data_fingerprint"))
        if (shapes := row["parameter_shapes_hash"]) is None:
            continue
        first, first_shapes = seen.setdefault(network, (stem, shapes))
        if shapes != first_shapes:
            detail = f"network {row['network']} has other parameters than in trial {first}"
            yield Finding(path=f"trials/{stem}.parquet", problem="damaged", detail=detail)


def _orphans(
    folder: Path, trials: Mapping[str, Row], listed: Mapping[str, Row]
) -> Iterator[Finding]:
    """Files of complete trials that their rows do not list, files of no trial, and leftovers."""
    started = {path.stem.rpartition("-")[0] for path in (folder / "attempts").glob("*.parquet")}
    for table in ("evaluations", "layers", "curves", "weights", "measures", "timings"):
        for path in sorted((folder / table).rglob("*")):
            name = _below(path, folder)
            if not path.is_file() or name in listed:
                continue
            trial_id = _trial_of(path.relative_to(folder / table))
            row = trials.get(trial_id)
            if path.name.startswith("."):
                detail = "left by a run that was killed; it may be deleted"
            elif row is None and trial_id not in started and table != "timings":
                detail = f"there is no trial {trial_id}"
            elif row is not None and row["status"] == "complete" and table in _LISTED:
                detail = f"the row of trial {trial_id} does not list it"
            else:
                continue
            yield Finding(path=name, problem="orphan", detail=detail)


_LISTED = ("evaluations", "layers", "weights")
"""The tables whose files a trial's row lists; measures may be taken later."""


def _trial_of(path: Path) -> str:
    return path.parts[0].removesuffix(path.suffix).partition("-")[0]
