"""Resuming is exact wherever a trial was stopped, and only from a checkpoint of its own."""

from __future__ import annotations

import hashlib
import io
import sys
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.stored import at
from trainables.collective import Collective
from trainables.config.data import DataConfig, NetworkConfig
from trainables.config.measures.evaluation import Evaluation
from trainables.config.optimizers.adagrad import AdaGrad
from trainables.config.optimizers.adam import Adam
from trainables.config.optimizers.cblr import CBLR
from trainables.config.optimizers.conservative import Conservative
from trainables.config.optimizers.gradient_descent import GradientDescent
from trainables.config.optimizers.kinds import OptimizerConfig
from trainables.config.optimizers.lbfgs import LBFGS
from trainables.config.optimizers.sam import SAM
from trainables.config.optimizers.sgd import SGD
from trainables.config.trial import Trial
from trainables.prepare import prepare
from trainables.results import files
from trainables.results.layout import checkpoint_file
from trainables.results.ledger import finished_row
from trainables.results.storage import PosixFolder
from trainables.run import checkpoint
from trainables.run import trial as trials

DROPOUT = NetworkConfig(name="mlp", options={"hidden": [16, 8], "dropout": 0.3})
EVERY_YIELD = {"heartbeat_seconds": 1e-9, "checkpoint_seconds": 0.0}
CASES: dict[str, dict[str, Any]] = {
    "momentum, dropout, selection, schedule": {
        "optimizer": SGD(momentum=0.9),
        "network": DROPOUT,
        "discard_ratio": 0.3,
        "decay": "cosine",
        "horizontal_flip": True,
    },
    "Adam, accumulated": {
        "optimizer": Adam(),
        "ghost_batch_size": 10,
        "discard_ratio": 0.5,
        "execution": {"max_micro_batch_size": 20},
    },
    "bf16": {"optimizer": SGD(momentum=0.9), "precision": "bf16"},
}


@pytest.fixture
def make(make_trial):
    """A trial of ten steps, with evaluations at the steps 3, 5, 8 and 10 and yields at all."""

    def made(folder: Path, **settings: Any) -> Trial:
        execution = EVERY_YIELD | settings.pop("execution", {})
        measures = (Evaluation(every_epochs=0.25, train_examples=50),)
        trial: Trial = make_trial(folder, 50, execution=execution, measures=measures, **settings)
        return trial

    return made


def evaluations(trial: Trial) -> list[dict[str, Any]]:
    path = Path(trial.folder) / "evaluations" / f"{trial.trial_id}.parquet"
    timing = ("training_seconds", "examples_per_second")
    return [{k: v for k, v in row.items() if k not in timing} for row in files.read_rows(*at(path))]


def ended(trial: Trial) -> tuple[bytes, list[dict[str, Any]]]:
    """What must not depend on how often a trial was stopped."""
    weights = Path(trial.folder) / "weights" / trial.trial_id / "10.safetensors"
    assert not (Path(trial.folder) / checkpoint_file(trial.trial_id)).parent.exists()
    return weights.read_bytes(), evaluations(trial)


def attempt_rows(trial: Trial) -> list[dict[str, Any]]:
    paths = sorted((Path(trial.folder) / "attempts").glob(f"{trial.trial_id}-*.parquet"))
    return [row for path in paths for row in files.read_rows(*at(path))]


def stopped_after(trial: Trial, yields: int) -> int:
    """Runs a trial and asks it to stop at a yield; the step it had reached."""
    asked = iter(range(yields))
    *_, last = trials.run(trial, should_stop=lambda: next(asked, None) is None)
    assert last.status == "interrupted"
    return last.optimizer_step


@pytest.mark.parametrize("settings", CASES.values(), ids=CASES)
def test_stopped_at_any_step_it_ends_as_if_it_had_not_been(make, tmp_path, settings):
    undisturbed = make(tmp_path / "undisturbed", **settings)
    *_, last = trials.run(undisturbed)
    assert last.status == "complete"
    for yields in (0, 1, 4, 7, 9):
        trial = make(tmp_path / f"stopped-{yields}", **settings)
        assert stopped_after(trial, yields) == yields + 1
        assert resumed_note(trial) == (yields + 1, None)
        assert ended(trial) == ended(undisturbed)


