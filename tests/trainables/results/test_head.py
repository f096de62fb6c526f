"""The head of a results folder: one file, whose metadata is as well guarded as its rows."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.stored import at
from trainables.results import files, head, layout
from trainables.results.files import DamagedFileError, NewerSchemaError
from trainables.results.head import Head
from trainables.results.schema import TABLES
from trainables.results.storage import PosixFolder

STUDY = "name: one\ntraining: {base_lr: 0.02, epochs: 3}\ndata: {root: /here}\n"
ROWS = [{"trial_id": f"{i:012d}", "arm": "baseline", "seed": i, "requires": []} for i in range(3)]
DATA = [{"config": {"source": "x"}, "num_train_examples": 5}]


def head_of(study: str = STUDY) -> Head:
    return Head(study=study, plan=files.cast("plan", ROWS), data=DATA)


@pytest.fixture
def folder(tmp_path: Path) -> PosixFolder:
    storage = PosixFolder(tmp_path / "one")
    head.write(storage, head_of())
    return storage


def test_what_was_written_is_read(folder: PosixFolder) -> None:
    found = head.read(folder)
    assert (found.study, list(found.data)) == (STUDY, DATA)
    assert found.plan.to_pylist() == head_of().plan.to_pylist()
    assert found.plan.schema.equals(TABLES["plan"])
    assert files.read_rows(folder, layout.PLAN, ["seed"]) == [{"seed": i} for i in range(3)]
    assert folder.read(layout.STUDY).decode() == STUDY


def test_a_folder_of_an_older_batchgap_has_the_copy(folder: PosixFolder) -> None:
    files.write_rows(folder, layout.PLAN, ROWS)
    folder.replace(layout.STUDY, b"name: older\n")
    found = head.read(folder)
    assert (found.study, found.data, found.plan.num_rows) == ("name: older\n", (), 3)
    assert not head.copy_differs(folder)


def test_a_flipped_bit_is_found_or_changes_nothing(folder: PosixFolder) -> None:
    """Of the study and the plan; the facts of the data can be had again."""
    content, before = folder.read(layout.PLAN), head.read(folder)
    draw = random.Random(0)
    found = 0
    for bit in draw.sample(range(8 * len(content)), 1500):
        flipped = bytearray(content)
        flipped[bit // 8] ^= 1 << bit % 8
        folder.replace(layout.PLAN, bytes(flipped))
        try:
            after = head.read(folder)
        except (DamagedFileError, NewerSchemaError):
            found += 1
        else:
            assert after.study == before.study and after.plan.equals(before.plan), bit
            assert list(after.data) in ([], DATA)
    assert found > 300


def test_a_former_version_is_kept_once_and_checked(folder: PosixFolder) -> None:
    head.keep_version(folder)
    head.keep_version(folder)
    head.write(folder, head_of(STUDY.replace("0.02", "0.05")))
    ((former,), damaged) = head.versions(folder)
    assert former.study == STUDY and former.written_at and damaged == []
    (name,) = folder.list(layout.VERSIONS)
    content = folder.read(name)
    for bit in random.Random(1).sample(range(8 * len(content)), 300):
        flipped = bytearray(content)
        flipped[bit // 8] ^= 1 << bit % 8
        folder.replace(name, bytes(flipped))
        found, damaged = head.versions(folder)
        assert len(found) + len(damaged) == 1
        assert not found or (found[0].study == STUDY and found[0].plan.equals(former.plan))
    folder.replace(name, folder.read(layout.PLAN))
    assert head.versions(folder)[0] == []


def test_differences_are_named_by_setting_and_places_of_data_are_none() -> None:
    there = Head(
        study="name: one\ntraining: {base_lr: 0.05}\nseeds: 3\ndata: {root: /there}\n",
        plan=files.cast("plan", [row | {"trial_id": "x" * 12} for row in ROWS]),
    )
    assert head.differences(head_of(), there) == [
        "training.base_lr 0.02 here, 0.05 there",
        "training.epochs 3 here, absent there",
        "seeds absent here, 3 there",
    ]
    assert head.differences(there, there) == []


def test_an_unreadable_head_is_damage(folder: PosixFolder) -> None:
    path = folder.root / layout.PLAN
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DamagedFileError):
        head.read(at(path)[0])
