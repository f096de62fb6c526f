"""The report's figures of the loss around the solutions; only what was measured appears.

All are of the first series: the arm and settings that the plan begins with.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import numpy as np
import pandas as pd

from analysis.figures import curves as curve_figures
from analysis.figures.curves import BATCH, TOP
from analysis.gaps import by_cell
from analysis.load import RESOLVED, Study
from analysis.page.exhibit import Exhibit, exhibit, seeds_text
from analysis.wording import number

FOLLOW_THE_RATE = ("sgd", "sgd-folded")
"""Optimizers whose largest stable curvature the rate gives."""


def curve_exhibits(study: Study) -> list[Exhibit]:
    """All that was measured at the end, in the order of the page."""
    points = by_cell.first_complete(study)
    return [*_spectra(study, points), *_rises(study, points), *_landscapes(study, points)]


def edge_exhibits(study: Study) -> list[Exhibit]:
    """Batch sharpness and the top eigenvalue along training, where they were recorded."""
    points = by_cell.first_complete(study)
    values = _along_training(study, points)
    if values.groupby(["global_batch_size", "quantity"])["epoch"].nunique().max() in (1, np.nan):
        return []
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
    return [
        exhibit(
            "edge", title, caption + _of(points), curve_figures.edge_of_stability(values, levels)
        )
    ]


# ------------------------------------------------------------------------------------ exhibits


def _spectra(study: Study, points: pd.DataFrame) -> Iterator[Exhibit]:
    rows = _curve(study, points, "spectrum", "spectral_density")
    if rows.empty:
        return
    title = "Eigenvalue density of the Hessian at the solutions."
    caption = (
        "Stochastic Lanczos quadrature, mean over seeds; every eigenvalue is smoothed by a "
        "Gaussian whose width is a fixed part of its spectrum's range, so that the peak at 0 is "
        "as wide as that and no wider. The axis is linear around 0, else logarithmic. "
    )
    yield exhibit("spectrum", title, caption + _of(points), curve_figures.spectra(rows))


def _rises(study: Study, points: pd.DataFrame) -> Iterator[Exhibit]:
    rows = _curve(study, points, "random-directions", "rise")
    if rows.empty:
        return
    asked = json.loads(rows["parameters"].iloc[0])
    steep, radius = asked["steep_rise"], asked["relative_radius"]
    title = "How the loss rises along random directions."
    caption = (
        f"Steps of {number(radius)} |x| along Gaussian directions, sorted by their rise; geometric "
        "mean over seeds, bands: 95 % Student t intervals on the log scale. In many dimensions "
        "random directions are much alike, and the curves flat. "
    )
    drawn = curve_figures.random_rises(rows, steep, study.loss)
    yield exhibit("rises", title, caption + _of(points), drawn)


def _landscapes(study: Study, points: pd.DataFrame) -> Iterator[Exhibit]:
    rows = _curve(study, points, "landscape", "train_loss")
    if rows.empty:
        return
    rows = rows[rows["seed"] == rows["seed"].min()]
    title = "The training loss over a plane through the solutions."
    caption = (
        "Two random directions, filter by filter as long as the weights' own (Li et al. 2018), "
        f"the same Gaussian draws in all panels; seed {rows['seed'].iloc[0]}. Contours are "
        "logarithmic and common to all panels. Two directions of many: an illustration. "
    )
    of = _of(points[points["seed"] == rows["seed"].iloc[0]])
    yield exhibit("landscape", title, caption + of, curve_figures.landscapes(rows, study.loss))


def _of(points: pd.DataFrame) -> str:
    settings = points["settings"].iloc[0]
    series = f"{points['arm'].iloc[0]}: {settings}" if settings else f"arm {points['arm'].iloc[0]}"
    return f"Series: {series}, {seeds_text(points)}."


# ---------------------------------------------------------------------------------------- rows


def _curve(study: Study, points: pd.DataFrame, measure: str, quantity: str) -> pd.DataFrame:
    """Points of a curve at the end of training; of several settings the first that was measured."""
    rows = study.curves
    rows = rows[(rows["measure"] == measure) & (rows["quantity"] == quantity)]
    rows = rows[(rows["at_end"] == True) & rows["value"].notna()]  # noqa: E712 - nullable
    rows = rows[rows["parameters"].isin(rows["parameters"].iloc[:1])]
    return points[["trial_id", "global_batch_size", "seed"]].merge(
        rows[["trial_id", "x", "y", "value", "parameters"]], on="trial_id"
    )


def _along_training(study: Study, points: pd.DataFrame) -> pd.DataFrame:
    """Batch sharpness (mean of ratios) and top eigenvalues, at the end too."""
    rows = study.measures
    is_top = (rows["quantity"] == TOP) & (rows["index"].fillna(0) == 0)
    is_batch = (rows["quantity"] == BATCH) & (rows["method"] == "mean of ratios")
    rows = rows[(is_top | is_batch) & rows["value"].notna() & rows["epoch"].notna()]
    first = rows.drop_duplicates("quantity")["parameters"]
    rows = rows[rows["parameters"].isin(first)]
    return points[["trial_id", "global_batch_size", "seed"]].merge(
        rows[["trial_id", "quantity", "epoch", "value"]], on="trial_id"
    )


def _levels(study: Study, points: pd.DataFrame) -> pd.DataFrame:
    """2 / lr at every evaluation, from the rate in force, and what momentum makes of it."""
    optimizer, momentum = f"optimizer{RESOLVED}", f"momentum{RESOLVED}"
    followed = points[points[optimizer].isin(FOLLOW_THE_RATE)]
    records = study.evaluations[["trial_id", "epoch", "lr"]]
    columns = ["trial_id", "global_batch_size", momentum]
    levels = followed[columns].merge(records[records["lr"] > 0], on="trial_id")
    m, plain = levels[momentum].where(levels[momentum] > 0), 2 / levels["lr"]
    return levels.assign(plain=plain, low=plain * (1 - m), high=plain * (1 + m))
