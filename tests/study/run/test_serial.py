"""Trials one after the other in this process."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from study.run import serial
from study.run.scratch import scratch_folder
from tests.stored import at
from trainables.config.data import NetworkConfig
from trainables.config.measures.evaluation import Evaluation
from trainables.config.measures.sharpness import Sharpness
from trainables.config.trial import Beat, Trial
from trainables.results import files
from trainables.run import trial as trials


@pytest.fixture
def make(make_trial, tmp_path) -> Callable[..., Trial]:
    """A trial of ten steps, told apart by its seed, that yields at every step."""

    def made(seed: int, **settings: Any) -> Trial:
        execution = {"heartbeat_seconds": 1e-9}
        trial: Trial = make_trial(tmp_path, 50, seed=seed, execution=execution, **settings)
        return trial

    return made


def run(todo: list[Trial], should_stop: Callable[[], bool] = lambda: False) -> list[Beat]:
    beats: list[Beat] = []
    for folder in {Path(trial.folder) for trial in todo}:
        with scratch_folder(folder) as scratch:
            serial.run(todo, on_beat=beats.append, should_stop=should_stop, scratch=scratch)
    return beats


def status(trial: Trial) -> str | None:
    path = Path(trial.folder) / "trials" / f"{trial.trial_id}.parquet"
    return files.read_rows(*at(path))[0]["status"] if path.exists() else None


def test_every_beat_of_every_trial_in_order(make):
    todo = [make(seed, measures=(Evaluation(), Sharpness(examples=20))) for seed in range(3)]
    beats = run(todo)
    assert [b.trial_id for b in beats] == [t.trial_id for t in todo for _ in range(12)]
    assert [b.stage for b in beats[:12]] == ["training"] * 10 + ["measuring", "ended"]
    assert [status(trial) for trial in todo] == ["complete"] * 3


def test_it_gives_what_a_trial_alone_gives(make, tmp_path):
    trial = make(0)
    run([make(1), trial])
    alone = replace(trial, folder=str(tmp_path / "alone"))
    list(trials.run(alone))
    one, other = (
        Path(t.folder) / "weights" / t.trial_id / "10.safetensors" for t in (trial, alone)
    )
    assert one.read_bytes() == other.read_bytes()


FAILING = """
from torch import nn

class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(784, 10)

    def forward(self, x):
        if self.training:
            raise KeyError("no such thing")
        return self.layer(x.flatten(1))

def build(input_shape, num_classes):
    return Network()
"""


def test_after_a_failed_or_diverged_trial_comes_the_next(make, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "failing_network.py").write_text(FAILING)
    network = NetworkConfig(build="failing_network:build")
    todo = [
        make(0, network=network, import_folder=tmp_path),
        make(1, base_lr=3e38, network=NetworkConfig(name="mlp", options={"batch_norm": False})),
        make(2),
    ]
    ends = [beat for beat in run(todo) if beat.stage == "ended"]
    assert [beat.status for beat in ends] == ["failed", "diverged", "complete"]
    assert ends[0].error == "KeyError: 'no such thing'"
    assert [status(trial) for trial in todo] == ["failed", "diverged", "complete"]


def test_asked_to_stop_it_ends_the_trial_resumable_and_starts_no_other(make):
    todo = [make(0), make(1), make(2)]
    seen: list[Beat] = []
    stop = lambda: len(seen) >= 15  # noqa: E731
    serial.run(todo, on_beat=seen.append, should_stop=stop, scratch=Path(todo[0].folder))
    assert [status(trial) for trial in todo] == ["complete", "interrupted", None]
    assert seen[-1].stage == "ended" and seen[-1].status == "interrupted"
    assert not list(Path(todo[2].folder).glob(f"attempts/{todo[2].trial_id}*"))
    run(todo[1:])
    assert [status(trial) for trial in todo] == ["complete"] * 3


def test_asked_to_stop_before_it_began_it_does_nothing(make, tmp_path):
    assert run([make(0)], should_stop=lambda: True) == []
    assert not (tmp_path / "trials").exists()


def test_a_trial_of_several_workers_is_refused(make):
    trial = make(0)
    several = replace(trial, execution=replace(trial.execution, num_workers=2))
    with pytest.raises(ValueError, match=r"execution\.num_workers 2: .* use --runner tune"):
        run([several])


def test_nothing_to_do():
    assert run([]) == []
