"""Out of memory: half the micro-batch, from the checkpoint, and the same mathematics."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.stored import at
from trainables.config.data import NetworkConfig
from trainables.config.trial import Beat, Trial
from trainables.results import files
from trainables.run import small
from trainables.run import trial as trials

MODULE = """\
import torch
from torch import nn

MOST, AFTER, seen = {most}, {after}, [0]

class Net(nn.Module):
    def __init__(self, classes):
        super().__init__()
        ends = nn.Linear(784, 8), nn.Linear(8, classes)
        self.layers = nn.Sequential(nn.Flatten(), ends[0], {middle}, ends[1])

    def forward(self, x):
        if self.training and torch.is_grad_enabled():
            seen[0] += 1
            if len(x) > MOST and seen[0] > AFTER:
                raise {error}
        return self.layers(x)

def build(input_shape, num_classes):
    return Net(num_classes)
"""
ON_GPU = "torch.OutOfMemoryError('CUDA out of memory. Tried to allocate 2 GiB')"
ON_CPU = (
    'RuntimeError("[enforce fail at alloc_cpu.cpp:127] . DefaultCPUAllocator: can\'t allocate")'
)

Make = Callable[..., Trial]


@pytest.fixture
def make(make_trial: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    """A trial of ten steps at batch 100, of a network that does not hold more than MOST."""
    monkeypatch.setattr(sys, "path", [*sys.path])

    def made(
        most: int, after: int = 0, error: str = ON_GPU, middle: str = "nn.Tanh()", **settings: Any
    ) -> Trial:
        name = f"bg_memory_{abs(hash((str(tmp_path), most, after, error, middle)))}"
        text = MODULE.format(most=most, after=after, error=error, middle=middle)
        (tmp_path / f"{name}.py").write_text(text)
        network = NetworkConfig(build=f"{name}:build")
        given = {"epochs": 2.0, "network": network, "import_folder": tmp_path} | settings
        return make_trial(tmp_path / f"{most}-{after}", 100, **given)

    return made


def folder(path: Path) -> str:
    """A run's own, which is there while it runs."""
    path.mkdir()
    return str(path)


def run(trial: Trial, **options: Any) -> list[Beat]:
    return list(trials.run(trial, **options))


def rows(trial: Trial, table: str) -> list[dict[str, Any]]:
    paths = sorted((Path(trial.folder) / table).glob(f"{trial.trial_id}*.parquet"))
    return [row for path in paths for row in files.read_rows(*at(path))]


def weights(trial: Trial) -> dict[str, torch.Tensor]:
    (path,) = (Path(trial.folder) / "weights" / trial.trial_id).glob("*.safetensors")
    return load_file(path)


@pytest.mark.parametrize("error", [ON_GPU, ON_CPU], ids=["gpu", "cpu"])
def test_it_goes_on_with_smaller_micro_batches_and_ends_the_same(
    make: Make, tmp_path: Path, error: str
) -> None:
    often = {"heartbeat_seconds": 1e-9, "checkpoint_seconds": 1e-9}
    plain, short = make(100), make(30, after=3, error=error, execution=often)
    assert run(plain)[-1].status == "complete"
    assert run(short, scratch=str(tmp_path))[-1].status == "complete"
    first, second, third = rows(short, "attempts")
    assert first["status"] == second["status"] == "failed" and third["status"] == "complete"
    assert first["error"] == (
        "out of memory at step 4, in micro-batches of 100; goes on with micro-batches of 50"
    )
    assert second["error"].endswith("in micro-batches of 50; goes on with micro-batches of 25")
    assert second["start_step"] == third["start_step"] == 3
    (row,) = rows(short, "trials")
    assert (row["micro_batch_size"], row["accumulation_steps"]) == (25, 4)
    theirs = weights(plain)
    assert all(torch.allclose(w, theirs[n], atol=1e-6) for n, w in weights(short).items())


def test_what_fits_is_known_to_the_other_trials_of_the_run(make: Make, tmp_path: Path) -> None:
    scratch = folder(tmp_path / "scratch")
    run(make(30), scratch=scratch)
    other = make(30, seed=1)
    run(other, scratch=scratch)
    (attempt,) = rows(other, "attempts")
    assert attempt["status"] == "complete" and rows(other, "trials")[0]["micro_batch_size"] == 25
    assert small.known(make(30, precision="float64"), scratch) is None
    run(make(30, seed=2), scratch=folder(tmp_path / "another run"))
    assert len(rows(make(30, seed=2), "attempts")) == 3


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "no smaller micro-batch is the same: max_micro_batch_size 50: normalization over the"),
        ({"ghost_batch_size": 50}, "no smaller micro-batch is the same: ghost_batch_size 50"),
    ],
)
def test_where_smaller_parts_compute_something_else_it_fails(
    make: Make, settings: dict[str, int], message: str
) -> None:
    trial = make(10, middle="nn.BatchNorm1d(8)", **settings)
    end = run(trial)[-1]
    assert end.status == "failed" and message in (end.error or "")
    (row,) = rows(trial, "trials")
    assert row["status"] == "failed" and row["error"].startswith("out of memory at step 1")


def test_what_does_not_even_hold_one_example_fails(make: Make) -> None:
    trial = make(0)
    assert "it holds one example" in (run(trial)[-1].error or "")
    sizes = [100, 50, 25, 10, 5, 2, 1]  # divisors of 100, each at most half of the one before
    assert [
        row["error"].partition("batches of ")[2].split(";")[0] for row in rows(trial, "attempts")
    ][:-1] == [str(size) for size in sizes[:-1]]


def test_other_errors_are_no_matter_of_memory(make: Make) -> None:
    trial = make(10, error="RuntimeError('mat1 and mat2')")
    assert run(trial)[-1].error == "RuntimeError: mat1 and mat2"
    assert len(rows(trial, "attempts")) == 1


def test_a_run_that_knows_nothing_begins_as_planned(make: Make, tmp_path: Path) -> None:
    trial = make(100)
    assert small.known(trial, None) is None and small.known(trial, str(tmp_path)) is None
    assert small.with_at_most(trial, None) is trial
    small.keep(trial, 7, None)
    small.keep(trial, 7, str(tmp_path))
    assert small.known(replace(trial, trial_id="b"), str(tmp_path)) == 7


def test_what_fits_with_other_groups_is_another_matter(make: Make, tmp_path: Path) -> None:
    """Ghost groups of 25 do not fit the micro-batches of 20 that were found for groups of 4."""
    first, other = (make(30, middle="nn.BatchNorm1d(8)", ghost_batch_size=size) for size in (4, 25))
    scratch = folder(tmp_path / "scratch")
    assert run(first, scratch=scratch)[-1].status == "complete"
    assert run(other, scratch=scratch)[-1].status == "complete"
    assert rows(first, "trials")[0]["micro_batch_size"] == 20
    assert rows(other, "trials")[0]["micro_batch_size"] == 25
