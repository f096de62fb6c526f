"""Results folders that somebody else wrote or changed: every verb answers, none goes astray."""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from study.cli import app
from tests.faults.finished import STUDY as FINISHED
from tests.faults.finished import finished
from tests.faults.limited import Limited, limited
from tests.faults.test_hostile_studies import changed as values_changed

pytestmark = pytest.mark.faults

NUMBER = 150
VERBS = (
    *(("status",), ("status", "--failed"), ("status", "--json"), ("verify",), ("report",)),
    *(("report", "--json"), ("export", "--format", "csv"), ("plan",)),
)
STUDY = FINISHED.replace("seeds: 1", "seeds: 2\narms: {warm: {training.warmup_epochs: 1}}")


@pytest.fixture(scope="module")
def verbs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Limited]:
    modules = ("study.show.failures", "analysis.page.report")
    with limited(tmp_path_factory.mktemp("hostile"), *modules) as found:
        yield found


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished study with a former version, and its exported form beside it."""
    folder = finished(tmp_path_factory.mktemp("whole"), STUDY)
    exported = CliRunner().invoke(app, ["export", str(folder), "--format", "parquet"])
    assert exported.exit_code == 0, exported.stderr
    return folder


# ------------------------------------------------------------------------------------ one by one


@pytest.fixture
def copy(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "finished"))


def test_a_small_file_of_millions_of_rows(verbs: Limited, copy: Path) -> None:
    trial = next((copy / "trials").iterdir())
    rows = pa.table({"trial_id": pa.nulls(10**7, pa.string()), "seed": np.zeros(10**7, np.int64)})
    pq.write_table(rows, trial, compression="zstd")
    done = verbs.run("verify", copy)
    assert done.code == 4 and "once it is read" in " ".join(done.said.split()), done
    assert done.resident_bytes < 500e6, done


def test_a_bomb_as_the_study_of_a_folder(verbs: Limited, copy: Path) -> None:
    from tests.faults.test_hostile_studies import BOMB
    from trainables.results import head
    from trainables.results.storage import storage_at

    storage = storage_at(copy)
    former = head.read(storage)
    head.write(storage, head.Head(study=BOMB, plan=former.plan, data=former.data))
    for words in (("report",), ("plan",), ("status",)):
        done = verbs.run(*words, copy)
        assert done.is_clean, done
    assert verbs.run("report", copy).code == 4


@pytest.mark.parametrize("name", ["plan.parquet", "provenance.json", "trials", "study.yaml"])
@pytest.mark.parametrize("strange", ["pipe", "device"])
def test_what_never_ends_is_not_read(verbs: Limited, copy: Path, name: str, strange: str) -> None:
    file = copy / name if name != "trials" else next((copy / name).iterdir())
    file.unlink()
    os.mkfifo(file) if strange == "pipe" else file.symlink_to("/dev/zero")
    for words in (("verify",), ("status",), ("report",)):
        assert verbs.run(*words, copy).is_clean


@pytest.mark.parametrize("name", ["trials", "attempts", ".lock", ".holder.json", "plan.parquet"])
def test_nothing_is_written_behind_a_link(
    verbs: Limited, whole: Path, tmp_path: Path, name: str
) -> None:
    folder, outside = tmp_path / "finished", tmp_path / "outside"
    shutil.copytree(whole, folder)
    outside.mkdir()
    target = outside / "there"
    at = folder / name
    shutil.rmtree(at) if at.is_dir() else at.unlink(missing_ok=True)
    if name in ("trials", "attempts"):
        target.mkdir()
    else:
        target.write_text("mine")
    at.symlink_to(target)
    (tmp_path / "finished.yaml").write_text(STUDY.replace("seeds: 2", "seeds: 3"))
    done = verbs.run("run", tmp_path / "finished.yaml", "--results", tmp_path, "--runner", "serial")
    assert done.is_clean, done
    assert list(outside.iterdir()) == [target]
    assert target.read_text() == "mine" if target.is_file() else not list(target.iterdir())
    if name != ".holder.json":
        assert done.code in (3, 4) and str(at) in done.said.replace("\n", ""), done


NAMED = {"host": "q", "pid": 1, "since": "x"}
HOLDERS = (
    *(3, [], {}, {"host": "q", "pid": 1}, NAMED | {"host": "[/evil]"}, NAMED | {"host": "\ud800"}),
    *(NAMED | {"pid": 10**40}, NAMED | {"told": 3}, NAMED | {"told": [[]]}),
    *(NAMED | {"told": {"doing": doing}} for doing in (3, "[/x]", None)),
    NAMED | {"told": {"doing": "a", "seconds_left": "abc"}},
    NAMED | {"told": {"doing": "a", "seconds_left": float("nan"), "trials": [{}]}},
    NAMED | {"told": {"doing": "a", "trials": 5}},
)


@pytest.mark.parametrize("holder", HOLDERS)
def test_a_holder_that_somebody_else_wrote(verbs: Limited, copy: Path, holder: object) -> None:
    (copy / ".holder.json").write_text(json.dumps(holder))
    for words in (("status",), ("status", "--json")):
        done = verbs.run(words[0], copy, *words[1:])
        assert done.code == 0 and done.is_clean, done


@pytest.mark.parametrize(("table", "column"), [("trials", "error"), ("plan", "arm")])
def test_texts_that_are_no_utf_8_are_damage(
    verbs: Limited, copy: Path, table: str, column: str
) -> None:
    file = copy / "plan.parquet" if table == "plan" else next((copy / table).iterdir())
    rows = pq.ParquetFile(file).read()
    bad = pa.array([b"a\xff\xfe\x1b"] * rows.num_rows, pa.binary()).view(pa.string())
    place = rows.schema.get_field_index(column)
    pq.write_table(rows.set_column(place, rows.schema.field(column), bad), file)
    for words in VERBS:
        assert verbs.run(words[0], copy, *words[1:]).is_clean
    assert verbs.run("verify", copy).code == 4


def test_a_session_that_is_a_pipe_is_no_session(copy: Path) -> None:
    from study.run.scratch import scratch_folder

    for content in (None, "[" * 200_000, "3"):
        (copy / ".ray" / "a").mkdir(parents=True)
        session = copy / ".ray" / "a" / "session.json"
        os.mkfifo(session) if content is None else session.write_text(content)
        with scratch_folder(copy):
            assert not session.exists()


def test_json_that_is_nested_too_deep(verbs: Limited, copy: Path) -> None:
    (copy / "provenance.json").write_text("[" * 100_000)
    for words in VERBS:
        assert verbs.run(words[0], copy, *words[1:]).is_clean


# --------------------------------------------------------------------------------------- at random


@pytest.mark.parametrize("form", ["finished", "finished-export"])
def test_changed_folders_are_answered(
    verbs: Limited, whole: Path, tmp_path: Path, form: str
) -> None:
    def written() -> Iterator[tuple[Path, list[tuple[str, ...]]]]:
        draw = random.Random(form)
        for number in range(NUMBER):
            folder = Path(shutil.copytree(whole.with_name(form), tmp_path / str(number)))
            for _ in range(draw.choice([1, 1, 2, 4])):
                change(draw, folder)
            yield folder, draw.sample(VERBS, 2)

    def check(item: tuple[Path, list[tuple[str, ...]]]) -> None:
        folder, asked = item
        for words in asked:
            done = verbs.run(words[0], folder, *words[1:])
            assert done.is_clean, done
        shutil.rmtree(folder)

    verbs.each(check, written())


def change(draw: random.Random, folder: Path) -> None:
    files = sorted(p for p in folder.rglob("*") if p.is_file() and not p.is_symlink())
    file, kind = draw.choice(files), draw.random()
    if kind < 0.3 and file.suffix == ".parquet":
        change_cells(draw, file)
    elif kind < 0.3 and file.suffix == ".json":
        change_json(draw, file)
    elif kind < 0.8:
        change_bytes(draw, file)
    elif kind < 0.9:
        file.unlink()
    elif kind < 0.95:
        file.unlink()
        os.mkfifo(file)
    else:
        file.rename(file.with_name(draw.choice(["x", "-x", "a b", ".hid", "=x"]) + file.suffix))


TEXTS = (
    "",
    "x" * 5000,
    "../../etc/passwd",
    "\x1b]0;evil\x07",
    "[/bold]<b>",
    "{}",
    "[" * 3000,
    "nan",
)
NUMBERS = (0, -1, 2**31, 2**62, -(2**62))
FLOATS = (0.0, -1.0, 1e300, 5e-324, float("nan"), float("inf"))


def change_cells(draw: random.Random, file: Path) -> None:
    """Other values in a whole file: what somebody writes with a library."""
    try:
        table = pq.ParquetFile(file).read()
    except (pa.ArrowException, OSError):
        return  # it was changed before
    rows = table.to_pylist()
    for _ in range(draw.choice([1, 2, 5]) if rows else 0):
        column = draw.choice(table.schema)
        draw.choice(rows)[column.name] = value(draw, column.type)
    pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), file)


def value(draw: random.Random, kind: pa.DataType) -> object:
    if pa.types.is_string(kind):
        return draw.choice((None, *TEXTS))
    if pa.types.is_integer(kind):
        return draw.choice((None, *NUMBERS))
    if pa.types.is_floating(kind):
        return draw.choice((None, *FLOATS))
    if pa.types.is_list(kind):
        return [value(draw, kind.value_type) for _ in range(draw.choice([0, 1, 3]))]
    if pa.types.is_struct(kind):
        return {field.name: value(draw, field.type) for field in kind}
    return None


def change_json(draw: random.Random, file: Path) -> None:
    try:
        content = json.loads(file.read_text())
    except ValueError:
        return  # as above
    file.write_text(json.dumps(values_changed(draw, content), default=str))


def change_bytes(draw: random.Random, file: Path) -> None:
    content, kind = bytearray(file.read_bytes()), draw.random()
    if not content:
        return
    if kind < 0.6:
        for _ in range(draw.choice([1, 1, 3, 20])):
            content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
    elif kind < 0.8:
        del content[draw.randrange(len(content)) :]
    else:
        content = bytearray(draw.randbytes(draw.randrange(300)))
    file.write_bytes(content)
