"""The report's figures and tables of curvature beside 2 / lr; only what was recorded appears."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from analysis.figures import edge as figures
from analysis.figures.drawing import looks_of
from analysis.figures.edge import BATCH, TOP
from analysis.gaps import by_cell
from analysis.gaps.by_cell import CELL
from analysis.gaps.measured import recorded
from analysis.judged.edge import (
    BELOW,
    FOLLOW_THE_RATE,
    EdgeSlope,
    edge_distances,
    edge_slopes,
)
from analysis.load import RESOLVED, Study
from analysis.page.exhibit import Exhibit, exhibit, n_text, series_text
from analysis.page.tables import row_head, table_of
from analysis.uncertainty import mean_interval
from analysis.wording import NONE, bounded, listed, number

VARIANCE = "top_gradient_variance"


def edge_exhibits(study: Study) -> list[Exhibit]:
    """Curvature along training, where it was recorded, and its distance from 2 / lr."""
    return [*_curvature(study), *_variance(study), *_distances(study)]


def _curvature(study: Study) -> Iterator[Exhibit]:
    points = by_cell.first_complete(study)
    values, clock = _along_training(study, points, (TOP, BATCH))
    if values.empty:
        return
    levels = _levels(study, points)
    title = "Curvature along training."
    caption = "Geometric means over seeds; bands: 95 % Student t intervals on the log scale. "
    if BATCH in set(values["quantity"]):
        caption += (
            "Batch sharpness: mean over batches of g'Hg / |g|\N{SUPERSCRIPT TWO}, with "
            "normalization's final statistics. "
        )
    if levels.empty:
        caption += "No level is drawn: 2 / lr is that of SGD. "
    else:
        caption += "Grey: what plain SGD of that rate can bear, 2 / lr. "
    if levels["low"].notna().any():
        caption += (
            "With momentum m, batch sharpness has been found to settle between 2 (1 - m) / lr at "
            "small batches and 2 (1 + m) / lr at large ones. "
        )
    drawn = figures.edge_of_stability(values, levels, clock)
    yield exhibit("edge", title, caption + series_text(points), drawn)


def _variance(study: Study) -> Iterator[Exhibit]:
    points = by_cell.first_complete(study)
    values, clock = _along_training(study, points, (VARIANCE,))
    if values.empty:
        return
    title = "The gradient's noise along the top eigenvector, along training."
    caption = (
        "The variance over examples of the gradient along the Hessian's top eigenvector; a batch "
        "of B drawn from N has (N - B) / (N - 1) / B of it. Geometric means over seeds; bands: "
        "95 % Student t intervals on the log scale. "
    )
    drawn = figures.gradient_variance(values, clock)
    yield exhibit("edge_variance", title, caption + series_text(points), drawn)


def _distances(study: Study) -> Iterator[Exhibit]:
    slopes = edge_slopes(study)
    if not slopes:
        return
    rows = edge_distances(study)
    rows = rows[rows.groupby(CELL)["distance"].transform("min") > 0]
    if rows.empty:
        return
    title = "How far below 2 / lr the top eigenvalue stays."
    caption = (
        "The relative distance, the eigenvalue being the mean over the last fifth of a trial's "
        "records; faint dots: single seeds; geometric means, bars: 95 % Student t intervals on "
        f"the log scale ({n_text(rows.groupby(CELL).size())}). Dashed: the line of the mean slope, "
        f"over the batch sizes whose mean lies below {number(BELOW)} of 2 / lr. Batch sizes at "
        "which a seed lies at 2 / lr or above are not drawn."
    )
    lines = [_line(rows, slope) for slope in slopes if slope.estimate == slope.estimate]
    drawn = figures.edge_distances(rows, lines, looks_of(rows))
    yield exhibit("edge_distances", title, caption, drawn)


def _line(rows: pd.DataFrame, slope: EdgeSlope) -> pd.DataFrame:
    """The line of the mean slope through the middle of what it was fitted to."""
    own = (rows["arm"] == slope.arm) & (rows["settings"] == slope.settings)
    fitted = rows[own & rows["trial_id"].isin(slope.trials)]
    middle = np.log(fitted[["global_batch_size", "distance"]].astype(float)).mean()
    sizes = np.array(slope.sizes, dtype=float)
    logs = middle["distance"] + slope.estimate * (np.log(sizes) - middle["global_batch_size"])
    named = {"arm": slope.arm, "settings": slope.settings}
    return pd.DataFrame({**named, "global_batch_size": sizes, "distance": np.exp(logs)})


# ------------------------------------------------------------------------------------------ tables


def distance_table(study: Study) -> pd.DataFrame:
    """Late top eigenvalues per cell, as shares of 2 / lr."""
    if not edge_slopes(study):
        return pd.DataFrame()
    groups = dict(list(edge_distances(study).groupby(CELL)))
    counts = (
        row for row in by_cell.records(by_cell.counts(study)) if by_cell.cell_of(row) in groups
    )
    return table_of(
        {
            **row_head(row),
            "2 / lr": number(groups[by_cell.cell_of(row)]["edge"].iloc[0]),
            **_late(groups[by_cell.cell_of(row)]),
        }
        for row in counts
    )


def _late(rows: pd.DataFrame) -> dict[str, str]:
    share = mean_interval(1 - rows["distance"])
    bounds = "" if share.n < 2 else f" [{share.low:.3f}, {share.high:.3f}]"
    return {
        "top eigenvalue": number(rows["eigenvalue"].mean()),
        "of 2 / lr": f"{share.mean:.3f}{bounds}",
        "n": str(share.n),
    }


def slope_table(study: Study) -> pd.DataFrame:
    """`edge_slopes` as text."""
    return table_of(
        {
            "arm": slope.arm,
            "settings": slope.settings,
            "slope": bounded(slope.estimate, slope.low, slope.high),
            "R\N{SUPERSCRIPT TWO}": number(slope.r_squared, 2),
            "batch sizes": listed([str(size) for size in slope.sizes]) if slope.sizes else NONE,
            "n": str(slope.n),
            "nearest to 2 / lr": f"{slope.largest_share:.3f}",
            "why no word": slope.reason,
        }
        for slope in edge_slopes(study)
    )


# -------------------------------------------------------------------------------------------- rows


def _along_training(
    study: Study, points: pd.DataFrame, quantities: tuple[str, ...]
) -> tuple[pd.DataFrame, str]:
    """What was recorded of these, at the end too, and the clock that tells records apart.

    That is the epoch, or the step where all batch sizes take as many: their epochs differ then.
    Empty where nothing was recorded along the way.
    """
    methods = {BATCH: "mean of ratios"}
    rows = pd.concat([recorded(study, name, methods.get(name)) for name in quantities])
    rows = rows[rows["value"].notna() & rows["epoch"].notna()]
    columns = ["trial_id", "quantity", "epoch", "optimizer_step", "value"]
    values = points[["trial_id", "global_batch_size", "seed"]].merge(rows[columns], on="trial_id")
    return values, _clock(points)


def _clock(points: pd.DataFrame) -> str:
    steps = points.groupby("global_batch_size")["optimizer_step"].max()
    return "optimizer_step" if len(steps) > 1 and steps.nunique() == 1 else "epoch"


def _levels(study: Study, points: pd.DataFrame) -> pd.DataFrame:
    """2 / lr at every evaluation, from the rate in force, and what momentum makes of it."""
    optimizer, momentum = f"optimizer{RESOLVED}", f"momentum{RESOLVED}"
    followed = points[points[optimizer].isin(FOLLOW_THE_RATE)]
    records = study.evaluations[["trial_id", "epoch", "optimizer_step", "lr"]]
    columns = ["trial_id", "global_batch_size", momentum]
    levels = followed[columns].merge(records[records["lr"] > 0], on="trial_id")
    m, plain = levels[momentum].where(levels[momentum] > 0), 2 / levels["lr"]
    return levels.assign(plain=plain, low=plain * (1 - m), high=plain * (1 + m))
