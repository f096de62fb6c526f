"""The rows that a running trial writes: its attempts' and, of a trained one, what its own says."""

from __future__ import annotations

import math
import os
import socket
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import torch

from trainables.collective import Collective
from trainables.config.measures.evaluation import Evaluation
from trainables.config.trial import Status, Trial
from trainables.imports import source_hash
from trainables.installation import cpu_model
from trainables.loop import TrainState
from trainables.networks.build import parameter_shapes_hash
from trainables.prepare import Prepared
from trainables.results import files
from trainables.results.layout import attempt_file
from trainables.results.ledger import latest_attempt
from trainables.results.storage import storage_at
from trainables.run.failures import log_file
from trainables.task import COLUMNS as METRIC_COLUMNS


@dataclass(kw_only=True)
class Attempt:
    """One execution of a trial, from its first row to its last."""

    trial: Trial
    collective: Collective = field(default_factory=Collective)
    node_id: str | None = None
    node_ids: list[str] | None = None
    """Of all workers in rank order, once it is open."""
    number: int = 0
    started_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    start_step: int = 0

    @property
    def writes(self) -> bool:
        """Rank 0 writes all but failures of the others."""
        return self.collective.rank == 0

    def open(self) -> None:
        """Writes that the attempt is running, under the next number, which all ranks learn."""
        storage = storage_at(self.trial.folder)
        if self.node_id is not None:
            self.node_ids = self.collective.gather_text(self.node_id)
        if self.writes:
            self.number = 1 + latest_attempt(storage, self.trial.trial_id)
            while not files.add_rows(storage, self._file(), [self._row("running")]):
                self.number += 1
        self.number = self.collective.broadcast(self.number)

    def close(
        self, status: Status, error: str | None, end_step: int | None, where: str | None = None
    ) -> None:
        """Writes how the attempt ended, and where in the code if it failed."""
        if self.writes or status == "failed":
            ended = {"error": error, "end_step": end_step, "finished_at": datetime.now(UTC)}
            row = self._row(status) | ended | {"traceback": where}
            files.write_rows(storage_at(self.trial.folder), self._file(), [row])

    def _file(self) -> str:
        return attempt_file(self.trial.trial_id, self.number, self.collective.rank)

    def _row(self, status: Status) -> dict[str, Any]:
        execution = self.trial.execution
        return {
            "trial_id": self.trial.trial_id,
            "attempt": self.number,
            "rank": self.collective.rank,
            "status": status,
            "host": socket.gethostname(),
            "node_ids": self.node_ids,
            "num_workers": execution.num_workers,
            "threads_per_worker": execution.threads_per_worker,
            "max_micro_batch_size": execution.max_micro_batch_size,
            "pid": os.getpid(),
            "log": log_file(),
            "started_at": self.started_at,
            "start_step": self.start_step,
        }


def _how_often(evaluation: Evaluation) -> dict[str, Any]:
    """The one of both that is in force."""
    by_steps = evaluation.every_steps is not None
    epochs = None if by_steps else evaluation.every_epochs
    return {"every_epochs": epochs, "every_steps": evaluation.every_steps}


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
        if name in METRIC_COLUMNS and latest["optimizer_step"] == step
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
        **_how_often(prepared.evaluation),
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
    return torch.cuda.get_device_name(device) if device.type == "cuda" else cpu_model()


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
    steps_per_epoch = prepared.facts.num_train_examples / size
    return {
        "lr_per_example": lr / size,
        "weight_decay_per_epoch": (
            None if optimizer.decays_within_ratio or decay is None else lr * decay * steps_per_epoch
        ),
        "momentum_half_life_examples": (
            size * math.log(0.5) / math.log(momentum) / updates if 0 < momentum < 1 else None
        ),
        "smith_le_noise": (
            lr * (steps_per_epoch - 1) / (1 - momentum) if optimizer.has_sgd_noise else None
        ),
    }
