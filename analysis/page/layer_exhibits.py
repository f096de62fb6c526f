"""The report's figures of single layers, where there are records or probes of them."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from analysis import layers
from analysis.figures import layers as layer_figures
from analysis.layers import Fit
from analysis.load import Study
from analysis.page.exhibit import Exhibit, exhibit
from analysis.wording import listed, number


def layer_exhibits(study: Study) -> list[Exhibit]:
    """All that can be drawn of layers; none where nothing was recorded."""
    records = layers.records(study)
    return [*_gradients(study, records), *_strides(records), *_radii(records)]


def _gradients(study: Study, records: pd.DataFrame) -> Iterator[Exhibit]:
    first, points = layers.first_gradients(records), layers.probed(study)
    if first["global_batch_size"].nunique() < 2 and points.empty:
        return
    names = records["tensor"] if len(records) else points["tensor"]
    tensors = layers.hidden_tensors(names)
    fits = [fit for fit in layers.fits(study) if fit.layer in tensors]
    title = "Mean gradient against batch size."
    caption = (
        "Geometric means over seeds with 95 % Student t intervals on the log scale. Grey: the "
        "B^(-1/2) of pure noise, through the smallest batch size. "
    )
    if len(first):
        caption += "Filled: the first step of training. "
    if fits:
        caption += (
            "Open: batches drawn at fixed weights, with evaluation's normalization and without "
            f"dropout, so that they need not meet the first step's. {_n_stars(fits)}"
        )
    drawn = layer_figures.gradients_by_batch(first, points, fits, tensors)
    yield exhibit("layer_gradients", title, caption, drawn)


def _n_stars(fits: list[Fit]) -> str:
    """`n* = 133 at the start and 175 at the end (hidden1 weight), ...`."""
    of_tensor: dict[str, list[str]] = {}
    for fit in fits:
        when = "start" if fit.at_start else "end"
        of_tensor.setdefault(fit.layer, []).append(f"{number(fit.n_star)} at the {when}")
    parts = ", ".join(f"{listed(texts)} ({layer})" for layer, texts in of_tensor.items())
    return f"Fit: sqrt(mu^2 + s^2 (1/n - 1/N)); noise and mean weigh alike at n* = {parts}."


def _strides(records: pd.DataFrame) -> Iterator[Exhibit]:
    along = layers.thinned(records)
    if along["optimizer_step"].nunique() < 2:
        return
    tensors = layers.hidden_tensors(along["tensor"])
    along = along[along["tensor"].isin(tensors)]
    caption = (
        "One line per batch size: geometric mean over seeds, band: 95 % Student t interval on the "
        "log scale. Each point is a single step, with its own batch's noise. "
    )
    title = "How far a step moves a parameter."
    said = "parameter_stride: mean |dw|; over the rate it is mean |g| for plain SGD."
    columns = ["parameter_stride_per_lr", "parameter_stride"]
    drawn = layer_figures.along_training(along, columns, tensors)
    yield exhibit("layer_strides", title, caption + said, drawn)
    title = "How far a step moves the loss through one parameter, per rate."
    said = "loss_stride: mean |g dw|, to first order; over the rate it is mean g^2 for plain SGD."
    drawn = layer_figures.along_training(along, ["loss_stride_per_lr"], tensors)
    yield exhibit("layer_loss_strides", title, caption + said, drawn)


def _radii(records: pd.DataFrame) -> Iterator[Exhibit]:
    along = layers.thinned(records[records["median_curvature_radius"].notna()])
    if along.empty:
        return
    for column, said in (
        ("median_curvature_radius", "The median over a tensor's parameters."),
        (
            "mean_curvature_radius",
            "The mean, as in the paper: it hangs on the few flattest parameters, whose curvature "
            "is lost in the estimate's noise.",
        ),
    ):
        title = f"Curvature radius of each layer, its {column.partition('_')[0]}."
        caption = (
            f"|(1 + g^2)^(3/2) / h|, h the Hessian's diagonal from {_samples(along)} random "
            f"vectors. {said} Geometric mean over seeds, band: 95 % Student t interval."
        )
        drawn = layer_figures.curvature_radii(along, column)
        yield exhibit(f"layer_{column}", title, caption, drawn)


def _samples(records: pd.DataFrame) -> str:
    return listed([f"{n:g}" for n in sorted(records["curvature_samples"].dropna().unique())])
