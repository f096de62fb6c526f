"""A storage that is full, or fails for a moment or for good, at every call in turn."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from study.cli import app
from tests.stored import at, results_of
from trainables.results import files, storage
from trainables.results.storage import PosixFolder, StorageError

STUDY = """\
name: small
data: {source: mnist-5k, train_examples: 100}
network: {name: mlp, hidden: [4]}
training: {base_lr: 0.05, epochs: 2}
grid: {training.global_batch_size: [20, 50]}
seeds: 1
measures: [{name: evaluation}, {name: sharpness, examples: 20}]
execution: {device: cpu, heartbeat_seconds: 0.0001, checkpoint_seconds: 0.0001}
"""


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(storage, "_WAITS", (0.0, 0.0, 0.0))
    monkeypatch.setattr(
        "study.run.telling.SECONDS", 1000.0
    )  # one message: the same calls each time
    (tmp_path / "small.yaml").write_text(STUDY)
    return tmp_path


def run(folder: str) -> Result:
    verb = ["run", "small.yaml", "--runner", "serial", "--results", folder]
    return CliRunner().invoke(app, verb)


def results(folder: str) -> list[Any]:
    return [results_of(Path(folder, "small"), table) for table in ("evaluations", "measures")]


@pytest.mark.faults
@pytest.mark.parametrize("lasts", [True, False], ids=["from there on", "once"])
def test_no_space_at_every_write_in_turn_loses_nothing(
    monkeypatch: pytest.MonkeyPatch, lasts: bool
) -> None:
    count, first, freed = [0], [0], [True]
    whole = os.fsync

    def fsync(file: int) -> None:
        count[0] += 1
        if not freed[0] and (count[0] >= first[0] if lasts else count[0] == first[0]):
            raise OSError(errno.ENOSPC, "No space left on device")
        whole(file)

    monkeypatch.setattr(os, "fsync", fsync)
    assert run("undisturbed").exit_code == 0
    writes = count[0]
    assert writes > 20
    expected = results("undisturbed")
    for first[0] in range(1, writes + 1):
        folder = f"full-at-{first[0]}"
        count[0], freed[0] = 0, False
        result = run(folder)
        # The last write says how the run ended, and telling others of itself is no matter.
        if result.exit_code != 0:
            assert result.exit_code == 3, (first, result.stderr, result.exception)
            line = result.stderr.splitlines()[-1]
            assert line.startswith("error: ") and "No space left on device; free some space" in line
        for path in Path(folder).rglob("*.parquet"):
            files.read_rows(*at(path))  # whole, or not there
        freed[0] = True
        again = run(folder)
        assert again.exit_code == 0, (first, again.stderr)
        assert results(folder) == expected
        shutil.rmtree(folder)


@pytest.mark.parametrize("code", [errno.EIO, errno.ESTALE, errno.EAGAIN])
def test_what_passes_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    assert run("undisturbed").exit_code == 0  # and the data is in the cache
    failures, whole = [0], os.fsync

    def fsync(file: int) -> None:
        failures[0] += 1
        if failures[0] % 3:
            raise OSError(code, "for a moment")
        whole(file)

    monkeypatch.setattr(os, "fsync", fsync)
    assert run("shaky").exit_code == 0
    assert results("shaky") == results("undisturbed")
    folder = PosixFolder(tmp_path / "other")
    folder.replace("a/b", b"1")
    assert folder.read("a/b") == b"1" and folder.list("a/") == ["a/b"]


def test_what_does_not_pass_is_an_error_with_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fsync(file: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    folder = PosixFolder(tmp_path / "other")
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fsync)
        with pytest.raises(
            StorageError, match="a/b: Input/output error; see to the storage and run"
        ):
            folder.replace("a/b", b"1")
    assert folder.list("a/") == []


@pytest.mark.parametrize("links", [True, False])
def test_a_file_that_was_put_though_the_storage_said_no_is_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    """The call is carried out, and then fails: repeated, it must not count as somebody else's."""
    folder, link, failed = PosixFolder(tmp_path / "other"), Path.hardlink_to, []

    def hardlink_to(path: Path, target: Path) -> None:
        link(path, target)
        if not failed:
            failed.append(path)
            raise OSError(errno.EIO if links else errno.ETIMEDOUT, "no answer")

    monkeypatch.setattr(Path, "hardlink_to", hardlink_to)
    assert folder.put_if_absent("a/b", b"mine")
    assert failed and folder.read("a/b") == b"mine"
    assert not folder.put_if_absent("a/b", b"another's")
