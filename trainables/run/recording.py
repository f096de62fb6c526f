"""What is recorded of a trial while it trains and when it has: evaluations, weights, measures."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from typing import Any, get_args

import torch
from safetensors.torch import save
from torch import nn

from trainables.config.measures.kinds import MeasureConfig
from trainables.datasets.tensors import Split
from trainables.loop import TrainState
from trainables.measures.evaluation import evaluate, prepared_copy
from trainables.measures.solution import Solution
from trainables.measures.take import take
from trainables.methods.losses import evaluated
from trainables.prepare import Prepared
from trainables.results import files
from trainables.results.layout import evaluations_file, parts_below, weights_file, weights_of
from trainables.results.ledger import are_complete, is_measured
from trainables.results.measure_keys import end_measures, key_at_end, measure_key
from trainables.rules.batching import as_written
from trainables.rules.learning_rate import rate
from trainables.rules.record_steps import recorded_steps, step_at, steps_every
from trainables.run import checkpoint
from trainables.run.asha import falls_behind, rung_steps
from trainables.run.layer_recording import LayerRecording, drop_segments, segments

ShouldStop = Callable[[], bool]


class Recording:
    """What is recorded along training, and at which steps."""

    def __init__(self, prepared: Prepared, state: TrainState, should_stop: ShouldStop) -> None:
        self.prepared, self.state, self.should_stop = prepared, state, should_stop
        trial, plan = prepared.trial, prepared.plan
        self.target = trial.config.target_train_loss
        last = plan.optimizer_steps
        self.rungs = rung_steps(trial.halving, plan) if trial.halving else set()
        self.evaluations = recorded_steps(prepared.evaluation, plan) | self.rungs | {last}
        self.target_checks = steps_every(plan, 1.0) | {last} if self.target is not None else set()
        self.measures: list[tuple[MeasureConfig, set[int]]] = [
            (measure, recorded_steps(measure, plan) - {last})  # the last is the end's
            for measure in prepared.geometry
        ]
        kept = trial.execution.keep_weights
        epochs = kept if isinstance(kept, tuple) else ()
        self.weights = {step_at(plan, as_written(epoch)) for epoch in epochs}
        heard = (self.evaluations, self.target_checks, self.weights)
        self._heard = frozenset().union(*heard, *(at for _, at in self.measures))
        self._heard_at = time.monotonic()
        asked = prepared.layers
        self.layers = asked and LayerRecording(prepared, state, asked, should_stop)
        self.steps = self._heard | (self.layers.steps if self.layers else set())

    def first_weights_missing(self) -> int | None:
        """The first step whose weights are to be kept and are not: nothing after it is of use."""
        kept = parts_below(self.prepared.storage, weights_of(self.prepared.trial.trial_id))
        return min(self.weights - {part.number for part in kept}, default=None)

    def begin(self) -> None:
        """To be called once, with the state that training goes on from."""
        drop_segments(self.prepared, self.state.optimizer_step if self.layers else -1)
        if self.layers:
            self.layers.begin()

    def record(self) -> None:
        """Does what is due after the step just taken."""
        step = self.state.optimizer_step
        if self.layers:  # first: its gradients and the copy before the step are still there
            self.layers.record()
        if step in self.evaluations or step in self.target_checks:
            self._evaluate()
        for measure, at in self.measures:
            if step in at:
                take_at(self.prepared, measure, self.state.model, step, self.should_stop)
        if step in self.weights:
            keep_weights(self.prepared, self.state.model, step)

    def write(self) -> None:
        """Writes the rows recorded so far."""
        if self.layers:
            self.layers.write()
        if self.prepared.collective.rank == 0:
            name = evaluations_file(self.prepared.trial.trial_id)
            files.write_rows(self.prepared.storage, name, self.state.rows)

    def save(self, under: dict[str, Any]) -> None:
        """Writes rows and checkpoint, in this order: from the latter recording goes on."""
        self.write()
        if self.prepared.collective.rank == 0:
            checkpoint.save(self.prepared.trial, self.state, under)

    def is_silent(self) -> bool:
        """Whether only layers are looked at here, and no heartbeat is due: nobody need hear of it.

        With several workers all of them must ask.
        """
        step, patience = self.state.optimizer_step, self.prepared.trial.execution.heartbeat_seconds
        only_layers = self.layers and step in self.layers.steps and step not in self._heard
        waited = time.monotonic() - self._heard_at
        if only_layers and self.prepared.collective.broadcast(waited < patience):
            return True
        self._heard_at = time.monotonic()
        return False

    def falls_behind(self) -> str | None:
        """Why a search's trial is to stop here, if it is; every worker hears the same."""
        halving, state = self.prepared.trial.halving, self.state
        if halving is None or state.optimizer_step not in self.rungs:
            return None
        self.write()  # for the trials that come to this rung later
        first = self.prepared.collective.rank == 0
        why = falls_behind(halving, self.prepared.storage, state.rows[-1]) if first else None
        return self.prepared.collective.broadcast(why)

    def target_reached(self) -> bool:
        """Whether the train loss asked for is there, seen at a whole epoch."""
        return bool(
            self.target is not None
            and self.state.rows
            and self.state.optimizer_step in self.target_checks
            and self.state.rows[-1]["optimizer_step"] == self.state.optimizer_step
            and self.state.rows[-1]["train_loss"] <= self.target
        )

    def _evaluate(self) -> None:
        prepared, state = self.prepared, self.state
        config, step = prepared.trial.config, state.optimizer_step
        normalization = config.evaluation_normalization
        began = time.perf_counter()
        ready = prepared_copy(state.model, prepared.data, normalization)
        whole = step == prepared.plan.optimizer_steps or self.target is not None
        examples = None if whole else prepared.evaluation.train_examples
        metrics: dict[str, float] = {}
        for split in get_args(Split):
            if len(getattr(prepared.data, split)[1]) == 0:
                continue
            metrics |= evaluate(
                ready,
                prepared.data,
                split,
                normalization,
                prepared.collective,
                evaluated(config),
                examples if split == "train" else None,
            )
        state.evaluation_seconds += time.perf_counter() - began
        if not all(math.isfinite(value) for value in metrics.values()):
            state.diverged_at_step = step
        self._add_row(metrics, examples)

    def _add_row(self, metrics: dict[str, float], examples: int | None) -> None:
        prepared, state = self.prepared, self.state
        plan, step = prepared.plan, state.optimizer_step
        phase = plan.phase_at(step - 1)
        seen = plan.examples_before(step)
        before = state.rows[-1] if state.rows else {"examples_seen": 0, "training_seconds": 0.0}
        seconds = state.training_seconds - before["training_seconds"]
        state.rows.append(
            {
                "trial_id": prepared.trial.trial_id,
                "optimizer_step": step,
                "epoch": prepared.epoch(step),
                "examples_seen": seen,
                "lr": rate(prepared.trial.config, plan, step - 1),
                "global_batch_size": phase.global_batch_size,
                "effective_batch_size": state.latest_kept,
                "train_examples_evaluated": len(prepared.data.train[1][:examples]),
                **metrics,
                "training_seconds": state.training_seconds,
                "examples_per_second": (seen - before["examples_seen"]) / max(seconds, 1e-9),
            }
        )


