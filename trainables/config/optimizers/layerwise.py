"""LARS, PercentDelta and MCLR: a rate for every layer from its weights and gradient."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from trainables.config.optimizers.optimizer import OptimizerSettings
from trainables.config.ranges import Example, NotNegative, Positive, Share


@dataclass(frozen=True, kw_only=True)
class LARS(OptimizerSettings):
    """v <- momentum v + lr lambda (g + beta w);  w <- w - v, beta = weight_decay.

    lambda = trust_coefficient |w| / (|g| + beta |w|) (You, Gitman & Ginsburg 2017, whose .001 is
    the default).
    """

    decays_within_ratio: ClassVar[bool] = True

    name: Literal["lars"] = "lars"
    trust_coefficient: Annotated[Positive, Example(0.001)] = 0.001
    momentum: Annotated[Share, Example(0.9)] = 0.9
    weight_decay: Annotated[NotNegative, Example(0.0005)] = 0.0
    adapt_vectors: bool = False
    """Adapt, and decay, biases and the parameters of normalization too."""


@dataclass(frozen=True, kw_only=True)
class PercentDelta(OptimizerSettings):
    """LARS with lambda = trust_coefficient size(w) / |(g + beta w) / w|_1 (Abu-El-Haija 2017).

    The papers have one rate here and no coefficient, so that it is 1.
    """

    decays_within_ratio: ClassVar[bool] = True

    name: Literal["percent-delta"] = "percent-delta"
    trust_coefficient: Annotated[Positive, Example(0.001)] = 1.0
    momentum: Annotated[Share, Example(0.9)] = 0.9
    weight_decay: Annotated[NotNegative, Example(0.0005)] = 0.0
    adapt_vectors: bool = False


@dataclass(frozen=True, kw_only=True)
class MCLR(OptimizerSettings):
    """LARS with lambda = trust_coefficient |median(w) / (median(g) + beta median(w))|.

    Gao & Zhong 2020, section 4; one rate, so that the coefficient is 1.
    """

    decays_within_ratio: ClassVar[bool] = True

    name: Literal["mclr"] = "mclr"
    trust_coefficient: Annotated[Positive, Example(0.001)] = 1.0
    momentum: Annotated[Share, Example(0.9)] = 0.9
    weight_decay: Annotated[NotNegative, Example(0.0005)] = 0.0
    adapt_vectors: bool = False
    medians: Literal["absolute", "signed"] = "absolute"
    """Of |w| and |g|, or of w and g: near 0 in a symmetric layer, where the ratio explodes."""
