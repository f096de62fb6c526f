"""Whether this machine has the disk and the memory that a run takes at least. Light."""

from __future__ import annotations

import shutil
from pathlib import Path

from study.plan.estimate import Estimate
from study.run import ray_environment
from trainables.limits import memory_bytes
from trainables.results.storage import FolderError


def size_text(count: float) -> str:
    """`3.2 MB`, `1.5 GB`, `8 EB`."""
    for unit in ("MB", "GB", "TB", "PB"):
        count /= 1e6 if unit == "MB" else 1e3
        if count < 1e3:
            return f"{count:.1f} {unit}"
    return f"{count / 1e3:.1f} EB"


def lacking(cost: Estimate, folder: Path) -> list[str]:
    """What is too little here for a run, each with the way out.

    Args:
        cost: of the run.
        folder: the study's results folder, there or not.
    """
    found = []
    free = shutil.disk_usage(nearest(folder)).free
    if cost.bytes_on_disk is not None and cost.checkpoint_bytes is not None:
        needed = cost.bytes_on_disk + cost.checkpoint_bytes
        if needed > free:
            found.append(
                f"disk: {size_text(needed)} are needed and {size_text(free)} free at "
                f"{nearest(folder)}; free some, use --results DIR on another disk, or "
                "execution.keep_weights: none"
            )
    memory = memory_bytes()
    if cost.memory_bytes is not None and cost.memory_bytes > memory:
        found.append(
            f"memory: {cost.concurrent_trials} at a time take {size_text(cost.memory_bytes)} for "
            f"weights, gradients and the optimizer alone, and this machine has "
            f"{size_text(memory)}; use a smaller network or execution.max_concurrent_trials: 1"
        )
    return found


def check(cost: Estimate, folder: Path) -> None:
    """Refuses a run that this machine cannot hold; on a cluster its nodes decide.

    Raises:
        FolderError: with what is too little.
    """
    if ray_environment.cluster() is None and (found := lacking(cost, folder)):
        raise FolderError("; ".join(found))


def nearest(folder: Path) -> Path:
    """The folder, or the nearest one above it that is there."""
    whole = folder.absolute()
    return next(path for path in (whole, *whole.parents) if path.exists())
