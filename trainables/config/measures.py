"""The measures that a study may ask for, each with its settings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal, get_args

from annotated_types import Ge, Le

from trainables.config.ranges import Count, Example, Positive, Several, Whole


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Loss and accuracy on train, test and validation, recorded along training."""

    name: Literal["evaluation"] = "evaluation"
    every_epochs: Annotated[Positive, Example(1)] = 1.0
    train_examples: Annotated[Count | None, Example(5000)] = None
    """Evaluate a fixed sample of so many along the way; the last record uses all."""


@dataclass(frozen=True, kw_only=True)
class Sharpness:
    """Keskar et al. 2017, Metric 2.1; `subspace_dim: null` is the full space."""

    algorithm: ClassVar[int] = 2
    """1 had two random starts; 2 has one for each class."""
    name: Literal["sharpness"] = "sharpness"
    sharpness_epsilon: Annotated[Positive, Example(0.001)] = 1e-3
    subspace_dim: Annotated[Count | None, Example(100)] = None
    examples: Annotated[Count | None, Example(2000)] = None
    every_epochs: Annotated[Positive | None, Example(1)] = None
    """Also along training; default: once, at the end, from the kept weights."""


@dataclass(frozen=True, kw_only=True)
class Hessian:
    """Top eigenvalues (Lanczos) and trace (Hutchinson) of the training loss's Hessian."""

    name: Literal["hessian"] = "hessian"
    eigenvalues: Annotated[Count, Example(1)] = 1
    bottom: bool = True
    """Whether the most negative eigenvalue is wanted too, at two to five times the steps."""
    trace_samples: Annotated[Several, Example(30)] = 30
    examples: Annotated[Count | None, Example(2000)] = None
    every_epochs: Annotated[Positive | None, Example(1)] = None


@dataclass(frozen=True, kw_only=True)
class NoiseScale:
    """McCandlish et al. 2018, appendix A.1: B_simple = tr(Sigma) / |G|^2 from two batch sizes."""

    name: Literal["noise-scale"] = "noise-scale"
    small_batch_size: Annotated[Count, Example(32)] = 32
    large_batch_size: Annotated[Several, Example(512)] = 512
    pairs: Annotated[Several, Example(100)] = 100
    """How many batches of each size are drawn."""
    examples: Annotated[Count | None, Example(2000)] = None
    every_epochs: Annotated[Positive | None, Example(1)] = None


@dataclass(frozen=True, kw_only=True)
class LayerStatistics:
    """Per layer along training: |w|, mean |g|, strides, trust ratio, and curvature radius."""

    name: Literal["layers"] = "layers"
    every_epochs: Annotated[Positive, Example(1)] = 1.0
    every_steps: Annotated[Count | None, Example(1)] = None
    """Instead of by epochs; the first step is always recorded."""
    curvature_samples: Annotated[Whole, Example(1)] = 0
    """Random vectors for the Hessian's diagonal at each record; 0 = no curvature radius."""
    examples: Annotated[Count | None, Example(2000)] = None
    """Curvature over a fixed sample of so many training examples."""


@dataclass(frozen=True, kw_only=True)
class GradientProbe:
    """Mean |g| of every layer against batch size at fixed weights, with the fit of its law."""

    name: Literal["gradient-probe"] = "gradient-probe"
    at: Literal["end", "start"] = "end"
    """The trained weights, or those that training starts from."""
    batch_sizes: Annotated[tuple[Count, ...], Example([32, 256])] = (32, 64, 128, 256, 512, 1024)
    draws: Annotated[Several, Example(20)] = 20
    """Batches drawn of each size."""
    examples: Annotated[Count | None, Example(2000)] = None
    every_epochs: Annotated[Positive | None, Example(1)] = None


@dataclass(frozen=True, kw_only=True)
class AdaptiveSharpness:
    """Kwon et al. 2021: the loss's largest rise within a box relative to each weight."""

    algorithm: ClassVar[int] = 2
    """As of sharpness."""
    name: Literal["adaptive-sharpness"] = "adaptive-sharpness"
    relative_radius: Annotated[Positive, Example(0.01)] = 1e-2
    examples: Annotated[Count | None, Example(2000)] = None
    every_epochs: Annotated[Positive | None, Example(1)] = None


