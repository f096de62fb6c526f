"""The measure `hessian`, as users select it, against curvlinops with SciPy's eigsh.

    python benchmarks/hessian.py

One thread, CPU time, medians of interleaved repetitions, first 1,000 MNIST images, 10 vectors for
the trace. Both ends of the spectrum (`bottom: true`, the default) against eigsh with `which="BE"`,
the top alone (`bottom: false`) against `which="LA"`, both followed by the same Hutchinson's
estimate. Errors are relative to this package's own values in float64; the peer's tolerance is the
loosest that reached 1e-4 for the top here, with its default basis and the smaller one that suits
this question better.
"""

from __future__ import annotations

import statistics
import time
import warnings
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from scipy.sparse.linalg import LinearOperator, eigsh
from subjects import mnist, trained
from torch import Tensor, nn

from trainables.config.measures.hessian import Hessian
from trainables.measures.hessian import hutchinson, measure
from trainables.measures.objective import Objective

EXAMPLES = 1000
TRACE_SAMPLES = 10
REPETITIONS = 5

Result = tuple[float, float, int]
"""Top and bottom eigenvalue (nan where it is not wanted), and the products that both took."""


def ours(model: nn.Module, inputs: Tensor, labels: Tensor, bottom: bool) -> Result:
    """The measure, from the network to its rows."""
    f = Objective(model, inputs, labels)
    config = Hessian(bottom=bottom, trace_samples=TRACE_SAMPLES)
    top, *rest = measure(f, config, seed=0)
    return top.value, rest[0].value if bottom else np.nan, top.evaluations


def peer(model: nn.Module, inputs: Tensor, labels: Tensor, bottom: bool, ncv: int) -> Result:
    """eigsh over curvlinops' operator, and Hutchinson's estimate over the same."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # torch.jit.script, in what it imports
        from curvlinops import HessianLinearOperator

        parameters = list(model.parameters())
        operator = HessianLinearOperator(
            model,
            nn.CrossEntropyLoss(),
            parameters,
            [(inputs, labels)],
            check_deterministic=False,
        ).to_scipy()
        products = 0

        def product(vector: np.ndarray) -> np.ndarray:
            nonlocal products
            products += 1
            result: np.ndarray = operator @ vector
            return result

        def rows(vectors: Tensor) -> Tensor:
            found = [operator @ vector for vector in vectors.numpy()]
            return torch.from_numpy(np.stack(found))

        counted = LinearOperator(operator.shape, product, dtype=np.float32)
        start = np.random.default_rng(0).standard_normal(operator.shape[0], dtype=np.float32)
        found = eigsh(
            counted,
            k=2 if bottom else 1,
            which="BE" if bottom else "LA",
            ncv=ncv,
            tol=1e-2,
            v0=start,
            return_eigenvectors=False,
        )
        hutchinson(rows, torch.from_numpy(start), samples=TRACE_SAMPLES, seed=0)
    return float(max(found)), float(min(found)) if bottom else np.nan, products


def compare(batch_size: int, bottom: bool) -> None:
    """One block of the table: a network trained at this batch size."""
    model = trained("mlp", batch_size, epochs=30)
    inputs, labels = mnist(EXAMPLES)
    exact = ours(model.double(), inputs.double(), labels, bottom)
    model.float()
    subject = (model, inputs, labels, bottom)
    methods: dict[str, Callable[[], Result]] = {
        "measure": partial(ours, *subject),
        "curvlinops + eigsh, ncv 20": partial(peer, *subject, ncv=20),
        "curvlinops + eigsh, ncv 10": partial(peer, *subject, ncv=10),
    }
    seconds: dict[str, list[float]] = {name: [] for name in methods}
    results: dict[str, Result] = {}
    for _ in range(REPETITIONS + 1):
        for name, method in methods.items():
            began = time.process_time()
            results[name] = method()
            seconds[name].append(time.process_time() - began)
    medians = {name: statistics.median(values[1:]) for name, values in seconds.items()}
    for name, (top, least, products) in results.items():
        print(
            f"{batch_size:>6} {'both' if bottom else 'top':<5}{name:<28}"
            f"{abs(top / exact[0] - 1):>9.0e}{abs(least / exact[1] - 1):>9.0e}{products:>9}"
            f"{medians[name]:>8.2f}{medians['measure'] / medians[name]:>8.2f}"
        )


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(f"{'batch':>6} {'ends':<5}{'':<28}{'top off':>9}{'bottom':>9}", end="")
    print(f"{'products':>9}{'CPU s':>8}{'ours /':>8}")
    for size in (32, 1000):
        for both in (True, False):
            compare(size, both)
