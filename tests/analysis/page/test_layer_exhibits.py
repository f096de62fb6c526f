"""Frames and figures of single layers, from records that are written by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis import layers
from analysis.gaps.measured import measure_values
from analysis.judged.correlation import correlations
from analysis.load import Study, load_study
from analysis.page.layer_exhibits import layer_exhibits
from analysis.page.report import write_report
from analysis.page.tables import measure_table
from trainables.results.schema import TABLES

TENSORS = [
    (f"{layer}{suffix}", kind)
    for layer in ("conv1", "hidden1", "hidden2", "hidden3", "output")
    for suffix, kinds in (("", ("weight", "bias")), ("_norm", ("gamma", "beta")))
    for kind in kinds
]
SIZES, SEEDS = (32, 128, 512), (0, 1, 2)
MU, S, N = 0.002, 0.04, 5000


def law(n: float) -> float:
    return float(np.sqrt(MU**2 + S**2 * (1 / n - 1 / N)))


def table(name: str, rows: list[dict[str, Any]]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=TABLES[name].names)


def layer_rows(trials: pd.DataFrame, steps: int = 3, curved: bool = True) -> pd.DataFrame:
    return table(
        "layers",
        [
            {
                "trial_id": trial["trial_id"],
                "optimizer_step": step,
                "epoch": step * size / 5000,
                "lr": 0.1,
                "layer": layer,
                "kind": kind,
                "mean_abs_gradient": law(size) * (1 + 0.01 * trial["seed"]),
                "parameter_stride": 0.1 * law(size),
                "parameter_stride_per_lr": law(size),
                "loss_stride": 0.1 * law(size) ** 2,
                "mean_curvature_radius": 30.0 * number if curved else None,
                "median_curvature_radius": 3.0 * number if curved else None,
                "curvature_samples": 4 if curved else None,
            }
            for trial in trials.to_dict("records")
            for size in [trial["global_batch_size"]]
            for step in range(1, steps + 1)
            for number, (layer, kind) in enumerate(TENSORS, start=1)
        ],
    )


def probe_rows(trials: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Measures and curves of probes at the start and at the end, the latter ten times smaller."""
    shared = [
        {
            "trial_id": trial,
            "measure": "gradient-probe",
            "layer": f"{layer} {kind}",
            "at_end": factor < 1,
            "optimizer_step": 0 if factor == 1 else 99,
            "examples": N,
            "index": 0,
            "factor": factor,
        }
        for trial in trials["trial_id"]
        for factor in (1.0, 0.1)
        for layer, kind in TENSORS
    ]
    values = {"gradient_mu": MU, "gradient_s": S, "gradient_n_star": (S / MU) ** 2}
    measures = [
        row | {"quantity": name, "value": value * (row["factor"] if "star" not in name else 1)}
        for row in shared
        for name, value in values.items()
    ]
    curves = [
        row | {"quantity": "mean_abs_gradient", "x": n, "value": law(n) * row["factor"]}
        for row in shared
        for n in (16.0, 64.0, 4096.0)
    ]
    return table("measures", measures), table("curves", curves)


@pytest.fixture
def plain(study) -> Study:
    """Batch sizes and seeds crossed, and an arm that no figure of layers shows."""
    points = [
        {"arm": arm, "global_batch_size": size, "seed": seed, "test_accuracy": 0.9}
        | ({"lr_scaling": "sqrt"} if arm == "sqrt" else {})
        | {"hessian_trace": 3.0}
        for arm in ("baseline", "sqrt")
        for size in SIZES
        for seed in SEEDS
    ]
    return load_study(study(points))


@pytest.fixture
def recorded(plain: Study) -> Study:
    measures, curves = probe_rows(plain.trials)
    both = pd.concat([plain.measures, measures], ignore_index=True)
    return replace(plain, layers=layer_rows(plain.trials), measures=both, curves=curves)


def test_nothing_recorded_is_nothing_shown(plain, tmp_path):
    assert layer_exhibits(plain) == []
    page = write_report(plain, tmp_path / "report.html").read_text()
    assert "Layer by layer" not in page


def test_all_figures_are_on_the_page(recorded, tmp_path):
    names = [exhibit.name for exhibit in layer_exhibits(recorded)]
    assert names == [
        "layer_gradients",
        "layer_strides",
        "layer_loss_strides",
        "layer_median_curvature_radius",
        "layer_mean_curvature_radius",
    ]
    page = write_report(recorded, tmp_path / "report.html").read_text()
    assert all(f'id="figure-{name}"' in page for name in names)


