"""Distances against the difference of the weights' files, parameter by parameter."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.stored import at
from trainables.collective import Collective
from trainables.config.measures.distance import Distance
from trainables.config.measures.evaluation import Evaluation
from trainables.config.trial import Trial
from trainables.prepare import prepare
from trainables.results import files
from trainables.results.layout import weights_file
from trainables.results.storage import PosixFolder
from trainables.run import trial as trials
from trainables.weights import kept_weights


@pytest.fixture
def pair(make_trial, tmp_path) -> Callable[..., tuple[Trial, Trial]]:
    """Two trials, at batch sizes 50 and 100; the first has run."""

    def made(measure: Distance = Distance(), **settings: Any) -> tuple[Trial, Trial]:  # noqa: B008
        small = make_trial(tmp_path, 50, **settings)
        large = make_trial(tmp_path, 100, measures=(Evaluation(), measure), **settings)
        assert run(small) == "complete"
        return small, replace(large, other_trial_ids=(small.trial_id,))

    return made


def run(trial: Trial) -> str:
    return list(trials.run(trial))[-1].status


def rows(trial: Trial) -> list[dict[str, Any]]:
    paths = sorted((Path(trial.folder) / "measures").glob(f"{trial.trial_id}*.parquet"))
    return [row for path in paths for row in files.read_rows(*at(path))]


def values(trial: Trial) -> dict[str, float]:
    return {row["quantity"]: row["value"] for row in rows(trial) if row["at_end"]}


def start(trial: Trial) -> dict[str, Tensor]:
    return dict(prepare(trial, Collective())[1].model.state_dict())


def end(trial: Trial) -> dict[str, Tensor]:
    return kept_weights(PosixFolder(Path(trial.folder)), trial.trial_id)


def norm(trial: Trial, one: dict[str, Tensor], other: dict[str, Tensor] | None = None) -> float:
    """Of the parameters' difference, summed one by one in float64; running statistics apart."""
    total = 0.0
    for name, _ in prepare(trial, Collective())[1].model.named_parameters():
        difference = one[name].double() - (0 if other is None else other[name].double())
        total += float((difference**2).sum())
    return math.sqrt(total)


def test_they_are_those_of_the_weights(pair):
    small, large = pair()
    assert run(large) == "complete"
    x0, x_sb, x_lb = start(large), end(small), end(large)
    moved = norm(large, x_lb, x0)
    assert values(large) == pytest.approx(
        {
            "distance_from_start": moved,
            "relative_distance_from_start": moved / norm(large, x0),
            "distance_between": norm(large, x_lb, x_sb),
            "distance_ratio": norm(large, x_sb, x0) / moved,
        },
        rel=1e-9,
    )
    assert values(large)["distance_ratio"] > 1


def test_their_rows(pair):
    small, large = pair()
    assert run(large) == "complete"
    for row in rows(large):
        is_between = row["quantity"] in ("distance_between", "distance_ratio")
        assert row["other_trial_id"] == (small.trial_id if is_between else None)
        assert row["method"] == "weights" and row["certificate"] == "exact" and row["at_end"]
        assert row["examples"] is row["split"] is row["normalization"] is None


def test_without_another_trial_it_is_the_distance_from_the_start(pair):
    _, large = pair()
    alone = replace(large, other_trial_ids=())
    assert run(alone) == "complete"
    assert values(alone).keys() == {"distance_from_start", "relative_distance_from_start"}
    assert run(large) == "complete" and "distance_ratio" in values(large)


def test_along_training_it_is_the_distance_from_the_start(pair):
    _, large = pair(Distance(every_epochs=0.4))
    assert run(large) == "complete"
    along = [row for row in rows(large) if not row["at_end"]]
    assert {row["quantity"] for row in along} == {
        "distance_from_start",
        "relative_distance_from_start",
    }
    moved = {
        row["optimizer_step"]: row["value"]
        for row in rows(large)
        if row["quantity"] == "distance_from_start"
    }
    assert sorted(moved) == [2, 4, 5]
    assert 0 < moved[2] < moved[4] < moved[5]


def test_weights_of_the_other_trial_that_were_changed_are_an_error(pair):
    small, large = pair()
    path = Path(small.folder) / weights_file(small.trial_id, 10)
    content = bytearray(path.read_bytes())
    content[-5] ^= 0x10
    path.write_bytes(content)
    assert run(large) == "complete"
    (row,) = rows(large)
    assert row["value"] is None and "not those it was recorded with" in row["error"]


def test_another_network_is_an_error(pair, make_trial, small_network):
    small, _ = pair()
    wider = replace(small_network, options={"hidden": [16, 9]})
    measures = (Evaluation(), Distance())
    other = make_trial(Path(small.folder), 100, network=wider, measures=measures)
    assert run(replace(other, other_trial_ids=(small.trial_id,))) == "complete"
    (row,) = rows(other)
    assert "size mismatch" in row["error"]


def test_float64_starts_are_the_trials_own(pair):
    small, large = pair(precision="float64")
    assert run(large) == "complete"
    assert next(iter(start(large).values())).dtype == torch.float64
    found = values(large)["distance_between"]
    assert found == pytest.approx(norm(large, end(large), end(small)), rel=1e-14)
