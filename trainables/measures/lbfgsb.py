"""SciPy's L-BFGS-B in a symmetric box, without the Python around it.

`scipy.optimize.minimize` goes through the bounds one by one before the first step, which takes
several times as long as all gradients of a small network. Its loop around the routine that does the
work is short. Here it stands again, with bounds that are known to be finite on both sides, and
gives the same numbers to the last bit. The routine is private: wherever it does not look as it did,
`minimize` stands in.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import Bounds, minimize

try:
    from scipy.optimize import _lbfgsb_py
except ImportError:  # private: it may be gone one day
    _lbfgsb_py = None

SIGNATURE = "setulb(m,x,l,u,nbd,f,g,factr,pgtol,wa,iwa,task,lsave,isave,dsave,maxls,ln_task)"
"""Of the one routine that is known here, as its docstring begins (SciPy 1.15 to 1.17)."""
CORRECTIONS = 10
"""Pairs of the limited memory, SciPy's default."""
MAX_LINE_STEPS = 20
"""Most evaluations of a line search, SciPy's default."""
BOTH_BOUNDS = 2
WANTS_VALUE, NEW_ITERATE, STOP, AT_MOST_ITERATIONS = 3, 1, 5, 504
"""What the routine asks for, or is told, in `task`."""

Array = npt.NDArray[np.float64]
Function = Callable[[Array], tuple[float, Array]]


@dataclass(frozen=True, kw_only=True)
class Minimum:
    """Where the iterations ended."""

    value: float
    evaluations: int
    iterations: int
    message: str


def minimum_in_box(function: Function, half_widths: Array, iterations: int) -> Minimum:
    """So many iterations from the middle of the box |z_i| <= half_widths_i, without tolerances.

    SciPy's default tolerances stop at a converged network before the first step.

    Args:
        function: Value and gradient at z [n]. It may keep z.
        half_widths: [n], positive.
        iterations: At most.
    """
    return (by_routine if is_known() else by_minimize)(function, half_widths, iterations)


def by_minimize(function: Function, half_widths: Array, iterations: int) -> Minimum:
    """The same by SciPy's public function."""
    result = minimize(
        function,
        np.zeros_like(half_widths),
        jac=True,
        method="L-BFGS-B",
        bounds=Bounds(-half_widths, half_widths),
        options={"maxiter": iterations, "ftol": 0.0, "gtol": 0.0},
    )
    return Minimum(
        value=float(result.fun),
        evaluations=int(result.nfev),
        iterations=int(result.nit),
        message=str(result.message),
    )


def is_known() -> bool:
    """Whether this SciPy has the routine that the loop below was written for."""
    routine = getattr(getattr(_lbfgsb_py, "_lbfgsb", None), "setulb", None)
    texts = all(hasattr(_lbfgsb_py, name) for name in ("status_messages", "task_messages"))
    return texts and (getattr(routine, "__doc__", None) or "").startswith(SIGNATURE)


def by_routine(function: Function, half_widths: Array, iterations: int) -> Minimum:
    """The same by the routine behind it; see `is_known`."""
    n, m = len(half_widths), CORRECTIONS
    z, gradient = np.zeros(n), np.zeros(n)
    value: float | Array = np.array(0.0)
    bounds = [-half_widths, half_widths, np.full(n, BOTH_BOUNDS, np.int32)]
    work = [np.zeros(2 * m * n + 5 * n + 11 * m * m + 8 * m), np.zeros(3 * n, np.int32)]
    task, line_task, logical = np.zeros(2, np.int32), np.zeros(2, np.int32), np.zeros(4, np.int32)
    saved = [logical, np.zeros(44, np.int32), np.zeros(29)]
    taken = evaluations = 0
    evaluated = np.full(n, np.nan)
    while True:
        gradient = gradient.astype(np.float64)  # a copy: the routine may write to it
        _lbfgsb_py._lbfgsb.setulb(
            m, z, *bounds, value, gradient, 0.0, 0.0, *work, task, *saved, MAX_LINE_STEPS, line_task
        )
        if task[0] == WANTS_VALUE:
            if not np.array_equal(z, evaluated):
                evaluated = z.copy()
                (value, gradient), evaluations = function(evaluated), evaluations + 1
        elif task[0] == NEW_ITERATE:
            taken += 1
            if taken >= iterations:
                task[:] = STOP, AT_MOST_ITERATIONS
        else:
            break
    texts = _lbfgsb_py.status_messages[task[0]], _lbfgsb_py.task_messages[task[1]]
    return Minimum(
        value=float(value), evaluations=evaluations, iterations=taken, message=": ".join(texts)
    )