OPTIMIZERS: list[tuple[OptimizerConfig, float, int]] = [
    (AdaGrad(), 0.05, 10),
    (SAM(momentum=0.9), 0.05, 20),
    (Conservative(), 0.01, 30),
    (CBLR(curvature_samples=2), 1.0, 50),
    (GradientDescent(), 100.0, 20),
    (LBFGS(history_size=3), 1.0, 20),
]


@pytest.mark.parametrize(
    ("optimizer", "base_lr", "gradients"), OPTIMIZERS, ids=[o[0].name for o in OPTIMIZERS]
)
def test_every_optimizer_goes_on_as_if_it_had_not_been_stopped(
    make, tmp_path, optimizer, base_lr, gradients
):
    settings = {"optimizer": optimizer, "base_lr": base_lr, "network": DROPOUT}
    undisturbed, trial = make(tmp_path / "a", **settings), make(tmp_path / "b", **settings)
    *_, last = trials.run(undisturbed)
    assert last.status == "complete"
    stopped_after(trial, 5)
    assert resumed_note(trial) == (6, None)
    assert ended(trial) == ended(undisturbed)
    counts = [evaluated_gradients(t) for t in (undisturbed, trial)]
    assert counts[0] == counts[1]
    searches = isinstance(optimizer, GradientDescent | LBFGS)
    assert counts[0] > gradients if searches else counts[0] == gradients


def evaluated_gradients(trial: Trial) -> int:
    path = Path(trial.folder) / "trials" / f"{trial.trial_id}.parquet"
    count: int = files.read_rows(*at(path))[0]["gradient_evaluations"]
    return count


def test_stopped_again_and_again_it_ends_the_same(make, tmp_path):
    settings = CASES["momentum, dropout, selection, schedule"]
    undisturbed, trial = make(tmp_path / "a", **settings), make(tmp_path / "b", **settings)
    list(trials.run(undisturbed))
    steps = [stopped_after(trial, yields) for yields in (1, 2, 0, 3)]
    assert steps == [2, 5, 6, 10]
    list(trials.run(trial))
    assert ended(trial) == ended(undisturbed)
    outcome = [(a["status"], a["start_step"], a["end_step"]) for a in attempt_rows(trial)]
    assert outcome == [
        ("interrupted", 0, 2),
        ("interrupted", 2, 5),
        ("interrupted", 5, 6),
        ("interrupted", 6, 10),
        ("complete", 10, 10),
    ]


@pytest.mark.parametrize("checkpoint_seconds", [0.0, 1e9])
@pytest.mark.parametrize("beats", [1, 4, 9, 10])
def test_killed_it_goes_on_from_its_last_checkpoint(make, tmp_path, beats, checkpoint_seconds):
    settings = CASES["momentum, dropout, selection, schedule"]
    undisturbed = make(tmp_path / "undisturbed", **settings)
    list(trials.run(undisturbed))
    execution = {"checkpoint_seconds": checkpoint_seconds}
    trial = make(tmp_path / "killed", **settings, execution=execution)
    running = trials.run(trial)
    for _ in range(beats):
        next(running)
    running.close()
    assert not (Path(trial.folder) / "trials").exists()
    *_, last = trials.run(trial)
    assert last.status == "complete"
    # A checkpoint is written before the beat that a person sees.
    assert attempt_rows(trial)[1]["start_step"] == (0 if checkpoint_seconds else beats)
    assert ended(trial) == ended(undisturbed)


def test_an_error_while_running_is_resumed_too(make, tmp_path, monkeypatch):
    settings = CASES["Adam, accumulated"]
    undisturbed, trial = make(tmp_path / "a", **settings), make(tmp_path / "b", **settings)
    list(trials.run(undisturbed))
    running = trials.run(trial)
    with pytest.raises(KeyboardInterrupt):
        for beat in running:
            if beat.optimizer_step == 6:
                running.throw(KeyboardInterrupt())
    list(trials.run(trial))
    assert ended(trial) == ended(undisturbed)


# ------------------------------------------------------------------------- checkpoints not used


