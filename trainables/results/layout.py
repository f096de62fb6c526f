"""Every file of a results folder by its name, and back from a name to what it says.

Nobody else spells a path or takes one apart. Names have no `=`, which readers of Parquet take for a
partition.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from trainables import limits
from trainables.results.storage import Storage, local

STUDY, PROVENANCE, REPORT = "study.yaml", "provenance.json", "report.html"
PLAN = "plan.parquet"
VERSIONS = "versions/"
"""What the files of former studies begin with."""
SCRATCH = ".ray"
"""Ray's own files, which may be deleted."""

_CHECKED = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def checked_name(name: str) -> str:
    """A name that may become part of a path, unchanged.

    Raises:
        ValueError: if it could leave its folder, or holds what a file system or Parquet reader
            takes for something else (`=` makes readers see a partition).
    """
    if message := limits.beyond("NAME", len(name)):
        raise ValueError(f"name: {message}")
    if not _CHECKED.fullmatch(name):
        raise ValueError(
            f"name: {name!r} cannot be a file name; use letters, digits, '.', '_', '-', "
            "beginning with a letter or digit, e.g. 'my-study'"
        )
    return name


def study_folder(name: str, root: Path) -> Path:
    """Where a study's results lie: `root/NAME`, absolute.

    Raises:
        ValueError: as `checked_name` does.
        FolderError: if the root is no path.
    """
    return local(root).absolute() / checked_name(name)


# --------------------------------------------------------------------------------------- to names


def one_file(table: str) -> str:
    """A table as one file: the plan, and every table of an exported study."""
    return f"{table}.parquet"


def prefix_of(table: str) -> str:
    """What the files begin with that a table is made of; so do weights and checkpoints."""
    return f"{table}/"


def trial_file(trial_id: str) -> str:
    """A trial's final row."""
    return f"trials/{trial_id}.parquet"


def attempts_of(trial_id: str) -> str:
    """What the files of a trial's attempts begin with."""
    return f"attempts/{trial_id}-"


def attempt_file(trial_id: str, number: int, rank: int = 0) -> str:
    """One attempt at a trial, counted from 1; of a worker other than rank 0, if that failed."""
    return f"{attempts_of(trial_id)}{number}{f'-{rank}' if rank else ''}.parquet"


def evaluations_file(trial_id: str) -> str:
    """A trial's evaluations."""
    return f"evaluations/{trial_id}.parquet"


def layers_of(trial_id: str) -> str:
    """What the segments of a trial's record of layers begin with."""
    return f"layers/{trial_id}-"


def layers_file(trial_id: str, optimizer_step: int) -> str:
    """The segment that was written at a step."""
    return f"{layers_of(trial_id)}{optimizer_step}.parquet"


def timing_file(trial_id: str) -> str:
    """The pace of a trial alone on the machine."""
    return f"timings/{trial_id}.parquet"


def weights_of(trial_id: str) -> str:
    """What the files of a trial's kept weights begin with."""
    return f"weights/{trial_id}/"


def weights_file(trial_id: str, optimizer_step: int) -> str:
    """A trial's weights and buffers after a step."""
    return f"{weights_of(trial_id)}{optimizer_step}.safetensors"


def checkpoints_of(trial_id: str) -> str:
    """What all that is kept of a trial while it is not complete begins with."""
    return f"checkpoints/{trial_id}/"


def checkpoint_file(trial_id: str) -> str:
    """The state that a trial goes on from."""
    return f"{checkpoints_of(trial_id)}state.pt"


def keyed_of(table: str, key: str) -> str:
    """What the file of a measure (`measures`) or of its curves begins with, whatever its digest."""
    return f"{table}/{key}-"


def keyed_file(table: str, key: str, content: bytes) -> str:
    """A measure's file or its curves', which bears its own digest: `TABLE/ID-HASH-DIGEST`."""
    return f"{keyed_of(table, key)}{digest(content)[:12]}.parquet"


def version_file(identity: bytes) -> str:
    """A former head, named by what makes it that one."""
    return f"{VERSIONS}{digest(identity)[:12]}.parquet"


def is_version(name: str) -> bool:
    """Whether a file below `versions/` is a whole one."""
    return re.fullmatch(rf"{VERSIONS}[0-9a-f]{{12}}\.parquet", name) is not None


def is_export(storage: Storage) -> bool:
    """Whether it is the exported form, which nothing is run in."""
    return holds(storage, one_file("trials"))


def digest(content: bytes) -> str:
    """SHA-256 of a file's bytes, in hex."""
    return hashlib.sha256(content).hexdigest()


# ------------------------------------------------------------------------------------- from names


def table_of(name: str) -> str:
    """The table that a file is of, or is a part of."""
    return name.partition("/")[0].removesuffix(".parquet")


_ID, _NUMBER = r"(?P<trial_id>[^./-][^./-]*)", r"(?P<number>[0-9]+)"
_KEYED = rf"(?P<key>{_ID}-[^./-]+)-(?P<digest>[0-9a-f]+)\.parquet"
_PATTERNS = {
    "trials": rf"{_ID}\.parquet",
    "evaluations": rf"{_ID}\.parquet",
    "timings": rf"{_ID}\.parquet",
    "attempts": rf"{_ID}-{_NUMBER}(?:-(?P<rank>[1-9][0-9]*))?\.parquet",
    "layers": rf"{_ID}-{_NUMBER}\.parquet",
    "measures": _KEYED,
    "curves": _KEYED,
    "weights": rf"{_ID}/{_NUMBER}\.safetensors",
    "checkpoints": rf"{_ID}/state\.pt",
}


@dataclass(frozen=True, kw_only=True)
class Part:
    """What the name of a file says of it."""

    name: str
    table: str
    """A table, or weights or checkpoints."""
    trial_id: str
    number: int | None
    """Of the attempt, or the step of a segment or of weights."""
    rank: int
    """Of the worker whose attempt it is."""
    key: str | None
    """`ID-HASH`: which measure of which trial."""
    digest: str | None
    """What the SHA-256 of its bytes begins with."""

    def is_named_by(self, content: bytes) -> bool:
        """Whether a measure's file, or its curves', still is what its name says."""
        return self.digest is None or digest(content).startswith(self.digest)


def part_of(name: str) -> Part | None:
    """What a name says; None of what no study writes, such as what a killed run left half done."""
    table, _, rest = name.partition("/")
    match = re.fullmatch(_PATTERNS.get(table, "(?!)"), rest)
    if match is None:
        return None
    found = match.groupdict()
    number = found.get("number")
    return Part(
        name=name,
        table=table,
        trial_id=found["trial_id"],
        number=None if number is None else int(number),
        rank=int(found.get("rank") or 0),
        key=found.get("key"),
        digest=found.get("digest"),
    )


def parts_below(storage: Storage, prefix: str) -> list[Part]:
    """What lies in a folder under names that begin with `prefix`, in the order of the names."""
    return [part for name in storage.list(prefix) if (part := part_of(name)) is not None]


def parts(storage: Storage, table: str) -> list[Part]:
    """All files that a table is made of; so of weights and checkpoints."""
    return parts_below(storage, prefix_of(table))


def holds(storage: Storage, name: str) -> bool:
    """Whether there is a file of that name."""
    return name in storage.list(name)


def is_study(storage: Storage) -> bool:
    """Whether a study was ever planned there."""
    return holds(storage, PLAN)
