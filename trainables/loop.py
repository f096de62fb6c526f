"""The one training loop, readable top to bottom.

A generator over a state: `for _ in train(state, ...)`. The state comes from `start` or
`checkpoint.restore` and is valid at every yield; whoever drives the loop records, saves or stops
there. Nothing inside a step waits for the device.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from trainables.collective import Collective
from trainables.config.execution import ExecutionConfig
from trainables.config.trial import TrialConfig
from trainables.datasets.tensors import Tensors
from trainables.draws import derive_seed, stream
from trainables.methods.adversarial import input_losses
from trainables.methods.augmentation import augment
from trainables.methods.gradient import gradient_changes
from trainables.methods.losses import training_loss
from trainables.methods.normalization import NormalizationState, no_update, replace_batch_norm
from trainables.methods.selection import kept_examples, selection
from trainables.optimizers.build import build as build_optimizer
from trainables.rules.batching import BatchPlan, Layout, Phase, batch_plan, layouts
from trainables.rules.learning_rate import rate


@dataclass(kw_only=True)
class TrainState:
    """All that training changes; what a checkpoint holds."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    normalization: NormalizationState | None
    optimizer_step: int = 0
    kept_examples: int = 0
    """Examples that contributed gradient, summed over steps."""
    latest_kept: int = 0
    """The same, of the latest step."""
    extra_forward_examples: int = 0
    """Examples passed forward for a gradient beyond the one pass over its global batch: to select
    when accumulating, or of adversarial inputs."""
    gradient_evaluations: int = 0
    """Gradients of a global batch, which is how often optimizers called the closure."""
    training_seconds: float = 0.0
    evaluation_seconds: float = 0.0
    diverged_at_step: int | None = None
    rows: list[dict[str, Any]] = field(default_factory=list)
    """Rows of the evaluations table so far."""


def start(model: nn.Module, config: TrialConfig, device: torch.device) -> TrainState:
    """The state before the first step.

    Args:
        model: freshly built, on the CPU; its batch normalization is replaced in place.
        config: the trial.
        device: where it trains.
    """
    normalization = replace_batch_norm(model)
    model.to(device=device, dtype=torch.float64 if config.precision == "float64" else None)
    return TrainState(
        model=model,
        optimizer=build_optimizer(config.optimizer, model, config.seed),
        normalization=normalization,
    )


def train(
    state: TrainState,
    config: TrialConfig,
    execution: ExecutionConfig,
    data: Tensors,
    collective: Collective,
    record_at: Collection[int] = (),
) -> Iterator[None]:
    """Takes the remaining steps of the budget.

    Yields after every step number in `record_at` and every `heartbeat_seconds` or so, on all
    workers together. Ends at the budget, or once a step's loss is not finite.

    Args:
        state: where to go on from; changed in place.
        config: the trial's science.
        execution: its layout.
        data: the examples, on the state's device.
        collective: this worker among the others.
        record_at: step numbers (steps taken) to yield after.
    """
    plan = batch_plan(config, len(data.train[1]))
    cut = layouts(config, execution, state.normalization is not None)
    worker = _Worker(state, config, data, collective, plan)
    heartbeat = state.optimizer_step + 1
    losses: list[Tensor] = []
    since, since_step = time.perf_counter(), state.optimizer_step

    while state.optimizer_step < plan.optimizer_steps:
        step = state.optimizer_step
        phase = plan.phase_at(step)
        batch = worker.batch(step, phase, cut[phase.global_batch_size])
        for group in state.optimizer.param_groups:
            group["lr"] = rate(config, plan, step)
        losses.append(state.optimizer.step(batch.gradient))  # type: ignore[arg-type]
        state.optimizer_step += 1
        state.kept_examples += batch.kept
        state.latest_kept = batch.kept
        state.extra_forward_examples += batch.extra_forward_examples

        due = state.optimizer_step >= heartbeat
        if due or state.optimizer_step in record_at or state.optimizer_step == plan.optimizer_steps:
            state.diverged_at_step = _first_not_finite(losses, state.optimizer_step, collective)
            losses.clear()
            seconds = time.perf_counter() - since
            state.training_seconds += seconds
            if due:
                pace = (state.optimizer_step - since_step) / max(seconds, 1e-9)
                ahead = max(1, min(int(pace * execution.heartbeat_seconds), 100_000))
                heartbeat = state.optimizer_step + int(collective.broadcast(ahead))
            if state.diverged_at_step is not None:
                return
            yield
            since, since_step = time.perf_counter(), state.optimizer_step


def _first_not_finite(losses: list[Tensor], step: int, collective: Collective) -> int | None:
    """The number of the first step, of the latest ones, whose loss is not finite on some worker."""
    finite = torch.isfinite(collective.sum(torch.stack(losses)))
    if bool(finite.all()):
        return None
    return step - len(losses) + 1 + int((~finite).int().argmax())


