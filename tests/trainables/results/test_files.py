"""One results file: cast, read back, checksummed, atomic, named safely."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.stored import at, write_bytes
from trainables.config.identity import parameters_text, science
from trainables.config.measures.hessian import Hessian
from trainables.config.measures.kinds import KINDS
from trainables.config.measures.landscape import Landscape
from trainables.config.measures.sharpness import Sharpness
from trainables.results import files
from trainables.results.files import DamagedFileError, NewerSchemaError
from trainables.results.layout import checked_name, digest
from trainables.results.ledger import is_measured
from trainables.results.measure_keys import measure_key
from trainables.results.older_schemas import DEFAULTS
from trainables.results.schema import FILE, PHASE, SCHEMA_VERSION, TABLES, TIME
from trainables.results.storage import PosixFolder

VALUES: dict[str, st.SearchStrategy[Any]] = {
    "int64": st.integers(-(2**63), 2**63 - 1),
    "double": st.floats(allow_nan=False),
    "bool": st.booleans(),
    "string": st.text(max_size=20),
    str(TIME): st.datetimes(datetime(1970, 1, 2), datetime(2200, 1, 1), timezones=st.just(UTC)),
}


def values(kind: pa.DataType) -> st.SearchStrategy[Any]:
    if pa.types.is_list(kind):
        return st.lists(values(kind.value_type), max_size=3)
    if kind in (PHASE, FILE):
        return st.fixed_dictionaries({field.name: values(field.type) for field in kind})
    return st.none() | VALUES[str(kind)]


def rows(table: str) -> st.SearchStrategy[list[dict[str, Any]]]:
    columns = {field.name: values(field.type) for field in TABLES[table]}
    return st.lists(st.fixed_dictionaries({}, optional=columns), max_size=4)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("results") / "evaluations" / "file.parquet"


# ------------------------------------------------------------------------------- writing, reading


@pytest.mark.parametrize("table", TABLES)
@settings(max_examples=15)
@given(data=st.data())
def test_what_is_written_is_read(path, table, data):
    path = path.parents[1] / table / path.name
    written = data.draw(rows(table))
    files.write_rows(*at(path), written)
    empty = dict.fromkeys(TABLES[table].names)
    assert files.read_rows(*at(path)) == [empty | row for row in written]


def test_a_value_that_is_not_finite_is_kept(path):
    files.write_rows(*at(path), [{"train_loss": float("nan"), "test_loss": None}])
    (row,) = files.read_rows(*at(path))
    assert row["train_loss"] != row["train_loss"] and row["test_loss"] is None


def test_types_are_cast_and_never_inferred(path):
    files.write_rows(*at(path), [{"epoch": 1, "optimizer_step": 3}])
    assert pq.read_schema(path).equals(TABLES["evaluations"], check_metadata=True)
    with pytest.raises(TypeError, match=r"optimizer_step 1\.5 is not a whole number"):
        files.write_rows(*at(path), [{"optimizer_step": 1.5}])
    with pytest.raises(pa.ArrowException):
        files.write_rows(*at(path), [{"optimizer_step": "three"}])


def test_an_undeclared_column_is_refused(path):
    with pytest.raises(KeyError, match=r"evaluations: undeclared columns \['sharpness'\]"):
        files.write_rows(*at(path), [{"sharpness": 1.0}])


def test_only_some_columns(tmp_path):
    path = tmp_path / "attempts" / "file.parquet"
    files.write_rows(*at(path), [{"trial_id": "a", "pid": 3, "attempt": 1}])
    table = files.read_table(*at(path), ["pid", "trial_id"])
    assert table.to_pylist() == [{"pid": 3, "trial_id": "a"}]


def test_pandas_reads_a_folder_of_them(tmp_path):
    import pandas as pd

    for name in ("a", "b"):
        file = tmp_path / "evaluations" / f"{name}.parquet"
        files.write_rows(*at(file), [{"trial_id": name, "epoch": 1.0}])
    frame = pd.read_parquet(tmp_path / "evaluations")
    assert sorted(frame["trial_id"]) == ["a", "b"]
    assert list(frame.columns) == TABLES["evaluations"].names


# ----------------------------------------------------------------------------- damage and versions


def footer_start(content: bytes) -> int:
    return len(content) - 8 - int.from_bytes(content[-8:-4], "little")


def test_a_flipped_byte_of_the_data_is_seen(tmp_path):
    """Each byte of the pages in turn: an error, or the same rows; never a wrong number."""
    file = tmp_path / "evaluations" / "file.parquet"
    written = [{"trial_id": f"t{i}", "epoch": i / 7, "optimizer_step": i} for i in range(20)]
    files.write_rows(*at(file), written)
    content, seen = file.read_bytes(), 0
    right = files.read_rows(*at(file))
    for position in range(4, footer_start(content)):
        damaged = bytearray(content)
        damaged[position] ^= 0x10
        file.write_bytes(damaged)
        try:
            assert files.read_rows(*at(file)) == right
        except DamagedFileError as error:
            assert str(file) in str(error)
            seen += 1
    assert seen > 300


@pytest.mark.parametrize("kept", [0, 3, 50, 0.5, -9, -1])
def test_a_file_cut_short_is_damaged(tmp_path, kept):
    file = tmp_path / "evaluations" / "file.parquet"
    files.write_rows(*at(file), [{"epoch": 1.0}])
    content = file.read_bytes()
    file.write_bytes(content[: int(kept * len(content)) if isinstance(kept, float) else kept])
    with pytest.raises(DamagedFileError, match=r"file\.parquet"):
        files.read_rows(*at(file))


def test_no_file_is_no_damage(tmp_path):
    with pytest.raises(FileNotFoundError):
        files.read_rows(*at(tmp_path / "none.parquet"))


def with_version(version: str | None) -> pa.Schema:
    metadata = None if version is None else {"schema_version": version}
    return pa.schema([("trial_id", pa.string()), ("epoch", pa.float64())], metadata=metadata)


def test_a_newer_schema_is_refused(path):
    newer = SCHEMA_VERSION + 1
    files.write_table(*at(path), with_version(str(newer)).empty_table())
    with pytest.raises(NewerSchemaError, match=f"schema {newer}, this batchgap reads {newer - 1}"):
        files.read_rows(*at(path))


@pytest.mark.parametrize("version", ["0", None])
def test_columns_that_an_older_file_lacks_are_null(path, version):
    table = pa.Table.from_pylist([{"trial_id": "a", "epoch": 2.0}], schema=with_version(version))
    files.write_table(*at(path), table)
    (row,) = files.read_rows(*at(path))
    assert row == dict.fromkeys(TABLES["evaluations"].names) | {"trial_id": "a", "epoch": 2.0}


def test_settings_that_an_older_schema_left_unsaid_are_the_defaults_of_its_day(tmp_path):
    path = tmp_path / "measures" / "file.parquet"
    schema = TABLES["measures"].with_metadata({"schema_version": "3"})
    said = {"name": "landscape", "points": 5}, {"name": "of another version", "points": 5}
    rows = [{"trial_id": "a", "parameters": json.dumps(asked)} for asked in said]
    rows.append({"trial_id": "a", "parameters": None})
    files.write_table(*at(path), pa.Table.from_pylist(rows, schema=schema))
    landscape, unknown, nothing = (row["parameters"] for row in files.read_rows(*at(path)))
    assert landscape == parameters_text(Landscape(points=5))
    assert unknown == json.dumps(said[1]) and nothing is None
    assert files.read_table(*at(path), ["trial_id"]).num_rows == 3


def test_defaults_of_older_schemas_are_those_of_today():
    """As long as no default has changed since; then the two differ, and this says where."""
    today = {name: json.loads(parameters_text(KINDS[name]())) for name in DEFAULTS}
    assert today == {name: {"name": name} | known for name, known in DEFAULTS.items()}


def test_a_version_that_is_no_number_is_damage(path):
    files.write_table(*at(path), with_version("two").empty_table())
    with pytest.raises(DamagedFileError):
        files.read_rows(*at(path))


def test_columns_that_this_version_has_cannot_be_missing(path):
    """A flipped bit in a column's name would read as a column that is not there."""
    files.write_table(*at(path), with_version(str(SCHEMA_VERSION)).empty_table())
    with pytest.raises(DamagedFileError) as raised:
        files.read_rows(*at(path))
    assert str(raised.value) == f"{path}: its columns are not those of evaluations"


