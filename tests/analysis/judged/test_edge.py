"""The slope of the top eigenvalue's distance below 2 / lr: its value, its conditions, its words."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy import stats

from analysis.judged import edge_claims
from analysis.judged.edge import EdgeSlope, edge_distances, edge_slopes
from analysis.load import load_study
from analysis.uncertainty import t_quantile
from analysis.words.edge import edge_paragraphs
from tests.analysis.synthetic import WriteStudy, edge_points
from trainables.config.identity import parameters_text
from trainables.config.measures.hessian import Hessian

Slopes = Callable[..., tuple[EdgeSlope, ...]]
WOBBLE = (0.1, -0.2, 0.0, 0.2, -0.1)


def law(power: float, height: float = 1.2) -> Callable[[int, int], float]:
    """d = height B^power, a seed's slope a little off."""
    return lambda size, seed: min(height * size ** (power + WOBBLE[seed]), 0.99)


def flat(size: int, seed: int) -> float:
    """No dependence, but noise of a tenth."""
    return float(0.4 * np.exp(np.random.default_rng([size, seed]).normal(0, 0.1)))


@pytest.fixture
def slopes(study: WriteStudy) -> Slopes:
    def of(distance: Callable[[int, int], float], **more: Any) -> tuple[EdgeSlope, ...]:
        settings = {key: more.pop(key) for key in ("scale",) if key in more}
        points, rows = edge_points(distance, **more)
        return edge_slopes(load_study(study(points, measures=rows, **settings)))

    return of


def test_a_law_gives_its_slope_with_the_interval_of_the_seeds(slopes: Slopes) -> None:
    (found,) = slopes(law(-1))
    expected = -1 + np.array(WOBBLE)
    half = t_quantile(0.95, 4) * expected.std(ddof=1) / math.sqrt(5)
    assert found.estimate == pytest.approx(-1)
    assert [found.low, found.high] == pytest.approx([-1 - half, -1 + half])
    assert found.r_squared == pytest.approx(1)
    assert (found.sizes, found.n, found.reason) == ((2, 4, 8, 20), 5, "")
    assert found.largest_share == pytest.approx(
        1 - np.mean([1.2 * 256 ** (-1 + w) for w in WOBBLE])
    )


@pytest.mark.parametrize("sizes", [(2, 4, 8, 16, 24, 32, 256), (2, 8, 16, 20, 32)])
def test_only_the_sizes_below_the_edge_are_fitted(sizes: tuple[int, ...], slopes: Slopes) -> None:
    (found,) = slopes(law(-1), sizes=sizes)
    means = {size: np.mean([law(-1)(size, seed) for seed in range(5)]) for size in sizes}
    assert found.sizes == tuple(size for size in sizes if means[size] > 0.05)
    table = np.log([[law(-1)(size, seed) for size in found.sizes] for seed in range(5)])
    logs = np.log(found.sizes)
    assert found.estimate == pytest.approx(
        np.mean([stats.linregress(logs, row).slope for row in table])
    )
    assert found.r_squared == pytest.approx(stats.linregress(logs, table.mean(axis=0)).rvalue ** 2)


@pytest.mark.parametrize(
    ("sizes", "why"),
    [
        ((2, 4, 64), "no slope: 2 batch sizes"),
        ((2, 8, 20, 64), "no slope: 3 batch sizes"),
        ((4, 6, 8, 10, 256), "no slope: 4 batch sizes"),
    ],
)
def test_fewer_than_four_sizes_over_a_decade_give_no_slope(
    sizes: tuple[int, ...], why: str, slopes: Slopes
) -> None:
    (found,) = slopes(law(-1), sizes=sizes)
    assert found.reason.startswith(why)
    assert math.isnan(found.estimate) and found.trials == ()


def test_a_seed_above_the_edge_gives_no_slope_rather_than_the_others(slopes: Slopes) -> None:
    def some(size: int, seed: int) -> float:
        return -0.01 if (size, seed) == (8, 2) else law(-1)(size, seed)

    (found,) = slopes(some)
    assert "above 2 / lr" in found.reason


