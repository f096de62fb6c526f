"""Which measure goes with generalization: Kendall's tau, within cells, between them, granulated.

tau-b looks at order only, so a measure and its logarithm have the same tau. Over all trials it is a
number without p: trials are seeds of a few cells, and permuting them gives p < .05 in a third of
studies in which nothing is associated. Two tests take its place: the mean of the taus within cells,
and tau of the cell means. A correlation of means may be that of a hyper-parameter that moves both
(sharpness often follows the learning rate rather than generalization: Andriushchenko et al. 2023);
tau within each hyper-parameter, all others held equal, tells the two apart (Jiang et al. 2020,
arXiv 1912.02178). See docs/methods/correlation.md.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from analysis.gaps.by_cell import CELL, axes, labelled_points
from analysis.gaps.measured import definitions, measure_values
from analysis.gaps.paired import paired_gaps
from analysis.judged.kendall import kendall, mean_tau
from analysis.load import Study
from analysis.uncertainty import MIN_JUDGED, holm

MIN_CELLS = 5
"""Cell means below which no p of theirs is given: of four, the smallest is 1/12."""
TESTS = ("in_cells", "of_means")


def correlations(study: Study) -> pd.DataFrame:
    """Kendall's tau-b of every measure with the test set's metric and with the generalization gap.

    Over complete trials, each once however many points share it. Measures are those taken at the
    end of training, and the final training loss. Sharp minima that generalize worse show as a
    positive tau with `generalization_gap`, and a negative one with a metric whose more is better.

    Returns:
        One row per measure (label) and target:

        - tau over all n trials, without p.
        - tau_in_cells, p_in_cells: the mean of tau within the `cells` (block, arm, settings, batch
          size) of at least three trials, and its p when trials are permuted within their cells;
          p_whole_seeds is that of permuting seeds alike in all cells, which holds where runs of one
          seed resemble each other.
        - tau_of_means, p_of_means: of these cells' means (of a measure that is positive
          everywhere geometric ones), exact, p from five cells on.
        - p_in_cells_holm, p_of_means_holm: each over its own family, m_in_cells and m_of_means
          rows that have such a p; ..._is_bound where no permutation that was drawn came as far
          (more draws would give a smaller one).
        - seeds: trials of the smallest of the cells (0 without any).
        - granulated: mean of the taus within hyper-parameters, NaN without any, and one column
          `within NAME` per hyper-parameter: global_batch_size, arm and each axis of the grid.
    """
    return _correlations(study).copy(deep=False)


@lru_cache(maxsize=1)  # thousands of permutations, and more than one reader on a page
def _correlations(study: Study) -> pd.DataFrame:
    values = _trial_values(study)
    targets = {
        study.test_metric: values.drop_duplicates("trial_id"),
        "generalization_gap": values.dropna(subset="generalization_gap").drop_duplicates(
            ["trial_id"]
        ),
    }
    hyper_parameters = ["global_batch_size", "arm", *axes(study)]
    rows = [
        {
            "label": label,
            "target": target,
            **_trial_taus(rows, label, target),
            **_granulated(values, label, target, hyper_parameters),
        }
        for label in _labels(study)
        for target, rows in targets.items()
    ]
    return _with_holm(pd.DataFrame(rows))


def _with_holm(table: pd.DataFrame) -> pd.DataFrame:
    """With each test's p after Holm, over the rows that have one."""
    for test in TESTS:
        adjusted = pd.Series(holm(table[f"p_{test}"]), index=table.index)
        bounds = adjusted[table[f"p_{test}_is_bound"]]
        table = table.assign(
            **{
                f"p_{test}_holm": adjusted,
                f"p_{test}_is_bound": adjusted.isin(bounds),
                f"m_{test}": int(adjusted.notna().sum()),
            }
        )
    return table


def _trial_taus(trials: pd.DataFrame, label: str, target: str) -> dict[str, object]:
    known = trials.dropna(subset=[label, target])
    groups = known.groupby(["block", *CELL], sort=False, dropna=False)
    cells = [rows.set_index("seed") for _, rows in groups if len(rows) >= MIN_JUDGED]
    pairs = [(rows[label].to_numpy(float), rows[target].to_numpy(float)) for rows in cells]
    within = mean_tau(pairs)
    logs = all((x > 0).all() for x, _ in pairs)  # as ratios are averaged everywhere
    measures = [np.log(x).mean() if logs else x.mean() for x, _ in pairs]
    tau, p, is_bound = kendall(measures, [y.mean() for _, y in pairs])
    enough = len(pairs) >= MIN_CELLS
    return {
        "tau": kendall(known[label], known[target], with_p=False).tau,
        "n": len(known),
        "tau_in_cells": within.tau,
        "p_in_cells": within.p,
        "p_in_cells_is_bound": within.is_bound,
        "p_whole_seeds": mean_tau(_aligned(cells, label, target), whole_seeds=True).p,
        "tau_of_means": tau,
        "p_of_means": p if enough else float("nan"),
        "p_of_means_is_bound": is_bound and enough,
        "cells": len(pairs),
        "seeds": min(map(len, cells), default=0),
    }


def _aligned(
    cells: Sequence[pd.DataFrame], label: str, target: str
) -> list[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """The cells that have the commonest set of seeds, in its order."""
    seeds = [tuple(sorted(rows.index)) for rows in cells]
    if not seeds:
        return []
    commonest = max(dict.fromkeys(seeds), key=seeds.count)
    whole = [
        rows.loc[list(commonest)]
        for rows, own in zip(cells, seeds, strict=True)
        if own == commonest
    ]
    return [(rows[label].to_numpy(float), rows[target].to_numpy(float)) for rows in whole]


def _granulated(
    points: pd.DataFrame, label: str, target: str, hyper_parameters: Sequence[str]
) -> dict[str, float]:
    # Points, not trials: a trial that two arms share belongs to both comparisons.
    points = points.dropna(subset=[label, target])
    within = {
        f"within {name}": granulated_tau(
            points, label, target, name, [h for h in [*hyper_parameters, "seed"] if h != name]
        )
        for name in hyper_parameters
    }
    taus = [tau for tau in within.values() if not np.isnan(tau)]
    return {"granulated": float(np.mean(taus)) if taus else float("nan"), **within}


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


def _labels(study: Study) -> list[str]:
    """All that was measured, but for the paper's own sharpness: `best` is the same, and larger."""
    known = [d for d in definitions(study) if not d.is_sharpness or d.method == "best"]
    return [*(d.label for d in known), "train_loss"]


def _trial_values(study: Study) -> pd.DataFrame:
    """Complete points with their final metrics, gap and one column per measure's label."""
    points = labelled_points(study)
    points = points[points["status"] == "complete"]
    wide = measure_values(study).pivot(index="trial_id", columns="label", values="value")
    gaps = paired_gaps(study).rename(columns={"value": "generalization_gap"})
    cell = ["arm", "settings", "global_batch_size", "seed"]
    points = points.merge(gaps[[*cell, "generalization_gap"]], on=cell, how="left")
    return points.merge(wide, on="trial_id", how="left")