def test_columns_of_another_shape_are_damage(path):
    files.write_table(*at(path), pa.table({"epoch": ["one"], "trial_id": ["a"]}))
    with pytest.raises(DamagedFileError):
        files.read_rows(*at(path))


# --------------------------------------------------------------------------------------- atomicity


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    file = tmp_path / "evaluations" / "file.parquet"
    files.write_rows(*at(file), [{"epoch": 1.0}])
    before = file.read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        files.write_rows(*at(file), [{"epoch": 2.0}])
    with pytest.raises(OSError, match="No space"):
        files.write_keyed(PosixFolder(tmp_path), "measures", "a-b", [{"value": 1.0}])
    assert file.read_bytes() == before
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == [file]


def test_a_write_replaces_and_leaves_nothing_beside(tmp_path):
    file = tmp_path / "evaluations" / "file.parquet"
    for epoch in (1.0, 2.0):
        files.write_rows(*at(file), [{"epoch": epoch}])
    assert files.read_rows(*at(file))[0]["epoch"] == 2.0
    assert list(file.parent.iterdir()) == [file]


def test_a_file_is_synced_before_it_takes_its_name(tmp_path, monkeypatch):
    events: list[str] = []
    fsync, rename = os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda fd: (events.append("fsync"), fsync(fd))[1])
    monkeypatch.setattr(
        Path, "replace", lambda self, to: (events.append("rename"), rename(self, to))[1]
    )
    write_bytes(tmp_path / "file", b"content")
    assert events == ["fsync", "rename"]


