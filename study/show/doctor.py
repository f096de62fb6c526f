"""What a person asks when something does not work: is this machine fit to run studies?"""

from __future__ import annotations

import importlib
import importlib.util
import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

from study.run import ray_environment
from study.run.opening import Opened
from study.run.room import nearest
from trainables import installation
from trainables.installation import OWN_PACKAGES, SOURCE_TREE, foreign_packages

FREE_BYTES = 2 << 30
"""Below this much free disk a study of weights may not fit."""


@dataclass(frozen=True, kw_only=True)
class Check:
    """One thing looked at."""

    name: str
    state: Literal["ok", "warning", "problem"]
    detail: str


def examine(results_root: Path) -> Iterator[Check]:
    """Looks at everything a run depends on; imports torch and ray to do so."""
    yield _python()
    yield from _packages()
    yield _torch()
    yield from _ray()
    yield _other_ray()
    yield _names()
    yield _cache()
    yield _disk(results_root)
    yield _cores()


def data_checks(opened: Opened | None) -> Iterator[Check]:
    """The data of a study as it is here, if one was named."""
    if opened is None:
        return
    for config in opened.data:
        facts = opened.facts(config)
        yield Check(
            name="data",
            state="ok",
            detail=f"{config.label}: {facts.num_train_examples} training and "
            f"{facts.num_test_examples} test examples, fingerprint {facts.fingerprint[:12]}",
        )


def _check(name: str, problem: str | None, fine: str, *, warning: bool = False) -> Check:
    if problem is None:
        return Check(name=name, state="ok", detail=fine)
    return Check(name=name, state="warning" if warning else "problem", detail=problem)


def _python() -> Check:
    version = sys.version.split()[0]
    old = sys.version_info < (3, 11)
    return _check("python", f"{version}: 3.11 or later is needed" if old else None, version)


def _packages() -> Iterator[Check]:
    try:
        required = metadata.requires("batchgap") or []
    except metadata.PackageNotFoundError:
        detail = "not installed; `pip install -e .` in the checkout"
        yield Check(name="batchgap", state="problem", detail=detail)
        required = []
    yield Check(name="source", state="ok", detail=str(SOURCE_TREE))
    core = [line for line in required if "extra ==" not in line]
    names = [line.partition(";")[0].split("[")[0].strip(" ") for line in core]
    for name in sorted({_bare(name) for name in names} | set(installation.PACKAGES)):
        version = installation.package_version(name)
        yield _check(name, None if version else "not installed", version or "")


def _bare(requirement: str) -> str:
    """The package's name in a requirement such as `torch>=2.11`."""
    end = next((i for i, char in enumerate(requirement) if char in "<>=!~ "), len(requirement))
    return requirement[:end]


def _torch() -> Check:
    try:
        torch = importlib.import_module("torch")
    except (ImportError, OSError) as error:
        return Check(name="torch devices", state="problem", detail=f"cannot be imported: {error}")
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    devices = [torch.cuda.get_device_name(i) for i in range(count)]
    return Check(name="torch devices", state="ok", detail=", ".join(["cpu", *devices]))


def _ray() -> Iterator[Check]:
    try:
        ray = importlib.import_module("ray")
    except (ImportError, OSError) as error:
        detail = f"cannot be imported ({error}); only --runner serial works"
        yield Check(name="ray import", state="warning", detail=detail)
        return
    yield Check(name="ray import", state="ok", detail=ray.__version__)
    missing = [n for n in ("aiohttp", "aiohttp_cors", "colorful", "opencensus") if not _found(n)]
    problem = (
        f"{', '.join(missing)} missing: without the dashboard Ray loses the resources of stopped "
        "trials of several workers; install ray[default]"
    )
    yield _check("ray[default]", problem if missing else None, "installed", warning=True)


def _found(name: str) -> bool:
    return importlib.util.find_spec(name) is not None


def _other_ray() -> Check:
    """Another Ray on this host can be mistaken for ours, and disturbs its clean-up."""
    if (address := ray_environment.cluster()) is not None:
        detail = f"studies run on the cluster at {address} (RAY_ADDRESS, --address)"
        return Check(name="other ray", state="ok", detail=detail)
    pids = sorted(pid for pid, name in _processes() if name in ("raylet", "gcs_server"))
    problem = (
        f"running here (process {', '.join(map(str, pids))}); ours starts apart from it, but "
        "trials of several workers may not be cleaned up"
    )
    return _check("other ray", problem if pids else None, "none on this host", warning=True)


def _processes() -> Iterator[tuple[int, str]]:
    for path in Path("/proc").glob("[0-9]*/comm"):
        try:
            yield int(path.parent.name), path.read_text().strip()
        except OSError:
            continue  # it ended meanwhile


def _names() -> Check:
    foreign = foreign_packages()
    return _check(
        "package names", "; ".join(foreign) or None, ", ".join(OWN_PACKAGES) + " are ours"
    )


def _cache() -> Check:
    from trainables.installation import cache_folder

    folder = cache_folder()
    place = nearest(folder)
    writable = place.is_dir() and os.access(place, os.W_OK)
    problem = f"{folder} cannot be written; set BATCHGAP_CACHE to a folder that can"
    return _check("data cache", None if writable else problem, str(folder))


def _disk(results_root: Path) -> Check:
    place = nearest(results_root)
    free = shutil.disk_usage(place).free
    text = f"{free / 2**30:.1f} GiB free at {place}"
    return _check("disk", text if free < FREE_BYTES else None, text, warning=True)


def _cores() -> Check:
    hardware = installation.hardware()
    text = f"{hardware['cores']} ({hardware['cpu']}), {hardware['memory_bytes'] / 2**30:.0f} GiB"
    threads = os.environ.get("OMP_NUM_THREADS")
    return Check(
        name="cores",
        state="ok",
        detail=text + (f", OMP_NUM_THREADS={threads}" if threads else ""),
    )
