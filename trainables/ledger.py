"""What a trial leaves on record: its attempts and, last of all, its own row."""

from __future__ import annotations

import math
import os
import platform
import socket
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from trainables import results
from trainables.config import (
    CBLR,
    DONE,
    LAMB,
    LARS,
    MCLR,
    SGD,
    PercentDelta,
    SGDFolded,
    Status,
    Trial,
)
from trainables.imports import source_hash
from trainables.loop import TrainState
from trainables.networks.build import parameter_shapes_hash
from trainables.prepare import Prepared
from trainables.schema import flatten


@dataclass(kw_only=True)
class Attempt:
    """One execution of a trial, from its first row to its last."""

    trial: Trial
    writes: bool
    """Rank 0 writes."""
    number: int = 0
    started_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    start_step: int = 0

    def open(self) -> None:
        """Writes that the attempt is running."""
        folder = Path(self.trial.folder) / "attempts"
        self.number = 1 + len(list(folder.glob(f"{self.trial.trial_id}-*.parquet")))
        self._write("running")

    def close(self, status: Status, error: str | None, end_step: int | None) -> None:
        """Writes how the attempt ended."""
        self._write(status, error=error, end_step=end_step, finished_at=datetime.now(UTC))

    def _write(self, status: Status, **ended: Any) -> None:
        if not self.writes:
            return
        name = f"{self.trial.trial_id}-{self.number}.parquet"
        row = {
            "trial_id": self.trial.trial_id,
            "attempt": self.number,
            "status": status,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "started_at": self.started_at,
            "start_step": self.start_step,
        }
        results.write_rows(Path(self.trial.folder) / "attempts" / name, "attempts", [row | ended])


def write_trial_row(trial: Trial, row: dict[str, Any]) -> None:
    """Writes a trial's final row; after this the trial is what its status says."""
    row = {"trial_id": trial.trial_id, **flatten(trial.config), **row}
    path = _trial_path(Path(trial.folder), trial.trial_id)
    results.write_rows(path, "trials", [row])


def write_unfinished(trial: Trial, attempt: int, status: Status, error: str | None) -> None:
    """Writes the row of a trial that failed or was interrupted; running again takes it up."""
    row = {
        "status": status,
        "error": error,
        "attempt": attempt,
        "host": socket.gethostname(),
        "finished_at": datetime.now(UTC),
        "num_workers": trial.execution.num_workers,
        "threads_per_worker": trial.execution.threads_per_worker,
        "torch_version": torch.__version__,
    }
    write_trial_row(trial, row)


def write_failure(trial: Trial, error: str) -> None:
    """Puts on record a failure that the trial's own processes could not, having died."""
    if finished_row(trial) is None:
        attempts = Path(trial.folder) / "attempts"
        latest = len(list(attempts.glob(f"{trial.trial_id}-*.parquet")))
        write_unfinished(trial, latest, "failed", error)


def failure_since(trial: Trial, moment: datetime) -> str | None:
    """The error of the trial's row, if it failed after the moment."""
    row = trial_row(Path(trial.folder), trial.trial_id)
    failed = row is not None and row["status"] == "failed" and row["finished_at"] >= moment
    return row["error"] if row is not None and failed else None


def finished_row(trial: Trial) -> dict[str, Any] | None:
    """The final row of a trial that need not be trained again."""
    row = trial_row(Path(trial.folder), trial.trial_id)
    return row if row is not None and row["status"] in DONE else None


def are_complete(folder: Path, trial_ids: Iterable[str]) -> bool:
    """Whether all of the trials are complete."""
    rows = (trial_row(folder, trial_id) for trial_id in trial_ids)
    return all(row is not None and row["status"] == "complete" for row in rows)


def trial_row(folder: Path, trial_id: str) -> dict[str, Any] | None:
    """The row of a trial that ended in whatever way; None before that."""
    path = _trial_path(folder, trial_id)
    return results.read_rows(path, "trials")[0] if path.exists() else None


