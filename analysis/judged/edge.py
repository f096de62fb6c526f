"""How far the top eigenvalue stays below 2 / lr under plain SGD, against the batch size.

Full-batch gradient descent drives the Hessian's top eigenvalue to 2 / lr (Cohen et al. 2021,
arXiv 2103.00065). Under SGD it settles below; Liao, Kolomvaki & Kyrillidis 2026 (arXiv 2604.21016)
find that the distance goes as 1 / B. Here the relative distance is

    d(B) = 1 - lambda(B) lr / 2

lambda being the mean of the top eigenvalue over the last fifth of a trial's records (none where one
of these failed), and the slope is that of log d on log B by least squares, one per seed, over the
batch sizes whose mean over seeds lies below .95 of 2 / lr: nearer to the edge d is what noise
leaves of it. Fewer than four such sizes, or less than a decade of them, give no slope. d exceeds 1
only where the eigenvalue is negative, so that a slope flattens towards the smallest batch sizes
whatever the law. Interval: Student t over the seeds' slopes. No word where seeds diverged: the
means of survivors hide that.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import pandas as pd
from scipy import stats

from analysis.gaps import by_cell
from analysis.gaps.by_cell import CELL
from analysis.gaps.measured import recorded
from analysis.judged.gaps import not_judged
from analysis.load import RESOLVED, Study
from analysis.uncertainty import LEVEL, SAME, Number, is_exploratory, mean_interval
from analysis.wording import counted, number

TOP = "hessian_top_eigenvalue"
FOLLOW_THE_RATE = ("sgd", "sgd-folded")
"""Optimizers whose largest stable curvature the rate gives."""
TRAINS_OTHERWISE = (
    *("weight_decay", "max_gradient_norm", "label_smoothing", "focal_gamma", "discard_ratio"),
    *("discard_gradient_ratio", "adversarial_epsilon", "max_shift", "max_rotation"),
    "horizontal_flip",
)
"""What moves the level, or trains another loss than the one whose Hessian is taken."""
FEWEST_RECORDS = 5
"""Of which the last fifth is one at least."""
LATE = 0.8
"""Of a run: where its last fifth begins, and a warmup has ended."""
BELOW = 0.95
FEWEST_SIZES, DECADE = 4, 10
HALF = 0.5
"""Of 2 / lr, which some eigenvalue must reach; and of R^2: else there is no law."""


@dataclass(frozen=True, kw_only=True)
class EdgeSlope:
    """The slope of log d on log B of one series: one arm, all settings but the batch size equal."""

    arm: str
    settings: str
    estimate: Number
    low: Number
    high: Number
    level: float
    n: int
    """Seeds that completed at all of `sizes`."""
    r_squared: Number
    """Of the line through the means over seeds of log d."""
    sizes: tuple[int, ...]
    """Batch sizes below the edge."""
    largest_share: Number
    """The largest mean over seeds of lambda lr / 2."""
    reason: str
    """Why there is no slope, or why none is spoken of; else empty."""
    exploratory: str
    trials: tuple[str, ...]

    @property
    def has_law(self) -> bool:
        """Whether d is shown to change with the batch size, along a line, and near the edge."""
        is_shown = self.low > 0 or self.high < 0
        return is_shown and self.r_squared >= HALF and self.largest_share >= HALF


def edge_distances(study: Study) -> pd.DataFrame:
    """lambda and d of the complete trials that took plain SGD at a constant rate.

    Returns:
        CELL, seed, trial_id, edge (2 / lr), eigenvalue (lambda above), distance (d). Empty where
        the top eigenvalue was not recorded along training, five times at least.
    """
    return _distances(study).copy(deep=False)


@lru_cache(maxsize=1)
def _distances(study: Study) -> pd.DataFrame:
    points = by_cell.labelled_points(study)
    points = points[points["status"] == "complete"]
    plain = points[f"optimizer{RESOLVED}"].isin(FOLLOW_THE_RATE)
    for name in ("momentum", *TRAINS_OTHERWISE):
        plain &= points[f"{name}{RESOLVED}"].fillna(0).astype(float) == 0
    plain &= points[f"decay{RESOLVED}"].fillna("constant") == "constant"
    plain &= ~points[f"batch_schedule{RESOLVED}"].map(bool)
    plain &= points["scaled_warmup_epochs"].fillna(0) <= LATE * points["epoch"]
    rows = points.loc[plain, [*CELL, "seed", "trial_id", "peak_lr"]]
    rows = rows.assign(eigenvalue=rows["trial_id"].map(_late_eigenvalues(study)).astype(float))
    rows = rows.dropna(subset="eigenvalue").assign(edge=lambda table: 2 / table["peak_lr"])
    return rows.assign(distance=1 - rows["eigenvalue"] / rows["edge"]).drop(columns="peak_lr")


def _late_eigenvalues(study: Study) -> pd.Series:
    """lambda by trial."""
    rows = recorded(study, TOP)
    steps = rows.groupby("trial_id")["optimizer_step"]
    rows = rows.assign(place=steps.cumcount(ascending=False), count=steps.transform("size"))
    late = rows[(rows["count"] >= FEWEST_RECORDS) & (rows["place"] < np.ceil(rows["count"] / 5))]
    failed = late.loc[late["value"].isna(), "trial_id"]
    late = late[~late["trial_id"].isin(failed)]
    means: pd.Series = late.groupby("trial_id")["value"].mean()
    return means


@lru_cache(maxsize=1)
def edge_slopes(study: Study) -> tuple[EdgeSlope, ...]:
    """The slope of every series of two batch sizes and more, or why it has none."""
    return tuple(_slopes(study))


def _slopes(study: Study) -> Iterator[EdgeSlope]:
    for (arm, settings), rows in edge_distances(study).groupby(["arm", "settings"], sort=False):
        if rows["global_batch_size"].nunique() > 1:
            yield _slope(study, str(arm), str(settings), rows)


def _slope(study: Study, arm: str, settings: str, rows: pd.DataFrame) -> EdgeSlope:
    shares = (1 - rows["distance"]).groupby(rows["global_batch_size"]).mean()
    sizes = [int(size) for size in shares.index[shares < BELOW]]
    fitted = rows[rows["global_batch_size"].isin(sizes)]
    table = fitted.pivot_table(index="seed", columns="global_batch_size", values="distance")
    table = table.dropna()
    why = _why_none(sizes, table)
    slopes, r_squared = (np.array([]), math.nan) if why else _fit(table)
    found = mean_interval(slopes)
    if equal := len(slopes) > 1 and np.ptp(slopes) < SAME:  # no width is no certainty
        found = replace(found, low=math.nan, high=math.nan)
    lost = _lost(study, arm, settings)
    kept = fitted[fitted["seed"].isin(table.index)]
    return EdgeSlope(
        arm=arm,
        settings=settings,
        estimate=found.mean,
        low=found.low,
        high=found.high,
        level=LEVEL,
        n=len(table),
        r_squared=r_squared,
        sizes=tuple(sizes),
        largest_share=float(shares.max()),
        reason=why
        or lost
        or not_judged(study, len(table))
        or (f"all {len(slopes)} slopes equal" if equal else ""),
        exploratory="exploratory" if is_exploratory(len(table)) else "",
        trials=() if why else tuple(kept["trial_id"]),
    )


def _lost(study: Study, arm: str, settings: str) -> str:
    counts = by_cell.counts(study)
    own = counts[
        (counts["arm"] == arm) & (counts["settings"] == settings) & (counts["diverged"] > 0)
    ]
    rows = own[["diverged", "points", "global_batch_size"]].itertuples(index=False, name=None)
    return "; ".join(f"{d} of {n} seeds diverged at batch size {size}" for d, n, size in rows)


def _why_none(sizes: list[int], table: pd.DataFrame) -> str:
    """Why there is no slope. table: d by seed and batch size."""
    if len(sizes) < FEWEST_SIZES or max(sizes) < DECADE * min(sizes):
        below = counted(len(sizes), "batch size")
        return (
            f"no slope: {below} with the top eigenvalue below {number(BELOW)} of 2 / lr, and "
            f"{FEWEST_SIZES} over a decade are needed"
        )
    if table.empty:
        return "no slope: no seed completed at all of its batch sizes"
    if not (table > 0).all(axis=None):
        return "no slope: a seed's top eigenvalue lies above 2 / lr, where d has no logarithm"
    return ""


def _fit(table: pd.DataFrame) -> tuple[np.ndarray, float]:
    """A slope per seed, and R^2 of the line through the means of log d."""
    x, y = np.log(table.columns.to_numpy(dtype=float)), np.log(table.to_numpy(dtype=float))
    r: float = stats.linregress(x, y.mean(axis=0)).rvalue
    return np.polyfit(x, y.T, 1)[0], r**2
