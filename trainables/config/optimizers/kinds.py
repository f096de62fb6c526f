"""All optimizers: the one list."""

from __future__ import annotations

from typing import get_args

from trainables.config.optimizers.adagrad import AdaGrad
from trainables.config.optimizers.adam import Adam, AdamW
from trainables.config.optimizers.cblr import CBLR
from trainables.config.optimizers.conservative import Conservative
from trainables.config.optimizers.gradient_descent import GradientDescent
from trainables.config.optimizers.lamb import LAMB
from trainables.config.optimizers.layerwise import LARS, MCLR, PercentDelta
from trainables.config.optimizers.lbfgs import LBFGS
from trainables.config.optimizers.sam import SAM
from trainables.config.optimizers.sgd import SGD
from trainables.config.optimizers.sgd_folded import SGDFolded

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

OPTIMIZERS: dict[str, type[OptimizerConfig]] = {
    kind.name: kind for kind in get_args(OptimizerConfig)
}
"""All optimizers, by name."""
