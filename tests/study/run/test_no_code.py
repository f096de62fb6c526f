"""Reading results runs no code that a study names, and a study that holds a secret is refused."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from study.file.document import StudyError
from study.grid.spec import load_spec

CODE = """\
from pathlib import Path

Path(__file__).with_suffix(".ran").touch()

def load(count=40):
    import numpy as np
    inputs = np.random.default_rng(0).random((count, 4), dtype=np.float32)
    labels = np.arange(count) % 2
    return (inputs, labels), (inputs, labels)

def build(input_shape, num_classes):
    from torch import nn
    return nn.Linear(input_shape[0], num_classes)
"""
STUDY = """\
name: coded
data: {load: "bg_no_code:load", count: 40}
network: {build: "bg_no_code:build"}
training: {base_lr: 0.05, epochs: 1}
grid: {training.global_batch_size: [10, 20]}
seeds: 1
execution: {device: cpu}
"""


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Path:
    here = tmp_path_factory.mktemp("coded")
    (here / "bg_no_code.py").write_text(CODE)
    (here / "coded.yaml").write_text(STUDY)
    done = batchgap(here, "run", "coded.yaml", "--runner", "serial")
    assert done.returncode == 0, done.stderr
    return here


def batchgap(here: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """A process of its own, since modules stay imported."""
    return subprocess.run(
        [Path(sys.executable).with_name("batchgap"), *words],
        cwd=here,
        env=os.environ | {"COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.mark.parametrize(
    "words",
    [
        ("status",),
        ("status", "--failed"),
        ("report", "--json"),
        ("verify",),
        ("export", "--format", "csv"),
    ],
    ids=" ".join,
)
@pytest.mark.parametrize("study", ["coded.yaml", "studies/coded"])
def test_reading_results_runs_no_code(ran: Path, words: tuple[str, ...], study: str) -> None:
    (ran / "bg_no_code.ran").unlink(missing_ok=True)
    done = batchgap(ran, words[0], study, *words[1:])
    assert done.returncode == 0, done.stderr
    assert not (ran / "bg_no_code.ran").exists()


def test_data_that_no_one_looked_at_is_refused_by_a_reader(ran: Path) -> None:
    (ran / "bg_no_code.ran").unlink(missing_ok=True)
    done = batchgap(ran, "report", "coded.yaml", "--set", "data.count=50")
    assert done.returncode == 2 and "this verb runs no code of yours" in done.stderr, done
    assert not (ran / "bg_no_code.ran").exists()
    batchgap(ran, "plan", "coded.yaml", "--set", "data.count=50")
    assert (ran / "bg_no_code.ran").exists()
    done = batchgap(ran, "report", "coded.yaml", "--set", "data.count=50")
    assert "this verb runs no code" not in done.stderr


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("https://me:pass@host/data", "a password in an address"),
        ("s3://key:secret@bucket/x", "a password in an address"),
        ("a hidden-value-here", "the value of SOME_TOKEN"),
    ],
)
def test_a_study_that_holds_a_secret_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, what: str
) -> None:
    monkeypatch.setenv("SOME_TOKEN", "hidden-value-here")
    (tmp_path / "study.yaml").write_text(STUDY.replace("count: 40", f"where: {text!r}"))
    with pytest.raises(StudyError, match=rf"study.yaml:2:40: data.where: holds {what}"):
        load_spec(tmp_path / "study.yaml")
    (tmp_path / "study.yaml").write_text(STUDY)
    with pytest.raises(StudyError, match=rf"data.where: holds {what}"):
        load_spec(tmp_path / "study.yaml", [f"data.where={text}"])
    (tmp_path / "study.yaml").write_text(STUDY.replace("count: 40", "where: 'https://host/data'"))
    load_spec(tmp_path / "study.yaml")
