"""SciPy's L-BFGS-B by the routine behind it: the same to the last bit, evaluation by evaluation."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy.optimize import _lbfgsb_py

from trainables.measures import lbfgsb
from trainables.measures.lbfgsb import Array, by_minimize, by_routine, is_known, minimum_in_box

Point = tuple[float, Array]


def convex(matrix: Array, shift: Array, z: Array) -> Point:
    residual = matrix @ z + shift
    return float(residual @ residual), 2 * matrix.T @ residual


def wavy(matrix: Array, shift: Array, z: Array) -> Point:
    phase = 5 * (matrix @ z + shift)
    return float(np.cos(phase).sum()), -5 * matrix.T @ np.sin(phase)


def steep(matrix: Array, shift: Array, z: Array) -> Point:
    """Towards the corners of the box."""
    residual = matrix @ z + shift
    return float(-100 * (residual**4).sum()), -400 * matrix.T @ residual**3


def wrong(matrix: Array, shift: Array, z: Array) -> Point:
    """A gradient that does not belong to the value: line searches fail."""
    size = matrix @ z
    return float(np.abs(size).sum()), matrix.T @ np.sign(size) + 1e-3 * shift


@pytest.mark.parametrize("n", [1, 7, 1000])
@pytest.mark.parametrize("function", [convex, wavy, steep, wrong])
@pytest.mark.parametrize("iterations", [1, 3, 10])
def test_it_is_minimize_to_the_last_bit(n: int, function, iterations: int) -> None:
    assert is_known(), (
        "SciPy's routine has changed: the slow way stands in, and this test must move"
    )
    searched = False
    for seed in range(5 if n < 1000 else 2):
        draw = np.random.default_rng(seed)
        matrix, shift = draw.normal(size=(n, n)) / np.sqrt(n), draw.normal(size=n)
        half_widths = draw.uniform(0.1, 3, n)
        ways = {}
        for way in (by_routine, by_minimize):
            points: list[Array] = []
            evaluate = _recorded(lambda z, m=matrix, s=shift: function(m, s, z), points)
            ways[way] = way(evaluate, half_widths, iterations), points
        (ours, own), (theirs, others) = ways[by_routine], ways[by_minimize]
        assert ours == theirs
        assert all(map(np.array_equal, own, others)) and len(own) == len(others)
        searched |= ours.evaluations > ours.iterations + 1
    # The budget ends within a run whose line searches take several evaluations.
    assert searched or n == 1 or function in (convex, steep)


def _recorded(function: Callable[[Array], Point], points: list[Array]) -> Callable[[Array], Point]:
    def evaluate(z: Array) -> Point:
        points.append(z.copy())
        return function(z)

    return evaluate


@pytest.mark.parametrize("change", ["signature", "routine", "texts"])
def test_a_routine_that_looks_otherwise_is_left_alone(
    change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if change == "signature":
        monkeypatch.setattr(lbfgsb, "SIGNATURE", "setulb(m,x)")
    elif change == "routine":
        monkeypatch.setattr(_lbfgsb_py, "_lbfgsb", object())
    else:
        monkeypatch.delattr(_lbfgsb_py, "task_messages")
    monkeypatch.setattr(lbfgsb, "by_minimize", lambda *_: "minimize")
    assert minimum_in_box(lambda z: (0.0, z), np.ones(2), 10) == "minimize"
