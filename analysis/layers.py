"""What was recorded and probed of single layers, as the frames that figures are drawn from.

All of it is about the first series of the study, the baseline arm with the first settings, and
figures show few tensors: the weights of the first and of the last hidden layer, unless they compare
layers. The tables hold the rest.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis.gaps.by_cell import first_complete
from analysis.load import Study

MAX_RECORDS = 150
"""Points of one line: more show nothing more, and make a page heavy."""
PROBE = "gradient-probe"
FITTED = {"gradient_mu": "mu", "gradient_s": "s"}


@dataclass(frozen=True, kw_only=True)
class Fit:
    """The probe's law of one tensor, sqrt(mu^2 + s^2 (1/n - 1/N)); mu, s: means over seeds."""

    layer: str
    at_start: bool
    mu: float
    s: float
    num_examples: float

    @property
    def n_star(self) -> float:
        """(s / mu)^2, in examples."""
        return (self.s / self.mu) ** 2 if self.mu > 0 else float("inf")

    def at(self, sizes: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """The law at batch sizes of at most N."""
        values: npt.NDArray[np.float64] = np.sqrt(
            self.mu**2 + self.s**2 * (1 / sizes - 1 / self.num_examples)
        )
        return values


def records(study: Study) -> pd.DataFrame:
    """The records of the first series' complete trials, with batch size and seed of each.

    Returns:
        `study.layers` with arm, settings, global_batch_size, seed, tensor ("hidden1 weight") and
        loss_stride_per_lr.
    """
    columns = ["trial_id", "seed", "arm", "settings", "global_batch_size"]
    rows = first_complete(study)[columns].merge(study.layers, on="trial_id")
    rates = rows["lr"].where(rows["lr"] > 0)
    return rows.assign(
        tensor=rows["layer"] + " " + rows["kind"], loss_stride_per_lr=rows["loss_stride"] / rates
    )


def thinned(rows: pd.DataFrame) -> pd.DataFrame:
    """At most `MAX_RECORDS` steps of every batch size, evenly spread, first and last among them."""
    kept = []
    for _, group in rows.groupby("global_batch_size", sort=False):
        steps = np.unique(group["optimizer_step"])
        places = np.linspace(0, len(steps) - 1, min(len(steps), MAX_RECORDS)).round().astype(int)
        kept.append(group[group["optimizer_step"].isin(steps[places])])
    return pd.concat(kept) if kept else rows


def hidden_tensors(tensors: pd.Series) -> list[str]:
    """The weights of the first and of the last hidden layer, of tensors in the network's order.

    Where layers are called `hiddenN` (after convolutions, if there are any), the first and last of
    these; else of all weights but those of the last layer, the output's.
    """
    weights = [t for t in dict.fromkeys(tensors) if t.endswith(" weight")]
    named = [t for t in weights if t.startswith("hidden")]
    hidden = named or weights[:-1] or weights
    return list(dict.fromkeys([*hidden[:1], *hidden[-1:]]))


def first_gradients(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean |g| at the first step: tensor, global_batch_size, seed and value."""
    first = rows[rows["optimizer_step"] == 1]
    return first[["tensor", "global_batch_size", "seed"]].assign(value=first["mean_abs_gradient"])


def probed(study: Study) -> pd.DataFrame:
    """The probe's points: tensor, at_start, global_batch_size (drawn), seed and value.

    Trials of one seed start from the same weights: there one of them stands for all. At the end the
    weights are those of the baseline batch size.
    """
    points = _probed_trials(study).merge(study.curves, on="trial_id")
    points = points[points["measure"] == PROBE].rename(columns={"layer": "tensor", "x": "drawn"})
    return _one_per_start(points, study, ["tensor", "drawn"]).rename(
        columns={"drawn": "global_batch_size"}
    )[["tensor", "at_start", "global_batch_size", "seed", "value"]]


def fits(study: Study) -> list[Fit]:
    """The probe's law of every tensor, at the start, then at the end.

    mu and s are geometric means over seeds, as the points beside them; mu is 0 where a seed's is.
    """
    rows = _probed_trials(study).merge(study.measures, on="trial_id")
    rows = rows[(rows["measure"] == PROBE) & rows["quantity"].isin([*FITTED])]
    rows = _one_per_start(rows.rename(columns={"layer": "tensor"}), study, ["tensor", "quantity"])
    found = []
    for (layer, at_start), group in rows.groupby(["tensor", "at_start"], sort=False):
        with np.errstate(divide="ignore"):
            logs = np.log(group["value"]).groupby(group["quantity"]).mean()
        means = np.exp(logs).rename(FITTED)
        sizes = group["examples"].max()
        found.append(Fit(layer=layer, at_start=at_start, num_examples=sizes, **means))
    return sorted(found, key=lambda fit: not fit.at_start)


def _one_per_start(rows: pd.DataFrame, study: Study, by: list[str]) -> pd.DataFrame:
    rows = rows.assign(at_start=rows["optimizer_step"] == 0)
    at_end = ~rows["at_start"] & (rows["at_end"] == True)  # noqa: E712 - nullable
    small = study.baseline_batch_size or rows["global_batch_size"].min()
    rows = rows[rows["at_start"] | (at_end & (rows["global_batch_size"] == small))]
    rows = rows.drop(columns="global_batch_size")
    return rows.drop_duplicates(["at_start", "seed", *by], keep="last")


def _probed_trials(study: Study) -> pd.DataFrame:
    return first_complete(study)[["trial_id", "seed", "global_batch_size"]]
