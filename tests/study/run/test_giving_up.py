"""Five equal failures in a row stop a study; anything between them does not."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from study.cli import app
from study.run.giving_up import IN_A_ROW, GivingUp
from trainables.config.trial import Beat, Status

NETWORK = """\
from torch import nn

class Net(nn.Linear):
    def forward(self, x):
        if self.training:
            raise RuntimeError("on purpose")
        return super().forward(x.flatten(1))

def build(input_shape, num_classes):
    return Net(784, num_classes)
"""
STUDY = """\
name: hopeless
data: {source: mnist-5k, train_examples: 100}
network: {build: "bg_hopeless:build"}
training: {base_lr: 0.05, epochs: 1}
grid: {training.global_batch_size: [10, 20, 25, 50]}
seeds: 3
execution: {device: cpu}
"""


def ended(status: Status = "failed", error: str | None = "ValueError: x") -> Beat:
    return Beat(trial_id="a", stage="ended", fraction=1.0, status=status, error=error)


@pytest.mark.parametrize(
    ("between", "stops"),
    [
        (ended("interrupted", None), True),
        (Beat(trial_id="b", stage="training", fraction=0.5), True),
        (ended("complete", None), False),
        (ended("diverged", "loss not finite at step 3"), False),
        (ended(error="ValueError: y"), False),
    ],
)
def test_it_stops_after_equal_failures_in_a_row(between: Beat, stops: bool) -> None:
    heard: list[Beat] = []
    giving_up = GivingUp(heard.append, lambda: False)
    for number in range(IN_A_ROW):
        assert not giving_up.should_stop()
        if number == 2:
            giving_up.on_beat(between)
        giving_up.on_beat(ended())
    assert giving_up.should_stop() is stops
    assert bool(giving_up.reason) is stops and len(heard) == IN_A_ROW + 1


def test_divergence_at_every_batch_is_a_result() -> None:
    giving_up = GivingUp(lambda beat: None, lambda: False)
    for _ in range(2 * IN_A_ROW):
        giving_up.on_beat(ended("diverged", "loss not finite at step 3"))
    assert not giving_up.should_stop()


def test_a_person_is_heard_too() -> None:
    giving_up = GivingUp(lambda beat: None, lambda: True)
    assert giving_up.should_stop() and giving_up.reason == ""


def test_a_study_in_which_all_fails_ends_early_and_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bg_hopeless.py").write_text(NETWORK)
    (tmp_path / "hopeless.yaml").write_text(STUDY)
    result = CliRunner().invoke(app, ["run", "hopeless.yaml", "--runner", "serial"])
    assert result.exit_code == 1
    assert "stopped: 5 trials in a row failed with one error: RuntimeError: on purpose" in (
        result.stderr
    )
    assert "5 of 12 trials ended" in result.stderr
    assert "12 trials did not end well; run again to try them again" in result.stderr
    assert "why: batchgap status hopeless.yaml --failed" in result.stderr
    shown = CliRunner().invoke(app, ["status", "hopeless.yaml", "--failed"])
    assert shown.exit_code == 0 and shown.stdout.count("RuntimeError: on purpose") >= 5
    assert shown.stdout.count("In your code:") == 5 and "bg_hopeless.py" in shown.stdout
    assert "running again tries them again" in shown.stdout


def test_a_damaged_attempt_hides_no_failure_and_is_set_aside_by_retraining(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bg_hopeless_too.py").write_text(NETWORK)
    study = STUDY.replace("seeds: 3", "seeds: 1").replace("bg_hopeless:", "bg_hopeless_too:")
    (tmp_path / "hopeless.yaml").write_text(study)

    def verb(*words: str) -> str:
        return CliRunner().invoke(app, [words[0], "hopeless.yaml", *words[1:]]).stdout

    verb("run", "--runner", "serial")
    damaged = sorted(tmp_path.glob("studies/hopeless/attempts/*.parquet"))[0]
    damaged.write_bytes(damaged.read_bytes()[:-9])
    assert verb("status", "--failed").count("RuntimeError: on purpose") >= 4
    assert damaged.name in verb("verify")
    verb("run", "--runner", "serial", "--retrain")
    assert "nothing is damaged" in verb("verify")
