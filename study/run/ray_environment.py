"""What Ray reads from the environment: set before Ray is imported, for it and its processes.

A Ray that is started for one run is closed: all that listens, listens on 127.0.0.1 and asks for a
token that exists in the environment of that run's processes alone; its files lie in a folder that
only this user enters; and nothing is imported from the working directory. A cluster that a person
names (`--address`, `RAY_ADDRESS`) has doors of its own. Imports no Ray.
"""

from __future__ import annotations

import os
import re
import secrets
import stat
import subprocess
import sys
from pathlib import Path

from trainables.results.storage import FolderError

_EVERYWHERE = {"RAY_CHDIR_TO_TRIAL_DIR": "0", "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.3"}
"""What Ray reads in workers too, which on a cluster have an environment of their own."""
_QUIET = _EVERYWHERE | {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
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
ANSWER_SECONDS = 12.0
"""In which a cluster must have answered: Ray itself tries for two minutes."""
JOB = "`ray job submit --address http://HEAD:8265 -- batchgap run ...`"


class ClusterError(RuntimeError):
    """A cluster that cannot be joined, or will never hold a trial."""


def enter(address: str | None = None) -> None:
    """Sets what Ray reads; a person's own code may import it after this.

    Args:
        address: the cluster to join, `auto` or `host:port`; default: that of `RAY_ADDRESS`. `local`
            is a Ray of one's own whatever that says.

    Raises:
        ClusterError: if that is no address that a study can be run from.
    """
    if address is not None:
        os.environ["RAY_ADDRESS"] = address
    if (named := cluster()) is not None:
        _check(named)
    os.environ.update(variables())


def cluster() -> str | None:
    """The address of the cluster that a person says to join; None for a Ray of one's own."""
    named = os.environ.get("RAY_ADDRESS", "")
    return None if named in ("", "local") else named


def _check(address: str) -> None:
    if address.startswith("ray://"):
        raise ClusterError(f"{address}: studies do not run through Ray Client; use {JOB}")
    if "://" in address:
        raise ClusterError(
            f"{address}: is where jobs are submitted to, with {JOB}; a run joins auto or host:port"
        )
    if address != "auto" and not re.fullmatch(
        r"[^\s/:]+:\d{1,5}|\[[\da-fA-F:]+\]:\d{1,5}", address
    ):
        raise ClusterError(f"{address}: is no address of a cluster; say auto, or host:port")


def check_answers(address: str) -> None:
    """Asks a cluster for a sign of life, in a process that can be left.

    Raises:
        ClusterError: if none comes in time.
    """
    command = [sys.executable, "-m", "ray.scripts.scripts", "health-check", "--address", address]
    where = f"{address} (RAY_ADDRESS or --address)"
    try:
        asked = subprocess.run(command, capture_output=True, text=True, timeout=ANSWER_SECONDS)
    except subprocess.TimeoutExpired:
        raise ClusterError(
            f"{where}: no Ray cluster answers there within {ANSWER_SECONDS:.0f} s; is its head up, "
            "with the same RAY_AUTH_MODE and token as here?"
        ) from None
    if asked.returncode != 0:
        said = (asked.stderr.strip().splitlines() or ["it is not healthy"])[-1]
        raise ClusterError(f"{where}: {said.partition(': ')[2] or said}")


def of_workers(address: str) -> dict[str, str]:
    """What workers of a cluster are to have in their environment."""
    return _EVERYWHERE | {"RAY_ADDRESS": address}


def variables() -> dict[str, str]:
    """All that is to be set; what closes a private cluster too, unless one is named."""
    if cluster() is not None:
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
