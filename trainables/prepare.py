"""A trial set up to train: data, device, model, steps; all checks that need them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from trainables import alive
from trainables.collective import Collective
from trainables.config.measures.evaluation import Evaluation
from trainables.config.measures.kinds import MeasureConfig, evaluations, layer_statistics
from trainables.config.measures.layers import LayerStatistics
from trainables.config.trial import Trial
from trainables.datasets.cache import open_data
from trainables.datasets.facts import DataFacts
from trainables.datasets.tensors import Tensors, to_tensors
from trainables.loop import TrainState, start
from trainables.memory import keep_freed_memory
from trainables.networks.build import build
from trainables.results.storage import Storage, storage_at
from trainables.rules.batching import BatchPlan, Layout, batch_plan, layouts


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """What stays fixed while a trial runs."""

    trial: Trial
    facts: DataFacts
    data: Tensors
    device: torch.device
    channels_last: bool
    plan: BatchPlan
    layout: Layout
    """Of the trial's own batch size, after the batch schedule."""
    collective: Collective

    @property
    def storage(self) -> Storage:
        """The study's results folder."""
        return storage_at(self.trial.folder)

    @property
    def evaluation(self) -> Evaluation:
        """How often to evaluate, and on what."""
        return evaluations(self.trial.measures)[0]

    @property
    def geometry(self) -> list[MeasureConfig]:
        """The measures of given weights: all that are not recorded while training."""
        return [measure for measure in self.trial.measures if not measure.is_recorded]

    @property
    def layers(self) -> LayerStatistics | None:
        """What to record of every layer, if anything."""
        return layer_statistics(self.trial.measures)

    def epoch(self, optimizer_step: int) -> float:
        """Examples seen over the training set's size."""
        return self.plan.examples_before(optimizer_step) / self.plan.num_train_examples


def prepare(trial: Trial, collective: Collective) -> tuple[Prepared, TrainState]:
    """Sets up a trial and its state before the first step.

    Sets this process's thread count and switches TF32 and non-deterministic kernels off.

    Raises:
        ValueError: if data, network and layout do not go together.
    """
    config, execution = trial.config, trial.execution
    torch.set_num_threads(execution.threads_per_worker)
    keep_freed_memory()
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.deterministic = True
    device = _device(execution.device)
    data = open_data(config.data, trial.import_folder)
    alive.sign()
    facts = data.facts
    model = build(
        config.network, facts.input_shape, facts.num_classes, config.seed, trial.import_folder
    )
    alive.sign()
    channels_last = _channels_last(execution.channels_last, model, facts.input_shape)
    if channels_last:
        model = model.to(memory_format=torch.channels_last)
    state = start(model, config, device)
    cut = layouts(config, execution, state.normalization is not None)
    prepared = Prepared(
        trial=trial,
        facts=facts,
        data=to_tensors(data, config.data, device, _dtype(config.precision), channels_last),
        device=device,
        channels_last=channels_last,
        plan=batch_plan(config, facts.num_train_examples),
        layout=cut[config.global_batch_size],
        collective=collective,
    )
    return prepared, state


def _dtype(precision: str) -> torch.dtype:
    """Of inputs and weights; bf16 is torch's autocast over float32 weights."""
    return torch.float64 if precision == "float64" else torch.float32


def _device(wanted: str) -> torch.device:
    if wanted == "cuda" and not torch.cuda.is_available():
        raise ValueError("execution.device cuda: torch finds no CUDA device here; use auto or cpu")
    if wanted == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", torch.cuda.current_device())


def _channels_last(wanted: bool | None, model: nn.Module, input_shape: tuple[int, ...]) -> bool:
    """By default where it helps: images through convolutions (.65 of the time on C1)."""
    if wanted is not None:
        return wanted
    convolutions = any(isinstance(module, nn.Conv2d) for module in model.modules())
    return convolutions and len(input_shape) == 3
