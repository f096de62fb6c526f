from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import permutations, product
from typing import Any

import numpy as np
import pytest
from scipy import stats

from analysis.judged.correlation import correlations
from analysis.judged.kendall import kendall, mean_tau
from analysis.load import load_study
from analysis.page.tables import correlation_table
from analysis.uncertainty import holm
from analysis.words.measure_details import association
from tests.analysis.synthetic import WriteStudy


def _tau_b(x: list[float], y: list[float]) -> float:
    """By the definition, pair by pair."""
    pairs = [(i, j) for i in range(len(x)) for j in range(i)]
    signs = [(np.sign(x[i] - x[j]), np.sign(y[i] - y[j])) for i, j in pairs]
    numerator = sum(a * b for a, b in signs)
    return numerator / np.sqrt(sum(a != 0 for a, _ in signs) * sum(b != 0 for _, b in signs))


def test_with_ties_p_is_the_share_of_all_orders_as_far_from_zero() -> None:
    x, y = [1.0, 1.0, 2.0, 3.0, 4.0, 4.0], [2.0, 1.0, 1.0, 3.0, 5.0, 4.0]
    found = kendall(x, y)
    taus = [_tau_b(list(order), y) for order in permutations(x)]
    assert found.tau == pytest.approx(_tau_b(x, y))
    assert found.p == pytest.approx(np.mean([abs(t) >= abs(found.tau) - 1e-12 for t in taus]))


def test_without_ties_p_is_scipy_s_exact_one() -> None:
    x, y = [1.0, 2.0, 3.0, 4.0, 5.0], [1.0, 2.0, 3.0, 5.0, 4.0]
    expected = stats.kendalltau(x, y, method="exact")
    assert kendall(x, y) == (pytest.approx(0.8), pytest.approx(expected.pvalue), False)


def test_drawn_permutations_agree_with_the_normal_approximation_and_repeat() -> None:
    draw = np.random.default_rng(0)
    x = draw.integers(0, 20, 60)
    y = x + draw.integers(0, 80, 60)
    assert kendall(x, y) == kendall(x, y)
    normal = stats.kendalltau(x, y, method="asymptotic").pvalue
    assert kendall(x, y).p == pytest.approx(normal, abs=0.01)
    twice = stats.kendalltau(np.tile(x, 2), np.tile(y, 2), method="asymptotic").pvalue
    assert kendall(np.tile(x, 2), np.tile(y, 2)).p == pytest.approx(twice)


def test_nothing_is_said_of_constants_and_pairs() -> None:
    assert np.isnan(kendall([1, 1, 1], [1, 2, 3]).tau)
    assert np.isnan(kendall([1, 2], [1, 2]).p)


# ------------------------------------------------------------------------------ mean over cells

TINY = [
    (np.array([1.0, 2.0, 3.0]), np.array([5.0, 4.0, 6.0])),
    (np.array([4.0, 9.0, 7.0]), np.array([2.0, 8.0, 3.0])),
    (np.array([1.0, 1.0, 2.0]), np.array([1.0, 0.0, 0.0])),
]


def test_within_cells_p_is_the_share_of_all_orders_of_each_cell() -> None:
    found = mean_tau(TINY)
    observed = np.mean([_tau_b(list(x), list(y)) for x, y in TINY])
    means = [
        np.mean([_tau_b(list(x), list(order)) for (x, _), order in zip(TINY, orders, strict=True)])
        for orders in product(*(permutations(y) for _, y in TINY))
    ]
    assert len(means) == 6**3
    assert found.tau == pytest.approx(observed)
    assert found.p == pytest.approx(np.mean(np.abs(means) >= abs(observed) - 1e-9))
    assert not found.is_bound


def test_whole_seeds_are_permuted_alike_in_all_cells() -> None:
    found = mean_tau(TINY, whole_seeds=True)
    means = [
        np.mean([_tau_b(list(x), list(y[list(order)])) for x, y in TINY])
        for order in permutations(range(3))
    ]
    assert found.p == pytest.approx(np.mean(np.abs(means) >= abs(found.tau) - 1e-9))


def test_drawn_orders_of_cells_agree_with_all_of_them_and_repeat() -> None:
    draw = np.random.default_rng(3)
    cells = [(draw.normal(size=4), draw.normal(size=4)) for _ in range(3)]
    tables = [
        [_tau_b(list(x), list(order)) for order in permutations(y)] for x, y in cells
    ]  # 24^3 orders are more than are drawn
    sums = np.add.outer(np.add.outer(*tables[:2]), tables[2]).ravel()
    found = mean_tau(cells)
    assert found == mean_tau(cells)
    expected = np.mean(np.abs(sums) >= abs(3 * found.tau) - 1e-9)
    assert found.p == pytest.approx(expected, abs=0.015)