@dataclass(frozen=True, kw_only=True)
class Interpolation:
    """Keskar et al. 2017, figure 3: loss and accuracy between two solutions.

    From the trial at the baseline batch size (alpha = 0) to this one (alpha = 1), all else equal.
    """

    name: Literal["interpolation"] = "interpolation"
    path: Literal["linear", "curvilinear"] = "linear"
    points: Annotated[int, Ge(3), Example(25)] = 25
    alpha_min: Annotated[float, Le(0), Example(-1)] = -1.0
    alpha_max: Annotated[float, Ge(1), Example(2)] = 2.0
    examples: Annotated[Count | None, Example(2000)] = None
    every_epochs: None = None


@dataclass(frozen=True, kw_only=True)
class Landscape:
    """Li et al. 2018: the loss over a plane of two filter-normalized random directions."""

    name: Literal["landscape"] = "landscape"
    points: Annotated[int, Ge(3), Example(25)] = 21
    """Along each axis; odd, so that the solution itself is one."""
    reach: Annotated[Positive, Example(1)] = 1.0
    """The axes go from -reach to reach, in norms of the filters."""
    examples: Annotated[Count | None, Example(2000)] = None
    every_epochs: None = None


@dataclass(frozen=True, kw_only=True)
class Spectrum:
    """The Hessian's eigenvalue density by stochastic Lanczos quadrature."""

    name: Literal["spectrum"] = "spectrum"
    lanczos_steps: Annotated[Several, Example(40)] = 40
    vectors: Annotated[Count, Example(4)] = 4
    examples: Annotated[Count | None, Example(2000)] = None
    every_epochs: Annotated[Positive | None, Example(1)] = None


@dataclass(frozen=True, kw_only=True)
class Distance:
    """|x - x0| from the weights that training started from, and |x - x'| between two solutions."""

    name: Literal["distance"] = "distance"
    every_epochs: Annotated[Positive | None, Example(1)] = None


@dataclass(frozen=True, kw_only=True)
class RandomDirections:
    """Share of random directions along which the loss rises steeply (Keskar et al. 2017)."""

    name: Literal["random-directions"] = "random-directions"
    directions: Annotated[Count, Example(100)] = 100
    relative_radius: Annotated[Positive, Example(0.01)] = 0.5
    """Length of the step, relative to |x|."""
    steep_rise: Annotated[Positive, Example(0.1)] = 0.1
    """A rise of the loss by so many nats or more is steep."""
    examples: Annotated[Count | None, Example(2000)] = None
    every_epochs: Annotated[Positive | None, Example(1)] = None


@dataclass(frozen=True, kw_only=True)
class BatchSharpness:
    """Andreyev & Beneventano 2024: curvature of a batch's loss along its own gradient."""

    name: Literal["batch-sharpness"] = "batch-sharpness"
    batches: Annotated[Several, Example(50)] = 50
    batch_size: Annotated[Count | None, Example(256)] = None
    """Default: the trial's global batch size in force."""
    examples: Annotated[Count | None, Example(2000)] = None
    every_epochs: Annotated[Positive | None, Example(1)] = None


MeasureConfig = (
    Evaluation
    | Sharpness
    | AdaptiveSharpness
    | Hessian
    | Spectrum
    | NoiseScale
    | GradientProbe
    | BatchSharpness
    | RandomDirections
    | LayerStatistics
    | Distance
    | Interpolation
    | Landscape
)

RECORDED = (Evaluation, LayerStatistics)
"""Recorded while a trial trains, in tables of their own; no other weights give them later."""


def is_between(measure: MeasureConfig) -> bool:
    """Whether a measure compares a trial with others, where there are others to compare with.

    Without them an interpolation is nothing; a distance still has its way from the start.
    """
    return isinstance(measure, Interpolation | Distance)


def is_of_start(measure: MeasureConfig) -> bool:
    """Whether a measure looks at the weights that training starts from."""
    return isinstance(measure, GradientProbe) and measure.at == "start"


def algorithm(measure: MeasureConfig | type[MeasureConfig]) -> int:
    """How a measure is computed today; raised when its values change for unchanged settings.

    It is no setting and part of no trial's id, but of a measure's key: what an older algorithm
    found stays on record beside the new, and is averaged with it nowhere.
    """
    number: int = getattr(measure, "algorithm", 1)
    return number


KINDS: dict[str, type[MeasureConfig]] = {kind.name: kind for kind in get_args(MeasureConfig)}
"""All measures, by name."""