@pytest.mark.parametrize(
    "changes",
    [
        {"optimizer": "adam"},
        {"momentum": 0.9},
        {"decay": "cosine"},
        {"records": 4},
        {"weight_decay": 0.1},
        {"max_gradient_norm": 1.0},
        {"label_smoothing": 0.1},
        {"discard_ratio": 0.3},
        {"adversarial_epsilon": 0.1},
        {"horizontal_flip": True},
        {"scaled_warmup_epochs": 2.0},
    ],
)
def test_other_training_has_no_such_edge(changes: dict[str, Any], slopes: Slopes) -> None:
    assert slopes(law(-1), **changes) == ()


def test_the_last_fifth_of_the_records_counts_and_no_other(study: WriteStudy) -> None:
    points, rows = edge_points(lambda size, seed: 0.25, records=10)
    found = edge_distances(load_study(study(points, measures=rows[::-1])))
    assert found["eigenvalue"].tolist() == [30.0] * len(points)
    assert found["edge"].tolist() == [40.0] * len(points)


def test_a_record_that_failed_late_gives_no_value_and_an_early_one_does_no_harm(
    study: WriteStudy,
) -> None:
    points, rows = edge_points(lambda size, seed: 0.25, sizes=(2, 4), seeds=1)
    failed = {"value": None, "quantity": None, "error": "RuntimeError: no"}
    late = [row | failed if row["at_end"] and "0002" in row["trial_id"] else row for row in rows]
    found = edge_distances(load_study(study(points, measures=late)))
    assert found["global_batch_size"].tolist() == [4]
    early = [row | failed if row["optimizer_step"] == 10 else row for row in rows]
    assert len(edge_distances(load_study(study(points, measures=early)))) == 2


def test_of_two_listings_the_first_that_was_recorded_along_training_counts(
    study: WriteStudy,
) -> None:
    points, rows = edge_points(lambda size, seed: 0.25, sizes=(2, 4), seeds=1)
    few, many = (parameters_text(Hessian(examples=n, every_steps=10)) for n in (50, 500))
    other = [row | {"parameters": many, "value": 1.0} for row in rows]
    own = [row | {"parameters": few} for row in rows]
    at_end = [row | {"parameters": parameters_text(Hessian()), "value": 2.0} for row in rows]
    at_end = [row for row in at_end if row["at_end"]]
    listed: list[dict[str, Any]] = [
        {"name": "hessian"},
        {"name": "hessian", "examples": 50, "every_steps": 10},
        {"name": "hessian", "examples": 500, "every_steps": 10},
    ]
    for measures in ([*at_end, *other, *own], [*own, *other, *at_end]):
        found = edge_distances(load_study(study(points, measures=measures)))
        assert set(found["eigenvalue"]) <= {1.0, 30.0}
    settings = study(points, measures=[*at_end, *other, *own]) / "study.yaml"
    settings.write_text(settings.read_text() + f"measures: {json.dumps(listed)}\n")
    found = edge_distances(load_study(settings.parent))
    assert found["eigenvalue"].tolist() == [30.0, 30.0]


@pytest.mark.parametrize("power", [0.0, -1.0])
def test_slopes_that_are_all_equal_are_no_certainty(power: float, study: WriteStudy) -> None:
    points, rows = edge_points(lambda size, seed: 0.6 * (size / 2) ** power)
    loaded = load_study(study(points, measures=rows))
    (found,) = edge_slopes(loaded)
    assert math.isnan(found.low) and found.reason == "all 5 slopes equal"
    assert edge_paragraphs(loaded) == []
    claim = CLAIM | {"direction": "equal", "versus_value": -1.0}
    assert edge_claims.slope_claim(loaded, claim, "").word == "not judged: all 5 slopes equal"


