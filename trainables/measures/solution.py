"""A trial's weights at one moment, with the start they came from and the trials beside them."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from trainables.config.trial import TrialConfig
from trainables.datasets.tensors import Tensors
from trainables.measures.objective import MeasureInterrupted
from trainables.prepare import Prepared
from trainables.weights import kept_weights


@dataclass(frozen=True, kw_only=True)
class Solution:
    """What a measure may look at that needs more than the training loss around the weights."""

    prepared: Prepared
    model: nn.Module
    """The trial's network as it is now; it is copied, never written."""
    optimizer_step: int
    """After which it is."""
    should_stop: Callable[[], bool]
    other_trial_ids: tuple[str, ...] = ()
    """The trials to compare with; none along training, when they may still be running."""

    @property
    def config(self) -> TrialConfig:
        """The trial's."""
        return self.prepared.trial.config

    @property
    def data(self) -> Tensors:
        """The trial's."""
        return self.prepared.data

    @property
    def global_batch_size(self) -> int:
        """Of the step that led here; before the first, that of the first."""
        return self.prepared.plan.phase_at(max(self.optimizer_step - 1, 0)).global_batch_size

    def other(self, trial_id: str) -> nn.Module:
        """A copy of the network with the final weights and buffers of another trial.

        Raises:
            ValueError: if that trial has no such weights in the results folder.
            RuntimeError: if they are those of another network.
        """
        try:
            weights = kept_weights(self.prepared.storage, trial_id)
        except ValueError as error:
            raise ValueError(f"{error}; then: batchgap measure STUDY --retry") from error
        model = copy.deepcopy(self.model)
        model.load_state_dict(weights)
        return model

    def check_stop(self) -> None:
        """To be asked between two pieces of a measure.

        Raises:
            MeasureInterrupted: if `should_stop` says so.
        """
        if self.should_stop():
            raise MeasureInterrupted("a measure was stopped before its end")