# ------------------------------------------------------------------------------------------- names


@pytest.mark.parametrize("name", ["a", "my-study", "Study_1.2", "0", "a..b"])
def test_names_that_are_safe(name):
    assert checked_name(name) == name


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "../a", "a/b", "/a", "a\\b", "a=1", "-a", ".hidden", "a b", "a\n", "é", "a\0"],
)
def test_names_that_could_leave_the_folder_or_mislead_a_reader(name):
    with pytest.raises(ValueError, match=r"^name: .*'my-study'"):
        checked_name(name)


# ---------------------------------------------------------------------------------------- measures


def test_a_measure_taken_again_replaces(tmp_path):
    folder = PosixFolder(tmp_path)
    first = files.write_keyed(folder, "measures", "id-hash", [{"value": 1.0}])
    other = files.write_keyed(folder, "measures", "id-hashes", [{"value": 1.0}])
    second = files.write_keyed(folder, "measures", "id-hash", [{"value": 2.0}])
    assert first != second
    assert set(folder.list("measures/")) == {second, other}
    assert is_measured(folder, "id-hash")
    again = files.write_keyed(folder, "measures", "id-hash", [{"value": 2.0}])
    assert again == second and set(folder.list("measures/")) == {second, other}


def test_the_name_of_a_measure_carries_its_digest(tmp_path):
    folder = PosixFolder(tmp_path)
    name = files.write_keyed(folder, "measures", "id-hash", [{"value": 1.0}])
    assert name == f"measures/id-hash-{digest(folder.read(name))[:12]}.parquet"
    folder.replace(name, folder.read(name)[:-1] + b"?")
    assert not is_measured(folder, "id-hash") and not is_measured(folder, "id-other")


def test_the_key_of_a_measure_is_what_is_measured_and_when():
    sharpness = Sharpness(sharpness_epsilon=1e-3)
    key = measure_key("id", sharpness)
    assert key.startswith("id-") and len(key) == len("id-") + 12
    assert key == measure_key("id", replace(sharpness, every_epochs=2.0))
    different = [
        measure_key("id", sharpness, 10),
        measure_key("id", sharpness, 20),
        measure_key("other", sharpness),
        measure_key("id", replace(sharpness, subspace_dim=100)),
        measure_key("id", replace(sharpness, sharpness_epsilon=5e-4)),
        measure_key("id", Hessian()),
    ]
    assert len({key, *different}) == 7


# ----------------------------------------------------------------------------------- file records


def test_an_algorithm_enters_a_measure_s_key_and_nothing_else(monkeypatch):
    """Keys of measures that were never computed otherwise are as they always were."""
    identity = [{"name": "hessian"}, None]
    digest = hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:12]
    assert measure_key("id", Hessian()) == f"id-{digest}"
    sharpness = Sharpness()
    assert science(sharpness) == {"name": "sharpness"}
    second = measure_key("id", sharpness)
    monkeypatch.setattr(Sharpness, "algorithm", 1)
    first = measure_key("id", sharpness)
    monkeypatch.setattr(Sharpness, "algorithm", 3)
    assert len({first, second, measure_key("id", sharpness)}) == 3
    old = hashlib.sha256(json.dumps([{"name": "sharpness"}, None]).encode()).hexdigest()[:12]
    assert first == f"id-{old}"


def test_a_file_record_says_path_rows_and_digest(tmp_path):
    table, weights = tmp_path / "evaluations" / "a.parquet", tmp_path / "weights" / "a.bin"
    files.write_rows(*at(table), [{}, {}, {}])
    write_bytes(weights, b"123")
    record = files.file_record(*at(table))
    assert record == {
        "path": "evaluations/a.parquet",
        "rows": 3,
        "sha256": digest(table.read_bytes()),
    }
    assert files.file_record(*at(weights)) == {
        "path": "weights/a.bin",
        "rows": None,
        "sha256": "a665a45920422f9d417e4867efdc4fb8a04a1f3fff1fa07e998e86f7f7a27ae3",
    }
