"""The loss between two solutions, in the form of Keskar et al. 2017."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from analysis.figures import interpolation
from analysis.figures.drawing import Looks
from analysis.gaps.by_cell import CELL
from analysis.gaps.measured import partner_ids
from analysis.load import Study
from analysis.page.exhibit import Exhibit, exhibit, n_text

PATHS = {
    "linear": "alpha x_LB + (1 - alpha) x_SB",
    "curvilinear": "sin(alpha \N{GREEK SMALL LETTER PI}/2) x_LB + "
    "cos(alpha \N{GREEK SMALL LETTER PI}/2) x_SB",
}


def path_exhibits(study: Study, points: pd.DataFrame, looks: Looks) -> Iterator[Exhibit]:
    """The loss between solutions, for each path that was measured."""
    for path, formula in PATHS.items():
        curves = curves_between(study, points, path)
        if curves.empty or study.baseline_batch_size is None:
            continue
        title = f"Losses and {study.metric.plural} on a {path} path between two solutions."
        cells = curves.drop_duplicates([*CELL, "seed"]).groupby(CELL).size()
        caption = (
            f"{formula}: x_SB at batch size {study.baseline_batch_size:g}, x_LB at the panel's, "
            f"all else equal. Mean over seeds; band: 95 % Student t interval "
            f"({n_text(cells)}), on the log scale for the loss. Normalization statistics are "
            "taken anew at every point. A loss that rises faster beside alpha 1 says that the "
            "large batch's solution is the sharper one along this line; other directions may "
            "differ."
        )
        if len(cells) > (shown := interpolation.MAX_CELLS):
            caption += f" The first {shown} of {len(cells)}; the curves table holds all."
        drawn = interpolation.parametric_plots(
            curves, looks, study.baseline_batch_size, study.metric, study.loss
        )
        yield exhibit(path, title, caption, drawn)


def curves_between(study: Study, points: pd.DataFrame, path: str) -> pd.DataFrame:
    """The curves of the complete points to their partners at the baseline batch size.

    Args:
        study: as loaded.
        points: of `gaps.labelled_points`.
        path: `linear` or `curvilinear`.

    Returns:
        CELL, seed, quantity, x (alpha), value. Of several sets of settings the first measured.
    """
    rows = study.curves
    rows = rows[(rows["measure"] == "interpolation") & (rows["method"] == path)]
    rows = rows[rows["other_trial_id"].isin(partner_ids(study))]
    rows = rows[rows["parameters"].isin(rows["parameters"][:1])]
    complete = points.loc[points["status"] == "complete", [*CELL, "seed", "trial_id"]]
    return complete.merge(rows[["trial_id", "quantity", "x", "value"]], on="trial_id")
