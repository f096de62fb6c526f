"""What one trial is: its science (`TrialConfig`) and where and how it runs (`ExecutionConfig`).

The frozen dataclasses here are the one definition of every field: the study file is validated
against them, the Parquet columns are derived from them, and axis labels repeat their names.
`TrainingConfig` holds what a person writes; `TrialConfig` what it resolves to for one seed, which
is what the loop sees and what a trial's id is the hash of. Nothing here loads torch or ray.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from typing import Annotated, Any, Literal

from annotated_types import Ge, Le

from trainables.measure_config import (
    AdaptiveSharpness,
    BatchSharpness,
    Distance,
    Evaluation,
    GradientProbe,
    Hessian,
    Interpolation,
    Landscape,
    LayerStatistics,
    MeasureConfig,
    NoiseScale,
    RandomDirections,
    Sharpness,
    Spectrum,
)
from trainables.optimizer_config import (
    CBLR,
    LAMB,
    LARS,
    LBFGS,
    MCLR,
    SAM,
    SGD,
    AdaGrad,
    Adam,
    AdamW,
    Conservative,
    GradientDescent,
    OptimizerConfig,
    PercentDelta,
    SGDFolded,
)
from trainables.ranges import Count, Example, NotNegative, Positive, Several, Share, Whole

__all__ = [
    "CBLR",
    "DONE",
    "LAMB",
    "LARS",
    "LBFGS",
    "MCLR",
    "NOT_SCIENCE",
    "SAM",
    "SGD",
    "AdaGrad",
    "Adam",
    "AdamW",
    "AdaptiveSharpness",
    "BatchPhase",
    "BatchSharpness",
    "Beat",
    "Conservative",
    "DataConfig",
    "Distance",
    "Evaluation",
    "ExecutionConfig",
    "GradientDescent",
    "GradientProbe",
    "Halving",
    "Hessian",
    "Interpolation",
    "Landscape",
    "LayerStatistics",
    "MeasureConfig",
    "NetworkConfig",
    "NoiseScale",
    "OptimizerConfig",
    "Options",
    "PercentDelta",
    "RandomDirections",
    "SGDFolded",
    "Scalar",
    "SharedConfig",
    "Sharpness",
    "Spectrum",
    "Start",
    "Status",
    "TrainingConfig",
    "Trial",
    "TrialConfig",
    "WarmStart",
    "parameters_text",
    "science",
    "trial_id",
]

NOT_SCIENCE = {"science": False}
"""Field metadata: where a thing lies or how it is fetched, never part of a trial's id."""

Scalar = bool | int | float | str | None
Options = Mapping[str, Scalar | list[Scalar]]


# ---------------------------------------------------------------------------------------- data


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Which examples. `source` names a loader; `load` an import string of the user's instead."""

    source: Literal[
        "mnist-5k",
        "mnist",
        "fashion-mnist",
        "cifar10",
        "cifar100",
        "parquet",
        "frames",
        "image-folder",
        "load",
    ] = "mnist-5k"
    name: str | None = None
    """What results call the data (`cifar10-jpeg`); default: the source, or the import string."""
    root: str | None = field(default=None, metadata=NOT_SCIENCE)
    """Folder in torchvision's layout, for mnist, fashion-mnist, cifar10 and cifar100."""
    download: bool = field(default=False, metadata=NOT_SCIENCE)
    train: str | None = field(default=None, metadata=NOT_SCIENCE)
    """Parquet file or folder with the training rows, for parquet and frames; for image-folder the
    folder of class folders."""
    test: str | None = field(default=None, metadata=NOT_SCIENCE)
    load: str | None = None
    """Import string `module:function`, called with `options`, returns `Splits`."""
    options: Options = field(default_factory=dict)
    context: Annotated[Whole, Example(4)] = 0
    """frames: frames of context spliced on each side, within an utterance."""
    image_size: Annotated[Count | None, Example(224)] = None
    """image-folder: side of the square, in pixels, that images are scaled and cropped to."""
    standardize: bool = False
    """Subtract the training set's channel mean and divide by its standard deviation."""
    train_examples: Annotated[Count | None, Example(5000)] = None
    """Use the first so many training examples only."""
    validation_examples: Annotated[Whole, Example(500)] = 0
    """Held out of the training examples, class-balanced, by a fixed seed."""

    @property
    def label(self) -> str:
        """The name results carry."""
        return self.name or self.load or self.source