def resumed_note(trial: Trial) -> tuple[int, str | None]:
    """Where the second attempt began, and what it says of that."""
    *_, last = trials.run(trial)
    assert last.status == "complete" and last.error is None
    (row,) = attempt_rows(trial)[1:]
    return row["start_step"], row["error"]


@pytest.mark.parametrize("position", [0, 40, 0.3, 0.6, -1])
def test_a_damaged_checkpoint_is_seen_and_the_trial_starts_again(make, tmp_path, position):
    """torch.load itself would not see a flipped bit in a tensor."""
    undisturbed, trial = make(tmp_path / "a"), make(tmp_path / "b")
    list(trials.run(undisturbed))
    stopped_after(trial, 5)
    path = Path(trial.folder) / checkpoint_file(trial.trial_id)
    content = bytearray(path.read_bytes())
    at = int(position * len(content)) if isinstance(position, float) else position
    content[at] ^= 0x10
    path.write_bytes(content)
    assert resumed_note(trial) == (0, "checkpoint is damaged; started again")
    assert ended(trial) == ended(undisturbed)


@pytest.mark.parametrize("size", [0, 10, 2000])
def test_a_checkpoint_cut_short_starts_again(make, tmp_path, size):
    trial = make(tmp_path)
    stopped_after(trial, 5)
    path = Path(trial.folder) / checkpoint_file(trial.trial_id)
    path.write_bytes(path.read_bytes()[:size])
    assert resumed_note(trial) == (0, "checkpoint is damaged; started again")


def test_a_checkpoint_that_unpacks_to_more_than_it_is_starts_again(make, tmp_path):
    """Its digest is right: somebody wrote it so."""
    trial = make(tmp_path)
    stopped_after(trial, 5)
    path = Path(trial.folder) / checkpoint_file(trial.trial_id)
    packed = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(path.read_bytes()[32:])) as whole,
        zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as file,
    ):
        for part in whole.infolist():
            file.writestr(part.filename, whole.read(part) + bytes(100_000))
    path.write_bytes(hashlib.sha256(packed.getvalue()).digest() + packed.getvalue())
    assert resumed_note(trial) == (0, "checkpoint is damaged; started again")


def test_a_checkpoint_that_this_torch_cannot_read_starts_again(make, tmp_path, monkeypatch):
    trial = make(tmp_path)
    stopped_after(trial, 5)

    def newer(*args: Any, **options: Any) -> None:
        raise RuntimeError("unknown version")

    monkeypatch.setattr(torch, "load", newer)
    assert resumed_note(trial) == (0, "checkpoint cannot be read (unknown version); started again")


def test_a_checkpoint_that_lacks_what_is_counted_now_starts_again(make, tmp_path, monkeypatch):
    trial = make(tmp_path)
    with monkeypatch.context() as older:
        counters = [name for name in checkpoint._COUNTERS if name != "gradient_evaluations"]
        older.setattr(checkpoint, "_COUNTERS", counters)
        stopped_after(trial, 5)
    note = "checkpoint was written by another version of batchgap; started again"
    assert resumed_note(trial) == (0, note)


def test_a_checkpoint_of_another_memory_format_starts_again(make, tmp_path):
    trial = make(tmp_path, ghost_batch_size=5)
    stopped_after(trial, 5)
    other = replace(trial, execution=replace(trial.execution, channels_last=False))
    note = "checkpoint was made under another channels_last; started again"
    assert resumed_note(other) == (0, note)


def test_a_batch_in_other_parts_goes_on_and_the_attempt_says_so(make, tmp_path):
    trial = make(tmp_path, ghost_batch_size=5)
    stopped_after(trial, 5)
    other = replace(trial, execution=replace(trial.execution, max_micro_batch_size=25))
    assert resumed_note(other) == (6, None)
    rows = [
        files.read_rows(*at(tmp_path / "attempts" / f"{trial.trial_id}-{number}.parquet"))[0]
        for number in (1, 2)
    ]
    assert [row["max_micro_batch_size"] for row in rows] == [None, 25]


