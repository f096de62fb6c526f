"""How a network is trained: the section `training`, as a person writes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from annotated_types import Ge, Le

from trainables.config.optimizers.kinds import OptimizerConfig
from trainables.config.optimizers.sgd import SGD
from trainables.config.ranges import Count, Example, NotNegative, Positive, Several, Share


@dataclass(frozen=True, kw_only=True)
class BatchPhase:
    """An exception at the start of training: this batch size (and peak rate) until an epoch."""

    until_epoch: Annotated[Positive, Example(1)]
    global_batch_size: Annotated[Count, Example(32)]
    peak_lr: Annotated[Positive | None, Example(0.02)] = None
    """Default: the trial's scaling rule applied to this phase's batch size."""


@dataclass(frozen=True, kw_only=True)
class WarmStart:
    """Start from the weights of another trial, the trunk, with a fresh optimizer.

    Keskar et al. 2017, figure 5.
    """

    trial: Annotated[
        Mapping[str, Any], Example({"training.global_batch_size": 256, "training.epochs": 100})
    ]
    """What makes the trunk of this point: dotted fields of `training` and their values."""
    epoch: Annotated[Positive, Example(10)]
    """From the trunk's weights after so many epochs."""


@dataclass(frozen=True, kw_only=True)
class SharedConfig:
    """How a network is trained: what is the same as a person writes it and as it resolves."""

    loss: Literal["cross-entropy", "squared-error"] = "cross-entropy"
    """Per example; squared-error: half the squared distance of the outputs from the targets."""
    target_train_loss: Annotated[Positive | None, Example(0.01)] = None
    batch_schedule: tuple[BatchPhase, ...] = ()
    warmup_shape: Literal["linear", "constant"] = "linear"
    warmup_start_lr: Annotated[NotNegative, Example(0)] = 0.0
    decay: Literal["constant", "cosine", "step"] = "constant"
    decay_epochs: Annotated[tuple[Positive, ...], Example([30, 60])] = ()
    decay_factor: Annotated[Positive | None, Example(0.1)] = None
    discard_ratio: Annotated[Share, Example(0.3)] = 0.0
    discard_epochs: Annotated[Positive | None, Example(15)] = None
    discard_rule: Literal["small-loss", "random"] = "small-loss"
    discard_gradient_ratio: Annotated[Share, Example(0.3)] = 0.0
    """Share of each layer's gradient values, the smallest in size, that are set to 0."""
    max_gradient_norm: Annotated[Positive | None, Example(5)] = None
    """Scale the gradient down to this norm where it is larger."""
    label_smoothing: Annotated[Share, Example(0.1)] = 0.0
    focal_gamma: Annotated[NotNegative, Example(2)] = 0.0
    """Exponent of the focal loss (Lin et al. 2017); 0 is cross-entropy."""
    adversarial_epsilon: Annotated[NotNegative, Example(0.01)] = 0.0
    """Step of the fast gradient sign (Goodfellow et al. 2015), in units of the inputs."""
    ghost_batch_size: Annotated[Several | None, Example(32)] = None
    evaluation_normalization: Literal["recalibrated", "running", "batch"] = "recalibrated"
    horizontal_flip: bool = False
    max_shift: Annotated[Share, Example(0.1)] = 0.0
    """Largest random shift, as a fraction of the image's side; what enters is zero."""
    max_rotation: Annotated[float, Ge(0), Le(180), Example(10)] = 0.0
    """Largest random rotation, in degrees; what enters is zero."""
    precision: Literal["float32", "float64", "bf16"] = "float32"


@dataclass(frozen=True, kw_only=True)
class TrainingConfig(SharedConfig):
    """The `training` section of a study file, as a person writes it."""

    global_batch_size: Annotated[Count, Example(32)]
    base_lr: Annotated[Positive, Example(0.02)]
    optimizer: OptimizerConfig = field(default_factory=SGD)
    lr_scaling: Literal["none", "linear", "sqrt"] = "none"
    lr_reference_batch_size: Annotated[Count | None, Example(32)] = None
    averaging_scaling: Literal["none", "half-life", "sqrt"] = "none"
    """How momentum, betas and epsilon follow the batch from `lr_reference_batch_size`."""
    warmup_epochs: Annotated[NotNegative, Example(5)] = 0.0
    warmup_scaling: Literal["none", "linear"] = "none"
    epochs: Annotated[Positive | None, Example(30)] = None
    optimizer_steps: Annotated[Count | None, Example(1000)] = None
    steps_of_batch_size: Annotated[Count | None, Example(32)] = None
    max_epochs: Annotated[Positive | None, Example(100)] = None
    start: WarmStart | None = None