def test_figures_show_what_was_recorded_and_say_n_star(recorded):
    gradients, strides, losses, median, mean = layer_exhibits(recorded)
    assert "hidden1 weight: mean_abs_gradient" in gradients.svg
    assert "hidden3 weight: mean_abs_gradient" in gradients.svg
    for tensor in ("hidden1 weight", "hidden3 weight"):
        assert f"400 at the start and 400 at the end ({tensor})" in gradients.caption
    for title in ("parameter_stride_per_lr", "parameter_stride"):
        assert strides.svg.count(f"hidden1 weight: {title}<") == 1
    assert "hidden3 weight: loss_stride_per_lr" in losses.svg
    for exhibit in (median, mean):
        for title in ("weights, batch size 32", "biases, batch size 512"):
            assert title in exhibit.svg
        assert "conv1<" in exhibit.svg and "_norm" not in exhibit.svg
        assert "4 random vectors" in exhibit.caption


def test_without_curvature_and_probe_the_others_stand(plain):
    found = layer_exhibits(replace(plain, layers=layer_rows(plain.trials, curved=False)))
    assert [e.name for e in found] == ["layer_gradients", "layer_strides", "layer_loss_strides"]
    assert "Fit" not in found[0].caption
    only_first = layer_exhibits(replace(plain, layers=layer_rows(plain.trials, 1, curved=False)))
    assert [e.name for e in only_first] == ["layer_gradients"]


def test_a_probe_alone_has_its_figure(plain):
    measures, curves = probe_rows(plain.trials)
    (only,) = layer_exhibits(replace(plain, measures=measures, curves=curves))
    assert only.name == "layer_gradients" and "Filled" not in only.caption


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["conv1", "conv2", "hidden1", "hidden2", "output"], ["hidden1", "hidden2"]),
        (["hidden1", "output"], ["hidden1"]),
        (["layer1.0.conv1", "layer1.0.conv2", "fc"], ["layer1.0.conv1", "layer1.0.conv2"]),
        (["network"], ["network"]),
    ],
)
def test_which_layers_are_shown(names, expected):
    tensors = pd.Series([f"{name} {kind}" for name in names for kind in ("weight", "bias")] * 2)
    assert layers.hidden_tensors(tensors) == [f"{name} weight" for name in expected]


def test_records_are_those_of_the_first_series(recorded):
    rows = layers.records(recorded)
    assert set(rows["arm"]) == {"baseline"} and set(rows["seed"]) == set(SEEDS)
    assert len(rows) == len(SIZES) * len(SEEDS) * 3 * len(TENSORS)
    np.testing.assert_allclose(rows["loss_stride_per_lr"], rows["loss_stride"] / 0.1)


def test_long_records_are_thinned_evenly_with_both_ends(recorded):
    trials = recorded.trials[:1]
    rows = layers.records(replace(recorded, layers=layer_rows(trials, steps=1000)))
    steps = layers.thinned(rows)["optimizer_step"].unique()
    assert len(steps) == layers.MAX_RECORDS and (steps[0], steps[-1]) == (1, 1000)
    assert np.diff(steps).max() - np.diff(steps).min() <= 1


def test_a_start_is_shared_by_all_batch_sizes_and_the_end_is_the_baselines(recorded):
    points = layers.probed(recorded)
    per_tensor = points[points["tensor"] == "hidden1 weight"]
    assert len(per_tensor) == 2 * 3 * len(SEEDS)
    start = per_tensor[per_tensor["at_start"]]
    np.testing.assert_allclose(start["value"], [law(n) for n in start["global_batch_size"]])
    fits = {(f.layer, f.at_start): f for f in layers.fits(recorded)}
    fit = fits["hidden1 weight", False]
    assert (fit.mu, fit.s) == pytest.approx((0.1 * MU, 0.1 * S))
    assert fit.n_star == pytest.approx(400) and fit.num_examples == N
    np.testing.assert_allclose(fit.at(np.array([16.0, N])), [0.1 * law(16), 0.1 * MU])
    assert [f.at_start for f in layers.fits(recorded)] == [True] * 20 + [False] * 20


def test_a_mu_of_0_has_an_infinite_n_star(recorded):
    rows = recorded.measures
    none = rows["quantity"] == "gradient_mu"
    found = layers.fits(replace(recorded, measures=rows.assign(value=rows["value"].mask(none, 0))))
    assert {(fit.mu, fit.n_star) for fit in found} == {(0.0, np.inf)}


def test_rows_of_layers_are_in_no_table_of_whole_networks(recorded):
    """The columns are those of the measures of the whole network, here the Hessian's trace."""
    assert set(measure_values(recorded)["label"]) == {"hessian_trace"}
    assert not [name for name in measure_table(recorded) if "gradient" in name]
    assert set(correlations(recorded)["label"]) == {"hessian_trace", "train_loss"}
