"""L-BFGS (Liu & Nocedal 1989) with a strong Wolfe line search, torch's, one iteration per step.

The direction is -H g, H the inverse Hessian of the last `history_size` pairs (s, y), scaled by
s'y / y'y; the first step's is -g. The first length tried is the rate (times min(1, 1 / |g|_1) in
the first step); the search ends where f(w + t d) <= f(w) + 1e-4 t g'd and |g(w + t d)'d| <=
.9 |g'd|, after 26 tries at the latest.

y is the difference between the gradients with which two steps begin, so this is meant for the full
batch: at a smaller one y compares two batches too. The loss decides, so each try waits for the
device.
"""

from __future__ import annotations

import torch
from torch import nn

from trainables.config import LBFGS
from trainables.optimizers.groups import trainable

EVALUATIONS = 26
"""Of a step, the first one included: 25 in its line search, the limit of torch before it took
one, so that steps are the same in every version. The search overruns it by one."""


def build(config: LBFGS, model: nn.Module) -> torch.optim.Optimizer:
    """torch's L-BFGS over the model's parameters; it stops a step early for no tolerance."""
    return torch.optim.LBFGS(
        trainable(model),
        lr=0.0,
        max_iter=1,
        max_eval=EVALUATIONS,
        tolerance_grad=0.0,
        tolerance_change=0.0,
        history_size=config.history_size,
        line_search_fn="strong_wolfe",
    )
