"""Gaps between batch sizes, and between train and test: paired by seed, positive where worse."""

from __future__ import annotations

import pandas as pd

from analysis.gaps.by_cell import CELL, complete_values, means_of, off_baseline
from analysis.load import Study
from analysis.uncertainty import sign_flip_p
from trainables.task import Metric, metric_of


def generalization_gap(study: Study) -> pd.DataFrame:
    """By how much the metric on the test set is better at the baseline batch; see `gap_of`."""
    return gap_of(study, study.test_metric)


def gap_of(study: Study, column: str) -> pd.DataFrame:
    """By how much a metric is better at the baseline batch than at this one, paired by seed.

    Returns:
        One row per cell off the baseline batch; `p` is the exact sign-flip permutation p.
    """
    pairs = paired_gaps(study, column)
    table = off_baseline(study, means_of(study, pairs))
    return table.join(pairs.groupby(CELL)["value"].agg(sign_flip_p).rename("p"), on=CELL)


def paired_gaps(study: Study, column: str | None = None) -> pd.DataFrame:
    """The single pairs of `gap_of`: arm, settings, batch size, seed, trial_id and value."""
    column = column or study.test_metric
    pairs = paired(study, complete_values(study, column))
    gap = metric_of(column).advantage(pairs["baseline"], pairs["value"])
    return pairs.assign(value=gap).drop(columns="baseline")


def train_test_gap(study: Study, metric: Metric | None = None) -> pd.DataFrame:
    """By how much the same trial is worse on test than on train; of the metric, or of the loss."""
    metric = metric or study.metric
    train, test = (complete_values(study, metric.column(s)) for s in ("train", "test"))
    return means_of(study, train.assign(value=metric.advantage(train["value"], test["value"])))


def paired(study: Study, values: pd.DataFrame) -> pd.DataFrame:
    """Values off the baseline batch beside their pair's at it, `baseline`: same arm and seed."""
    same = ["arm", "settings", "seed"]
    at_baseline = values["global_batch_size"] == study.baseline_batch_size
    baseline = values[at_baseline].rename(columns={"value": "baseline"})
    return values[~at_baseline].merge(baseline[[*same, "baseline"]], on=same)
