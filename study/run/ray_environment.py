"""What Ray reads from the environment: set before Ray is imported, for it and its processes.

A Ray that is started for one run is closed: all that listens, listens on 127.0.0.1 and asks for a
token that exists in the environment of that run's processes alone; its files lie in a folder that
only this user enters; and nothing is imported from the working directory. A cluster that a person
names (`RAY_ADDRESS`) has doors of its own. Imports no Ray.
"""

from __future__ import annotations

import os
import secrets
import stat
import sys
from pathlib import Path

from trainables.results.storage import FolderError

_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.3",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_FORCE_TRIAL_CLEANUP_S": "8",
}
"""No statistics, no output of Ray's own, the user's working directory, Ctrl-C left to the verb."""
_CLOSED = {
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # named for laptops; it is what has Ray listen on lo
    "RAY_AUTH_MODE": "token",
    "PYTHONSAFEPATH": "1",  # the dashboard starts Python by `-c`, which imports from where it is
}
IS_LATE = "ray" in sys.modules and not _CLOSED.items() <= os.environ.items()
"""Whether Ray was imported before: it does not look again, and would be open to everybody."""
_MEETING = {"GLOO_SOCKET_IFNAME": "lo", "NCCL_SOCKET_IFNAME": "lo"}
"""Where the workers of one trial exchange gradients; by default at the host's own address."""


def names_cluster() -> bool:
    """Whether a person says which cluster to join."""
    return bool(os.environ.get("RAY_ADDRESS"))


def variables() -> dict[str, str]:
    """All that is to be set; what closes a private cluster too, unless one is named."""
    if names_cluster():
        return _QUIET
    # What is set already stays: a run's own processes ask too, and have its token.
    own = _MEETING | {"RAY_AUTH_TOKEN": secrets.token_hex(32)}
    return _QUIET | _CLOSED | {name: os.environ.get(name, own[name]) for name in own}


def private_folder() -> Path:
    """Where a Ray that is started here keeps its files; Ray itself lets everybody write to it.

    Raises:
        FolderError: if another user holds the place.
    """
    own = Path(os.environ.get("RAY_TMPDIR", "/tmp")) / f"batchgap-{os.getuid()}"
    own.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = own.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise FolderError(f"{own}: is not yours; set RAY_TMPDIR to a folder that is, and run again")
    own.chmod(0o700)
    return own / "ray"