@dataclass(frozen=True, kw_only=True)
class NetworkConfig:
    """Which function. `name` is a built-in or `torchvision/MODEL`; `build` an import string."""

    name: str | None = None
    build: str | None = None
    options: Options = field(default_factory=dict)

    @property
    def label(self) -> str:
        """The name results carry."""
        return self.name or self.build or ""


# ------------------------------------------------------------------------------------- training


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
class Start:
    """Which weights a trial starts from, as resolved."""

    trial_id: str
    """The trunk's, which holds its seed and all its settings."""
    epoch: float


@dataclass(frozen=True, kw_only=True)
class SharedConfig:
    """How a network is trained: what is the same as a person writes it and as it resolves."""

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


# ------------------------------------------------------------------------------------ execution


@dataclass(frozen=True, kw_only=True)
class ExecutionConfig:
    """Where and how trials run; never part of a trial's id (the study's `execution` section)."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    num_workers: Annotated[Count, Example(1)] = 1
    """Processes that share one trial's global batch (Ray Train); 1 runs without Ray Train."""
    threads_per_worker: Annotated[Count, Example(1)] = 1
    gpus_per_worker: Annotated[Positive, Example(1)] = 1.0
    """Used on cuda only; a fraction packs several trials on one GPU."""
    max_micro_batch_size: Annotated[Count | None, Example(256)] = None
    """Most examples in one forward pass of one worker; larger batches are accumulated."""
    max_concurrent_trials: Annotated[Count | None, Example(2)] = None
    channels_last: bool | None = None
    """Memory format of images; default: on for networks with convolutions."""
    heartbeat_seconds: Annotated[Positive, Example(2)] = 2.0
    checkpoint_seconds: Annotated[Positive, Example(60)] = 60.0
    keep_weights: Annotated[Literal["final", "none"] | tuple[Positive, ...], Example([10, 20])] = (
        "final"
    )
    """`final`, `none`, or the epochs whose weights to keep besides the final ones."""


@dataclass(frozen=True, kw_only=True)
class Halving:
    """When a search's trial stops before its end; see `trainables.halving`."""

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
    """All that a runner hands to `trainables.trial`: one resolved training and its measures."""

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
    test_accuracy: float | None = None
    """The latest evaluation, where there was one."""
    status: Status = "running"
    error: str | None = None
    training_seconds: float = 0.0


# ------------------------------------------------------------------------------------- identity


def science(config: Any) -> Any:
    """The part of a config that decides the result, as plain JSON values.

    A field at its default is left out, so that a field added later, whose default is the
    behaviour before it existed, leaves every existing id as it was.
    """
    if is_dataclass(config):
        kept = {
            f.name: science(getattr(config, f.name))
            for f in fields(config)
            if f.metadata.get("science", True) and getattr(config, f.name) != _default(f)
        }
        # The kind of a tagged section (`optimizer: sgd`) is what its defaults depend on.
        return kept | ({"name": config.name} if hasattr(config, "name") else {})
    if isinstance(config, Mapping):
        return {key: science(value) for key, value in config.items()}
    if isinstance(config, list | tuple):
        return [science(value) for value in config]
    if isinstance(config, float) and config.is_integer():
        return int(config)  # 5 and 5.0 epochs are one setting
    return config


def parameters_text(measure: MeasureConfig) -> str:
    """Every setting of a measure with its value, as JSON: the column `parameters`."""
    return json.dumps(science(vars(measure)), sort_keys=True)


def trial_id(config: TrialConfig) -> str:
    """First 12 hex digits of the SHA-256 of the canonical JSON of the resolved science."""
    canonical = json.dumps(science(config), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:12]


def _default(f: Any) -> Any:
    return f.default if f.default_factory is MISSING else f.default_factory()
