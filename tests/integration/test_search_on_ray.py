"""A search whose trials Ray runs gives what it gives in one process."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from analysis.load import load_study
from analysis.search.outcomes import search_outcomes
from study.cli import app
from tests.stored import at
from trainables.results import files

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
  points: 8
  fields: {training.base_lr: {low: 0.001, high: 1, log: true}}
measures: [{name: evaluation, train_examples: 100}]
execution: {device: cpu}
"""


def test_an_adaptive_search_is_the_same_on_ray(tmp_path: Path) -> None:
    # Long enough to leave chance behind, beside which finals look no further.
    (tmp_path / "s.yaml").write_text(STUDY.replace("epochs: 1}", "epochs: 10}"))
    plans = []
    for runner in ("serial", "tune"):
        root = tmp_path / runner
        arguments = ["run", str(tmp_path / "s.yaml"), "--runner", runner, "--results", str(root)]
        ran = CliRunner().invoke(app, arguments)
        assert ran.exit_code == 0, ran.stderr
        plans.append(files.read_rows(*at(root / "tuned" / "plan.parquet")))
    assert plans[0] == plans[1]
    stages = [row["stage"] for row in plans[0]]
    assert stages[:9] == ["search"] * 8 + ["final"]
    assert stages[9:] and set(stages[9:]) == {"crossed"}  # beside the baseline's best


@pytest.mark.parametrize("runner", ["serial", "tune"])
def test_trials_that_fall_behind_stop_and_the_best_goes_on(tmp_path: Path, runner: str) -> None:
    search = (
        "method: grid\n  finals: own\n  scheduler: asha\n  grace_epochs: 2\n  reduction_factor: 2"
    )
    study = STUDY.replace("method: optuna\n  points: 8", search).replace("epochs: 1}", "epochs: 5}")
    study = study.replace("{low: 0.001, high: 1, log: true}", "[0.5, 1.0e-4, 1.0e-5, 1.0e-6]")
    (tmp_path / "s.yaml").write_text(study)
    arguments = ["run", str(tmp_path / "s.yaml"), "--runner", runner, "--results", str(tmp_path)]
    assert CliRunner().invoke(app, arguments).exit_code == 0
    plan = files.read_rows(*at(tmp_path / "tuned" / "plan.parquet"))
    rows = {
        row["trial_id"]: row
        for path in (tmp_path / "tuned" / "trials").glob("*.parquet")
        for row in files.read_rows(*at(path))
    }
    searched = [rows[point["trial_id"]] for point in plan if point["stage"] == "search"]
    final = [rows[point["trial_id"]] for point in plan if point["stage"] == "final"]
    stopped = [row for row in searched if row["status"] == "stopped"]
    # One after the other, the best first, all others fall behind it; together they may not meet.
    assert len(stopped) == 3 if runner == "serial" else len(stopped) <= 3
    assert {row["status"] for row in searched} <= {"complete", "stopped"}
    assert all(row["epoch"] in (2, 4) for row in stopped)
    assert [(row["status"], row["peak_lr"]) for row in final] == [("complete", 0.5)]
    outcomes = search_outcomes(load_study(tmp_path / "tuned"))
    assert (list(outcomes["stopped"]), list(outcomes["died"])) == ([len(stopped)], [0])
