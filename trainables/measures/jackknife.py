"""Standard errors of functions of means, by leaving out one draw at a time."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


def jackknife(drawn: Array, estimates: Callable[[Array], Array]) -> Array:
    """Standard errors of `estimates(drawn.mean(axis=0))`, from draws that are independent.

    (K - 1) / K sum_k (theta_k - mean theta)^2, theta_k the estimates without draw k (Tukey 1958);
    for a mean it is its usual squared error.

    Args:
        drawn: [K, m], K at least 2.
        estimates: Means [..., m] -> [..., e].

    Returns:
        [e]
    """
    count = len(drawn)
    without_one = (drawn.sum(axis=0) - drawn) / (count - 1)
    errors: Array = estimates(without_one).std(axis=0) * math.sqrt(count - 1)
    return errors
