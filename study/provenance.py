"""Under what conditions numbers were made: versions, commit, hardware, fingerprints.

`provenance.json` describes the latest run, and below `earlier` those that differed from it; `runs`
is what each had completed at its end (`study.looks`). Loads neither torch nor ray.
"""

from __future__ import annotations

import json
import os
import platform
import socket
import subprocess
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from study.names import SOURCE_TREE
from trainables import results
from trainables.results import DamagedFileError, NewerSchemaError
from trainables.schema import SCHEMA_VERSION

PACKAGES = ("batchgap", "torch", "torchvision", "ray", "numpy", "scipy", "pandas", "pyarrow")


def write(folder: Path, data: Mapping[str, Mapping[str, Any]]) -> None:
    """Records this machine and installation, and keeps what earlier runs recorded.

    Args:
        folder: the results folder.
        data: fingerprint, source hash and what is at chance, by data label.
    """
    old = read(folder)
    new = {"schema_version": SCHEMA_VERSION, **environment(), "data": data}
    earlier, runs = old.pop("earlier", []), old.pop("runs", [])
    if {key: value for key, value in old.items() if key != "written_at"} not in ({}, new):
        earlier = [*earlier, old]
    now = datetime.now(UTC).isoformat(timespec="seconds")
    _write(folder, new | {"written_at": now, "earlier": earlier, "runs": runs})


def add_runs(folder: Path, runs: Sequence[Mapping[str, Any]]) -> None:
    """Records what is complete at the end of a run, and keeps what other runs recorded.

    Args:
        folder: the results folder, whose provenance was written.
        runs: plain values; what is on record already is not recorded again.
    """
    content = read(folder)
    known = content.get("runs", [])
    if new := [dict(run) for run in runs if dict(run) not in known]:
        _write(folder, content | {"runs": [*known, *new]})


def _write(folder: Path, content: Mapping[str, Any]) -> None:
    results.write_bytes(folder / "provenance.json", json.dumps(content, indent=1).encode())


def read(folder: Path) -> dict[str, Any]:
    """What a folder's provenance says; empty where there is none.

    Raises:
        DamagedFileError: if the file is not what was written.
    """
    path = folder / "provenance.json"
    try:
        content = json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise DamagedFileError(f"{path}: {error}; delete it and run again") from error
    if not isinstance(content, dict) or not isinstance(content.get("schema_version"), int):
        raise DamagedFileError(f"{path}: names no schema version; delete it and run again")
    return content


def check_version(folder: Path) -> None:
    """Refuses a folder that a newer batchgap wrote to.

    Raises:
        NewerSchemaError: if its provenance names a newer schema than this one.
    """
    version = read(folder).get("schema_version", SCHEMA_VERSION)
    if version > SCHEMA_VERSION:
        raise NewerSchemaError(
            f"{folder}: schema {version}, this batchgap reads {SCHEMA_VERSION}; "
            "update batchgap, or give the study another name"
        )


def environment() -> dict[str, Any]:
    """Everything about this machine and installation that a number may depend on."""
    return {
        "versions": {"python": platform.python_version()} | package_versions(),
        **source_state(),
        "hardware": hardware(),
    }


def package_versions() -> dict[str, str | None]:
    """Installed versions by package, None where it is not installed; imports none of them."""
    return {name: package_version(name) for name in PACKAGES}


def package_version(name: str) -> str | None:
    """The installed version of one package; None where it is not installed."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def source_state() -> dict[str, str | bool | None]:
    """Commit of the source tree, and whether tracked files differ from it; None outside git."""
    if not (SOURCE_TREE / ".git").exists():
        return {"commit": None, "dirty": None}
    commit = _git("rev-parse", "HEAD")
    changes = _git("status", "--porcelain", "--untracked-files=no")
    return {"commit": commit, "dirty": None if changes is None else bool(changes)}


def hardware() -> dict[str, Any]:
    """Host, processor, cores this process may use, memory."""
    return {
        "host": socket.gethostname(),
        "system": f"{platform.system()} {platform.release()}",
        "cpu": _cpu_model(),
        "cores": usable_cores(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
    }


def usable_cores() -> int:
    """Cores this process may run on, which in a container are fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.machine()


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(SOURCE_TREE), *arguments],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
