"""The weights that a trial left in the results folder, read only if they are what it recorded."""

from __future__ import annotations

from pathlib import Path

from safetensors.torch import load_file
from torch import Tensor

from trainables import results
from trainables.config import DONE


def kept_weights(
    folder: Path, trial_id: str, optimizer_step: int | None = None
) -> dict[str, Tensor]:
    """Parameters and buffers of a trial after a step, on the CPU, verified against its row.

    Args:
        folder: the results folder.
        trial_id: whose.
        optimizer_step: after which step; default: at its end.

    Raises:
        ValueError: if the trial has not ended, or has no such weights: it diverged, they were not
            kept, or are not those that its row recorded. The text says what to do.
    """
    row_path = folder / "trials" / f"{trial_id}.parquet"
    row = results.read_rows(row_path, "trials")[0] if row_path.exists() else None
    if row is None or row["status"] not in DONE:
        status = "not run yet" if row is None else row["status"]
        raise ValueError(f"trial {trial_id}: {status}, and its weights are needed; run it first")
    at_end = optimizer_step is None
    if at_end and row["status"] == "diverged":
        raise ValueError(f"trial {trial_id}: diverged, so that it has no solution to measure")
    path = results.weights_path(folder, trial_id, optimizer_step or row["optimizer_step"])
    if not path.exists():
        keep = "final" if at_end else "[the epochs wanted]"
        raise ValueError(
            f"{path.name}: the weights of trial {trial_id} were not kept; it must be trained again "
            f"(--retrain, or remove trials/{trial_id}.parquet) with keep_weights: {keep}"
        )
    recorded = {file["path"]: file["sha256"] for file in row["files"]}
    if results.sha256(path) != recorded.get(path.relative_to(folder).as_posix()):
        raise ValueError(
            f"{path.name}: the kept weights of trial {trial_id} are not those it was recorded "
            "with; delete the file and train the trial again (--retrain)"
        )
    return load_file(path)
