"""Steps to a target: how many steps each batch size takes to a test metric, tuned apart.

Shallue, Lee, Antognini, Sohl-Dickstein, Frostig, Dahl 2019, *Measuring the effects of data
parallelism on neural network training* (JMLR 20, arXiv 1811.03600): steps until the test error
first passes a goal, the least over all tuned settings of a batch size. Where they fall as 1/B
scaling is perfect, then returns diminish, until more examples save no step (maximal parallelism).

McCandlish, Kaplan, Amodei et al. 2018 (arXiv 1812.06162), equation 2.11 in the form

    S(B) = S_min (1 + B_crit / B)

which says both: S_min steps at best, twice as many at B_crit.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats
from scipy.optimize import least_squares

from analysis.gaps import by_cell
from analysis.gaps.by_cell import CELL, labelled_points, with_settings
from analysis.gaps.measured import NOISE, measure_values
from analysis.load import Study
from analysis.search.outcomes import edges
from analysis.uncertainty import LEVEL, mean_interval

RAN = ("complete", "diverged", "stopped")
"""Trials that had their chance to reach the target."""
STEEP, FLAT = -0.75, -0.25
"""Slopes d log S / d log B that part the regimes, our choice: with S(B) as above the slope is
-B_crit / (B + B_crit), so that these are B = B_crit / 3 and B = 3 B_crit."""
REACH = 1e3
"""B_crit is looked for within so many times the smallest and the largest batch size."""


# ---------------------------------------------------------------------------- steps to the target


def first_passes(study: Study) -> pd.DataFrame:
    """Every trial that ran, of the search and final, with the step of its first pass.

    Returns:
        CELL, stage, seed, trial_id, the columns of `study.searched`; steps, those of the first
        record that reaches the target (inf where none does), and after, those of the
        record before it (of the last, where none has): the pass lies between the two.
    """
    both = [
        labelled_points(study).assign(stage="final"),
        with_settings(study, study.search_points),
    ]
    points = pd.concat([rows for rows in both if len(rows)], ignore_index=True)
    points = points[points["status"].isin(RAN)]
    points = points[[*CELL, "stage", "seed", "trial_id", *study.searched]].drop_duplicates()
    metric, column = study.metric, study.test_metric
    records = study.evaluations[["trial_id", "optimizer_step", column]].dropna()
    passed = records[metric.advantage(records[column], study.target) >= 0]
    steps = passed.groupby("trial_id")["optimizer_step"].min()
    points["steps"] = points["trial_id"].map(steps).fillna(math.inf)
    first = records["trial_id"].map(steps).fillna(math.inf)
    before = records[records["optimizer_step"] < first]
    after = before.groupby("trial_id")["optimizer_step"].max()
    points["after"] = points["trial_id"].map(after).fillna(0.0)
    return points.reset_index(drop=True)


def steps_to_target(study: Study) -> pd.DataFrame:
    """The least steps per cell, and what the cell's final trials took.

    Returns:
        CELL; trials and reached; steps (inf where no trial reached the target), after and the
        columns of `study.searched` of the best trial; edge, those at the edge of what was searched;
        mean, low, high over the final trials' seeds, finals and finals_reached: NaN unless all
        reached it, because a mean of those that did would flatter; slope, d log S / d log B from
        the next smaller batch size of the series, where both reached it, and its regime.
    """
    cells = by_cell.counts(study)[CELL]
    passes = first_passes(study)
    groups = dict(list(passes.groupby(CELL)))
    keys = [*cells.itertuples(index=False, name=None)]
    keys += [key for key in groups if key not in set(keys)]  # searched, without final trials
    rows = [
        dict(zip(CELL, key, strict=True)) | _best(study, groups.get(key, passes[:0]))
        for key in keys
    ]
    table = by_cell.in_order(pd.DataFrame(rows))
    return table.assign(**_slopes(table))


def _best(study: Study, trials: pd.DataFrame) -> dict[str, Any]:
    finals = trials.loc[trials["stage"] == "final", "steps"]
    reached = finals[np.isfinite(finals)]
    over_seeds = mean_interval(reached if len(reached) == len(finals) else [])
    counts = {
        "trials": len(trials),
        "reached": int(np.isfinite(trials["steps"]).sum()),
        "finals": len(finals),
        "finals_reached": len(reached),
        "mean": over_seeds.mean,
        "low": over_seeds.low,
        "high": over_seeds.high,
    }
    if not counts["reached"]:
        nothing = dict.fromkeys(study.searched, math.nan)
        return counts | {"steps": math.inf, "after": math.nan, "edge": ()} | nothing
    best = trials.loc[trials["steps"].idxmin()]
    values = {name: float(best[name]) for name in study.searched}
    tried = trials[trials["stage"] == "search"]
    edge = edges(study, values, tried) if study.search else ()
    return counts | {"steps": best["steps"], "after": best["after"], "edge": edge} | values


def _slopes(table: pd.DataFrame) -> dict[str, list[Any]]:
    series = table.groupby(["arm", "settings"], sort=False)
    log_steps = np.log(table["steps"].where(np.isfinite(table["steps"])))
    log_sizes = np.log(table["global_batch_size"].astype(float))
    keys = [table["arm"], table["settings"]]
    slopes = log_steps.groupby(keys).diff() / log_sizes.groupby(keys).diff()
    assert len(slopes) == sum(map(len, series.groups.values()))
    return {"slope": list(slopes), "regime": [regime(slope) for slope in slopes]}


def regime(slope: float) -> str:
    """The regime that a local slope d log S / d log B belongs to; empty without one."""
    if math.isnan(slope):
        return ""
    if slope <= STEEP:
        return "perfect scaling"
    return "maximal parallelism" if slope >= FLAT else "diminishing returns"


# ------------------------------------------------------------------------------- critical batch


@dataclass(frozen=True, kw_only=True)
class CriticalBatch:
    """S(B) = S_min (1 + B_crit / B) as fitted; 95 % intervals, NaN where they have no base."""

    minimum_steps: float
    minimum_steps_low: float
    minimum_steps_high: float
    critical_batch_size: float
    """0 or inf where the fit runs off below or above all batch sizes: only a bound is known."""
    critical_low: float
    critical_high: float
    n: int

    def steps(self, sizes: NDArray[np.float64]) -> NDArray[np.float64]:
        """S at batch sizes."""
        curve: NDArray[np.float64] = self.minimum_steps * (1 + self.critical_batch_size / sizes)
        return curve


def fit_critical_batch(sizes: Sequence[float], steps: Sequence[float]) -> CriticalBatch | None:
    """Least squares of log S over log S_min and log B_crit.

    Intervals are those of the linearized fit, Student t with n - 2 degrees of freedom, on the log
    scale. They know the scatter of the points about the curve, not that each is a minimum over
    trials.

    Args:
        sizes: batch sizes, [n].
        steps: steps to the target, [n], finite.

    Returns:
        The fit; None below three batch sizes, where any two points lie on a curve.
    """
    if len(set(sizes)) < 3:
        return None
    x, y = np.asarray(sizes, dtype=float), np.log(np.asarray(steps, dtype=float))
    bounds = np.log([x.min() / REACH, x.max() * REACH])

    def residuals(at: NDArray[np.float64]) -> NDArray[np.float64]:
        apart: NDArray[np.float64] = at[0] + np.log1p(np.exp(at[1]) / x) - y
        return apart

    found = least_squares(
        residuals,
        [y.min(), np.log(np.median(x))],
        bounds=([-np.inf, bounds[0]], [np.inf, bounds[1]]),
        xtol=1e-12,
        ftol=1e-12,
        gtol=1e-12,
    )
    (log_steps, log_size), freedom = found.x, len(x) - 2
    nan = math.nan
    for bound, limit in zip(bounds, (0.0, math.inf), strict=True):
        if abs(log_size - bound) < 0.5:  # it would have gone on
            return CriticalBatch(
                minimum_steps=float(np.exp(log_steps)) if limit == 0 else 0.0,
                minimum_steps_low=nan,
                minimum_steps_high=nan,
                critical_batch_size=limit,
                critical_low=nan,
                critical_high=nan,
                n=len(x),
            )
    covariance = np.linalg.inv(found.jac.T @ found.jac) * 2 * found.cost / freedom
    half = stats.t.ppf((1 + LEVEL) / 2, freedom) * np.sqrt(np.diag(covariance))
    low, high = np.exp(found.x - half), np.exp(found.x + half)
    return CriticalBatch(
        minimum_steps=float(np.exp(log_steps)),
        minimum_steps_low=float(low[0]),
        minimum_steps_high=float(high[0]),
        critical_batch_size=float(np.exp(log_size)),
        critical_low=float(low[1]),
        critical_high=float(high[1]),
        n=len(x),
    )


def critical_batches(study: Study) -> dict[tuple[str, str], CriticalBatch]:
    """The fit of each series, by arm and settings, over the batch sizes that reached the target."""
    table = steps_to_target(study)
    table = table[np.isfinite(table["steps"])]
    found = {
        (str(arm), str(settings)): fit_critical_batch(
            list(rows["global_batch_size"]), list(rows["steps"])
        )
        for (arm, settings), rows in table.groupby(["arm", "settings"], sort=False)
    }
    return {key: fit for key, fit in found.items() if fit is not None}


def noise_scales(study: Study) -> pd.Series:
    """B_simple, mean over the complete trials of each cell, of the first variant measured."""
    values = measure_values(study)
    values = values[values["quantity"] == NOISE[0]]
    values = values[values["label"].isin(values["label"][:1])]
    points = labelled_points(study)[[*CELL, "trial_id"]]
    means: pd.Series = points.merge(values, on="trial_id").groupby(CELL)["value"].mean()
    return means
