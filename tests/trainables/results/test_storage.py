"""Names of a results folder's files, and the directory that holds them."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainables.results import layout
from trainables.results.layout import digest, part_of
from trainables.results.storage import FolderError, PosixFolder, StorageError, storage_at

IDS = st.text("0123456789abcdef", min_size=12, max_size=12)
NUMBERS = st.integers(0, 10**9)


@pytest.fixture
def folder(tmp_path: Path) -> PosixFolder:
    """A results folder that is not there yet."""
    return PosixFolder(tmp_path / "study")


# ------------------------------------------------------------------------------------------ names


@given(trial_id=IDS, number=NUMBERS, key=IDS, content=st.binary())
def test_a_name_says_what_it_was_made_of(trial_id, number, key, content):
    of_trial = {
        "trials": layout.trial_file(trial_id),
        "evaluations": layout.evaluations_file(trial_id),
        "timings": layout.timing_file(trial_id),
        "checkpoints": layout.checkpoint_file(trial_id),
    }
    numbered = {
        "attempts": layout.attempt_file(trial_id, number),
        "layers": layout.layers_file(trial_id, number),
        "weights": layout.weights_file(trial_id, number),
    }
    keyed = {
        table: layout.keyed_file(table, f"{trial_id}-{key}", content)
        for table in ("measures", "curves")
    }
    for table, name in {**of_trial, **numbered, **keyed}.items():
        part = part_of(name)
        assert part is not None and part.name == name and part.trial_id == trial_id
        assert part.table == table == layout.table_of(name)
        assert part.number == (number if table in numbered else None)
        assert part.key == (f"{trial_id}-{key}" if table in keyed else None)
        assert part.is_named_by(content)
        assert part.is_named_by(content + b"?") == (table not in keyed)


@pytest.mark.parametrize(
    "name",
    [
        *("trials/.0123.parquet.7.tmp", "trials/.0123.parquet.damaged", "trials/0123.csv"),
        *("attempts/0123.parquet", "attempts/0123-one.parquet", "measures/0123-4567.parquet"),
        *("weights/10.safetensors", "weights/0123/.10.safetensors.7.tmp", "plan.parquet"),
        *("elsewhere/0123.parquet", ".ray/tune/0123.parquet", "", "trials/", "trials/a/b.parquet"),
    ],
)
def test_what_no_study_writes_has_no_place(name):
    assert part_of(name) is None


def test_each_begins_with_what_its_kind_begins_with():
    assert layout.attempt_file("0123", 4).startswith(layout.attempts_of("0123"))
    assert layout.layers_file("0123", 4).startswith(layout.layers_of("0123"))
    assert layout.weights_file("0123", 4).startswith(layout.weights_of("0123"))
    assert layout.checkpoint_file("0123").startswith(layout.checkpoints_of("0123"))
    assert layout.keyed_file("curves", "0123-4", b"").startswith(
        layout.keyed_of("curves", "0123-4")
    )


# ---------------------------------------------------------------------------------------- storage


def test_names_by_their_beginning(folder):
    names = ["trials/a.parquet", "trials/b.parquet", "weights/a/10.safetensors", "plan.parquet"]
    names += ["weights/a/5.safetensors", "weights/ab/5.safetensors", "trials/.c.tmp"]
    for name in names:
        folder.replace(name, b"")
    assert folder.list("trials/") == ["trials/.c.tmp", "trials/a.parquet", "trials/b.parquet"]
    assert folder.list("trials/a") == ["trials/a.parquet"]
    assert folder.list("weights/a/") == ["weights/a/10.safetensors", "weights/a/5.safetensors"]
    assert folder.list("weights/a") == sorted(n for n in names if n.startswith("weights/a"))
    assert folder.list("plan.parquet") == ["plan.parquet"]
    assert folder.list("none/") == folder.list("trials/a.parquet/") == []


def test_a_folder_that_is_not_there_is_empty(folder):
    assert folder.list("trials/") == [] and folder.holder() is None
    with pytest.raises(FileNotFoundError):
        folder.read("plan.parquet")
    folder.delete("plan.parquet")
    assert not folder.root.exists()


@pytest.mark.parametrize("name", ["../other", "trials/../../other", "/etc/passwd", ".."])
def test_a_name_cannot_lead_out(folder, name):
    for use in (folder.read, folder.delete, lambda n: folder.replace(n, b"")):
        with pytest.raises(ValueError, match="outside"):
            use(name)


@pytest.mark.parametrize("links", [True, False], ids=["links", "no links"])
def test_what_is_there_is_not_put_again(folder, monkeypatch, links):
    if not links:

        def unsupported(self: Path, target: Path) -> None:
            raise OSError(errno.EPERM, "no links on this file system")

        monkeypatch.setattr(Path, "hardlink_to", unsupported)
    assert folder.put_if_absent("attempts/a-1.parquet", b"one")
    assert not folder.put_if_absent("attempts/a-1.parquet", b"two")
    assert folder.read("attempts/a-1.parquet") == b"one"
    assert folder.list("") == ["attempts/a-1.parquet"]


def test_the_last_file_of_a_trial_takes_its_directory_along(folder):
    folder.replace("checkpoints/a/state.pt", b"")
    folder.replace("checkpoints/a/.state.pt.7.tmp", b"")
    folder.delete("checkpoints/a/state.pt")
    assert folder.list("checkpoints/") == ["checkpoints/a/.state.pt.7.tmp"]
    folder.delete("checkpoints/a/.state.pt.7.tmp")
    assert list(folder.root.iterdir()) == [folder.root / "checkpoints"]
    assert not any((folder.root / "checkpoints").iterdir())


def test_a_table_may_lie_on_another_disk_and_a_link_in_it_is_not_followed(folder, tmp_path):
    (tmp_path / "elsewhere/a").mkdir(parents=True)
    (tmp_path / "elsewhere/a/5.safetensors").write_bytes(b"")
    (tmp_path / "elsewhere/loop").symlink_to(tmp_path / "elsewhere")
    folder.root.mkdir()
    (folder.root / "weights").symlink_to(tmp_path / "elsewhere")
    assert [part.number for part in layout.parts(folder, "weights")] == [5]


def test_what_is_set_aside_is_kept_and_has_no_place(folder):
    folder.replace("trials/a.parquet", b"broken")
    folder.set_aside("trials/a.parquet")
    (name,) = folder.list("trials/")
    assert folder.read(name) == b"broken" and part_of(name) is None


def test_a_digest_is_sha256():
    assert digest(b"123") == "a665a45920422f9d417e4867efdc4fb8a04a1f3fff1fa07e998e86f7f7a27ae3"


@pytest.mark.parametrize("link", ["trials", "trials/a.parquet"])
def test_nothing_is_written_behind_a_link(tmp_path: Path, link: str) -> None:
    folder, outside = PosixFolder(tmp_path / "results"), tmp_path / "outside"
    outside.mkdir()
    (folder.root / link).parent.mkdir(parents=True)
    target = outside if link == "trials" else outside / "mine"
    (folder.root / link).symlink_to(target)
    for write in (
        lambda: folder.replace("trials/a.parquet", b"x"),
        lambda: folder.put_if_absent("trials/a.parquet", b"x"),
        lambda: folder.delete("trials/a.parquet"),
        lambda: folder.set_aside("trials/a.parquet"),
    ):
        with pytest.raises(FolderError, match="is a link, and nothing is written behind one"):
            write()
    assert list(outside.iterdir()) == []


def test_the_folder_itself_may_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "results").symlink_to(tmp_path / "elsewhere")
    PosixFolder(tmp_path / "results").replace("trials/a.parquet", b"x")
    assert (tmp_path / "elsewhere/trials/a.parquet").read_bytes() == b"x"


def test_a_pipe_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "plan.parquet")
    with pytest.raises(StorageError, match="is no regular file"):
        PosixFolder(tmp_path).read("plan.parquet")


def test_folders_very_deep_in_one_another_are_not_looked_into(tmp_path: Path) -> None:
    deep = tmp_path.joinpath("trials", *["a"] * 20)
    deep.mkdir(parents=True)
    for folder in (deep, deep.parents[17]):
        (folder / "x.parquet").touch()
    assert PosixFolder(tmp_path).list("trials/") == ["trials/a/a/x.parquet"]


@pytest.mark.parametrize("address", ["s3://bucket/x", "gs://b", "s3:/bucket/x", "http://host/x"])
def test_an_address_is_no_folder(address: str) -> None:
    with pytest.raises(FolderError, match="addresses are not supported"):
        storage_at(address)
    assert str(storage_at("./s3:/bucket")) == "s3:/bucket"
