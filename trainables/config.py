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
from typing import Any, Literal

NOT_SCIENCE = {"science": False}
"""Field metadata: where a thing lies or how it is fetched, never part of a trial's id."""

Scalar = bool | int | float | str | None
Options = Mapping[str, Scalar | list[Scalar]]


# ---------------------------------------------------------------------------------------- data


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Which examples. `source` names a loader; `load` an import string of the user's instead."""

    source: Literal[
        "mnist-5k", "mnist", "fashion-mnist", "cifar10", "cifar100", "parquet", "frames", "load"
    ] = "mnist-5k"
    name: str | None = None
    """What results call the data (`cifar10-jpeg`); default: the source, or the import string."""
    root: str | None = field(default=None, metadata=NOT_SCIENCE)
    """Folder in torchvision's layout, for mnist, fashion-mnist, cifar10 and cifar100."""
    download: bool = field(default=False, metadata=NOT_SCIENCE)
    train: str | None = field(default=None, metadata=NOT_SCIENCE)
    """Parquet file or folder with the training rows, for parquet and frames."""
    test: str | None = field(default=None, metadata=NOT_SCIENCE)
    load: str | None = None
    """Import string `module:function`, called with `options`, returns `Splits`."""
    options: Options = field(default_factory=dict)
    context: int = 0
    """frames: frames of context spliced on each side, within an utterance."""
    standardize: bool = False
    """Subtract the training set's channel mean and divide by its standard deviation."""
    train_examples: int | None = None
    """Use the first so many training examples only."""
    validation_examples: int = 0
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


# ----------------------------------------------------------------------------------- optimizers


@dataclass(frozen=True, kw_only=True)
class SGD:
    """v <- momentum v + g + weight_decay w;  w <- w - lr v (torch's form, rate outside v)."""

    name: Literal["sgd"] = "sgd"
    momentum: float = 0.0
    nesterov: bool = False
    weight_decay: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Adam:
    """Kingma & Ba 2015; weight decay, if any, is added to the gradient."""

    name: Literal["adam"] = "adam"
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    weight_decay: float = 0.0


@dataclass(frozen=True, kw_only=True)
class AdamW:
    """Loshchilov & Hutter 2019: Adam with decoupled weight decay."""

    name: Literal["adamw"] = "adamw"
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    weight_decay: float = 0.01


@dataclass(frozen=True, kw_only=True)
class SGDFolded:
    """v <- momentum v + lr (g + weight_decay w);  w <- w - v (Goyal et al. 2017, equation 10).

    `momentum_correction` multiplies v by this rate over the last one, as their section 3 asks.
    """

    name: Literal["sgd-folded"] = "sgd-folded"
    momentum: float = 0.9
    weight_decay: float = 0.0
    momentum_correction: bool = True


@dataclass(frozen=True, kw_only=True)
class LARS:
    """v <- momentum v + lr lambda (g + beta w);  w <- w - v, beta = weight_decay.

    lambda = trust_coefficient |w| / (|g| + beta |w|) (You, Gitman & Ginsburg 2017, whose .001 is
    the default).
    """

    name: Literal["lars"] = "lars"
    trust_coefficient: float = 0.001
    momentum: float = 0.9
    weight_decay: float = 0.0
    adapt_vectors: bool = False
    """Adapt, and decay, biases and the parameters of normalization too."""


@dataclass(frozen=True, kw_only=True)
class PercentDelta:
    """LARS with lambda = trust_coefficient size(w) / |(g + beta w) / w|_1 (Abu-El-Haija 2017).

    The papers have one rate here and no coefficient, so that it is 1.
    """

    name: Literal["percent-delta"] = "percent-delta"
    trust_coefficient: float = 1.0
    momentum: float = 0.9
    weight_decay: float = 0.0
    adapt_vectors: bool = False


@dataclass(frozen=True, kw_only=True)
class MCLR:
    """LARS with lambda = trust_coefficient |median(w) / (median(g) + beta median(w))|.

    Gao & Zhong 2020, section 4; one rate, so that the coefficient is 1.
    """

    name: Literal["mclr"] = "mclr"
    trust_coefficient: float = 1.0
    momentum: float = 0.9
    weight_decay: float = 0.0
    adapt_vectors: bool = False
    medians: Literal["absolute", "signed"] = "absolute"
    """Of |w| and |g|, or of w and g: near 0 in a symmetric layer, where the ratio explodes."""


@dataclass(frozen=True, kw_only=True)
class LAMB:
    """You et al. 2020: w <- w - lr |w| / |u| u, u Adam's step + weight_decay w."""

    name: Literal["lamb"] = "lamb"
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-6
    weight_decay: float = 0.01
    adapt_vectors: bool = False


OptimizerConfig = SGD | Adam | AdamW | SGDFolded | LARS | PercentDelta | MCLR | LAMB


# ------------------------------------------------------------------------------------- training