def keep_weights(prepared: Prepared, model: nn.Module, optimizer_step: int) -> None:
    """Writes weights and buffers, on rank 0."""
    if prepared.collective.rank == 0:
        # Copies: tied weights share memory, which safetensors refuses.
        tensors = {
            name: value.detach().cpu().clone(memory_format=torch.contiguous_format)
            for name, value in model.state_dict().items()
        }
        name = weights_file(prepared.trial.trial_id, optimizer_step)
        prepared.storage.replace(name, save(tensors))


def take_at(
    prepared: Prepared,
    measure: MeasureConfig,
    model: nn.Module,
    optimizer_step: int,
    should_stop: ShouldStop,
    *,
    at_end: bool = False,
) -> None:
    """Takes one measure of the model as it is and writes its rows; all ranks compute, one writes.

    Raises:
        MeasureInterrupted: if `should_stop` said so.
    """
    trial = prepared.trial
    step = 0 if measure.is_of_start else optimizer_step
    context = {
        "trial_id": trial.trial_id,
        "at_end": at_end and not measure.is_of_start,
        "optimizer_step": step,
        "epoch": prepared.epoch(step),
    }
    solution = Solution(
        prepared=prepared,
        model=model,
        optimizer_step=optimizer_step,
        should_stop=should_stop,
        other_trial_ids=trial.other_trial_ids if at_end else (),
    )
    taken = take(measure, solution)
    if prepared.collective.rank == 0:
        key = (
            key_at_end(trial, measure)
            if at_end
            else measure_key(trial.trial_id, measure, optimizer_step)
        )
        # The curves first: the values' file is what says that the measure was taken.
        if taken.curves:
            curves = [row | context for row in taken.curves]
            files.write_keyed(prepared.storage, "curves", key, curves)
        values = [row | context for row in taken.values]
        files.write_keyed(prepared.storage, "measures", key, values)


def missing_at_end(prepared: Prepared) -> Iterator[MeasureConfig]:
    """The measures at the end that have not been taken yet and can be taken now.

    Those between trials wait until all the trials that they compare with are complete.
    """
    others = prepared.trial.other_trial_ids
    for key, measure in end_measures(prepared.trial).items():
        if is_measured(prepared.storage, key):
            continue
        if not measure.compares or are_complete(prepared.storage, others):
            yield measure


def written_files(prepared: Prepared) -> list[dict[str, Any]]:
    """Records of the files that the trial's row vouches for; measures carry their own digest."""
    storage, trial_id = prepared.storage, prepared.trial.trial_id
    written = [*segments(storage, trial_id), *parts_below(storage, weights_of(trial_id))]
    names = [evaluations_file(trial_id), *(part.name for part in written)]
    return [files.file_record(storage, name) for name in names]
