"""A branch begins with its trunk's weights and nothing else; pairs wait for each other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional as F

from tests.stored import at
from trainables.collective import Collective
from trainables.config.identity import trial_id
from trainables.config.measures.distance import Distance
from trainables.config.measures.evaluation import Evaluation
from trainables.config.measures.interpolation import Interpolation
from trainables.config.optimizers.sgd import SGD
from trainables.config.trial import Beat, Start, Trial
from trainables.draws import stream
from trainables.measures.evaluation import evaluate, prepared_copy
from trainables.methods.losses import evaluated
from trainables.prepare import prepare
from trainables.results import files
from trainables.results.layout import weights_file
from trainables.run import trial as trials
from trainables.weights import start_weights

INTERPOLATION = Interpolation(points=3, examples=40)
EVERY_STEP = {"heartbeat_seconds": 1e-9}
KEPT = 5
"""The trunk's step that branches begin from: half an epoch of ten steps."""


@pytest.fixture
def make(make_trial, tmp_path) -> Callable[..., Trial]:
    """A trial of ten steps."""

    def made(size: int = 50, folder: str = "study", **settings: Any) -> Trial:
        trial: Trial = make_trial(tmp_path / folder, size, **settings)
        return trial

    return made


@pytest.fixture
def trunk(make) -> Trial:
    return make(
        optimizer=SGD(momentum=0.9),
        measures=(Evaluation(every_epochs=0.5),),
        execution={"keep_weights": (0.5,)},
    )


def branch_of(trunk: Trial, own: Trial, epoch: float = 0.5, step: int = KEPT) -> Trial:
    start = Start(trial_id=trunk.trial_id, epoch=epoch)
    config = replace(own.config, start=start)
    return replace(own, config=config, trial_id=trial_id(config), start_step=step)


def run(trial: Trial, **options: Any) -> list[Beat]:
    return list(trials.run(trial, **options))


def rows(trial: Trial, table: str) -> list[dict[str, Any]]:
    paths = sorted((Path(trial.folder) / table).glob(f"{trial.trial_id}*.parquet"))
    return [row for path in paths for row in files.read_rows(*at(path))]


def row(trial: Trial) -> dict[str, Any]:
    (found,) = rows(trial, "trials")
    return found


def weights_path(trial: Trial, step: int) -> Path:
    return Path(trial.folder) / weights_file(trial.trial_id, step)


# -------------------------------------------------------------------------------------- the branch


def test_a_branch_begins_at_what_its_trunk_recorded(make, trunk):
    run(trunk)
    branch = branch_of(trunk, make(250))
    prepared, state = prepare(branch, Collective())
    state.model.load_state_dict(start_weights(branch))
    ready = prepared_copy(state.model, prepared.data, "recalibrated")
    functions = evaluated(branch.config)
    found = evaluate(ready, prepared.data, "test", "recalibrated", Collective(), functions)
    at_start = next(r for r in rows(trunk, "evaluations") if r["optimizer_step"] == KEPT)
    assert found == {name: at_start[name] for name in ("test_loss", "test_accuracy")}


def test_its_optimizer_is_fresh_and_its_stream_begins_at_0(make):
    trunk = make(
        optimizer=SGD(momentum=0.9), precision="float64", execution={"keep_weights": (0.5,)}
    )
    run(trunk)
    own = make(
        250, optimizer=SGD(momentum=0.9), precision="float64", epochs=None, optimizer_steps=1
    )
    branch = branch_of(trunk, own)
    run(branch)

    prepared, state = prepare(branch, Collective())
    state.model.load_state_dict(start_weights(branch))
    indices = torch.from_numpy(stream(branch.config.seed, 500, 0, 250))
    inputs, targets = prepared.data.batch("train", indices)
    state.model.train()
    F.cross_entropy(state.model(inputs), targets).backward()
    after = load_file(weights_path(branch, 1))
    for name, parameter in state.model.named_parameters():
        expected = parameter - branch.config.peak_lr * parameter.grad  # v = g: nothing to remember
        torch.testing.assert_close(after[name], expected.detach(), rtol=1e-12, atol=1e-14)


def test_a_branch_is_recorded_as_one(make, trunk):
    run(trunk)
    branch = branch_of(trunk, make(250))
    (*_, last) = run(branch)
    assert last.status == "complete"
    found = row(branch)
    assert (found["start_trial_id"], found["start_epoch"]) == (trunk.trial_id, 0.5)
    assert (found["optimizer_step"], found["epoch"]) == (2, 1.0)
    assert row(trunk)["start_trial_id"] is None


def test_a_branch_stopped_and_resumed_ends_bit_for_bit_as_one_that_was_not(make, trunk):
    for folder in ("study", "other"):
        run(replace(trunk, folder=str(Path(trunk.folder).with_name(folder))))
    whole = branch_of(trunk, make(50, optimizer=SGD(momentum=0.9)))
    run(whole)
    halves = branch_of(trunk, make(50, "other", optimizer=SGD(momentum=0.9), execution=EVERY_STEP))
    asked: Iterator[int] = iter(range(100))
    assert run(halves, should_stop=lambda: next(asked) >= 4)[-1].status == "interrupted"
    assert run(halves)[-1].status == "complete"
    assert rows(halves, "attempts")[1]["start_step"] > 0
    assert weights_path(whole, 10).read_bytes() == weights_path(halves, 10).read_bytes()