@dataclass(frozen=True, kw_only=True)
class BatchPhase:
    """An exception at the start of training: this batch size (and peak rate) until an epoch."""

    until_epoch: float
    global_batch_size: int
    peak_lr: float | None = None
    """Default: the trial's scaling rule applied to this phase's batch size."""


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """The `training` section of a study file, as a person writes it."""

    global_batch_size: int
    base_lr: float
    optimizer: OptimizerConfig = field(default_factory=SGD)
    lr_scaling: Literal["none", "linear", "sqrt"] = "none"
    lr_reference_batch_size: int | None = None
    warmup_epochs: float = 0.0
    warmup_scaling: Literal["none", "linear"] = "none"
    warmup_shape: Literal["linear", "constant"] = "linear"
    warmup_start_lr: float = 0.0
    decay: Literal["constant", "cosine", "step"] = "constant"
    decay_epochs: tuple[float, ...] = ()
    decay_factor: float | None = None
    epochs: float | None = None
    optimizer_steps: int | None = None
    steps_of_batch_size: int | None = None
    target_train_loss: float | None = None
    max_epochs: float | None = None
    batch_schedule: tuple[BatchPhase, ...] = ()
    discard_ratio: float = 0.0
    discard_epochs: float | None = None
    ghost_batch_size: int | None = None
    evaluation_normalization: Literal["recalibrated", "running", "batch"] = "recalibrated"
    horizontal_flip: bool = False
    max_shift: float = 0.0
    """Largest random shift, as a fraction of the image's side; what enters is zero."""
    precision: Literal["float32", "float64", "bf16"] = "float32"


@dataclass(frozen=True, kw_only=True)
class TrialConfig:
    """One training, resolved: every rule applied, every epoch-valued setting in force."""

    data: DataConfig
    network: NetworkConfig
    seed: int
    optimizer: OptimizerConfig
    global_batch_size: int
    peak_lr: float
    optimizer_steps: int
    """The budget; with `target_train_loss` the most steps that may be taken."""
    target_train_loss: float | None = None
    batch_schedule: tuple[BatchPhase, ...] = ()
    scaled_warmup_epochs: float = 0.0
    warmup_shape: Literal["linear", "constant"] = "linear"
    warmup_start_lr: float = 0.0
    decay: Literal["constant", "cosine", "step"] = "constant"
    decay_epochs: tuple[float, ...] = ()
    decay_factor: float | None = None
    discard_ratio: float = 0.0
    discard_epochs: float | None = None
    ghost_batch_size: int | None = None
    evaluation_normalization: Literal["recalibrated", "running", "batch"] = "recalibrated"
    horizontal_flip: bool = False
    max_shift: float = 0.0
    precision: Literal["float32", "float64", "bf16"] = "float32"


# ------------------------------------------------------------------------------------- measures


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Loss and accuracy on train, test and validation, recorded along training."""

    name: Literal["evaluation"] = "evaluation"
    every_epochs: float = 1.0
    train_examples: int | None = None
    """Evaluate a fixed sample of so many along the way; the last record uses all."""


@dataclass(frozen=True, kw_only=True)
class Sharpness:
    """Keskar et al. 2017, Metric 2.1; `subspace_dim: null` is the full space."""

    name: Literal["sharpness"] = "sharpness"
    sharpness_epsilon: float = 1e-3
    subspace_dim: int | None = None
    examples: int | None = None
    every_epochs: float | None = None
    """Also along training; default: once, at the end, from the kept weights."""


@dataclass(frozen=True, kw_only=True)
class Hessian:
    """Top eigenvalues (Lanczos) and trace (Hutchinson) of the training loss's Hessian."""

    name: Literal["hessian"] = "hessian"
    eigenvalues: int = 1
    trace_samples: int = 30
    examples: int | None = None
    every_epochs: float | None = None


@dataclass(frozen=True, kw_only=True)
class NoiseScale:
    """McCandlish et al. 2018, appendix A.1: B_simple = tr(Sigma) / |G|^2 from two batch sizes."""

    name: Literal["noise-scale"] = "noise-scale"
    small_batch_size: int = 32
    large_batch_size: int = 512
    pairs: int = 100
    """How many batches of each size are drawn."""
    examples: int | None = None
    every_epochs: float | None = None


MeasureConfig = Evaluation | Sharpness | Hessian | NoiseScale


# ------------------------------------------------------------------------------------ execution


@dataclass(frozen=True, kw_only=True)
class ExecutionConfig:
    """Where and how trials run; never part of a trial's id (the study's `execution` section)."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    num_workers: int = 1
    """Processes that share one trial's global batch (Ray Train); 1 runs without Ray Train."""
    threads_per_worker: int = 1
    gpus_per_worker: float = 1.0
    """Used on cuda only; a fraction packs several trials on one GPU."""
    max_micro_batch_size: int | None = None
    """Most examples in one forward pass of one worker; larger batches are accumulated."""
    max_concurrent_trials: int | None = None
    channels_last: bool | None = None
    """Memory format of images; default: on for networks with convolutions."""
    heartbeat_seconds: float = 2.0
    checkpoint_seconds: float = 60.0
    keep_weights: Literal["final", "none"] | tuple[float, ...] = "final"
    """`final`, `none`, or the epochs whose weights to keep besides the final ones."""


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


Status = Literal["planned", "running", "complete", "diverged", "stopped", "failed", "interrupted"]

DONE: tuple[Status, ...] = ("complete", "diverged")
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


def trial_id(config: TrialConfig) -> str:
    """First 12 hex digits of the SHA-256 of the canonical JSON of the resolved science."""
    canonical = json.dumps(science(config), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:12]


def _default(f: Any) -> Any:
    return f.default if f.default_factory is MISSING else f.default_factory()
