"""Top Hessian eigenvalue: Lanczos over kept graphs against curvlinops with SciPy's eigsh.

    python benchmarks/hessian.py

One thread, CPU time, medians of interleaved repetitions, first 2,000 MNIST images. The error is
relative to this package's own value in float64; the peer runs with its default basis of 20 vectors
and with the 10 that suit this question better.
"""

from __future__ import annotations

import statistics
import time
import warnings
from collections.abc import Callable

import numpy as np
import torch
from scipy.sparse.linalg import LinearOperator, eigsh
from subjects import mnist, trained
from torch import Tensor, nn

from trainables.measures.hessian import draw_start, lanczos
from trainables.measures.objective import Objective

EXAMPLES = 2000
CHUNK_SIZE = 1024
REPETITIONS = 5

Result = tuple[float, int]
"""The eigenvalue, and the Hessian-vector products that it took."""


def ours(model: nn.Module, inputs: Tensor, labels: Tensor) -> Result:
    """Lanczos to 1e-4, from the network to the number."""
    f = Objective(model, inputs, labels, CHUNK_SIZE)
    products = f.hessian_vector_products(f.start)
    extremes = lanczos(products, draw_start(f.start, 0), eigenvalues=1, bottom=False)
    return float(extremes.top[0]), extremes.steps


def peer(model: nn.Module, inputs: Tensor, labels: Tensor, ncv: int) -> Result:
    """eigsh at the loosest tolerance that reached 1e-4 here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # torch.jit.script, in what it imports
        from curvlinops import HessianLinearOperator

        chunks = list(zip(inputs.split(CHUNK_SIZE), labels.split(CHUNK_SIZE), strict=True))
        hessian = HessianLinearOperator(
            model,
            nn.CrossEntropyLoss(),
            list(model.parameters()),
            chunks,
            check_deterministic=False,
        ).to_scipy()
        products = 0

        def product(vector: np.ndarray) -> np.ndarray:
            nonlocal products
            products += 1
            result: np.ndarray = hessian @ vector
            return result

        counted = LinearOperator(hessian.shape, product, dtype=np.float32)
        start = np.random.default_rng(0).standard_normal(hessian.shape[0], dtype=np.float32)
        (top,) = eigsh(
            counted, k=1, which="LA", ncv=ncv, tol=1e-2, v0=start, return_eigenvectors=False
        )
    return float(top), products


def compare(batch_size: int) -> None:
    """One block of the table: a network trained at this batch size."""
    model = trained("mlp", batch_size, epochs=30)
    inputs, labels = mnist(EXAMPLES)
    exact, _ = ours(model.double(), inputs.double(), labels)
    model.float()
    methods: dict[str, Callable[[], Result]] = {
        "Lanczos, graphs kept": lambda: ours(model, inputs, labels),
        "curvlinops + eigsh, ncv 20": lambda: peer(model, inputs, labels, ncv=20),
        "curvlinops + eigsh, ncv 10": lambda: peer(model, inputs, labels, ncv=10),
    }
    seconds: dict[str, list[float]] = {name: [] for name in methods}
    results: dict[str, Result] = {}
    for _ in range(REPETITIONS + 1):
        for name, method in methods.items():
            began = time.process_time()
            results[name] = method()
            seconds[name].append(time.process_time() - began)
    medians = {name: statistics.median(values[1:]) for name, values in seconds.items()}
    for name, (value, products) in results.items():
        ratio = medians["Lanczos, graphs kept"] / medians[name]
        print(
            f"{batch_size:>6}  {name:<28}{value:>10.5f}{abs(value / exact - 1):>10.1e}"
            f"{products:>10}{medians[name]:>10.3f}{ratio:>8.2f}"
        )


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(
        f"{'batch':>6}  {'method':<28}{'top':>10}{'error':>10}{'products':>10}{'CPU s':>10}", end=""
    )
    print(f"{'ours/':>8}")
    for size in (32, 1000):
        compare(size)
