"""The weights that training started from, against those of a trial that has not moved."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from trainables.collective import Collective
from trainables.config.trial import Start, Trial
from trainables.measures.initial import initial_model, initial_vector, weight_vector
from trainables.prepare import prepare
from trainables.results.layout import weights_file
from trainables.results.storage import PosixFolder
from trainables.run import trial as trials
from trainables.weights import kept_weights


def run(trial: Trial) -> None:
    assert list(trials.run(trial))[-1].status == "complete"


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_they_are_those_before_the_first_step(make_trial, tmp_path, precision):
    trial = make_trial(tmp_path, precision=precision)
    prepared, state = prepare(trial, Collective())
    found = initial_model(prepared)
    assert torch.equal(weight_vector(found), weight_vector(state.model))
    assert torch.equal(initial_vector(prepared), weight_vector(state.model))
    assert {p.dtype for p in found.parameters()} == {getattr(torch, precision)}


def test_they_follow_the_seed_and_not_the_batch_size(make_trial, tmp_path):
    def vector(size: int, seed: int) -> torch.Tensor:
        return initial_vector(prepare(make_trial(tmp_path, size, seed=seed), Collective())[0])

    assert torch.equal(vector(50, 0), vector(100, 0))
    assert not torch.equal(vector(50, 0), vector(50, 1))


def test_of_a_warm_start_they_are_the_trunks(make_trial, tmp_path):
    trunk = make_trial(tmp_path, execution={"keep_weights": (0.5,)})
    run(trunk)
    branch = make_trial(tmp_path, 100)
    start = Start(trial_id=trunk.trial_id, epoch=0.5)
    branch = replace(branch, config=replace(branch.config, start=start), start_step=5)
    prepared, state = prepare(
        replace(branch, config=replace(branch.config, start=None)), Collective()
    )
    prepared = replace(prepared, trial=branch)
    state.model.load_state_dict(kept_weights(PosixFolder(tmp_path), trunk.trial_id, 5))
    assert torch.equal(initial_vector(prepared), weight_vector(state.model))
    state.model.load_state_dict(kept_weights(PosixFolder(tmp_path), trunk.trial_id))
    assert not torch.equal(initial_vector(prepared), weight_vector(state.model))


# ------------------------------------------------------------------------------------ kept weights


def test_the_weights_of_a_trial_that_never_ran(tmp_path):
    with pytest.raises(ValueError, match=r"trial 0123: not run yet, .* run it first"):
        kept_weights(PosixFolder(tmp_path), "0123")


def test_weights_that_are_gone_or_were_changed_are_refused(make_trial, tmp_path: Path):
    trial = make_trial(tmp_path)
    run(trial)
    with pytest.raises(ValueError, match=r"4\.safetensors: .* were not kept; .*--retrain"):
        kept_weights(PosixFolder(tmp_path), trial.trial_id, 4)
    weights = kept_weights(PosixFolder(tmp_path), trial.trial_id)
    path = tmp_path / weights_file(trial.trial_id, 10)
    name, value = next(iter(weights.items()))
    save_file(weights | {name: value + 1}, path)
    with pytest.raises(ValueError, match="not those it was recorded with"):
        kept_weights(PosixFolder(tmp_path), trial.trial_id)
    path.unlink()
    with pytest.raises(ValueError, match=r"were not kept; .* keep_weights: final"):
        kept_weights(PosixFolder(tmp_path), trial.trial_id)


def test_a_trial_that_diverged_has_no_solution(make_trial, tmp_path):
    trial = make_trial(tmp_path, base_lr=1e30)
    assert list(trials.run(trial))[-1].status == "diverged"
    with pytest.raises(ValueError, match="diverged, so that it has no solution"):
        kept_weights(PosixFolder(tmp_path), trial.trial_id)
