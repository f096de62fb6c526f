"""Eigenvalue density of the Hessian: quadrature over kept graphs against curvlinops.

    python benchmarks/spectrum.py

One thread, CPU time, medians of interleaved repetitions, first 1,000 MNIST images, 40 Lanczos steps
from 2 vectors. The peer does not re-orthogonalize. It runs with the range of the spectrum found by
its own eigsh, and with the range given, where it takes as many products as ours. Below stand our
values in float64, and how far those in float32 are off.
"""

from __future__ import annotations

import statistics
import time
import warnings
from collections.abc import Callable

import torch
from subjects import mnist, trained
from torch import Tensor, nn

from trainables.config.measures.spectrum import Spectrum
from trainables.measures.objective import MeasureValue, Objective
from trainables.measures.spectrum import measure

EXAMPLES = 1000
CHUNK_SIZE = 1024
REPETITIONS = 3
CONFIG = Spectrum(lanczos_steps=40, vectors=2)


def ours(model: nn.Module, inputs: Tensor, labels: Tensor) -> dict[str, float]:
    """The measure, from the network to its rows."""
    rows = measure(Objective(model, inputs, labels, CHUNK_SIZE), CONFIG, seed=0)
    return {row.quantity: row.value for row in rows if isinstance(row, MeasureValue)}


def peer(
    model: nn.Module, inputs: Tensor, labels: Tensor, boundaries: tuple[float, float] | None
) -> None:
    """The density of curvlinops, with its defaults besides."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # torch.jit.script, in what it imports
        from curvlinops import HessianLinearOperator
        from curvlinops.papyan2020traces.spectrum import lanczos_approximate_spectrum

        hessian = HessianLinearOperator(
            model,
            nn.CrossEntropyLoss(),
            list(model.parameters()),
            list(zip(inputs.split(CHUNK_SIZE), labels.split(CHUNK_SIZE), strict=True)),
            check_deterministic=False,
        )
        lanczos_approximate_spectrum(
            hessian, CONFIG.lanczos_steps, num_repeats=CONFIG.vectors, boundaries=boundaries
        )


def compare(batch_size: int) -> None:
    """One block of the table: a network trained at this batch size."""
    model = trained("mlp", batch_size, epochs=30)
    inputs, labels = mnist(EXAMPLES)
    exact = ours(model.double(), inputs.double(), labels)
    model.float()
    found = ours(model, inputs, labels)
    ends = (exact["smallest_ritz_value"], exact["largest_ritz_value"])
    methods: dict[str, Callable[[], object]] = {
        "ours, graphs kept": lambda: ours(model, inputs, labels),
        "curvlinops": lambda: peer(model, inputs, labels, None),
        "curvlinops, range given": lambda: peer(model, inputs, labels, ends),
    }
    seconds: dict[str, list[float]] = {name: [] for name in methods}
    for _ in range(REPETITIONS + 1):
        for name, method in methods.items():
            began = time.process_time()
            method()
            seconds[name].append(time.process_time() - began)
    medians = {name: statistics.median(values[1:]) for name, values in seconds.items()}
    for name, median in medians.items():
        ratio = medians["ours, graphs kept"] / median
        print(f"{batch_size:>6}  {name:<26}{median:>8.2f}{ratio:>8.2f}")
    for name, value in exact.items():
        print(f"{'':>8}{name:<32}{value:>12.4g}  float32 off by {abs(found[name] / value - 1):.1e}")


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(f"{'batch':>6}  {'method':<26}{'CPU s':>8}{'ours/':>8}")
    for size in (32, 1000):
        compare(size)