def test_large_cells_are_drawn_and_constant_cells_left_out() -> None:
    x = np.arange(12.0)
    found = mean_tau([(x, x), (np.ones(5), np.arange(5.0))])
    assert (found.tau, found.p, found.is_bound) == (1, pytest.approx(1e-4), True)
    assert np.isnan(mean_tau([(np.ones(5), np.arange(5.0))]).tau)
    assert np.isnan(mean_tau([]).p)


def _studies(
    cells: int, seeds: int, count: int, shared: float = 0.0, slope: float = 0.0
) -> Iterator[list[tuple[Any, Any]]]:
    """Studies with independent offsets of cells in both quantities, twice the spread of seeds.

    shared: the part of the variance within cells that all runs of one seed have in common.
    slope: of the second quantity on the first, within cells.
    """
    draw = np.random.default_rng(0)
    for _ in range(count):
        noise = [
            shared**0.5 * draw.normal(size=seeds)
            + (1 - shared) ** 0.5 * draw.normal(size=(cells, seeds))
            for _ in range(2)
        ]
        offsets = 2 * draw.normal(size=(2, cells, 1))
        yield list(
            zip(offsets[0] + noise[0], offsets[1] + noise[1] + slope * noise[0], strict=True)
        )


def _rate(p_values: Iterable[float]) -> float:
    return float(np.mean([p < 0.05 for p in p_values]))


def test_where_nothing_is_associated_a_small_p_is_rare() -> None:
    four = [*_studies(cells=4, seeds=5, count=400)]
    assert _rate(mean_tau(study).p for study in four) <= 0.07
    assert _rate(mean_tau(study, whole_seeds=True).p for study in four) <= 0.07
    pooled = [stats.kendalltau(*map(np.concatenate, zip(*s, strict=True))).pvalue for s in four]
    assert _rate(pooled) > 0.25  # what trials counted apart would say
    six = _studies(cells=6, seeds=5, count=400)
    means = ([values.mean(axis=1) for values in map(np.array, zip(*s, strict=True))] for s in six)
    assert _rate(kendall(*pair).p for pair in means) <= 0.07


def test_where_seeds_resemble_each_other_whole_seeds_hold() -> None:
    alike = [*_studies(cells=12, seeds=5, count=200, shared=0.5)]
    assert _rate(mean_tau(study).p for study in alike) > 0.12
    assert _rate(mean_tau(study, whole_seeds=True).p for study in alike) <= 0.07


def test_an_association_within_cells_is_found() -> None:
    there = [*_studies(cells=12, seeds=5, count=100, slope=1.0)]
    assert _rate(mean_tau(study).p for study in there) > 0.95
    assert _rate(mean_tau(study, whole_seeds=True).p for study in there) > 0.9


# --------------------------------------------------------------------------------------- studies


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


def _measured(pairs: Iterable[tuple[Any, Any]], first_batch: int = 32) -> list[dict[str, Any]]:
    """One batch size per cell, with sharpness exp(x) and an accuracy that rises with y."""
    return [
        _point(first_batch + i, 0.02, seed, sharpness=np.exp(a), test_accuracy=0.9 + b / 1e3)
        | {"train_loss": 0.1}
        for i, (x, y) in enumerate(pairs)
        for seed, (a, b) in enumerate(zip(x, y, strict=True))
    ]


def test_both_tests_are_of_cells_of_three_trials_and_over_their_own_families(
    study: WriteStudy,
) -> None:
    draw = np.random.default_rng(5)
    pairs = [(draw.normal(size=4) + i, draw.normal(size=4) + i) for i in range(5)]
    rows = _measured([*pairs, (np.ones(2), np.ones(2))])
    table = correlations(load_study(study(rows))).set_index(["label", "target"])
    row = table.loc[("sharpness best, ε 1e-3, full space", "test_accuracy")]
    assert (row["n"], row["cells"], row["seeds"]) == (22, 5, 4)
    assert (row["tau_in_cells"], row["p_in_cells"]) == pytest.approx(mean_tau(pairs)[:2])
    assert row["p_whole_seeds"] == pytest.approx(mean_tau(pairs, whole_seeds=True).p)
    x, y = (np.mean(values, axis=1) for values in zip(*pairs, strict=True))
    assert (row["tau_of_means"], row["p_of_means"]) == pytest.approx(kendall(x, y)[:2])
    gap = table.loc[("sharpness best, ε 1e-3, full space", "generalization_gap")]
    assert gap["cells"] == 4 and np.isnan(gap["p_of_means"])  # from five on
    assert set(table["m_in_cells"]) == {2} and set(table["m_of_means"]) == {1}
    for test in ("in_cells", "of_means"):
        assert table[f"p_{test}_holm"].to_numpy() == pytest.approx(
            holm(table[f"p_{test}"]), nan_ok=True
        )


