"""L-BFGS (Liu & Nocedal 1989) with a strong Wolfe line search, torch's, one iteration per step.

The direction is -H g, H the inverse Hessian of the last `history_size` pairs (s, y), scaled by
s'y / y'y; the first step's is -g. The first length tried is the rate (times min(1, 1 / |g|_1) in
the first step); the search ends where f(w + t d) <= f(w) + 1e-4 t g'd and |g(w + t d)'d| <=
.9 |g'd|, after 26 tries at the latest.

Where no length will do, the search ends at the lowest loss that it saw, at worst w itself. A loss
that is not finite counts as infinite, so that the search turns back from it.

y is the difference between the gradients with which two steps begin, so this is meant for the full
batch: at a smaller one y compares two batches too. The loss decides, so each try waits for the
device.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from trainables.config.optimizers.lbfgs import LBFGS
from trainables.optimizers.groups import Closure, evaluated, trainable

EVALUATIONS = 26
"""Of a step, the first one included: 25 in its line search, the limit of torch before it took
one, so that steps are the same in every version. The search overruns it by one."""


class WolfeLBFGS(torch.optim.LBFGS):
    """torch's L-BFGS, where it may meet losses that are not finite: its own search raises there."""

    @torch.no_grad()
    def step(self, closure: Closure) -> Tensor:  # type: ignore[override]
        """One update. Returns the loss before it."""
        before = evaluated(closure)
        assert before is not None
        if not before.isfinite():
            return before  # as it is, for the loop to see
        known = [before]

        def searched() -> Tensor:
            loss = known.pop() if known else closure()
            return loss.nan_to_num(nan=torch.inf, posinf=torch.inf)

        super().step(searched)
        return before


def build(config: LBFGS, model: nn.Module) -> torch.optim.Optimizer:
    """L-BFGS over the model's parameters; no tolerance keeps a step from being taken."""
    return WolfeLBFGS(
        trainable(model),
        lr=0.0,
        max_iter=1,
        max_eval=EVALUATIONS,
        tolerance_grad=0.0,
        tolerance_change=0.0,
        history_size=config.history_size,
        line_search_fn="strong_wolfe",
    )
