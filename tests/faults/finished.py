"""A study that has a file of every kind, to be damaged."""

from __future__ import annotations

from pathlib import Path

from typer.testing import CliRunner

from study.cli import app

STUDY = """\
name: finished
data: {source: mnist-5k, train_examples: 100}
network: {name: mlp, hidden: [4]}
training: {base_lr: 0.05, epochs: 2}
grid: {training.global_batch_size: [20, 50]}
seeds: 1
measures:
  - {name: evaluation}
  - {name: layers}
  - {name: sharpness, examples: 20}
  - {name: spectrum, examples: 20, lanczos_steps: 5, vectors: 2}
execution: {device: cpu}
"""


def finished(here: Path, study: str = STUDY) -> Path:
    """The results folder, below a folder, of a study that ran twice, so that a version is kept."""
    for rate in ("0.01", "0.05"):
        (here / "finished.yaml").write_text(study.replace("0.05", rate))
        words = ["run", str(here / "finished.yaml"), "--results", str(here), "--runner", "serial"]
        result = CliRunner().invoke(app, words)
        assert result.exit_code == 0, result.stderr
    return here / "finished"
