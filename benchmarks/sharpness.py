"""Sharpness: the maximizers against SciPy's L-BFGS-B, and what they cost beside gradients.

    python benchmarks/sharpness.py

One thread, CPU time, medians of interleaved repetitions, first 2,000 MNIST images, epsilon 1e-3,
full space. `vertex` gets the evaluations that SciPy's 10 iterations took; `best` is the whole
measure, which runs SciPy twice. Overhead is all CPU time outside of gradients, over that in them.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch
from subjects import mnist, trained
from torch import Tensor

from trainables.config import Sharpness
from trainables.measures.objective import Objective
from trainables.measures.sharpness import box, l_bfgs_b, measure, phi, vertex_iteration

EXAMPLES = 2000
REPETITIONS = 3


class Timed(Objective):
    """An objective that knows the CPU seconds spent in its gradients."""

    gradient_seconds = 0.0

    def value_and_gradient(self, x: Tensor) -> tuple[float, Tensor]:
        """f(x) and its gradient."""
        began = time.process_time()
        result = super().value_and_gradient(x)
        self.gradient_seconds += time.process_time() - began
        return result


def compare(name: str, batch_size: int, epochs: int) -> None:
    """One block of the table: a network trained at this batch size."""
    f = Timed(trained(name, batch_size, epochs), *mnist(EXAMPLES))
    x = f.start
    half_widths, zero = box(x, 1e-3), torch.zeros_like(x)
    start_loss = f.value(x)
    evaluations = 0

    def evaluate(z: Tensor) -> tuple[float, Tensor]:
        return f.value_and_gradient(x + z.to(x))

    def scipy() -> float:
        nonlocal evaluations
        run = l_bfgs_b(evaluate, half_widths, evaluate(zero))
        evaluations = run.evaluations
        return phi(run.returned, start_loss)

    def vertex() -> float:
        run = vertex_iteration(evaluate, half_widths, zero, "zero", steps=evaluations - 1)
        return phi(run.largest, start_loss)

    def best() -> float:
        return measure(f, Sharpness(), seed=0)[1].value

    methods: dict[str, Callable[[], float]] = {"SciPy": scipy, "vertex": vertex, "best": best}
    values: dict[str, float] = {}
    costs: dict[str, list[tuple[float, float, int]]] = {method: [] for method in methods}
    for _ in range(REPETITIONS):
        for method, run in methods.items():
            f.gradient_seconds, f.evaluations, began = 0.0, 0, time.process_time()
            values[method] = run()
            seconds = time.process_time() - began
            costs[method].append((seconds, f.gradient_seconds, f.evaluations))
    for method, rows in costs.items():
        overhead = statistics.median(total / inside - 1 for total, inside, _ in rows)
        seconds, _, passes = sorted(rows)[len(rows) // 2]
        print(
            f"{name:>6}{batch_size:>6}  {method:<8}{values[method]:>10.3f}"
            f"{values[method] / values['SciPy']:>9.2f}{passes:>8}{seconds:>9.2f}{overhead:>10.1%}"
        )


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(f"{'':>6}{'batch':>6}  {'method':<8}{'phi':>10}{'/ SciPy':>9}{'passes':>8}", end="")
    print(f"{'CPU s':>9}{'overhead':>10}")
    compare("mlp", 32, epochs=30)
    compare("mlp", 1000, epochs=30)
    compare("f1", 500, epochs=5)
