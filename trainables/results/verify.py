"""Which files of a results folder are damaged, missing, or belong to nothing.

A page checksum finds a flipped bit within a file but not in its footer, and no file knows that it
should exist; so a trial's row lists its files with rows and digest, and a measure's name carries
its digest.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from trainables.results import checks, files, head, layout, provenance
from trainables.results.files import DamagedFileError, NewerSchemaError, Row
from trainables.results.layout import part_of, parts, prefix_of
from trainables.results.schema import TABLES
from trainables.results.storage import Storage

Damage = Literal["damaged", "missing", "newer", "orphan"]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that is not as it should be."""

    path: str
    """Below the results folder."""
    problem: Damage
    """`orphan`: whole, but no trial accounts for it. It does no harm."""
    detail: str


def verify(storage: Storage) -> list[Finding]:
    """Checks every file of a results folder against what its trials say of it.

    Raises:
        FileNotFoundError: if there is no results folder.
    """
    if layout.is_export(storage):
        return [*_head(storage), *_exported(storage)]
    if not layout.is_study(storage) and not storage.list(prefix_of("trials")):
        raise FileNotFoundError(f"{storage}: no results there")
    trials, unreadable = _read_all(storage)
    listed = {file["path"]: file for row in trials.values() for file in row["files"] or ()}
    findings = [
        *_head(storage),
        *unreadable,
        *_listed_files(storage, listed),
        *_misnamed_trials(trials),
        *_disagreeing_shapes(trials),
        *_orphans(storage, trials, listed),
    ]
    return sorted(findings, key=lambda finding: (finding.problem == "orphan", finding.path))


def to_train_again(findings: Iterable[Finding]) -> set[str]:
    """The trials of which something is damaged or missing that only training gives."""
    parts_of = (part_of(f.path) for f in findings if f.problem in ("damaged", "missing"))
    return {part.trial_id for part in parts_of if part is not None and part.table in _LISTED}


def _read_all(storage: Storage) -> tuple[dict[str, Row], list[Finding]]:
    """Opens every Parquet file once: the trials' rows by their files, and what is wrong."""
    trials: dict[str, Row] = {}
    findings = []
    written = [part for table in TABLES for part in parts(storage, table)]
    for name, part in [(layout.PLAN, None), *((part.name, part) for part in written)]:
        shown = f"{storage}/{name}"
        try:
            content = files.read_bytes(storage, name)
            rows = files.decoded(content, shown, layout.table_of(name))
            if wrong := checks.wrong(layout.table_of(name), rows):
                raise DamagedFileError(f"{shown}: {wrong}")
        except FileNotFoundError:
            continue  # replaced by a run in the meantime; what must exist is checked elsewhere
        except (DamagedFileError, NewerSchemaError) as error:
            findings.append(_unreadable(name, shown, error))
            continue
        if part and part.table == "trials":
            trials.update((part.trial_id, row) for row in rows.to_pylist())
        elif part and not part.is_named_by(content):
            detail = "its digest is not the one in its name"
            findings.append(Finding(path=name, problem="damaged", detail=detail))
    return trials, findings


def _exported(storage: Storage) -> Iterator[Finding]:
    """What is wrong with the tables of an exported study, a file each."""
    try:
        digests = head.read(storage).tables
    except (DamagedFileError, NewerSchemaError, FileNotFoundError):
        digests = {}  # of an older batchgap; or it is named already
    for name in map(layout.one_file, TABLES):
        shown = f"{storage}/{name}"
        try:
            content = files.read_bytes(storage, name)
            files.decoded(content, shown, layout.table_of(name))
            if wrong := head.other_than_exported(digests, name, content):
                raise DamagedFileError(f"{shown}: {wrong}")
        except FileNotFoundError:
            if name in digests:
                yield Finding(path=name, problem="missing", detail="it was exported")
        except (DamagedFileError, NewerSchemaError) as error:
            yield _unreadable(name, shown, error)


def _unreadable(name: str, shown: str, error: ValueError) -> Finding:
    newer = isinstance(error, NewerSchemaError)
    detail = str(error).removeprefix(f"{shown}: ").splitlines()[0]
    problem: Damage = "newer" if newer else "damaged"
    return Finding(path=name, problem=problem, detail=detail)