def test_trunk_and_epoch_are_part_of_its_id(make, trunk):
    own = make(250)
    other = make(optimizer=SGD(momentum=0.8))
    ids = [
        own.trial_id,
        branch_of(trunk, own).trial_id,
        branch_of(trunk, own, epoch=1.0).trial_id,
        branch_of(other, own).trial_id,
    ]
    assert len(set(ids)) == 4
    assert branch_of(trunk, own, epoch=1).trial_id == branch_of(trunk, own, epoch=1.0).trial_id


# --------------------------------------------------------------------------- a trunk that is no use


def failed(branch: Trial) -> str:
    (*_, last) = run(branch)
    assert last.status == row(branch)["status"] == "failed"
    assert row(branch)["error"] == last.error
    return last.error or ""


def test_a_trunk_that_has_not_run(make, trunk):
    error = failed(branch_of(trunk, make(250)))
    assert f"the trunk {trunk.trial_id} has not run; run again once it is complete" in error


def test_a_trunk_that_failed_is_named_with_its_error(make, trunk):
    run(trunk)
    broken = row(trunk) | {"status": "failed", "error": "KeyError: 'layer'"}
    path = Path(trunk.folder) / "trials" / f"{trunk.trial_id}.parquet"
    files.write_rows(*at(path), [broken])
    assert "failed (KeyError: 'layer')" in failed(branch_of(trunk, make(250)))


def test_of_a_diverged_trunk_only_what_it_reached(make, trunk):
    run(trunk)
    diverged = row(trunk) | {
        "status": "diverged",
        "optimizer_step": 8,
        "error": "loss not finite at step 8",
    }
    path = Path(trunk.folder) / "trials" / f"{trunk.trial_id}.parquet"
    files.write_rows(*at(path), [diverged])
    assert run(branch_of(trunk, make(250)))[-1].status == "complete"
    error = failed(branch_of(trunk, make(250), epoch=1.0, step=10))
    assert "never reached epoch 1, its step 10: loss not finite at step 8" in error


def test_a_trunk_that_reached_its_loss_before(make):
    trunk = make(target_train_loss=100.0, max_epochs=3.0, execution={"keep_weights": (0.5, 2.0)})
    run(trunk)
    error = failed(branch_of(trunk, make(250), epoch=2.0, step=20))
    assert "never reached epoch 2, its step 20: it ended at step 10" in error


def test_weights_that_are_gone_or_damaged(make, trunk):
    run(trunk)
    path = weights_path(trunk, KEPT)
    content = bytearray(path.read_bytes())
    content[-5] ^= 0x10
    path.write_bytes(content)
    assert "not those it was recorded with" in failed(branch_of(trunk, make(250)))
    path.unlink()
    assert "(--retrain" in failed(branch_of(trunk, make(250)))


def test_a_trunk_past_an_epoch_asked_for_since_starts_again(make):
    def trunk(folder: str, **keep: Any) -> Trial:
        return make(folder=folder, execution=EVERY_STEP | keep)

    asked: Iterator[int] = iter(range(100))
    run(trunk("study"), should_stop=lambda: next(asked) >= 7)
    assert weights_path(trunk("study"), 10).exists() is False
    later = trunk("study", keep_weights=(0.3, 0.9))
    run(later)
    notes = [attempt["error"] for attempt in rows(later, "attempts")]
    assert "past step 3, whose weights are to be kept" in notes[1]
    whole = trunk("other", keep_weights=(0.3, 0.9))
    run(whole)
    for step in (3, 9, 10):
        assert weights_path(later, step).read_bytes() == weights_path(whole, step).read_bytes()


def test_a_trunk_that_is_not_yet_past_it_goes_on(make):
    asked: Iterator[int] = iter(range(100))
    run(make(execution=EVERY_STEP), should_stop=lambda: next(asked) >= 5)
    later = make(execution=EVERY_STEP | {"keep_weights": (0.9,)})
    run(later)
    assert rows(later, "attempts")[1]["start_step"] > 0
    assert weights_path(later, 9).exists()


# -------------------------------------------------------------------------- measures between trials


def test_a_measure_between_trials_waits_until_the_other_is_complete(make):
    measures = (Evaluation(), INTERPOLATION)
    small = make(measures=measures)
    large = replace(make(250, measures=measures), other_trial_ids=(small.trial_id,))
    assert [b.measure for b in run(large) if b.stage == "measuring"] == []
    assert row(large)["status"] == "complete"
    assert [b.measure for b in run(small) if b.stage == "measuring"] == []  # compared with nothing
    beats = run(large)
    assert [(b.stage, b.measure) for b in beats] == [
        ("measuring", "interpolation"),
        ("ended", None),
    ]
    found = rows(large, "measures") + rows(large, "curves")
    assert found and {r["other_trial_id"] for r in found} == {small.trial_id}
    assert [b.stage for b in run(large)] == ["ended"]
    assert not rows(small, "measures")


def test_it_is_taken_at_once_where_the_other_is_complete_before(make):
    measures = (Evaluation(), INTERPOLATION)
    small = make(measures=measures)
    large = replace(make(250, measures=measures), other_trial_ids=(small.trial_id,))
    run(small)
    assert [b.measure for b in run(large) if b.stage == "measuring"] == ["interpolation"]


def test_a_distance_has_a_part_of_its_own_and_is_taken_anew_with_the_pair(make):
    measures = (Evaluation(), Distance())
    small, large = make(measures=measures), make(250, measures=measures)
    run(small)
    run(large)
    assert {r["other_trial_id"] for r in rows(large, "measures")} == {None}
    paired = replace(large, other_trial_ids=(small.trial_id,))
    assert [b.measure for b in run(paired) if b.stage == "measuring"] == ["distance"]
    assert small.trial_id in {r["other_trial_id"] for r in rows(large, "measures")}
