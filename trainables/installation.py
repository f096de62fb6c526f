"""What is installed here, from which commit, on what machine, and what was found out on it before.

`study` and `analysis` are names that others use too: it tells whether our packages are ours.
Imports none of what it looks at.
"""

from __future__ import annotations

import importlib.util
import json
import os
import platform
import re
import socket
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from functools import cache, lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any

SOURCE_TREE = Path(__file__).resolve().parent.parent
"""Where `study`, `trainables` and `analysis` lie: a checkout, or an environment's site-packages."""

OWN_PACKAGES = ("study", "trainables", "analysis")
PACKAGES = ("batchgap", "torch", "torchvision", "ray", "numpy", "scipy", "pandas", "pyarrow")


def foreign_packages() -> list[str]:
    """One line for each of our packages that Python finds elsewhere than beside this file."""
    lines = []
    for name in OWN_PACKAGES:
        spec = importlib.util.find_spec(name)
        found = Path(spec.origin).resolve().parent if spec and spec.origin else None
        if found != SOURCE_TREE / name:
            lines.append(
                f"package {name!r} resolves to {found or 'a folder without __init__.py'}, not to "
                f"batchgap's own in {SOURCE_TREE}; rename or remove the other, or start batchgap "
                "elsewhere"
            )
    return lines


def cache_folder() -> Path:
    """Where the cache lies, whether or not it is there yet."""
    if chosen := os.environ.get("BATCHGAP_CACHE"):
        return Path(chosen)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "batchgap"


def remembered(file: str, key: str) -> dict[str, Any] | None:
    """What `remember` kept under a key in a file of the cache, if it did.

    It is no result: where the file cannot be read nothing is known, and is found out again.
    """
    path = cache_folder() / file
    try:
        changed = path.stat().st_mtime_ns
    except OSError:
        return None
    return _kept(path, changed).get(key)


def remember(file: str, key: str, values: Mapping[str, Any]) -> None:
    """Keeps plain values under a key in a file of the cache, in the place of older ones.

    Raises:
        OSError: if the cache cannot be written.
    """
    path = cache_folder() / file
    path.parent.mkdir(parents=True, exist_ok=True)
    changed = path.stat().st_mtime_ns if path.exists() else 0
    beside = path.with_name(f".{file}.{os.getpid()}")
    beside.write_text(json.dumps({**_kept(path, changed), key: dict(values)}, indent=1))
    beside.replace(path)


@lru_cache(maxsize=8)
def _kept(path: Path, changed: int) -> dict[str, dict[str, Any]]:
    """All that a file holds. changed: tells its versions apart."""
    with suppress(OSError, ValueError):
        found = json.loads(path.read_text())
        if isinstance(found, dict):
            return {key: values for key, values in found.items() if isinstance(values, dict)}
    return {}


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


@cache  # reading it parses a page of text, and a plan asks once for each trial
def package_version(name: str) -> str | None:
    """The installed version of one package; None where it is not installed."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


@cache
def torch_version() -> str | None:
    """What `torch.__version__` is, its build such as `+cu130` included; torch is not imported."""
    spec = importlib.util.find_spec("torch")
    if spec is None or spec.origin is None:
        return None
    text = Path(spec.origin).with_name("version.py").read_text()
    found = re.search(r"^__version__ = ['\"](.+)['\"]$", text, re.MULTILINE)
    return found[1] if found else package_version("torch")


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
        "cpu": cpu_model(),
        "cores": usable_cores(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
    }


def usable_cores() -> int:
    """Cores this process may run on, which in a container are fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@cache
def cpu_model() -> str:
    """What the processor calls itself."""
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
