"""One trial: what its settings resolve to for one seed, what a runner is handed, what it hears.

`TrialConfig` is what the loop sees, and what a trial's id is the hash of (`identity`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from trainables.config.data import DataConfig, NetworkConfig
from trainables.config.execution import ExecutionConfig
from trainables.config.measures.kinds import MeasureConfig
from trainables.config.optimizers.kinds import OptimizerConfig
from trainables.config.training import SharedConfig


@dataclass(frozen=True, kw_only=True)
class Start:
    """Which weights a trial starts from, as resolved."""

    trial_id: str
    """The trunk's, which holds its seed and all its settings."""
    epoch: float


@dataclass(frozen=True, kw_only=True)
class TrialConfig(SharedConfig):
    """One training, resolved: every rule applied, every epoch-valued setting in force."""

    data: DataConfig
    network: NetworkConfig
    seed: int
    optimizer: OptimizerConfig
    global_batch_size: int
    peak_lr: float
    optimizer_steps: int
    """The budget; with `target_train_loss` the most steps that may be taken."""
    scaled_warmup_epochs: float = 0.0
    start: Start | None = None


@dataclass(frozen=True, kw_only=True)
class Halving:
    """When a search's trial stops before its end; see `trainables.run.asha`."""

    grace_epochs: float
    """The first rung."""
    reduction_factor: int
    """Each rung lies so many times later, and one in so many goes on."""
    objective: str
    """The column of the evaluations that is compared."""
    sibling_ids: tuple[str, ...]
    """The other trials of the search's cell with the same seed."""


@dataclass(frozen=True, kw_only=True)
class Trial:
    """All that a runner hands to `trainables.run.trial`: one resolved training and its measures."""

    trial_id: str
    config: TrialConfig
    execution: ExecutionConfig
    measures: tuple[MeasureConfig, ...]
    folder: str
    """The study's results folder, absolute."""
    import_folder: str | None = None
    """The study file's folder, where import strings are looked up last."""
    start_step: int | None = None
    """The trunk's optimizer step whose weights this trial starts from, with `config.start`."""
    other_trial_ids: tuple[str, ...] = ()
    """The trials at the baseline batch size that measures between two trials compare it with."""
    halving: Halving | None = None
    """Of a trial of a search that stops those which fall behind."""


Status = Literal["planned", "running", "complete", "diverged", "stopped", "failed", "interrupted"]

DONE: tuple[Status, ...] = ("complete", "diverged", "stopped")
"""Statuses that are results. A failed or interrupted trial is run again."""


@dataclass(frozen=True, kw_only=True)
class Beat:
    """What a runner, and through it a person, hears from a running trial every few seconds."""

    trial_id: str
    stage: Literal["training", "measuring", "ended"]
    fraction: float
    """Share of the trial's steps taken, 0 to 1."""
    optimizer_step: int = 0
    measure: str | None = None
    """While measuring: what is measured now."""
    train_loss: float | None = None
    test: str = ""
    """The task's metric on the test set as people read it; "" before the first evaluation."""
    status: Status = "running"
    error: str | None = None
    training_seconds: float = 0.0
