"""Results folders of every schema that ever was still load, mean the same, and are gone on with."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner, Result

from analysis.gaps.points import points
from analysis.load import load_study
from study.cli import app
from trainables.results.schema import SCHEMA_VERSION

GOLDEN = Path(__file__).parents[1] / "golden"
VERSIONS = sorted(int(path.name.partition("-")[2]) for path in GOLDEN.glob("schema-*"))


@pytest.fixture(params=VERSIONS, ids="schema-{}".format)
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A copy, beside the study file that it was run from."""
    shutil.copytree(GOLDEN / f"schema-{request.param}", tmp_path / "studies" / "golden")
    shutil.copy(GOLDEN / "golden.yaml", tmp_path)
    return tmp_path / "studies" / "golden"


def batchgap(*words: object) -> Result:
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == 0, result.stderr
    return result


def test_there_is_one_of_every_schema() -> None:
    assert list(range(1, SCHEMA_VERSION)) == VERSIONS, "keep a folder of the schema before this one"


def test_each_is_of_its_schema(folder: Path, request: pytest.FixtureRequest) -> None:
    versions = {pq.read_schema(p).metadata[b"schema_version"] for p in folder.rglob("*.parquet")}
    assert versions == {str(request.node.callspec.params["folder"]).encode()}


def test_what_it_says_is_what_is_read(folder: Path) -> None:
    loaded = load_study(folder)
    assert not loaded.problems
    table = points(folder).set_index("trial_id")
    assert sorted(table["global_batch_size"]) == [20, 50]
    for path in (folder / "trials").glob("*.parquet"):
        (row,) = pq.read_table(path).to_pylist()
        for metric in ("train_loss", "test_loss", "test_accuracy"):
            assert table.loc[path.stem, metric] == row[metric]


def test_every_verb_takes_it(folder: Path) -> None:
    assert "2 complete" in batchgap("status", folder).stdout
    assert "nothing is damaged" in batchgap("verify", folder).stdout
    conclusions = json.loads(batchgap("report", folder, "--json").stdout)
    assert conclusions["study"] == "golden"
    batchgap("export", folder, "--format", "parquet", "--output", folder.parent / "exported")
    assert len(points(folder.parent / "exported")) == 2


def test_running_its_file_again_finds_its_trials_done(folder: Path) -> None:
    file, results = folder.parents[1] / "golden.yaml", folder.parent
    plan = json.loads(batchgap("plan", file, "--results", results, "--json").stdout)
    assert [trial["to_train"] for trial in plan["trials"]] == [False, False]
    before = {p.name: p.read_bytes() for p in (folder / "trials").iterdir()}
    batchgap("run", file, "--results", results, "--runner", "serial")
    assert {p.name: p.read_bytes() for p in (folder / "trials").iterdir()} == before