def _head(storage: Storage) -> Iterator[Finding]:
    for name in (layout.STUDY, layout.PROVENANCE, layout.PLAN):
        if not layout.holds(storage, name):
            yield Finding(path=name, problem="missing", detail="every study has one")
    yield from _copies(storage)
    try:
        provenance.check_version(storage)
    except NewerSchemaError as error:
        yield Finding(path=layout.PROVENANCE, problem="newer", detail=str(error))
    except DamagedFileError as error:
        yield Finding(path=layout.PROVENANCE, problem="damaged", detail=str(error))


def _copies(storage: Storage) -> Iterator[Finding]:
    """The copy of the study for people, and former versions."""
    try:
        differs = layout.holds(storage, layout.STUDY) and head.copy_differs(storage)
    except FileNotFoundError:
        differs = False  # named already
    except (DamagedFileError, NewerSchemaError) as error:
        if layout.STUDY in str(error):  # of the plan it is named already
            yield _unreadable(layout.STUDY, f"{storage}/{layout.STUDY}", error)
        differs = False
    if differs:
        detail = f"not the study that {layout.PLAN} holds, which counts; a run writes it anew"
        yield Finding(path=layout.STUDY, problem="damaged", detail=detail)
    for line in head.versions(storage)[1]:
        name, _, detail = line.removeprefix(f"{storage}/").partition(": ")
        yield Finding(path=name, problem="damaged", detail=detail)
    for name in storage.list(layout.VERSIONS):
        if not layout.is_version(name):
            yield Finding(path=name, problem="orphan", detail=_of_nothing(name))


def _listed_files(storage: Storage, listed: Mapping[str, Row]) -> Iterator[Finding]:
    """Every file that a trial's row lists exists, unchanged, with so many rows."""
    for name, file in listed.items():
        try:
            content = storage.read(name)
        except ValueError:
            detail = "a trial's row lists it, and it lies outside the folder"
            yield Finding(path=name, problem="damaged", detail=detail)
            continue
        except OSError:
            yield Finding(path=name, problem="missing", detail="its trial's row lists it")
            continue
        if layout.digest(content) != file["sha256"]:
            detail = "its digest is not the one in its trial's row"
            yield Finding(path=name, problem="damaged", detail=detail)
        elif file["rows"] is not None and files.num_rows(name, content) != file["rows"]:
            detail = f"it does not hold the {file['rows']} rows that its trial's row says"
            yield Finding(path=name, problem="damaged", detail=detail)


def _misnamed_trials(trials: Mapping[str, Row]) -> Iterator[Finding]:
    for stem, row in trials.items():
        if row["trial_id"] != stem:
            detail = f"it holds the row of trial {row['trial_id']}"
            yield Finding(path=layout.trial_file(stem), problem="damaged", detail=detail)


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
            yield Finding(path=layout.trial_file(stem), problem="damaged", detail=detail)


def _orphans(
    storage: Storage, trials: Mapping[str, Row], listed: Mapping[str, Row]
) -> Iterator[Finding]:
    """Files of complete trials that their rows do not list, files of no trial, and leftovers."""
    started = {part.trial_id for part in parts(storage, "attempts")}
    of_trials = ("evaluations", "layers", "curves", "weights", "measures", "timings")
    for table in ("trials", "attempts", *of_trials):
        for name in storage.list(prefix_of(table)):
            part = part_of(name)
            if name in listed or (part and table not in of_trials) or name.endswith(".damaged"):
                continue
            row = trials.get(part.trial_id) if part else None
            if part is None:
                detail = _of_nothing(name)
            elif row is None and part.trial_id not in started and table != "timings":
                detail = f"there is no trial {part.trial_id}"
            elif row is not None and row["status"] == "complete" and table in _LISTED:
                detail = f"the row of trial {part.trial_id} does not list it"
            else:
                continue
            yield Finding(path=name, problem="orphan", detail=detail)


def _of_nothing(name: str) -> str:
    hidden = name.rpartition("/")[2].startswith(".")
    left = "left by a run that was killed" if hidden else "no study writes such a file"
    return f"{left}; it may be deleted"


_LISTED = ("evaluations", "layers", "weights")
"""The tables whose files a trial's row lists; measures may be taken later."""