def test_the_table_says_over_how_many_rows_p_was_adjusted(study: WriteStudy) -> None:
    draw = np.random.default_rng(5)
    pairs = [(draw.normal(size=3), draw.normal(size=3)) for _ in range(5)]
    columns = correlation_table(load_study(study(_measured(pairs))))
    assert "p, Holm over 2" in columns and "p of means, Holm over 1" in columns
    few = correlation_table(load_study(study(_measured(pairs[:2]))))
    assert "τ of cell means" in few and not [name for name in few if "of means," in name]


def test_tau_over_all_trials_has_no_p(study: WriteStudy) -> None:
    table = correlations(
        load_study(study([_point(32, 0.02, s, test_accuracy=0.9) for s in (0, 1)]))
    )
    assert not {"p", "p_holm"} & set(table)


def _association(study: WriteStudy, rows: list[dict[str, Any]], **settings: Any) -> str:
    return association(load_study(study(rows, **settings)))


def test_pooled_tau_is_no_association(study: WriteStudy) -> None:
    # Two clouds: over all trials tau is -.53 (p = .001 if seeds counted apart), within none.
    draw = np.random.default_rng(1)
    rows = _measured([(draw.normal(size=8), draw.normal(size=8) + d) for d in (0,)])
    rows += _measured([(draw.normal(size=8) + 9, draw.normal(size=8) - 9)], first_batch=512)
    text = _association(study, rows)
    pooled = stats.kendalltau([r["sharpness"] for r in rows], [r["test_accuracy"] for r in rows])
    assert pooled.pvalue < 0.01
    assert f"sharpness best, ε 1e-3, full space {pooled.statistic:.2f}, within cells" in text
    assert "no association is shown" in text and "accuracy where it is higher" not in text


@pytest.mark.parametrize(
    ("seeds", "settings", "said"),
    [
        (6, {}, "lower accuracy where it is higher, within cells and over cell means."),
        (3, {}, "lower accuracy where it is higher, over cell means (exploratory)."),
        (2, {}, ""),
        (6, {"name": "mine-smoke"}, ""),
    ],
)
def test_an_association_is_said_of_as_many_seeds_as_carry_it(
    study: WriteStudy, seeds: int, settings: dict[str, Any], said: str
) -> None:
    draw = np.random.default_rng(1)
    x = [draw.normal(size=seeds) + 2 * i for i in range(6)]
    rows = _measured([(values, -values) for values in x])
    text = _association(study, rows, **settings)
    assert text.endswith(said) if said else text == ""


def test_within_cells_whole_seeds_have_to_agree(study: WriteStudy) -> None:
    # Both follow the seed alike at every batch size: one chance order of 5 seeds, twelve times.
    x, y = np.array([1.0, 2, 3, 4, 5]), np.array([2.0, 1, 3, 4, 5])
    draw = np.random.default_rng(0)
    rows = _measured([(x + draw.normal(0, 0.01, 5), y) for _ in range(12)])
    loaded = load_study(study(rows))
    row = correlations(loaded).iloc[0]
    assert row["p_in_cells_holm"] < 0.001 and row["p_whole_seeds"] > 0.05
    assert "higher, within cells" not in association(loaded)


def test_a_p_that_no_drawn_permutation_reached_is_marked(study: WriteStudy) -> None:
    # In perfect order: no permutation that is drawn comes as far.
    rows = _measured([(np.arange(20.0), np.arange(20.0))])
    for row in rows:
        row["train_loss"] = row["seed"] % 3
    table = correlations(load_study(study(rows))).set_index("label")
    sharpness = table.loc["sharpness best, ε 1e-3, full space"].iloc[0]
    assert sharpness["p_in_cells"] == pytest.approx(1e-4)
    assert (sharpness["p_in_cells_is_bound"], sharpness["p_in_cells_holm"]) == (
        True,
        pytest.approx(2e-4),
    )
    assert not table.loc["train_loss"].iloc[0]["p_in_cells_is_bound"]


def test_correlations_are_computed_once(study: WriteStudy, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = load_study(study([_point(32, 0.02, s, test_accuracy=0.9 + s / 9) for s in range(3)]))
    first = correlations(loaded)
    monkeypatch.setattr("analysis.judged.correlation.kendall", None)
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
