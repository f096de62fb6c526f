"""A search whose trials Ray runs gives what it gives in one process."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from study.cli import app
from trainables import results

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("local_ray")]

STUDY = """\
name: tuned
data: {source: mnist-5k, train_examples: 200, validation_examples: 50}
network: {name: mlp, hidden: [8]}
training: {epochs: 1}
grid: {training.global_batch_size: [50]}
seeds: 1
search:
  method: optuna
  points: 3
  fields: {training.base_lr: {low: 0.001, high: 1, log: true}}
measures: [{name: evaluation, train_examples: 100}]
execution: {device: cpu}
"""


def test_an_adaptive_search_is_the_same_on_ray(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(STUDY)
    plans = []
    for runner in ("serial", "tune"):
        root = tmp_path / runner
        arguments = ["run", str(tmp_path / "s.yaml"), "--runner", runner, "--results", str(root)]
        ran = CliRunner().invoke(app, arguments)
        assert ran.exit_code == 0, ran.stderr
        plans.append(results.read_rows(root / "tuned" / "plan.parquet", "plan"))
    assert plans[0] == plans[1]
    assert [row["stage"] for row in plans[0]] == ["search"] * 3 + ["final"]
