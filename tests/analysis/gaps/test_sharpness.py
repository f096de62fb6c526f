"""Which sharpness stands first, what it is called, and that old values join no mean of new ones."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from analysis.gaps import by_cell
from analysis.gaps.measured import measure_ratio
from analysis.gaps.sharpness import (
    described,
    far_text,
    first_sharpness,
    sharpness_definitions,
    sharpness_ratio,
)
from analysis.load import Study, load_study
from analysis.page import tables
from analysis.page.exhibits import exhibits, measured_values, ratio_and_gap
from analysis.page.report import write_report
from analysis.words.verdict import headline
from tests.analysis.synthetic import WriteStudy
from trainables.config.identity import parameters_text
from trainables.config.measures.sharpness import Sharpness

SEEDS = 5
SIZES = (32, 512)
STARTS = json.dumps(
    {"L-BFGS-B": 1.0, **{f"class {label}": 1.0 for label in range(10)}, "zero": 2.0}
)


def _row(id_: str, value: float, epsilon: float, **more: Any) -> dict[str, Any]:
    """A row of one definition; its ratio between the batch sizes is `value` at the larger."""
    asked = Sharpness(sharpness_epsilon=epsilon, subspace_dim=more.get("subspace_dim"))
    row = {"trial_id": id_, "measure": "sharpness", "quantity": "sharpness", "method": "best"}
    row |= {"parameters": parameters_text(asked), "sharpness_epsilon": epsilon}
    row |= {"value": value, "start_loss": 0.0, "at_end": True, "index": 0}
    return row | {"algorithm": 2, "starts": STARTS} | more


def _id(batch: int, seed: int) -> str:
    return f"{batch:06d}{seed:06d}"


def _study(
    study: WriteStudy,
    *definitions: dict[str, Any],
    more: Sequence[dict[str, Any]] = (),
    **settings: Any,
) -> Path:
    """Two batch sizes, five seeds; each definition gives rows by `_row`, with `times` its ratio."""
    points = [
        {"global_batch_size": batch, "seed": seed, "trial_id": _id(batch, seed)}
        | {"test_accuracy": 0.95 - 0.02 * (batch > 32) + 1e-3 * ((seed * batch) % 3)}
        for batch in SIZES
        for seed in range(SEEDS)
    ]
    rows = [*more]
    for each in definitions:
        given = dict(each)
        times, seeds = given.pop("times"), given.pop("seeds", range(SEEDS))
        base = given.pop("base", 1.0)
        rows += [
            _row(_id(batch, seed), base * (1 + seed / 100) * (times if batch > 32 else 1), **given)
            for batch in SIZES
            for seed in seeds
        ]
    return study(points, measures=rows, **settings)


def _page(folder: Path) -> str:
    return write_report(load_study(folder)).read_text().replace("\N{WORD JOINER}", "")


LARGE_BOX = {"epsilon": 1e-3, "times": 60.0}
SMALL_BOX = {"epsilon": 5e-4, "times": 7.0}
SUBSPACE = {"epsilon": 5e-4, "subspace_dim": 100, "times": 3.0}
LISTED = [
    {"name": "sharpness", "sharpness_epsilon": 1e-3},
    {"name": "sharpness", "sharpness_epsilon": 5e-4},
    {"name": "sharpness", "sharpness_epsilon": 5e-4, "subspace_dim": 100},
]


@pytest.mark.parametrize("first", [0, 1, 2])
def test_the_first_that_the_file_lists_leads_everywhere(study: WriteStudy, first: int) -> None:
    """Whatever the order of the rows, of the files, or of the ratios."""
    order = LISTED[first:] + LISTED[:first]
    folder = _study(study, SUBSPACE, SMALL_BOX, LARGE_BOX)
    text = (folder / "study.yaml").read_text() + f"measures: {json.dumps(order)}\n"
    (folder / "study.yaml").write_text(text)
    loaded = load_study(folder)
    which = ["ε 1e-3, full space", "ε 5e-4, full space", "ε 5e-4, subspace 100"][first]
    times = ["60", "7", "3"][first]
    first = first_sharpness(loaded)
    assert first and first.label == f"sharpness best, {which}"
    name = f"sharpness ({which}, largest of 12 starts)"
    assert f"At 512 the {name} is {times} times that at 32 " in headline(loaded)
    assert ratio_and_gap(loaded)["ratio"].tolist() == pytest.approx([float(times)])
    page = _page(folder)
    assert f">{name}<" in page  # the tile
    axis = re.search("sharpness_ratio.*?starts.", re.sub("<[^>]*>|\\s+", " ", page))
    assert axis and " ".join(axis[0].split()) == f"sharpness_ratio ({which}, largest of 12 starts)"
    assert f"gap of sharpness best, {which}" in tables.gap_table(loaded)
    panels = list(
        dict.fromkeys(measured_values(loaded, by_cell.labelled_points(loaded))["quantity"])
    )
    assert panels[0] == name and len(panels) == 4


def test_a_measure_added_later_does_not_take_the_lead(study: WriteStudy) -> None:
    folder = _study(study, SUBSPACE, LARGE_BOX)
    text = (folder / "study.yaml").read_text()
    (folder / "study.yaml").write_text(text + f"measures: {json.dumps(LISTED[:1])}\n")
    assert labels(load_study(folder)) == [
        "sharpness best, ε 1e-3, full space",
        "sharpness best, ε 5e-4, subspace 100",
    ]


def labels(study: Study) -> list[str]:
    return [definition.label for definition in sharpness_definitions(study)]


OLD = LARGE_BOX | {"algorithm": 1, "starts": None, "times": 20.0}


def test_what_an_older_algorithm_found_is_called_so_and_joins_no_mean(study: WriteStudy) -> None:
    """Three seeds were measured anew, two were not: no mean has both."""
    before, after = OLD | {"seeds": range(3, 5)}, LARGE_BOX | {"seeds": range(3)}
    loaded = load_study(_study(study, before, after))
    assert labels(loaded) == [
        "sharpness best, ε 1e-3, full space",
        "sharpness best, ε 1e-3, full space, algorithm 1",
    ]
    new, old = sharpness_definitions(loaded)
    assert (new.box, new.is_old, old.is_old) == (old.box, False, True)
    ratios = [measure_ratio(loaded, d).iloc[0] for d in (new, old)]
    assert [ratio["n"] for ratio in ratios] == [3, 2]
    assert [ratio["mean"] for ratio in ratios] == pytest.approx([60, 20])
    assert described(loaded, old).endswith("algorithm 1, largest found")


def test_what_was_measured_anew_takes_the_place_of_the_old(study: WriteStudy) -> None:
    loaded = load_study(_study(study, OLD, LARGE_BOX))
    assert labels(loaded) == ["sharpness best, ε 1e-3, full space"]
    assert sharpness_ratio(loaded)["mean"].tolist() == pytest.approx([60])


def test_old_values_alone_are_shown_as_what_they_are(study: WriteStudy) -> None:
    loaded = load_study(_study(study, OLD | {"algorithm": None}))
    assert "(ε 1e-3, full space, algorithm 1, largest found) is 20 times" in headline(loaded)
    assert "Values of an older algorithm: 10 trials." in _page(loaded.folder)


def test_each_part_of_a_study_has_the_values_that_its_own_trials_have(study: WriteStudy) -> None:
    """Of two networks one was measured anew: the other keeps its number, called what it is."""
    points, rows = [], []
    for network, algorithm, times in (("f1", 2, 60), ("f2", 1, 20)):
        for batch in SIZES:
            for seed in range(SEEDS):
                id_ = f"{network}{batch:05d}{seed:05d}"
                points.append({"network": network, "global_batch_size": batch, "seed": seed})
                points[-1] |= {"trial_id": id_, "test_accuracy": 0.95 - 1e-3 * ((seed * batch) % 3)}
                value = (1 + seed / 100) * (times if batch > 32 else 1)
                starts = STARTS if algorithm == 2 else None
                rows.append(_row(id_, value, 1e-3, algorithm=algorithm, starts=starts))
    first, second = headline(load_study(study(points, measures=rows))).split("\n\n")[:2]
    assert "the sharpness (ε 1e-3, full space, largest of 12 starts) is 60 times" in first
    assert "the sharpness (ε 1e-3, full space, algorithm 1, largest found) is 20 times" in second


def test_one_value_measured_anew_does_not_displace_those_of_all_other_trials(
    study: WriteStudy,
) -> None:
    loaded = load_study(_study(study, OLD | {"seeds": range(1, 5)}, LARGE_BOX | {"seeds": [0]}))
    assert labels(loaded)[0] == "sharpness best, ε 1e-3, full space, algorithm 1"


def test_when_a_measure_is_taken_is_no_part_of_its_definition(study: WriteStudy) -> None:
    """Taken along training too, and then no more: still the first that the file lists."""
    first = parameters_text(Sharpness(every_epochs=2))
    folder = _study(study, SMALL_BOX, LARGE_BOX | {"parameters": first}, OLD)
    text = (folder / "study.yaml").read_text()
    (folder / "study.yaml").write_text(text + f"measures: {json.dumps(LISTED)}\n")
    full = ["sharpness best, ε 1e-3, full space", "sharpness best, ε 5e-4, full space"]
    assert labels(load_study(folder)) == full


def test_the_top_eigenvalue_stands_beside(study: WriteStudy) -> None:
    tops = [
        {"trial_id": _id(batch, seed), "measure": "hessian", "quantity": "hessian_top_eigenvalue"}
        | {"method": "lanczos", "index": 0, "at_end": True, "value": batch * (1 + seed / 50)}
        for batch in SIZES
        for seed in range(SEEDS)
    ]
    folder = _study(study, LARGE_BOX, more=tops)
    text = headline(load_study(folder))
    assert "largest of 12 starts) is 60 times" in text
    assert "At 512 the top Hessian eigenvalue is 16 times that at 32" in text
    assert "top Hessian eigenvalue</" in _page(folder)


@pytest.mark.parametrize(
    ("base", "far"),
    [
        (15.0, ""),
        (30.0, "19 nats at ε 1e-3, full space, which is no local sharpness: look at ε 5e-4, full"),
    ],
)
def test_a_rise_by_tens_of_nats_is_called_no_local_sharpness(
    study: WriteStudy, base: float, far: str
) -> None:
    """The largest of all trials, 60 times the base and 4 % of seeds; a subspace is no way out."""
    same = LARGE_BOX | {"subspace_dim": 100}
    loaded = load_study(_study(study, LARGE_BOX | {"base": base}, SMALL_BOX, same))
    text = far_text(loaded)
    assert bool(text) == bool(far) and far in text and "subspace" not in text
    assert text in exhibits(loaded)["measures"].caption
    assert ("nats at" in exhibits(loaded)["measures"].caption) == bool(far)


def test_alone_it_asks_for_a_smaller_epsilon(study: WriteStudy) -> None:
    far = far_text(load_study(_study(study, LARGE_BOX | {"base": 40.0})))
    assert far.endswith("no local sharpness: measure a smaller sharpness_epsilon instead.")


def test_the_paper_s_method_stands_only_beside_the_paper(study: WriteStudy) -> None:
    """Its mean at the large batch is 85.4, and its ratio 83.7; also where it has no number."""
    paper = LARGE_BOX | {"method": "paper", "starts": None, "times": 83.7}
    for reproduces in ([], ["keskar-batch-sweep"]):
        page = _page(_study(study, LARGE_BOX, paper, reproduces=reproduces))
        assert not any(text in page for text in ("85.4", "83.7", "sharpness paper", "L-BFGS-B"))
    beside = _page(_study(study, LARGE_BOX, paper, reproduces=["keskar-table2"]))
    assert "own method (10 iterations of L-BFGS-B)" in beside and "85.4" in beside