class _Worker:
    """What every step of one worker needs: the model as it is called, and the fixed settings."""

    def __init__(
        self,
        state: TrainState,
        config: TrialConfig,
        data: Tensors,
        collective: Collective,
        plan: BatchPlan,
    ) -> None:
        self.state, self.config, self.data, self.collective = state, config, data, collective
        self.plan = plan
        self.model = collective.wrap(state.model)
        if state.normalization is not None:
            state.normalization.collective = collective
        self.model.train()
        self.device = data.train[1].device
        self.loss = training_loss(config)
        self.input_losses = input_losses(config, state.normalization)
        self.select = selection(config, self.device)
        self.parameters = list(state.model.parameters())
        self.gradient_changes = gradient_changes(config)
        self.autocast: AbstractContextManager[Any] = (
            torch.autocast(self.device.type, torch.bfloat16)
            if config.precision == "bf16"
            else nullcontext()
        )

    def batch(self, step: int, phase: Phase, layout: Layout) -> _Batch:
        epoch = self.plan.examples_before(step) / self.plan.num_train_examples
        if self.state.normalization is not None:
            self.state.normalization.ghost_batch_size = (
                self.config.ghost_batch_size or layout.global_batch_size
            )
        return _Batch(
            worker=self,
            step=step,
            first_position=self.plan.examples_before(step),
            layout=layout,
            kept=kept_examples(self.config, layout.global_batch_size, epoch),
        )


@dataclass(kw_only=True)
class _Batch:
    """One optimizer step's global batch, as this worker sees it."""

    worker: _Worker
    step: int
    first_position: int
    layout: Layout
    kept: int
    extra_forward_examples: int = 0
    updated_statistics: bool = False

    def gradient(self) -> Tensor:
        """The closure that the optimizer calls.

        Leaves in `.grad` the gradient, at the current weights, of the mean loss over the examples
        kept of the global batch. Called again, it uses the same examples, augmentation and dropout
        masks, and leaves running statistics alone.

        Returns:
            The sum of the kept losses of this worker over `kept`, without gradient: summed over
            the workers the mean loss.
        """
        worker = self.worker
        worker.state.gradient_evaluations += 1
        worker.state.optimizer.zero_grad(set_to_none=True)
        scale = worker.collective.world_size / self.kept  # DDP averages over workers
        parts = self.layout.accumulation_steps
        # Passes are counted as they are made; the one that any gradient needs is no extra.
        self.extra_forward_examples -= self.layout.global_batch_size
        mask = self._mask(self._losses_ahead) if self._selects and parts > 1 else None
        total: Tensor | None = None
        with no_update(worker.state.normalization) if self.updated_statistics else nullcontext():
            for part in range(parts):
                with _local_gradient(worker.model) if part < parts - 1 else nullcontext():
                    losses = self._losses(part)
                    if self._selects:
                        mask = self._mask(partial(self._gather, losses)) if mask is None else mask
                        losses = losses * self._own(mask, part)
                    loss = losses.sum() * scale
                    loss.backward()
                total = loss.detach() if total is None else total + loss.detach()
        for change in worker.gradient_changes:
            change(worker.parameters)
        self.updated_statistics = True
        assert total is not None
        return total / worker.collective.world_size

    def _losses(self, part: int) -> Tensor:
        """Per-example training losses of one micro-batch, in stream order."""
        worker, config = self.worker, self.worker.config
        first = self.first_position + self.layout.offset(part, worker.collective.rank)
        indices = stream(
            config.seed, worker.plan.num_train_examples, first, first + self.layout.micro_batch_size
        )
        inputs, labels = worker.data.batch("train", torch.from_numpy(indices))
        if config.horizontal_flip or config.max_shift or config.max_rotation:
            inputs = augment(
                inputs,
                first,
                config.seed,
                config.horizontal_flip,
                config.max_shift,
                config.max_rotation,
            )

        def losses_at(inputs: Tensor) -> Tensor:
            self.extra_forward_examples += len(labels) * worker.collective.world_size
            _seed_dropout(derive_seed(config.seed, "dropout", self.step, first), worker.device)
            with worker.autocast:
                return worker.loss(worker.model(inputs), labels)

        return worker.input_losses(losses_at, inputs)

    @property
    def _selects(self) -> bool:
        return self.kept < self.layout.global_batch_size

    def _mask(self, losses: Callable[[], Tensor]) -> Tensor:
        """The selection over the global batch."""
        return self.worker.select(losses, self.step, self.layout.global_batch_size, self.kept)

    def _own(self, mask: Tensor, part: int) -> Tensor:
        """The share of a mask over the global batch that is this worker's micro-batch."""
        first = self.layout.offset(part, self.worker.collective.rank)
        return mask[first : first + self.layout.micro_batch_size]

    def _gather(self, losses: Tensor) -> Tensor:
        return self.worker.collective.gather(losses.detach())

    def _losses_ahead(self) -> Tensor:
        """The whole global batch's, from a pass without gradient that leaves statistics alone."""
        with torch.no_grad(), no_update(self.worker.state.normalization):
            parts = range(self.layout.accumulation_steps)
            return torch.cat([self._gather(self._losses(part)) for part in parts])


def _local_gradient(model: nn.Module) -> AbstractContextManager[Any]:
    """Accumulates without reducing over the workers: only the last micro-batch reduces."""
    if isinstance(model, nn.parallel.DistributedDataParallel):
        return model.no_sync()
    return nullcontext()


def _seed_dropout(seed: int, device: torch.device) -> None:
    """Dropout's masks are a function of (seed, step, first position): no state to save."""
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)
