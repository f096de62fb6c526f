"""Which measure goes with generalization: Kendall's tau over trials, plain and granulated.

tau-b looks at order only, so a measure and its logarithm have the same tau. A correlation over all
trials may be that of a hyper-parameter that moves both (sharpness often follows the learning rate
rather than generalization: Andriushchenko et al. 2023); tau within each hyper-parameter, all others
held equal, tells the two apart (Jiang et al. 2020, arXiv 1912.02178).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from analysis.gaps import axes, labelled_points, measure_values, paired_gaps
from analysis.load import Study
from analysis.uncertainty import holm

RESAMPLES = 9_999
SMALLEST_P = 2 / (RESAMPLES + 1)
"""Two-sided, of so many drawn permutations; that of all 7! orders is larger."""
MAX_PERMUTED = 100
"""Above so many trials the normal approximation is as good, and n^2 signs no longer small."""


def correlations(study: Study) -> pd.DataFrame:
    """Kendall's tau-b of every measure with test accuracy and with the generalization gap.

    Over complete trials, each once however many points share it. Measures are those taken at the
    end of training, and the final training loss. Sharp minima that generalize worse show as a
    negative tau with `test_accuracy` and a positive one with `generalization_gap`.

    Returns:
        One row per measure (label) and target with tau, p, p_holm (over all rows), p_is_bound
        (no permutation that was drawn came as far: more draws would give a smaller p_holm),
        p_method (exact, permutation, normal; see `kendall`), n, granulated (mean of the taus
        within, NaN without any), and one column `within NAME` per hyper-parameter:
        global_batch_size, arm and each axis of the grid.
    """
    return _correlations(study).copy(deep=False)


@lru_cache(maxsize=1)  # thousands of permutations, and more than one reader on a page
def _correlations(study: Study) -> pd.DataFrame:
    values = _trial_values(study)
    targets = {
        "test_accuracy": values.drop_duplicates("trial_id"),
        "generalization_gap": values.dropna(subset="generalization_gap").drop_duplicates(
            ["trial_id"]
        ),
    }
    hyper_parameters = ["global_batch_size", "arm", *axes(study)]
    rows = [
        {"label": label, "target": target, **_row(rows, values, label, target, hyper_parameters)}
        for label in _labels(study)
        for target, rows in targets.items()
    ]
    within = [f"within {name}" for name in hyper_parameters]
    table = pd.DataFrame(
        rows, columns=["label", "target", "tau", "p", "p_method", "n", "granulated", *within]
    )
    table.insert(4, "p_holm", holm(table["p"]))
    at_floor = (table["p_method"] == "permutation") & (table["p"] < 1.01 * SMALLEST_P)
    table.insert(5, "p_is_bound", table["p_holm"].isin(table["p_holm"][at_floor]))
    return table


def kendall(x: ArrayLike, y: ArrayLike) -> tuple[float, float, str]:
    """Kendall's tau-b with a two-sided p.

    Returns:
        tau, p, and how p was found: `exact` (SciPy's, without ties), `permutation` (where ties
        make SciPy refuse: all n! orders, or 9,999 drawn), `normal` (above 100 values). NaN where
        a side is constant or there are fewer than three values.
    """
    x, y = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    if len(x) < 3 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return float("nan"), float("nan"), ""
    if len(x) > MAX_PERMUTED:
        result = stats.kendalltau(x, y, method="asymptotic")
        return float(result.statistic), float(result.pvalue), "normal"
    if len(np.unique(x)) == len(x) and len(np.unique(y)) == len(y):
        result = stats.kendalltau(x, y, method="exact")
        return float(result.statistic), float(result.pvalue), "exact"
    return float(stats.kendalltau(x, y).statistic), _permutation_p(x, y), "permutation"


def _permutation_p(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    """Under permutation the ties, and so tau-b's denominator, stay: its numerator suffices."""
    sign_x = np.sign(x[:, None] - x)
    sign_y = np.sign(y[:, None] - y)

    def numerator(order: NDArray[np.int64]) -> float:
        order = order.astype(int)
        return float(np.vdot(sign_x, sign_y[order[:, None], order]))

    result = stats.permutation_test(
        (np.arange(len(x)),),
        numerator,
        permutation_type="pairings",
        vectorized=False,
        n_resamples=RESAMPLES,
        rng=np.random.default_rng(0),
    )
    return float(result.pvalue)


def granulated_tau(
    rows: pd.DataFrame, x: str, y: str, hyper_parameter: str, others: Sequence[str]
) -> float:
    """Mean tau-b over groups that differ in one hyper-parameter alone; NaN without any group.

    Args:
        rows: One row per point.
        x: The measure's column.
        y: The target's column.
        hyper_parameter: The column that varies within a group.
        others: The columns, the seed among them, that are equal within a group.
    """
    taus = [
        stats.kendalltau(group[x], group[y]).statistic
        for group in _varying(rows, hyper_parameter, others)
        if group[x].nunique() > 1 and group[y].nunique() > 1
    ]
    return float(np.mean(taus)) if taus else float("nan")


def _varying(rows: pd.DataFrame, name: str, others: Sequence[str]) -> Iterator[pd.DataFrame]:
    for _, group in rows.groupby(list(others), sort=False, dropna=False):
        if group[name].nunique(dropna=False) > 1:
            yield group


def _row(
    trials: pd.DataFrame,
    points: pd.DataFrame,
    label: str,
    target: str,
    hyper_parameters: Sequence[str],
) -> dict[str, object]:
    known = trials.dropna(subset=[label, target])
    tau, p, method = kendall(known[label], known[target])
    # Points, not trials: a trial that two arms share belongs to both comparisons.
    points = points.dropna(subset=[label, target])
    within = {
        f"within {name}": granulated_tau(
            points, label, target, name, [h for h in [*hyper_parameters, "seed"] if h != name]
        )
        for name in hyper_parameters
    }
    taus = [tau for tau in within.values() if not np.isnan(tau)]
    granulated = float(np.mean(taus)) if taus else float("nan")
    result = {"tau": tau, "p": p, "p_method": method, "n": len(known), "granulated": granulated}
    return {**result, **within}


def _labels(study: Study) -> list[str]:
    return [*dict.fromkeys(measure_values(study)["label"]), "train_loss"]


def _trial_values(study: Study) -> pd.DataFrame:
    """Complete points with their final metrics, gap and one column per measure's label."""
    points = labelled_points(study)
    points = points[points["status"] == "complete"]
    wide = measure_values(study).pivot(index="trial_id", columns="label", values="value")
    gaps = paired_gaps(study).rename(columns={"value": "generalization_gap"})
    cell = ["arm", "settings", "global_batch_size", "seed"]
    points = points.merge(gaps[[*cell, "generalization_gap"]], on=cell, how="left")
    return points.merge(wide, on="trial_id", how="left")
