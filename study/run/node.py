"""What one node of a cluster says of itself when it is asked. Runs there, under Ray."""

from __future__ import annotations

import os
import platform
import shutil
import socket
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from study.run.room import nearest
from trainables.config.data import DataConfig
from trainables.datasets.cache import open_data
from trainables.installation import cache_folder, package_versions
from trainables.limits import memory_bytes


@dataclass(frozen=True, kw_only=True)
class NodeFacts:
    """One node, as a process of a trial finds it."""

    host: str
    versions: dict[str, str | None]
    """Of Python and of the packages that a number may depend on."""
    gpus: tuple[str, ...]
    driver: str | None
    """Version of NVIDIA's, where there is one."""
    sees_results: bool
    """Whether a file that was just written where the results go is there."""
    cannot_write: tuple[str, ...]
    """Of the results' folder and the data cache, those that cannot be written, and why."""
    free_bytes: int
    memory_bytes: int
    asks_for_token: bool
    fingerprints: dict[str, str]
    """Of each data set, by its label; what is wrong where it cannot be opened."""


def look(probe: str, data: Sequence[DataConfig], import_folder: str | None) -> NodeFacts:
    """Looks around.

    Args:
        probe: path of a file that the asking node has just written below the results' folder.
        data: what a study trains on.
        import_folder: where the user's loader lies.
    """
    import torch  # where it is heavy is here, not where the function comes from

    results = Path(probe).parent
    gpus = range(torch.cuda.device_count()) if torch.cuda.is_available() else ()
    return NodeFacts(
        host=socket.gethostname(),
        versions={"python": platform.python_version(), **package_versions()},
        gpus=tuple(torch.cuda.get_device_name(i) for i in gpus),
        driver=_driver(),
        sees_results=Path(probe).exists(),
        cannot_write=tuple(_cannot_write(results) + _cannot_write(cache_folder())),
        free_bytes=shutil.disk_usage(nearest(results)).free,
        memory_bytes=memory_bytes(),
        asks_for_token=os.environ.get("RAY_AUTH_MODE") == "token",
        fingerprints={config.label: _fingerprint(config, import_folder) for config in data},
    )


def _driver() -> str | None:
    try:
        words = Path("/proc/driver/nvidia/version").read_text().split()
    except OSError:
        return None
    return next((word for word in words if word[:1].isdigit() and "." in word), None)


def _cannot_write(folder: Path) -> list[str]:
    """Why a folder, or where it would be made, takes no file; nothing is left there."""
    try:
        with tempfile.TemporaryFile(dir=nearest(folder)):
            return []
    except OSError as error:
        return [f"{folder}: {error.strerror}"]


def _fingerprint(config: DataConfig, import_folder: str | None) -> str:
    try:
        return open_data(config, import_folder).facts.fingerprint
    except (ValueError, OSError) as error:
        return str(error)