def test_seeds_that_diverged_leave_no_word(study: WriteStudy) -> None:
    points, rows = edge_points(law(-1), seeds=5)
    lost = [{**points[0], "seed": 7, "trial_id": "d" * 12, "status": "diverged"}]
    loaded = load_study(study([*points, *lost], measures=rows))
    (found,) = edge_slopes(loaded)
    assert found.reason == "1 of 6 seeds diverged at batch size 2"
    assert edge_paragraphs(loaded) == []
    word = edge_claims.slope_claim(loaded, CLAIM, "").word
    assert word == "not judged: 1 of 6 seeds diverged at batch size 2"


def text_of(study: WriteStudy, distance: Callable[[int, int], float], **more: Any) -> list[str]:
    points, rows = edge_points(distance, **more)
    return edge_paragraphs(load_study(study(points, measures=rows)))


def test_a_sentence_says_the_law_where_there_is_one(study: WriteStudy) -> None:
    (text,) = text_of(study, law(-1))
    assert "falls as the batch grows, slope -1 on" in text and "batch sizes 2 to 20" in text


def test_no_sentence_says_it_where_there_is_none(study: WriteStudy) -> None:
    (text,) = text_of(study, flat)
    assert "is not shown" in text and "falls" not in text and "rises" not in text


def test_what_stays_far_below_the_edge_is_said_to(study: WriteStudy) -> None:
    (text,) = text_of(study, lambda size, seed: 0.9 - 0.002 * size / 256 - 1e-4 * seed)
    assert "is at most 0.1 of 2 / lr at any batch size" in text and "falls" not in text


def test_few_seeds_are_exploratory_and_two_carry_no_sentence(study: WriteStudy) -> None:
    (text,) = text_of(study, law(-1), seeds=4)
    assert text.endswith("(exploratory).")
    assert text_of(study, law(-1), seeds=2) == []


CLAIM: dict[str, Any] = {
    "claim": "It is so",
    "quantity": "edge_slope",
    "arm": "baseline",
    "value": -1.27,
    "versus_value": 0.0,
    "direction": "lower",
    "source": "A paper",
    "where": "abstract",
    "note": "",
}


@pytest.mark.parametrize(
    ("changes", "distance", "word"),
    [
        ({}, law(-1), "reproduced"),
        ({}, law(1, 0.04), "contradicted"),
        ({}, flat, "not shown"),
        ({"direction": "equal", "versus_value": -1.0}, law(-1), "compatible, -1.2 to -0.804"),
        ({"direction": "equal", "versus_value": -1.0}, flat, "contradicted"),
        ({"direction": "no law", "value": math.nan}, flat, "reproduced"),
        ({"direction": "no law", "value": math.nan}, law(-1), "contradicted"),
        ({"direction": "no law", "value": math.nan}, lambda b, s: law(-0.1)(b, s), "reproduced"),
        ({}, lambda size, seed: 0.01, "not judged: no slope"),
    ],
)
def test_the_word_of_a_claim(
    changes: dict[str, Any], distance: Callable[[int, int], float], word: str, study: WriteStudy
) -> None:
    points, rows = edge_points(distance, sizes=(2, 4, 8, 16, 24))
    loaded = load_study(study(points, measures=rows))
    found = edge_claims.slope_claim(loaded, CLAIM | changes, "")
    assert found.word.startswith(word)
    assert (found.direction == "") == found.word.startswith("not judged")


def test_a_claim_on_what_was_not_measured_has_no_word(study: WriteStudy) -> None:
    points, _ = edge_points(law(-1))
    found = edge_claims.slope_claim(load_study(study(points)), CLAIM, "")
    assert (found.word, found.direction, found.n) == ("not measured", "", 0)


def test_one_or_two_seeds_judge_no_claim(study: WriteStudy) -> None:
    points, rows = edge_points(law(-1), seeds=2)
    found = edge_claims.slope_claim(load_study(study(points, measures=rows)), CLAIM, "")
    assert found.word == "not judged: 2 seeds"
