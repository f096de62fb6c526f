from __future__ import annotations

from collections.abc import Callable
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from analysis.correlation import correlations, kendall
from analysis.load import load_study
from analysis.uncertainty import holm

WriteStudy = Callable[..., Path]


def _tau_b(x: list[float], y: list[float]) -> float:
    """By the definition, pair by pair."""
    pairs = [(i, j) for i in range(len(x)) for j in range(i)]
    signs = [(np.sign(x[i] - x[j]), np.sign(y[i] - y[j])) for i, j in pairs]
    numerator = sum(a * b for a, b in signs)
    return numerator / np.sqrt(sum(a != 0 for a, _ in signs) * sum(b != 0 for _, b in signs))


def test_with_ties_p_is_the_share_of_all_orders_as_far_from_zero() -> None:
    x, y = [1.0, 1.0, 2.0, 3.0, 4.0, 4.0], [2.0, 1.0, 1.0, 3.0, 5.0, 4.0]
    tau, p, method = kendall(x, y)
    taus = [_tau_b(list(order), y) for order in permutations(x)]
    upper = np.mean([t >= _tau_b(x, y) - 1e-12 for t in taus])
    lower = np.mean([t <= _tau_b(x, y) + 1e-12 for t in taus])
    assert (tau, method) == (pytest.approx(_tau_b(x, y)), "permutation")
    assert p == pytest.approx(2 * min(upper, lower))


def test_without_ties_p_is_scipy_s_exact_one() -> None:
    x, y = [1.0, 2.0, 3.0, 4.0, 5.0], [1.0, 2.0, 3.0, 5.0, 4.0]
    expected = stats.kendalltau(x, y, method="exact")
    assert kendall(x, y) == (pytest.approx(0.8), pytest.approx(expected.pvalue), "exact")


def test_drawn_permutations_agree_with_the_normal_approximation_and_repeat() -> None:
    draw = np.random.default_rng(0)
    x = draw.integers(0, 20, 60)
    y = x + draw.integers(0, 80, 60)
    assert kendall(x, y) == kendall(x, y)
    normal = stats.kendalltau(x, y, method="asymptotic").pvalue
    assert kendall(x, y)[1] == pytest.approx(normal, abs=0.01)
    assert kendall(np.tile(x, 2), np.tile(y, 2))[2] == "normal"


def test_nothing_is_said_of_constants_and_pairs() -> None:
    assert np.isnan(kendall([1, 1, 1], [1, 2, 3])[0])
    assert np.isnan(kendall([1, 2], [1, 2])[1])


def _point(batch: int, lr: float, seed: int, **values: float) -> dict[str, Any]:
    return {"global_batch_size": batch, "base_lr": lr, "seed": seed, **values}


def test_a_measure_that_follows_the_rate_alone_is_told_apart(study: WriteStudy) -> None:
    # Sharpness falls and accuracy rises with the rate; within a rate, over batches, both rise.
    points = [
        _point(b, lr, seed, test_accuracy=0.5 + lr + 0.001 * i, sharpness=10 - 50 * lr + 0.1 * i)
        for lr in (0.01, 0.05, 0.1)
        for i, b in enumerate((32, 128, 512))
        for seed in range(2)
    ]
    table = correlations(load_study(study(points)))
    row = table[table["label"].str.startswith("sharpness")].iloc[0]
    assert row["target"] == "test_accuracy"
    assert row["tau"] < 0
    assert row["within base_lr"] == -1
    assert row["within global_batch_size"] == 1
    assert row["granulated"] == 0
    assert row["n"] == 18


def test_the_generalization_gap_is_a_target_off_the_baseline_batch(study: WriteStudy) -> None:
    points = [
        _point(b, 0.02, seed, test_accuracy=0.9 - b / 1e4, hessian_trace=b + seed, train_loss=b)
        for b in (32, 128, 512, 1000)
        for seed in range(2)
    ]
    table = correlations(load_study(study(points))).set_index(["label", "target"])
    gap = table.loc[("hessian_trace", "generalization_gap")]
    assert (gap["n"], gap["tau"] > 0) == (6, True)
    accuracy = table.loc[("hessian_trace", "test_accuracy")]
    assert (accuracy["n"], accuracy["tau"] < 0) == (8, True)
    assert table.loc[("train_loss", "test_accuracy"), "tau"] == pytest.approx(-1)
    assert table["p_holm"].to_numpy() == pytest.approx(holm(table["p"]))


def test_a_p_that_no_drawn_permutation_reached_is_marked(study: WriteStudy) -> None:
    # In perfect order with a tie: no permutation that is drawn comes as far.
    points = [
        _point(32, 0.02, s, test_accuracy=0.9 + s // 2 / 100, sharpness=1.0 + s, train_loss=s % 3)
        for s in range(20)
    ]
    table = correlations(load_study(study(points))).set_index("label")
    sharpness = table.loc["sharpness best, ε 1e-3"].iloc[0]
    assert (sharpness["p_method"], sharpness["p"]) == ("permutation", pytest.approx(2e-4))
    assert (sharpness["p_is_bound"], sharpness["p_holm"]) == (True, pytest.approx(4e-4))
    assert not table.loc["train_loss"].iloc[0]["p_is_bound"]


def test_correlations_are_computed_once(study: WriteStudy, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = load_study(study([_point(32, 0.02, s, test_accuracy=0.9 + s / 9) for s in range(3)]))
    first = correlations(loaded)
    monkeypatch.setattr("analysis.correlation.kendall", None)
    assert correlations(loaded).equals(first)


def test_a_trial_that_points_share_counts_once(study: WriteStudy) -> None:
    points = [_point(32, 0.02, s, test_accuracy=0.9 + s / 100, sharpness=1.0 + s) for s in range(3)]
    doubled = [*points, *({**p, "arm": "same", "trial_id": f"{i}"} for i, p in enumerate(points))]
    for i, point in enumerate(doubled):
        point["trial_id"] = f"{i % 3:012d}"
    table = correlations(load_study(study(doubled)))
    assert table.loc[table["target"] == "test_accuracy", "n"].tolist() == [3, 3]


def test_a_study_without_results_has_an_empty_family(study: WriteStudy) -> None:
    table = correlations(load_study(study([{**_point(32, 0.02, 0), "status": "planned"}])))
    assert table["tau"].isna().all()
    assert table["n"].tolist() == [0, 0]
