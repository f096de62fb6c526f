"""Every kind of file of a results folder, cut short anywhere and with any bit flipped."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from analysis.gaps.points import points
from analysis.load import load_study
from study.cli import app
from tests.faults.finished import STUDY, finished
from trainables.results.files import DamagedFileError
from trainables.results.storage import PosixFolder
from trainables.results.verify import verify

pytestmark = pytest.mark.faults

KINDS = (
    "plan.parquet",
    "study.yaml",
    "provenance.json",
    "versions/*",
    "trials/*",
    "attempts/*",
    "evaluations/*",
    "layers/*",
    "measures/*",
    "curves/*",
    "weights/*/*",
)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished study that has a former version."""
    return finished(tmp_path_factory.mktemp("damage"))


def read(folder: Path) -> list[pd.DataFrame]:
    """All that analyses rest on."""
    study = load_study(folder)
    return [points(folder), study.trials, study.evaluations, study.measures, study.curves]


def is_same(one: list[pd.DataFrame], other: list[pd.DataFrame]) -> bool:
    return all(a.equals(b) for a, b in zip(one, other, strict=True))


def damages(content: bytes) -> Iterator[bytes]:
    """Cut at twenty places, and a bit flipped at thirty; the first and last bytes among them."""
    draw, size = random.Random(len(content)), len(content)
    for kept in sorted({0, 1, size - 1, *(draw.randrange(size) for _ in range(17))}):
        yield content[:kept]
    for place in {0, 4, size - 1, size - 5, *(draw.randrange(size) for _ in range(26))}:
        flipped = bytearray(content)
        flipped[place] ^= 1 << draw.randrange(8)
        yield bytes(flipped)


@pytest.mark.parametrize("kind", KINDS)
def test_no_damage_is_read_as_a_value(whole: Path, tmp_path: Path, kind: str) -> None:
    folder = tmp_path / "finished"
    shutil.copytree(whole, folder)
    path = sorted(p for p in folder.glob(kind) if p.is_file())[0]
    name, content = path.relative_to(folder).as_posix(), path.read_bytes()
    expected = read(folder)
    assert verify(PosixFolder(folder)) == []
    for damaged in damages(content):
        path.write_bytes(damaged)
        named = any(name in finding.path for finding in verify(PosixFolder(folder)))
        try:
            values = read(folder)
        except (DamagedFileError, ValueError) as error:
            assert named or path.name in str(error)
            continue
        assert named or is_same(values, expected), f"{name}: read as another value"
        points_left, trials_left, *_ = values
        assert len(points_left) and len(trials_left)  # the rest loads


def test_a_damaged_trial_can_be_run_again(whole: Path, tmp_path: Path) -> None:
    folder = tmp_path / "finished"
    shutil.copytree(whole, folder)
    expected = read(folder)
    (first, second) = load_study(folder).trials["trial_id"]
    hurt = [("trials", first), ("evaluations", second), ("weights", second), ("measures", second)]
    for table, trial_id in hurt:
        path = (
            next(p for p in (folder / table).rglob(f"*{trial_id}*/*"))
            if table == "weights"
            else (next((folder / table).glob(f"{trial_id}*")))
        )
        path.write_bytes(path.read_bytes()[:-1])
    (tmp_path / "finished.yaml").write_text(STUDY)
    words = [str(tmp_path / "finished.yaml"), "--results", str(tmp_path)]
    found = CliRunner().invoke(app, ["verify", *words])
    assert found.exit_code == 4 and "--retrain trains 1 of its trials again" in found.stdout
    result = CliRunner().invoke(app, ["run", *words, "--runner", "serial", "--retrain"])
    assert result.exit_code == 0, result.stderr
    assert not [f for f in verify(PosixFolder(folder)) if f.problem != "orphan"]
    again = read(folder)
    metrics = ["train_loss", "test_loss", "test_accuracy"]
    assert again[1][metrics].equals(expected[1][metrics])
