"""Secrets in what an error says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from study.cli import app
from trainables.redaction import redacted


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("no bucket at s3://AKIA:sEcr3t@bucket/x", "no bucket at s3://***@bucket/x"),
        (
            "postgresql+psycopg://me:pw@host:5432/db?x=1",
            "postgresql+psycopg://***@host:5432/db?x=1",
        ),
        (
            "https://token@github.com/a and http://b:c@d",
            "https://***@github.com/a and http://***@d",
        ),
        ("https://me:pa/ss@host/x", "https://***@host/x"),
        ("https://example.org/a@b", "https://example.org/a@b"),
        ("write to me@example.org", "write to me@example.org"),
        ("s3://bucket/x", "s3://bucket/x"),
        ("", ""),
    ],
)
def test_credentials_in_addresses_are_hidden_and_nothing_else(text: str, shown: str) -> None:
    assert redacted(text) == shown


def test_values_of_secret_variables_are_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "0123456789")
    monkeypatch.setenv("db_password", "0123456789abc")
    monkeypatch.setenv("SHORT_TOKEN", "on")
    monkeypatch.setenv("HARMLESS", "visible")
    text = "0123456789abc and 0123456789, on a visible day"
    assert redacted(text) == "*** and ***, on a visible day"


def test_a_value_is_hidden_as_python_and_json_spell_it(monkeypatch: pytest.MonkeyPatch) -> None:
    value = "sec\\ret\n'1\"2"
    monkeypatch.setenv("MY_TOKEN", value)
    shown = redacted(f"{value} {value!r} {json.dumps(value)}")
    assert "ret" not in shown and shown.count("***") == 3


NETWORK = """\
import os
from torch import nn

class Net(nn.Linear):
    def forward(self, x):
        if self.training:
            raise OSError(f"s3://AKIA:{os.environ['BG_SECRET']}@bucket: no such bucket")
        return super().forward(x.flatten(1))

def build(input_shape, num_classes):
    return Net(784, num_classes)
"""
STUDY = """\
name: leaks
data: {source: mnist-5k, train_examples: 100}
network: {build: "bg_leaks:build"}
training: {base_lr: 0.05, epochs: 1}
grid: {training.global_batch_size: [10, 20]}
seeds: 1
execution: {device: cpu}
"""


def test_a_users_error_carries_no_secret_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BG_SECRET", "pa55-word")
    (tmp_path / "bg_leaks.py").write_text(NETWORK)
    (tmp_path / "leaks.yaml").write_text(STUDY)
    said = []
    for verb in (["run", "leaks.yaml", "--runner", "serial"], ["status"], ["status", "--failed"]):
        result = CliRunner().invoke(app, [*verb, *(["leaks.yaml"] if verb[0] == "status" else [])])
        said.append(result.stdout + result.stderr)
    said.append(CliRunner().invoke(app, ["report", "leaks.yaml"]).stdout)
    assert all("s3://***@bucket: no such bucket" in text for text in said[:3])
    assert not any("pa55-word" in text for text in said)
    for path in Path("studies").rglob("*"):
        assert path.is_dir() or b"pa55-word" not in path.read_bytes(), path
