"""Study files that ask for the impossible: refused in a line, within 20 s and 2 GB of memory."""

from __future__ import annotations

import copy
import io
import random
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from study.file.fields import dotted_fields
from study.grid.spec import PRESETS
from tests.faults.limited import Limited, limited

pytestmark = pytest.mark.faults

NUMBER = 250
"""Files of each kind."""
PLAIN = """\
name: hostile
data: {source: mnist-5k, train_examples: 100}
network: {name: mlp, hidden: [4]}
training: {base_lr: 0.05, epochs: 1, global_batch_size: 20}
seeds: 1
"""
BOMB = "a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 30)
)
GRID = f"grid: {{training.global_batch_size: [{', '.join(map(str, range(1, 2001)))}]}}\n"

REFUSED = {
    "an alias bomb": (BOMB, "values, with those that aliases repeat"),
    "an alias of itself": (PLAIN + "question: &q [*q]\n", "stands for what it is a part of"),
    "many values": (PLAIN + f"question: [{'1, ' * 20_000}]\n", "values"),
    "deep nesting": (PLAIN + f"question: {'[' * 3000}\n", "levels of nesting"),
    "a long number": (PLAIN + f"seeds: {'1' * 5000}\n", "digits of a number"),
    "a long number in hex": (PLAIN + f"question: 0x{'f' * 5000}\n", "digits of a number"),
    "a large file": (f"question: {'x' * 50_000_000}\n", "bytes of a study file"),
    "a large file of comments": (PLAIN + "#\n" * 600_000, "bytes of a study file"),
    "a tag": ("name: !!python/object/apply:os.system [ls]\n", "tags"),
    "a long tag": (f"name: !{'x' * 900_000} y\n", "tags"),
    "a long name": (PLAIN.replace("hostile", "h" * 300), "characters of a name"),
    "a long key": (PLAIN + f"arms: {{{'x' * 300}: {{training.epochs: 2}}}}\n", "characters"),
    "a path as a name": (PLAIN.replace("hostile", "../../outside"), "cannot be a file name"),
    "many seeds": (PLAIN.replace("seeds: 1", "seeds: 1000000000"), "points: grid"),
    "sizes times seeds": (
        PLAIN.replace(", global_batch_size: 20", "").replace("seeds: 1", "seeds: 2000") + GRID,
        "points: grid values x arms x seeds",
    ),
    "more seeds than can be read again": (PLAIN.replace("seeds: 1", "seeds: 15000"), "written out"),
    "many points of a search": (
        PLAIN.replace("base_lr: 0.05, ", "")
        + "search: {method: random, points: 1073741824, "
        + "fields: {training.base_lr: {low: 0.1, high: 1}}}\n",
        "points: grid values x arms x seeds",
    ),
    "many seeds of a search": (
        PLAIN.replace("base_lr: 0.05, ", "")
        + "search: {seeds: 1000000000, fields: {training.base_lr: [0.1, 0.2]}}\n",
        "points: grid values x arms x seeds",
    ),
    "endless training": (PLAIN.replace("epochs: 1", "epochs: 1e300"), "optimizer steps"),
    "endless records": (
        PLAIN + "measures: [{name: evaluation, every_epochs: 1e-300}]\n",
        "records along the training",
    ),
    "a whole number beyond all columns": (
        PLAIN + "measures: [{name: sharpness, examples: 100000000000000000000}]\n",
        "at most 9223372036854775807",
    ),
    "a source that is a list": (PLAIN.replace("source: mnist-5k", "source: [a]"), "is no source"),
    "an optimizer that is a text": (
        PLAIN.replace("epochs: 1,", "epochs: 1, optimizer: adam,")
        + "exclude: [{training.optimizer.momentum: 0.9}]\n",
        "optimizer",
    ),
    "a start that is searched": (
        PLAIN + "search: {fields: {training.start.epoch: [1, 2]}}\n",
        "is no setting of the training itself",
    ),
    "an address as data": (
        PLAIN.replace("mnist-5k", "parquet, train: 's3://bucket/x', test: b"),
        "addresses are not supported",
    ),
    "a date that is none": (PLAIN + "question: 2001-99-99\n", "not valid YAML: month must be"),
    "a number that is none": (PLAIN.replace("seeds: 1", "seeds: 0x_"), "not valid YAML"),
    "a version of YAML that is none": (f"%YAML 1.{'9' * 5000}\n---\n{PLAIN}", "not valid YAML"),
    "half of a character": (PLAIN + 'question: "\\ud800 x"\n', "half of a character"),
    "a password": (
        PLAIN.replace("mnist-5k", "mnist, root: /x, name: 'http://me:word@host/x'"),
        "password",
    ),
}


@pytest.fixture(scope="module")
def verbs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Limited]:
    with limited(tmp_path_factory.mktemp("hostile")) as found:
        yield found


@pytest.mark.parametrize(("text", "says"), REFUSED.values(), ids=REFUSED)
def test_it_is_refused_with_what_and_how_much(
    verbs: Limited, tmp_path: Path, text: str, says: str
) -> None:
    file = tmp_path / "study.yaml"
    file.write_text(text)
    done = verbs.run("plan", file)
    assert done.code in (2, 3), done
    assert done.is_clean and says in " ".join(done.said.split()), done