def test_a_checkpoint_of_another_evaluation_starts_again(make, tmp_path):
    """Its rows so far would lack the records that are asked for now."""
    trial = make(tmp_path)
    stopped_after(trial, 5)
    other = replace(trial, measures=(Evaluation(every_steps=3),))
    assert resumed_note(other) == (0, "checkpoint was made under another evaluation; started again")


def test_a_checkpoint_is_resumed_under_equal_conditions_only(make, tmp_path):
    trial = make(tmp_path)
    stopped_after(trial, 5)
    faster = replace(trial, execution=replace(trial.execution, heartbeat_seconds=5.0))
    assert resumed_note(faster) == (6, None)


MODULE = """
from torch import nn

def build(input_shape, num_classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(784, {width}), nn.ReLU(), nn.Linear({width}, 10))
"""


@pytest.mark.parametrize("width", [8, 9])
def test_a_checkpoint_of_other_code_starts_again(make, tmp_path, monkeypatch, width):
    """Edited between stop and start, even where the weights' shapes stay the same."""
    name = f"edited_network_{width}"
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / f"{name}.py").write_text(MODULE.format(width=8))
    trial = make(tmp_path, network=NetworkConfig(build=f"{name}:build"), import_folder=tmp_path)
    stopped_after(trial, 5)
    (tmp_path / f"{name}.py").write_text("# edited\n" + MODULE.format(width=width))
    monkeypatch.delitem(sys.modules, name)
    note = "checkpoint was made under another network code; started again"
    assert resumed_note(trial) == (0, note)


LOADER = """
import numpy as np
from trainables.datasets.splits import Splits

def load():
    inputs, labels = np.full((500, 4), {value}, dtype=np.float32), np.arange(500) % 10
    return Splits(train=(inputs, labels), test=(inputs[:10], labels[:10]))
"""


def test_a_checkpoint_on_other_data_starts_again(make, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    path = tmp_path / "edited_data.py"
    path.write_text(LOADER.format(value=1.0))
    data = DataConfig(source="load", load="edited_data:load")
    trial = make(tmp_path, data=data, import_folder=tmp_path)
    stopped_after(trial, 5)
    path.write_text("# edited\n" + LOADER.format(value=2.0))
    monkeypatch.delitem(sys.modules, "edited_data")
    assert resumed_note(trial) == (0, "checkpoint was made under another data; started again")


# ----------------------------------------------------------------------------------- save, restore


def test_what_is_saved_is_restored(make, tmp_path):
    trial = make(tmp_path, **CASES["Adam, accumulated"])
    stopped_after(trial, 7)
    path = Path(trial.folder) / checkpoint_file(trial.trial_id)
    before = path.read_bytes()
    prepared, state = prepare(trial, Collective())
    assert checkpoint.restore(trial, state, checkpoint.conditions(prepared)) is None
    assert state.optimizer_step == 8
    assert state.kept_examples == 8 * 25 and state.latest_kept == 25
    assert state.extra_forward_examples == 8 * 50
    assert state.training_seconds > 0 and state.evaluation_seconds > 0
    assert [row["optimizer_step"] for row in state.rows] == [3, 5, 8]
    checkpoint.save(trial, state, checkpoint.conditions(prepared))
    one, other = (
        torch.load(io.BytesIO(content[32:]), weights_only=True)
        for content in (before, path.read_bytes())
    )
    assert str(one) == str(other)


def test_a_checkpoint_that_cannot_be_removed_harms_nothing(make, tmp_path, monkeypatch):
    delete = PosixFolder.delete

    def busy(self, name):
        if name.startswith("checkpoints/"):
            raise OSError(16, "Device or resource busy", name)
        delete(self, name)

    trial = make(tmp_path)
    stopped_after(trial, 7)
    monkeypatch.setattr(PosixFolder, "delete", busy)
    *_, last = trials.run(trial)
    assert last.status == "complete"
    assert finished_row(PosixFolder(tmp_path), trial.trial_id)["status"] == "complete"


def test_without_a_checkpoint_the_state_is_as_it_was(make, tmp_path):
    trial = make(tmp_path)
    prepared, state = prepare(trial, Collective())
    assert checkpoint.restore(trial, state, checkpoint.conditions(prepared)) is None
    assert state.optimizer_step == 0
