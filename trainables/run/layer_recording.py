"""The `layers` table of a trial while it trains: when to look, what is kept until it is written.

At every step that is due, the weights are copied at the boundary before it and looked at again at
the boundary after it; in between, the loop runs as ever. `.grad` then holds the gradient that the
optimizer saw last: of SAM the one at the perturbed weights, of several inner steps or a line search
that of the last call, and a clipped or thinned out one as it was used.

Rows are written at every checkpoint, before it, into a segment that bears its step. So a checkpoint
needs none of them: what was recorded after it is recorded again, bit for bit, and the segments of
later steps, which an interrupted attempt left, go first.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from trainables.config.measures.layers import LayerStatistics
from trainables.draws import derive_seed, fixed_sample
from trainables.loop import TrainState
from trainables.measures.curvature import Radius, curvature_radii
from trainables.measures.evaluation import prepared_copy
from trainables.measures.layers import STATISTICS, copied, layer_tensors, statistics, trained
from trainables.measures.objective import Objective
from trainables.methods.losses import LOSSES
from trainables.prepare import Prepared
from trainables.results import files
from trainables.results.layout import Part, layers_file, layers_of, parts_below
from trainables.results.storage import Storage
from trainables.rules.learning_rate import rate
from trainables.rules.record_steps import recorded_steps
from trainables.run.failures import in_words

Row = dict[str, Any]


class LayerRecording:
    """Statistics of every layer along training, from the copy before a step to the file."""

    def __init__(
        self,
        prepared: Prepared,
        state: TrainState,
        config: LayerStatistics,
        should_stop: Callable[[], bool],
    ) -> None:
        self.prepared, self.state, self.config = prepared, state, config
        self.should_stop = should_stop
        self.due = recorded_steps(config, prepared.plan)
        self.steps = self.due | {step - 1 for step in self.due}
        self._tensors = layer_tensors(state.model)
        self._weights = trained(state.model)
        self._before: list[Tensor] = []
        self._curvature: list[Row] = []
        self._unwritten: list[tuple[int, list[list[float]], list[Row]]] = []

    def begin(self) -> None:
        """Prepares for the step after the one that the state is at."""
        self._look_ahead()

    def record(self) -> None:
        """Does what is due after the step just taken, and prepares for the next one."""
        if self.state.optimizer_step in self.due:
            values = statistics(self._before, self._weights)
            self._unwritten.append((self.state.optimizer_step, values, self._curvature))
            self._before = []
        self._look_ahead()

    def write(self) -> None:
        """Writes what is not written yet as one segment, on rank 0."""
        if self._unwritten and self.prepared.collective.rank == 0:
            name = layers_file(self.prepared.trial.trial_id, self.state.optimizer_step)
            rows = [row for record in self._unwritten for row in self._rows(*record)]
            files.write_rows(self.prepared.storage, name, rows)
        self._unwritten = []

    def _look_ahead(self) -> None:
        if self.state.optimizer_step + 1 in self.due:
            self._before = copied(self._weights)
            self._curvature = self._radii()

    def _radii(self) -> list[Row]:
        """The columns on curvature, per tensor, at the weights as they are now."""
        samples, examples = self.config.curvature_samples, self.config.examples
        if samples == 0:
            return [{} for _ in self._tensors]
        asked = {"curvature_samples": samples, "examples": examples}
        prepared = self.prepared
        normalization = prepared.trial.config.evaluation_normalization
        # As all measures: the statistics of a chunk are no function of the weights alone.
        fixed = "recalibrated" if normalization == "batch" else normalization
        ready = prepared_copy(self.state.model, prepared.data, fixed)
        sample = fixed_sample(len(prepared.data.train[1]), examples)
        seed = derive_seed(prepared.trial.config.seed, "curvature", self.state.optimizer_step)
        sizes = [tensor.num_parameters for tensor in self._tensors]
        try:
            inputs, targets = prepared.data.batch("train", torch.from_numpy(sample.copy()))
            loss = LOSSES[prepared.trial.config.loss]
            objective = Objective(ready, inputs, targets, loss=loss, should_stop=self.should_stop)
            found = curvature_radii(objective, sizes, samples, seed)
        except (ValueError, RuntimeError, ArithmeticError) as error:
            return [asked | {"error": in_words(error)} for _ in sizes]
        return [asked | _columns(radius) for radius in found]

    def _rows(self, step: int, values: list[list[float]], curvature: list[Row]) -> list[Row]:
        prepared = self.prepared
        lr = rate(prepared.trial.config, prepared.plan, step - 1)
        shared = {
            "trial_id": prepared.trial.trial_id,
            "optimizer_step": step,
            "epoch": prepared.epoch(step),
            "examples_seen": prepared.plan.examples_before(step),
            "lr": lr,
        }
        return [
            shared
            | vars(tensor)
            | _with_ratios(dict(zip(STATISTICS, numbers, strict=True)), lr)
            | radii
            for tensor, numbers, radii in zip(self._tensors, values, curvature, strict=True)
        ]


def _with_ratios(row: Row, lr: float) -> Row:
    """Quotients by 0 are None."""
    gradient_norm = row["gradient_norm"]
    return row | {
        "parameter_stride_per_lr": row["parameter_stride"] / lr if lr else None,
        "trust_ratio": row["weight_norm"] / gradient_norm if gradient_norm else None,
    }


def _columns(radius: Radius) -> Row:
    return {f"{name}_curvature_radius": value for name, value in vars(radius).items()}


def segments(storage: Storage, trial_id: str) -> list[Part]:
    """A trial's segments, in the order of their steps."""
    return sorted(parts_below(storage, layers_of(trial_id)), key=lambda part: part.number or 0)


def drop_segments(prepared: Prepared, after: int) -> None:
    """Removes what an earlier attempt recorded after a step, on rank 0."""
    if prepared.collective.rank == 0:
        for segment in segments(prepared.storage, prepared.trial.trial_id):
            if (segment.number or 0) > after:
                prepared.storage.delete(segment.name)
