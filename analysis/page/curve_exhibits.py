"""The report's figures of the loss around the solutions; only what was measured appears.

All are of the first series: the arm and settings that the plan begins with.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import pandas as pd

from analysis.figures import curves as curve_figures
from analysis.gaps import by_cell
from analysis.load import Study, but_for_when
from analysis.page.exhibit import Exhibit, exhibit, series_text
from analysis.wording import number


def curve_exhibits(study: Study) -> list[Exhibit]:
    """All that was measured at the end, in the order of the page."""
    points = by_cell.first_complete(study)
    return [*_spectra(study, points), *_rises(study, points), *_landscapes(study, points)]


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
    yield exhibit("spectrum", title, caption + series_text(points), curve_figures.spectra(rows))


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
    yield exhibit("rises", title, caption + series_text(points), drawn)


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
    of = series_text(points[points["seed"] == rows["seed"].iloc[0]])
    yield exhibit("landscape", title, caption + of, curve_figures.landscapes(rows, study.loss))


# ---------------------------------------------------------------------------------------- rows


def _curve(study: Study, points: pd.DataFrame, measure: str, quantity: str) -> pd.DataFrame:
    """Points of a curve at the end of training; of several settings the first that was measured."""
    rows = study.curves
    rows = rows[(rows["measure"] == measure) & (rows["quantity"] == quantity)]
    rows = rows[(rows["at_end"] == True)].dropna(subset=["x", "value"])  # noqa: E712 - nullable
    what = rows["parameters"].fillna("{}").map(but_for_when)
    rows = rows[what.isin(what.iloc[:1])]
    return points[["trial_id", "global_batch_size", "seed"]].merge(
        rows[["trial_id", "x", "y", "value", "parameters"]], on="trial_id"
    )
