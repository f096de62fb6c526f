"""The optimizers that a study may name, each with its constants."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from trainables.config.ranges import Count, Example, Inside, NotNegative, Positive, Share


@dataclass(frozen=True, kw_only=True)
class SGD:
    """v <- momentum v + g + weight_decay w;  w <- w - lr v (torch's form, rate outside v)."""

    name: Literal["sgd"] = "sgd"
    momentum: Annotated[Share, Example(0.9)] = 0.0
    nesterov: bool = False
    weight_decay: Annotated[NotNegative, Example(0.0005)] = 0.0
    decay_normalization: bool = True
    """Decay the parameters of normalization too; Goyal et al. 2017, section 5.1, do not."""


@dataclass(frozen=True, kw_only=True)
class Adam:
    """Kingma & Ba 2015; weight decay, if any, is added to the gradient."""

    name: Literal["adam"] = "adam"
    beta1: Annotated[Share, Example(0.9)] = 0.9
    beta2: Annotated[Share, Example(0.999)] = 0.999
    epsilon: Annotated[Positive, Example(1e-8)] = 1e-8
    weight_decay: Annotated[NotNegative, Example(0.0005)] = 0.0


@dataclass(frozen=True, kw_only=True)
class AdamW:
    """Loshchilov & Hutter 2019: Adam with decoupled weight decay."""

    name: Literal["adamw"] = "adamw"
    beta1: Annotated[Share, Example(0.9)] = 0.9
    beta2: Annotated[Share, Example(0.999)] = 0.999
    epsilon: Annotated[Positive, Example(1e-8)] = 1e-8
    weight_decay: Annotated[NotNegative, Example(0.0005)] = 0.01


@dataclass(frozen=True, kw_only=True)
class SGDFolded:
    """v <- momentum v + lr (g + weight_decay w);  w <- w - v (Goyal et al. 2017, equation 10).

    `momentum_correction` multiplies v by this rate over the last one, as their section 3 asks.
    """

    name: Literal["sgd-folded"] = "sgd-folded"
    momentum: Annotated[Share, Example(0.9)] = 0.9
    weight_decay: Annotated[NotNegative, Example(0.0005)] = 0.0
    momentum_correction: bool = True


@dataclass(frozen=True, kw_only=True)
class LARS:
    """v <- momentum v + lr lambda (g + beta w);  w <- w - v, beta = weight_decay.

    lambda = trust_coefficient |w| / (|g| + beta |w|) (You, Gitman & Ginsburg 2017, whose .001 is
    the default).
    """

    name: Literal["lars"] = "lars"
    trust_coefficient: Annotated[Positive, Example(0.001)] = 0.001
    momentum: Annotated[Share, Example(0.9)] = 0.9
    weight_decay: Annotated[NotNegative, Example(0.0005)] = 0.0
    adapt_vectors: bool = False
    """Adapt, and decay, biases and the parameters of normalization too."""


@dataclass(frozen=True, kw_only=True)
class PercentDelta:
    """LARS with lambda = trust_coefficient size(w) / |(g + beta w) / w|_1 (Abu-El-Haija 2017).

    The papers have one rate here and no coefficient, so that it is 1.
    """

    name: Literal["percent-delta"] = "percent-delta"
    trust_coefficient: Annotated[Positive, Example(0.001)] = 1.0
    momentum: Annotated[Share, Example(0.9)] = 0.9
    weight_decay: Annotated[NotNegative, Example(0.0005)] = 0.0
    adapt_vectors: bool = False


@dataclass(frozen=True, kw_only=True)
class MCLR:
    """LARS with lambda = trust_coefficient |median(w) / (median(g) + beta median(w))|.

    Gao & Zhong 2020, section 4; one rate, so that the coefficient is 1.
    """

    name: Literal["mclr"] = "mclr"
    trust_coefficient: Annotated[Positive, Example(0.001)] = 1.0
    momentum: Annotated[Share, Example(0.9)] = 0.9
    weight_decay: Annotated[NotNegative, Example(0.0005)] = 0.0
    adapt_vectors: bool = False
    medians: Literal["absolute", "signed"] = "absolute"
    """Of |w| and |g|, or of w and g: near 0 in a symmetric layer, where the ratio explodes."""


@dataclass(frozen=True, kw_only=True)
class LAMB:
    """You et al. 2020: w <- w - lr |w| / |u| u, u Adam's step + weight_decay w."""

    name: Literal["lamb"] = "lamb"
    beta1: Annotated[Share, Example(0.9)] = 0.9
    beta2: Annotated[Share, Example(0.999)] = 0.999
    epsilon: Annotated[Positive, Example(1e-8)] = 1e-6
    weight_decay: Annotated[NotNegative, Example(0.0005)] = 0.01
    adapt_vectors: bool = False


@dataclass(frozen=True, kw_only=True)
class CBLR:
    """LARS with lambda = trust_coefficient median(R), R = |(1 + g^2)^(3/2) / h|.

    Gao & Zhong 2020, section 4: the curvature radius of the loss along each weight, h the Hessian's
    diagonal on the batch.
    """

    name: Literal["cblr"] = "cblr"
    trust_coefficient: Annotated[Positive, Example(0.001)] = 1e-3
    momentum: Annotated[Share, Example(0.9)] = 0.9
    weight_decay: Annotated[NotNegative, Example(0.0005)] = 0.0
    adapt_vectors: bool = False
    curvature: Literal["hutchinson", "exact"] = "hutchinson"
    """How h is found: from random vectors, or weight by weight (small networks only)."""
    curvature_samples: Annotated[Count, Example(1)] = 1
    """Random vectors per step."""


@dataclass(frozen=True, kw_only=True)
class SAM:
    """Foret et al. 2021: the gradient at w + rho g / |g|, in SGD's step."""

    name: Literal["sam"] = "sam"
    rho: Annotated[Positive, Example(0.05)] = 0.05
    momentum: Annotated[Share, Example(0.9)] = 0.9
    weight_decay: Annotated[NotNegative, Example(0.0005)] = 0.0


@dataclass(frozen=True, kw_only=True)
class Conservative:
    """Keskar et al. 2017, section 4: min over x of f_B(x) + proximal_weight / 2 |x - x_k|^2.

    Solved inexactly on each batch by `inner_steps` steps of Adam, whose averages go on from batch
    to batch.
    """

    name: Literal["conservative"] = "conservative"
    proximal_weight: Annotated[Positive, Example(0.001)] = 1e-3
    inner_steps: Annotated[Count, Example(3)] = 3
    beta1: Annotated[Share, Example(0.9)] = 0.9
    beta2: Annotated[Share, Example(0.999)] = 0.999
    epsilon: Annotated[Positive, Example(1e-8)] = 1e-8


@dataclass(frozen=True, kw_only=True)
class AdaGrad:
    """Duchi, Hazan & Singer 2011: v <- v + g^2;  w <- w - lr g / (sqrt(v) + epsilon)."""

    name: Literal["adagrad"] = "adagrad"
    epsilon: Annotated[Positive, Example(1e-8)] = 1e-10
    weight_decay: Annotated[NotNegative, Example(0.0005)] = 0.0


@dataclass(frozen=True, kw_only=True)
class GradientDescent:
    """w <- w - t g, t backtracked from the rate until Armijo's condition holds."""

    name: Literal["gradient-descent"] = "gradient-descent"
    sufficient_decrease: Annotated[Inside, Example(0.0001)] = 1e-4
    backtracking: Annotated[Inside, Example(0.5)] = 0.5
    max_backtracks: Annotated[Count, Example(20)] = 20


@dataclass(frozen=True, kw_only=True)
class LBFGS:
    """L-BFGS with a strong Wolfe line search (Liu & Nocedal 1989), one iteration per step."""

    name: Literal["lbfgs"] = "lbfgs"
    history_size: Annotated[Count, Example(10)] = 10


OptimizerConfig = (
    SGD
    | Adam
    | AdamW
    | AdaGrad
    | SGDFolded
    | LARS
    | PercentDelta
    | MCLR
    | CBLR
    | LAMB
    | SAM
    | Conservative
    | GradientDescent
    | LBFGS
)
