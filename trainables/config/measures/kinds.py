"""All measures: the one list, and the two that every trial or none has once."""

from __future__ import annotations

from collections.abc import Iterable
from typing import get_args

from trainables.config.measures.adaptive_sharpness import AdaptiveSharpness
from trainables.config.measures.batch_sharpness import BatchSharpness
from trainables.config.measures.distance import Distance
from trainables.config.measures.evaluation import Evaluation
from trainables.config.measures.gradient_probe import GradientProbe
from trainables.config.measures.hessian import Hessian
from trainables.config.measures.interpolation import Interpolation
from trainables.config.measures.landscape import Landscape
from trainables.config.measures.layers import LayerStatistics
from trainables.config.measures.noise_scale import NoiseScale
from trainables.config.measures.random_directions import RandomDirections
from trainables.config.measures.sharpness import Sharpness
from trainables.config.measures.spectrum import Spectrum

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

KINDS: dict[str, type[MeasureConfig]] = {kind.name: kind for kind in get_args(MeasureConfig)}
"""All measures, by name."""


def evaluations(measures: Iterable[MeasureConfig]) -> tuple[Evaluation, ...]:
    """How often to evaluate, and on what: every trial has one."""
    return tuple(measure for measure in measures if isinstance(measure, Evaluation))


def layer_statistics(measures: Iterable[MeasureConfig]) -> LayerStatistics | None:
    """What to record of every layer, if anything."""
    return next((m for m in measures if isinstance(m, LayerStatistics)), None)