def test_a_long_word_is_looked_through_for_secrets_in_time(verbs: Limited, tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text(PLAIN + f"question: {'A' * 900_000}\n")
    assert verbs.run("plan", tmp_path / "study.yaml").code == 0


def test_of_what_never_ends_no_more_is_read_than_is_allowed(verbs: Limited) -> None:
    done = verbs.run("plan", "/dev/zero")
    assert done.code == 2 and "bytes of a study file" in done.said, done


def test_a_real_study_needs_more_and_says_so(
    verbs: Limited, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "study.yaml"
    file.write_text(PLAIN.replace("seeds: 1", "seeds: 15000"))
    monkeypatch.setenv("BATCHGAP_MAX_NODES", "20000")
    with limited(tmp_path, at_once=1) as more:
        done = more.run("plan", file, "--json")
    assert done.code == 0, done


def test_a_limit_that_is_none_is_an_error_of_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BATCHGAP_MAX_NODES", "many")
    with limited(tmp_path, at_once=1) as verbs:
        done = verbs.run("plan", "quickstart")
    assert done.code == 3 and "BATCHGAP_MAX_NODES=many" in done.said


# ------------------------------------------------------------------------------------- at random


@pytest.mark.parametrize("mutated", ["bytes", "values"])
def test_mutations_of_real_files_are_answered(verbs: Limited, tmp_path: Path, mutated: str) -> None:
    def written() -> Iterator[Path]:
        texts = [path.read_text() for path in sorted(PRESETS.glob("*.yaml"))]
        draw = random.Random(mutated)
        for number in range(NUMBER):
            file = tmp_path / f"{number}.yaml"
            text = draw.choice(texts)
            file.write_bytes((bytes_changed if mutated == "bytes" else values_changed)(draw, text))
            yield file

    def check(file: Path) -> None:
        done = verbs.run("plan", file)
        assert done.is_clean, (done, file.read_text(errors="replace"))

    verbs.each(check, written())


PIECES = (
    *(b"\t", b"\n", b": ", b"- ", b"[", b"{", b"}", b"]", b"&a ", b"*a ", b"|\n", b">", b"#", b"'"),
    *(b'"', b"%", b"!!x ", b"?", b"@", b"`", b"\x00", b"\xff", b"<<: ", b"~", b"---\n", b"...\n"),
    *(b",", b"\r", b"\xe2\x80\xa8", b"\xef\xbb\xbf", b"1e999", b".nan", b"=1", b"0x1", b"!<x> "),
)


def bytes_changed(draw: random.Random, text: str) -> bytes:
    content = bytearray(text.encode())
    for _ in range(draw.randint(1, 6)):
        at, kind = draw.randrange(len(content) + 1), draw.randrange(5)
        if kind == 0 and at < len(content):
            content[at] ^= 1 << draw.randrange(8)
        elif kind == 1:
            content[at:at] = draw.choice(PIECES)
        elif kind == 2:
            del content[at : at + draw.randint(1, 30)]
        elif kind == 3:
            other = draw.randrange(len(content) + 1)
            content[at:at] = content[other : other + draw.randint(1, 60)]
        elif kind == 4:
            content = content[: max(at, 1)]
    return bytes(content)


STRANGE: tuple[Any, ...] = (
    *(None, True, 0, -1, 2**31, 2**63, -(2**63), 10**39, 1e300, -1e300, 5e-324, 1e-10),
    *(float("inf"), float("nan"), "", "x" * 10_000, "../../etc", "\x1b[31mred", "[/bold]", "=1+1"),
    *("1e5", "a" * 119, [], {}, [[]], [1, 2], ["a"], {"a": 1}, {"name": "sgd"}, [None], [{}]),
    *({"": 1}, {"a": {"b": 1}}, [1e300], [0.1] * 50, "my_module:f", "os:system", "..:x"),
)


@cache
def parsed(text: str) -> Any:
    values = YAML(typ="safe", pure=True).load(text)
    values.pop("scales", None)
    return values


def values_changed(draw: random.Random, text: str) -> bytes:
    values = parsed(text)
    for _ in range(draw.randint(1, 3)):
        values = changed(draw, values)
    written = io.StringIO()
    YAML().dump(values, written)
    return written.getvalue().encode(errors="replace")


def changed(draw: random.Random, values: Any) -> Any:
    places = list(places_in(values))
    place = draw.choice(places)
    old, strange = at(values, place), copy.deepcopy(draw.choice(STRANGE))
    kind = draw.randrange(6)
    if kind == 0:
        return put(values, place, copy.deepcopy(at(values, draw.choice(places))))
    if kind == 1 and isinstance(old, dict):
        return put(values, place, {**old, draw.choice(dotted_fields()).split(".")[-1]: strange})
    if kind == 2 and isinstance(old, list):
        return put(values, place, [*old, strange])
    if kind in (3, 4) and type(old) in (int, float):
        return put(values, place, old * draw.choice([-1, 0, 0.5, 1e-6, 1e3, 1e9, 10**18, 10**20]))
    return put(values, place, strange)


def places_in(values: Any, here: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield here
    items = values.items() if isinstance(values, dict) else ()
    for key, item in enumerate(values) if isinstance(values, list) else items:
        yield from places_in(item, (*here, key))


def at(values: Any, place: tuple[Any, ...]) -> Any:
    for key in place:
        values = values[key]
    return values


def put(values: Any, place: tuple[Any, ...], value: Any) -> Any:
    if not place:
        return value
    values = copy.deepcopy(values)
    at(values, place[:-1])[place[-1]] = value
    return values
