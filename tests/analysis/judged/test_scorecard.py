from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from analysis.judged import claim_words, published
from analysis.load import load_study
from analysis.page.report import summary_text, write_report
from analysis.uncertainty import mean_interval, paired_interval
from analysis.words import scorecard
from tests.analysis.synthetic import WriteStudy

HEAD = (
    "claim,network,layer,quantity,sharpness_epsilon,subspace_dim,arm,batch,versus_arm,versus_batch,"
    "direction,trains_as_well,value,spread,versus_value,versus_spread,n,unit,source,where,note"
)
LARGE, SMALL = [0.90, 0.91, 0.92], [0.95, 0.95, 0.95]


@pytest.fixture
def claims(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Publishes claims as `mine`."""

    def write(*rows: str) -> None:
        folder = tmp_path / "published"
        folder.mkdir()
        (folder / "mine.csv").write_text("\n".join([HEAD, *rows]) + "\n")
        monkeypatch.setattr(published, "FOLDER", folder)
        published._published.cache_clear()

    return write


def claim(direction: str, quantity: str = "test_accuracy", **changes: Any) -> str:
    row = dict.fromkeys(HEAD.split(","), "") | {
        "claim": f"{quantity} is {direction}",
        "quantity": quantity,
        "arm": "baseline",
        "batch": "large",
        "versus_arm": "baseline",
        "versus_batch": "baseline",
        "direction": direction,
        "unit": "percent" if "accuracy" in quantity else "",
        "source": "A paper",
        "where": "Table 1",
    }
    return ",".join(str(value) for value in (row | changes).values())


def points(**columns: Any) -> list[dict[str, Any]]:
    return [
        {"global_batch_size": batch, "seed": seed, "test_accuracy": accuracy, **columns}
        for batch, values in {32: SMALL, 512: LARGE}.items()
        for seed, accuracy in enumerate(values)
    ]


def paired(differences: list[float], **columns: Any) -> list[dict[str, Any]]:
    """Points whose accuracies differ so at 512 against 32; `train`: their train accuracies do."""
    train = columns.pop("train", [0.0] * len(differences))
    return [
        {"global_batch_size": batch, "seed": seed, "test_accuracy": test, "train_accuracy": fit}
        | columns
        for seed, (by, fit_by) in enumerate(zip(differences, train, strict=True))
        for batch, test, fit in ((32, 0.95, 0.99), (512, 0.95 + by, 0.99 + fit_by))
    ]


def judged(study: WriteStudy, rows: list[dict[str, Any]], **settings: Any) -> list[str]:
    table = scorecard.scorecard(load_study(study(rows, reproduces=["mine"], **settings)))
    return list(table["direction"])


FIVE = [-0.05, -0.04, -0.03, -0.04, -0.045]
"""Five differences, all below 0."""
UNCLEAR = [-0.02, 0.01, -0.005, 0.015, -0.01]


def test_a_claim_is_judged_by_the_paired_interval_alone(study: WriteStudy, claims: Any) -> None:
    claims(claim("lower"), claim("higher"), claim("equal"), claim("not lower"))
    assert mean_interval(FIVE).high < 0
    expected = ["reproduced", "contradicted", "contradicted", "contradicted"]
    assert judged(study, paired(FIVE)) == expected


def test_what_the_interval_does_not_show_is_said_with_what_it_leaves(
    study: WriteStudy, claims: Any
) -> None:
    claims(claim("lower"), claim("higher"), claim("equal"), claim("not lower"))
    interval = mean_interval(UNCLEAR)
    assert 0 < interval.high < -interval.low
    assert judged(study, paired(UNCLEAR)) == [
        "not shown",
        "not shown",
        f"compatible, differences up to {-100 * interval.low:.2f} points not excluded",
        f"compatible, up to {-100 * interval.low:.2f} points lower not excluded",
    ]


def test_not_lower_is_shown_by_an_interval_above_zero(study: WriteStudy, claims: Any) -> None:
    claims(claim("not lower"), claim("equal"))
    above = [-by for by in FIVE]
    assert judged(study, paired(above)) == ["compatible: not lower at 95 %", "contradicted"]


def test_of_ratios_the_limits_are_factors(study: WriteStudy, claims: Any) -> None:
    claims(claim("equal", "train_loss"), claim("not lower", "train_loss"))
    rows = paired(UNCLEAR)
    for row in rows:
        row["train_loss"] = 2 ** (100 * (row["test_accuracy"] - 0.95))
    low = np.exp(mean_interval(np.log(2) * 100 * np.array(UNCLEAR)).low)
    assert judged(study, rows) == [
        f"compatible, differences up to {1 / low:.3g} times not excluded",
        f"compatible, down to {low:.3g} times not excluded",
    ]


@pytest.mark.parametrize(
    ("seeds", "words"),
    [
        (1, "not judged: 1 seed"),
        (2, "not judged: 2 seeds"),
        (3, "reproduced (exploratory)"),
        (4, "reproduced (exploratory)"),
        (5, "reproduced"),
    ],
)
def test_the_number_of_seeds_decides_what_is_said(
    study: WriteStudy, claims: Any, seeds: int, words: str
) -> None:
    claims(claim("lower"), claim("equal"))
    other = words.replace("reproduced", "contradicted")
    assert judged(study, paired(FIVE[:seeds])) == [words, other]


def test_the_smallest_scale_is_not_judged(study: WriteStudy, claims: Any) -> None:
    claims(claim("lower"))
    assert judged(study, paired(FIVE), name="mine-smoke") == ["not judged: smoke scale"]


def test_a_claim_about_equal_training_is_not_judged_where_the_first_side_underfits(
    study: WriteStudy, claims: Any
) -> None:
    claims(
        claim("lower", trains_as_well="yes", value=91, spread=0.1, versus_value=95, n=5),
        claim("lower"),
    )
    train = [-0.05, -0.051, -0.052, -0.05, -0.052]
    loaded = load_study(study(paired(FIVE, train=train), reproduces=["mine"]))
    table = scorecard.scorecard(loaded)
    assert list(table["direction"]) == [
        "not judged: underfits (train 5.1 points lower)",
        "reproduced",
    ]
    assert list(table["size"]) == ["", ""]
    assert table["train"][0].startswith("-5.10 [-5.") and table["train"][1] == ""


@pytest.mark.parametrize("train", [[0.001, -0.002, 0.0, 0.001, -0.001], [0.01] * 5, [0.0] * 5])
def test_where_underfitting_is_not_shown_the_claim_is_judged(
    study: WriteStudy, claims: Any, train: list[float]
) -> None:
    claims(claim("lower", trains_as_well="yes"))
    assert judged(study, paired(FIVE, train=train)) == ["reproduced"]


def test_train_accuracies_that_are_lower_by_as_much_at_every_seed_are_lower(
    study: WriteStudy, claims: Any
) -> None:
    claims(claim("lower", trains_as_well="yes"))
    words = judged(study, paired(FIVE, train=[-0.02] * 5))
    assert words == ["not judged: underfits (train 2 points lower)"]


def test_a_remark_without_a_result_gets_no_word(study: WriteStudy, claims: Any) -> None:
    claims(claim("remark"))
    loaded = load_study(study(paired(FIVE), reproduces=["mine"]))
    (row,) = scorecard.scorecard(loaded).to_dict("records")
    assert (row["paper"], row["direction"], row["size"]) == ("no result", "no result published", "")
    assert row["here"].startswith("90.90 against 95.00: -4.10 [")
    assert scorecard.scorecard_note(loaded).endswith("none is judged.")


def test_equal_differences_are_no_certainty(study: WriteStudy, claims: Any) -> None:
    claims(claim("lower"), claim("equal"))
    for by in (-0.01, 0.0):
        loaded = load_study(study(paired([by] * 5), reproduces=["mine"]))
        table = scorecard.scorecard(loaded)
        assert set(table["direction"]) == {"not judged: all 5 differences equal"}
        assert table["here"][0].endswith(f": {100 * by:+.2f}, all 5 differences equal")


def test_no_word_where_one_side_lost_more_seeds(study: WriteStudy, claims: Any) -> None:
    claims(claim("lower"))
    rows = paired([*FIVE, -0.04])
    rows[1]["status"] = "diverged"
    assert judged(study, rows) == ["not judged: 1 of 6 and 0 of 6 seeds diverged"]
    rows[0]["status"] = "diverged"
    assert judged(study, rows) == ["reproduced"]


def test_no_word_of_the_positive_pairs_alone(study: WriteStudy, claims: Any) -> None:
    claims(claim("higher", "hessian_trace"))
    rows = paired(FIVE)
    for row in rows:
        row["hessian_trace"] = 1.0 + row["seed"] + row["global_batch_size"]
    rows[0]["hessian_trace"] = -1.0
    assert judged(study, rows) == ["not judged: 1 of 5 pairs without a ratio"]


def test_false_words_of_claims_without_a_difference_are_as_many_as_the_head_says() -> None:
    draw = np.random.default_rng(0)
    said: dict[str, list[str]] = {direction: [] for direction in ("lower", "equal", "not lower")}
    for values in draw.normal(size=(2000, 5)):
        for direction, words in said.items():
            words.append(claim_words.word(direction, paired_interval(values, 0), True))
    rate = {d: np.mean([w == "contradicted" for w in words]) for d, words in said.items()}
    assert rate["lower"] == pytest.approx(0.025, abs=0.01)
    assert rate["not lower"] == pytest.approx(0.025, abs=0.01)
    assert rate["equal"] == pytest.approx(0.05, abs=0.015)
    assert np.mean([w == "reproduced" for w in said["lower"]]) == pytest.approx(0.025, abs=0.01)


def test_the_head_counts_what_chance_would_say() -> None:
    words = ["reproduced", "not shown", "contradicted", "compatible ...", "not judged: 2 seeds"]
    note = claim_words.chance_note(words, ["lower", "higher", "equal", "not lower", ""])
    assert note == (
        "5 claims, fixed beforehand, 95 % each; 4 judged. Were nothing different anywhere, chance "
        "would contradict about 0.13 of these and reproduce 0.05."
    )
    assert claim_words.chance_note([], []) == ""


def test_claims_on_laws_are_no_part_of_what_chance_would_say() -> None:
    """With nothing different a slope is 0: that d goes as 1 / B is false then, whatever chance."""
    note = claim_words.chance_note(["reproduced"] * 3, ["higher", "", ""], laws=2)
    assert "3 judged, 2 of them on laws." in note
    assert "contradict about 0.025 of the others and reproduce 0.025" in note
    alone = claim_words.chance_note(["reproduced"], [""], laws=1)
    assert alone.endswith("1 judged, 1 of them on laws.")


def test_ratios_are_of_the_papers_own_sharpness(study: WriteStudy, claims: Any) -> None:
    given = {"value": 10, "spread": 1, "versus_value": 2, "versus_spread": 0.2, "n": 5}
    claims(claim("higher", "sharpness", sharpness_epsilon=0.001, **given))
    rows = points(sharpness=1.0)
    factors = [4.0, 5.0, 6.0]
    for row in rows:
        row["paper_sharpness"] = factors[row["seed"]] if row["global_batch_size"] == 512 else 1.0
    table = scorecard.scorecard(load_study(study(rows, reproduces=["mine"])))
    (row,) = table.to_dict("records")
    interval = mean_interval(np.log(factors))
    assert row["direction"] == "reproduced (exploratory)"
    assert np.exp(interval.low) < 5 < np.exp(interval.high) and row["size"] == "within"
    assert row["paper"] == "10 ± 1 against 2 ± 0.2 (n = 5)"
    assert row["here"].startswith("5 against 1: 4.93 times")


def test_the_papers_size_lies_within_both_errors_or_outside(study: WriteStudy, claims: Any) -> None:
    spread = {"spread": 0.5, "versus_spread": 0.1, "n": 5}
    claims(
        claim("lower", value=91, versus_value=95, **spread),
        claim("lower", value=80, versus_value=95, **spread),
        claim("lower", value=91, versus_value=95),
        claim("lower", value=91, spread=0.1, versus_value=95, n=5),
        claim("lower"),
    )
    table = scorecard.scorecard(load_study(study(paired(FIVE), reproduces=["mine"])))
    no_error = "paper gives no error"
    assert list(table["size"]) == ["within", "outside", no_error, no_error, ""]
    assert table["paper"][2] == "91 against 95" and table["paper"][4] == "lower"


def test_a_size_beyond_our_interval_alone_may_be_within_the_papers_error() -> None:
    ours = mean_interval(np.log([4.8, 5.0, 5.2, 4.9, 5.1]))
    loose = {"value": 12, "spread": 5, "versus_value": 2, "versus_spread": 0.5, "n": 5}
    assert np.exp(ours.high) < 6
    assert claim_words.size(loose, ours, False) == "within"
    tight = loose | {"spread": 0.1, "versus_spread": 0.0}
    assert claim_words.size(tight, ours, False) == "outside"


def test_sizes_that_agree_are_said_to_lie_outside_in_a_twentieth_of_studies() -> None:
    draw = np.random.default_rng(0)
    outside = 0
    for _ in range(1000):
        ours = mean_interval(np.log(draw.normal(50, 5, 5) / draw.normal(10, 1, 5)))
        theirs = [draw.normal(mean, mean / 10, 5) for mean in (50, 10)]
        given = {"n": 5} | {
            f"{side}{name}": value
            for side, runs in zip(("", "versus_"), theirs, strict=True)
            for name, value in (("value", runs.mean()), ("spread", runs.std(ddof=1)))
        }
        outside += claim_words.size(given, ours, False) == "outside"
    assert outside / 1000 == pytest.approx(0.05, abs=0.02)


def test_what_did_not_run_or_was_not_measured_is_said(study: WriteStudy, claims: Any) -> None:
    claims(
        claim("lower", versus_batch=64),
        claim("higher", "sharpness", sharpness_epsilon=0.001),
    )
    assert judged(study, points()) == ["not run", "not measured"]


def test_a_claim_on_another_network_stands_only_where_no_network_is_theirs(
    study: WriteStudy, claims: Any
) -> None:
    claims(claim("lower", network="f1"), claim("higher", network="c1"))
    assert judged(study, paired(FIVE, network="c1")) == ["contradicted"]


def test_without_their_networks_the_first_ones_claims_are_compared(
    study: WriteStudy, claims: Any
) -> None:
    claims(claim("lower", network="f1"), claim("higher", network="c1"))
    assert judged(study, paired(FIVE, network="mlp")) == ["reproduced"]


def test_the_page_and_the_terminal_have_it(study: WriteStudy, claims: Any) -> None:
    claims(claim("lower", value=91, versus_value=95))
    folder = study(points(), reproduces=["mine"], stand_ins=["Other <data> than theirs."])
    loaded = load_study(folder)
    page = write_report(loaded).read_text()
    assert "Beside the papers" in page and "91 against 95" in page
    assert "Other &lt;data&gt; than theirs." in page
    assert "test_accuracy is" in summary_text(loaded) and "reproduced" in summary_text(loaded)


def test_a_study_that_reproduces_nothing_has_no_such_section(study: WriteStudy) -> None:
    assert "Beside the papers" not in write_report(load_study(study(points()))).read_text()
