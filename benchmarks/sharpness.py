"""What a sharpness costs: SciPy's L-BFGS-B both ways, and the whole measure, beside its gradients.

    python benchmarks/sharpness.py

One thread, CPU time, medians of interleaved repetitions, first 1,000 MNIST images, epsilon 1e-3,
full space. `minimize` is SciPy's public function, `routine` the loop around what is behind it,
`measure` both values of a study. Overhead is all CPU time outside of gradients, over that in them.
What each way of searching finds, and at how many passes, is in `largest_sharpness.py`.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch
from subjects import mnist, trained
from torch import Tensor

from trainables.config.measures.sharpness import Sharpness
from trainables.measures import lbfgsb
from trainables.measures.objective import Objective
from trainables.measures.sharpness import box_of, l_bfgs_b, measure

EXAMPLES = 1000
REPETITIONS = 3


class Timed(Objective):
    """An objective that knows the CPU seconds spent in its gradients."""

    gradient_seconds = 0.0

    def value_and_gradient(self, x: Tensor, label: int | None = None) -> tuple[float, Tensor]:
        """f(x) and its gradient."""
        began = time.process_time()
        result = super().value_and_gradient(x, label)
        self.gradient_seconds += time.process_time() - began
        return result


def compare(name: str, batch_size: int, epochs: int) -> None:
    """One block of the table: a network trained at this batch size."""
    f = Timed(trained(name, batch_size, epochs), *mnist(EXAMPLES))
    box = box_of(f, Sharpness(), seed=0)
    own_signature = lbfgsb.SIGNATURE

    def paper(signature: str) -> None:
        lbfgsb.SIGNATURE = signature
        l_bfgs_b(box, box.value_and_gradient(torch.zeros_like(box.half_widths)))
        lbfgsb.SIGNATURE = own_signature

    ways: dict[str, Callable[[], object]] = {
        "minimize": lambda: paper("another"),
        "routine": lambda: paper(own_signature),
        "measure": lambda: measure(f, Sharpness(), seed=0),
    }
    costs: dict[str, list[tuple[float, float, int]]] = {way: [] for way in ways}
    for _ in range(REPETITIONS):
        for way, run in ways.items():
            f.gradient_seconds, f.evaluations, began = 0.0, 0, time.process_time()
            run()
            costs[way].append((time.process_time() - began, f.gradient_seconds, f.evaluations))
    for way, rows in costs.items():
        overhead = statistics.median(total / inside - 1 for total, inside, _ in rows)
        seconds, _, passes = sorted(rows)[len(rows) // 2]
        print(f"{name:>6}{batch_size:>6}  {way:<10}{passes:>8}{seconds:>9.3f}{overhead:>10.1%}")


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(f"{'':>6}{'batch':>6}  {'':<10}{'passes':>8}{'CPU s':>9}{'overhead':>10}")
    compare("mlp", 32, epochs=30)
    compare("mlp", 1000, epochs=30)
    compare("f1", 500, epochs=5)