def _trial_path(folder: Path, trial_id: str) -> Path:
    return folder / "trials" / f"{trial_id}.parquet"


def final_row(prepared: Prepared, state: TrainState, attempt: Attempt) -> dict[str, Any]:
    """What a trained trial's row says besides its config, outcome and files."""
    trial, facts, layout = prepared.trial, prepared.facts, prepared.layout
    config = trial.config
    # Of a diverged trial, the step that was not finite: the loop sees it only some steps later.
    step = state.diverged_at_step or state.optimizer_step
    latest = state.rows[-1] if state.rows else {}
    metrics = {
        name: value
        for name, value in latest.items()
        if name.startswith(("train_", "test_", "validation_"))
        and name.endswith(("loss", "accuracy"))
        and latest["optimizer_step"] == step
    }
    return {
        **metrics,
        "optimizer_step": step,
        "epoch": prepared.epoch(step),
        "examples_seen": prepared.plan.examples_before(step),
        "effective_batch_size": state.kept_examples / max(state.optimizer_step, 1),
        "extra_forward_examples": state.extra_forward_examples,
        "gradient_evaluations": state.gradient_evaluations,
        **_follows_from_batch(prepared),
        "every_epochs": prepared.evaluation.every_epochs,
        "training_seconds": state.training_seconds,
        "evaluation_seconds": state.evaluation_seconds,
        "num_parameters": sum(p.numel() for p in state.model.parameters()),
        "num_train_examples": facts.num_train_examples,
        "num_validation_examples": facts.num_validation_examples,
        "num_test_examples": facts.num_test_examples,
        "data_fingerprint": facts.fingerprint,
        "data_source_hash": facts.source_hash,
        "network_source_hash": config.network.build
        and source_hash(config.network.build, trial.import_folder),
        "parameter_shapes_hash": parameter_shapes_hash(state.model),
        "num_workers": layout.num_workers,
        "threads_per_worker": trial.execution.threads_per_worker,
        "micro_batch_size": layout.micro_batch_size,
        "accumulation_steps": layout.accumulation_steps,
        "device": prepared.device.type,
        "device_name": device_name(prepared.device),
        "channels_last": prepared.channels_last,
        "attempt": attempt.number,
        "host": socket.gethostname(),
        "started_at": attempt.started_at,
        "finished_at": datetime.now(UTC),
        "torch_version": torch.__version__,
    }


def device_name(device: torch.device) -> str:
    """What the hardware calls itself."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())


def _follows_from_batch(prepared: Prepared) -> dict[str, float | None]:
    """What changes with the batch though nobody set it (design rule 1); None where it has no sense.

    lr_per_example = lr / B; weight_decay_per_epoch = lr weight_decay N / B, constant in B only
    under linear scaling and unknown where it is inside a layer's ratio;
    momentum_half_life_examples = B ln(1/2) / (n ln(m)), m momentum or beta1 and n the updates of
    the average per batch; smith_le_noise = lr (N / B - 1) / (1 - m), of SGD (Smith & Le 2018).
    """
    config, optimizer = prepared.trial.config, prepared.trial.config.optimizer
    size, lr = config.global_batch_size, config.peak_lr
    momentum = getattr(optimizer, "momentum", getattr(optimizer, "beta1", 0.0))
    updates = getattr(optimizer, "inner_steps", 1)
    decay = getattr(optimizer, "weight_decay", None)
    inside_ratio = isinstance(optimizer, LARS | PercentDelta | MCLR | CBLR | LAMB)
    steps_per_epoch = prepared.facts.num_train_examples / size
    return {
        "lr_per_example": lr / size,
        "weight_decay_per_epoch": (
            None if inside_ratio or decay is None else lr * decay * steps_per_epoch
        ),
        "momentum_half_life_examples": (
            size * math.log(0.5) / math.log(momentum) / updates if 0 < momentum < 1 else None
        ),
        "smith_le_noise": (
            lr * (steps_per_epoch - 1) / (1 - momentum)
            if isinstance(optimizer, SGD | SGDFolded)
            else None
        ),
    }
