"""Data: checked, selected, cached, read from every source, and drawn in normalized batches."""

from __future__ import annotations

import gzip
import io
import json
import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from filelock import FileLock
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import trainables
from trainables import alive
from trainables.config.data import DataConfig
from trainables.datasets import cache
from trainables.datasets.cache import Data, channel_statistics, open_data
from trainables.datasets.facts import DataFacts
from trainables.datasets.frames import splice
from trainables.datasets.sources import LOADERS
from trainables.datasets.splits import Splits, checked, select
from trainables.datasets.tensors import to_tensors
from trainables.installation import cache_folder

ROOT = Path(trainables.__file__).parents[1]
SHARED = Path(os.environ.get("BATCHGAP_SHARED_DATA", ROOT.parent / "shared" / "data"))
needs_shared_data = pytest.mark.skipif(not SHARED.is_dir(), reason="no shared data")
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("BATCHGAP_CACHE", str(folder))
    monkeypatch.setattr(sys, "path", list(sys.path))
    return folder


def examples(count: int, classes: int = 3, shape: tuple[int, ...] = (1, 4, 4)) -> Any:
    random = np.random.default_rng(count)
    labels = np.arange(count) % classes
    return random.integers(0, 256, (count, *shape), dtype=np.uint8), labels


def user_data(folder: Path, name: str, body: str) -> DataConfig:
    text = f"import numpy as np\nfrom trainables.datasets.splits import Splits\n{body}\n"
    (folder / f"{name}.py").write_text(text)
    return DataConfig(source="load", load=f"{name}:load")


LOADER = """
def load(count=12, scale=1.0):
    inputs = (np.arange(count * 4).reshape(count, 4) * scale).astype("float64")
    labels = np.arange(count) % 3
    return Splits(train=(inputs, labels), test=(inputs[:5], labels[:5]))
"""


# ---------------------------------------------------------------------------------------- checking


def test_checked_converts_and_keeps_values() -> None:
    inputs, labels = examples(6)
    splits = Splits(
        train=(inputs.astype(np.float64), labels.astype(np.uint8)),
        test=(torch.from_numpy(inputs).float(), torch.from_numpy(labels)),
    )
    result = checked(splits, "data")
    for pair in (result.train, result.test):
        assert pair[0].dtype == np.float32 and pair[1].dtype == np.int64
        assert np.array_equal(pair[0], inputs) and np.array_equal(pair[1], labels)
    assert result.validation is None


def bad(inputs: Any, labels: Any) -> Splits:
    return Splits(train=(inputs, labels), test=examples(4))


FLOATS = np.ones((4, 1, 4, 4))
NO_PAIR: Any = np.ones(3)
MISTAKES: dict[str, tuple[Splits, str]] = {
    "lengths": (bad(examples(5)[0], np.arange(4)), r"\(5, 1, 4, 4\) and labels \(4,\)"),
    "columns": (bad(examples(4)[0], np.zeros((4, 1), int)), r"labels have shape \(4, 1\)"),
    "no pair": (Splits(train=NO_PAIR, test=examples(4)), "expected a pair .* got ndarray"),
    "empty": (bad(FLOATS[:0], np.arange(0)), "train: is empty"),
    "float labels": (bad(FLOATS, np.arange(4.0)), "labels have type float64; use integers"),
    "names": (bad(FLOATS, np.array(["a"] * 4)), "labels have type <U1"),
    "negative": (bad(FLOATS, np.array([0, 1, -1, 2])), r"1 labels are negative \(example 2 has -1"),
    "identifiers": (bad(FLOATS, np.arange(4) + 10**7), "largest label of 4 examples is 10000003"),
    "not finite": (bad(FLOATS * [1, 1, np.nan, 1], np.arange(4)), "the first is example 0"),
    "overflow": (bad(FLOATS * 1e300, np.arange(4)), "4 examples hold values that are not finite"),
    "type": (bad(FLOATS.astype(np.int64), np.arange(4)), "inputs have type int64; use uint8"),
    "ragged": (bad([[1.0], [1.0, 2.0]], np.arange(2)), "NumPy cannot read them"),
    "shapes": (
        Splits(train=examples(4), test=examples(4, shape=(1, 5, 4))),
        r"test has examples of shape \(1, 5, 4\), train \(1, 4, 4\)",
    ),
    "kinds": (
        Splits(train=(FLOATS, np.arange(4)), test=examples(4)),
        "test has inputs of type uint8, train float32",
    ),
    "beyond": (
        Splits(train=examples(4, classes=2), test=examples(4, classes=4)),
        "test has label 3, but the training labels end at 1",
    ),
    "validation": (
        Splits(train=examples(4), test=examples(4), validation=(FLOATS[:0], np.arange(0))),
        "validation: is empty",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_checked_names_the_mistake(mistake: str) -> None:
    splits, message = MISTAKES[mistake]
    with pytest.raises(ValueError, match=message) as error:
        checked(splits, "data 'mine'")
    assert str(error.value).startswith("data 'mine'")


# --------------------------------------------------------------------------------------- selecting


@given(st.lists(st.integers(0, 4), min_size=8, max_size=60), st.data())
@settings(deadline=None, max_examples=60)
def test_held_out_examples_are_a_balanced_part(labels: list[int], data: st.DataObject) -> None:
    counts = np.bincount(labels)
    present = counts[counts > 0]
    number = data.draw(st.integers(1, len(labels) - len(present)))
    whole = checked(
        Splits(
            train=(np.arange(len(labels))[:, None] * 1.0, np.array(labels)), test=([[0.0]], [0])
        ),
        "data",
    )
    result = select(whole, None, number)
    assert result.validation is not None
    held, kept = result.validation[0][:, 0], result.train[0][:, 0]
    assert len(held) == number
    assert sorted([*held, *kept]) == list(range(len(labels)))
    assert np.all(np.diff(held) > 0) and np.all(np.diff(kept) > 0)
    shares = np.bincount(result.validation[1], minlength=len(counts))
    assert np.all(counts[counts > 0] - shares[counts > 0] >= 1)
    with_room = shares[(counts > 0) & (shares < counts - 1)]
    if len(with_room):  # who could give more has given as much as anyone, but for one example
        assert shares.max() - with_room.min() <= 1


def test_first_examples_then_held_out_of_them() -> None:
    whole = checked(Splits(train=examples(30), test=examples(4)), "data")
    result = select(whole, 12, 6)
    again = select(whole, 12, 6)
    assert result.validation is not None and again.validation is not None
    assert len(result.train[1]) == 6 and np.bincount(result.validation[1]).tolist() == [2, 2, 2]
    assert np.array_equal(result.validation[0], again.validation[0])
    both = np.concatenate([result.train[0], result.validation[0]])
    assert {x.tobytes() for x in both} == {x.tobytes() for x in whole.train[0][:12]}
    all_of_them = select(whole, 30, 0)
    assert np.array_equal(all_of_them.train[0], whole.train[0]) and all_of_them.validation is None


@pytest.mark.parametrize(
    ("train", "held", "message"),
    [
        (31, 0, "train_examples is 31, but the data has 30 .* use 1 to 30"),
        (0, 0, "train_examples is 0"),
        (12, 10, "validation_examples is 10, but of 12 .* in 3 classes.* 0 to 9 can"),
        (None, -1, "validation_examples is -1"),
    ],
)
def test_impossible_numbers_name_one_that_works(train: int | None, held: int, message: str) -> None:
    whole = checked(Splits(train=examples(30), test=examples(4)), "data")
    with pytest.raises(ValueError, match=message):
        select(whole, train, held)


def test_a_validation_split_of_its_own_is_kept_and_not_mixed() -> None:
    whole = checked(Splits(train=examples(9), test=examples(4), validation=examples(5)), "data")
    kept = select(whole, None, 0).validation
    assert kept is not None and np.array_equal(kept[0], examples(5)[0])
    with pytest.raises(ValueError, match="brings 5 validation examples of its own; use 0"):
        select(whole, None, 2)


# ------------------------------------------------------------------------------------------- cache


def test_the_embedded_set_opens_without_torch(own_cache: Path) -> None:
    program = (
        "import sys\n"
        "from trainables.config.data import DataConfig\n"
        "from trainables.datasets.cache import open_data\n"
        "facts = open_data(DataConfig()).facts\n"
        "assert facts.num_train_examples == 5000 and facts.num_test_examples == 10000\n"
        "assert facts.input_shape == (1, 28, 28) and facts.num_classes == 10\n"
        "print({'torch', 'torchvision', 'ray', 'pandas', 'pyarrow', 'PIL'} & set(sys.modules))\n"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT), "BATCHGAP_CACHE": str(own_cache)}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "set()\n", "")


def test_facts_and_fingerprint(tmp_path: Path) -> None:
    data = open_data(user_data(tmp_path, "bg_facts", LOADER), str(tmp_path))
    inputs = np.arange(48.0).reshape(12, 4)
    assert np.array_equal(data.train_inputs, inputs) and len(data.validation_labels) == 0
    assert data.train_inputs.dtype == np.float32 and data.train_labels.dtype == np.int64
    facts = data.facts
    assert (facts.num_train_examples, facts.num_validation_examples) == (12, 0)
    assert (facts.input_shape, facts.num_classes) == ((4,), 3)
    assert np.allclose(facts.channel_mean, inputs.mean(0))
    assert np.allclose(facts.channel_std, inputs.std(0))
    assert facts.source_hash is not None and len(facts.fingerprint) == 64


def test_classes_are_counted_before_examples_are_selected(tmp_path: Path) -> None:
    config = replace(user_data(tmp_path, "bg_classes", LOADER), train_examples=2)
    assert open_data(config, str(tmp_path)).facts.num_classes == 3


def test_what_is_at_chance_follows_the_classes_of_each_split() -> None:
    facts = open_data(DataConfig(validation_examples=500)).facts
    counts = np.bincount(open_data(DataConfig()).test_labels)
    largest = counts.max() / 10_000
    shares = counts / 10_000
    assert facts.chance == pytest.approx(
        {
            "validation_accuracy": 0.1 + 3 * (0.1 * 0.9 / 500) ** 0.5,
            "validation_loss": np.log(10),
            "test_accuracy": largest + 3 * (largest * (1 - largest) / 10_000) ** 0.5,
            "test_loss": -(shares * np.log(shares)).sum(),
            "validation_loss squared-error": 0.45,
            "test_loss squared-error": (1 - (shares**2).sum()) / 2,
        }
    )
    names = open_data(DataConfig()).facts.chance.keys()
    assert names == {"test_accuracy", "test_loss", "test_loss squared-error"}


def test_fingerprint_follows_content_not_settings(tmp_path: Path) -> None:
    config = user_data(tmp_path, "bg_prints", LOADER)
    first = open_data(config, str(tmp_path)).facts.fingerprint

    def print_of(**changes: Any) -> str:
        return open_data(replace(config, **changes), str(tmp_path)).facts.fingerprint

    assert print_of(options={"count": 12}) == first == print_of(train_examples=12)
    assert print_of(options={"scale": 2.0}) != first
    assert print_of(train_examples=11) != first
    assert print_of(validation_examples=3) != first


def test_opening_again_loads_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = user_data(tmp_path, "bg_again", LOADER)
    first = open_data(config, str(tmp_path))

    def never(*_: Any) -> Splits:
        raise AssertionError("loaded again")

    monkeypatch.setitem(LOADERS, "load", replace(LOADERS["load"], load=never))
    for same in (config, replace(config, standardize=True), replace(config, name="mine")):
        again = open_data(same, str(tmp_path))
        assert again.facts == first.facts
        assert np.array_equal(again.train_inputs, first.train_inputs)
    with pytest.raises(AssertionError, match="loaded again"):
        open_data(replace(config, options={"count": 9}), str(tmp_path))


def test_a_stray_write_stays_in_the_process(tmp_path: Path) -> None:
    config = user_data(tmp_path, "bg_stray", LOADER)
    torch.from_numpy(open_data(config, str(tmp_path)).train_inputs).fill_(7)
    assert open_data(config, str(tmp_path)).train_inputs[1, 0] == 4


def truncate(entry: Path) -> None:
    path = entry / "train_inputs.npy"
    path.write_bytes(path.read_bytes()[:-8])


DAMAGE: dict[str, Callable[[Path], object]] = {
    "truncated": truncate,
    "emptied": lambda entry: (entry / "test_labels.npy").write_bytes(b""),
    "missing": lambda entry: (entry / "train_labels.npy").unlink(),
    "no meta": lambda entry: (entry / "meta.json").unlink(),
    "half meta": lambda entry: (entry / "meta.json").write_text('{"num_classes": 3'),
    "other meta": lambda entry: (entry / "meta.json").write_text('{"num_classes": 3}'),
    "a list": lambda entry: (entry / "meta.json").write_text("[]"),
}


def test_an_entry_of_before_chance_was_recorded_is_made_again(
    tmp_path: Path, own_cache: Path
) -> None:
    config = user_data(tmp_path, "bg_older", LOADER)
    facts = open_data(config, str(tmp_path)).facts
    (path,) = own_cache.glob("*/meta.json")
    meta = json.loads(path.read_text())
    assert meta.pop("chance") == facts.chance
    path.write_text(json.dumps(meta))
    assert open_data(config, str(tmp_path)).facts == facts


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_entry_is_made_again(damage: str, tmp_path: Path, own_cache: Path) -> None:
    config = user_data(tmp_path, f"bg_damaged_{list(DAMAGE).index(damage)}", LOADER)
    before = open_data(config, str(tmp_path))
    (entry,) = [path for path in own_cache.iterdir() if path.is_dir()]
    (entry.with_suffix(".partial")).mkdir()  # of a process that was killed
    DAMAGE[damage](entry)
    after = open_data(config, str(tmp_path))
    assert after.facts == before.facts
    assert np.array_equal(after.test_labels, np.arange(5) % 3)
    assert [path.name for path in own_cache.iterdir() if path.is_dir()] == [entry.name]


def test_changed_code_and_files_make_a_new_entry(tmp_path: Path) -> None:
    path = tmp_path / "values.npy"
    np.save(path, np.ones((6, 2)))
    body = (
        "def load(path):\n    x = np.load(path)\n    y = np.arange(len(x)) % 2\n"
        "    return Splits(train=(x, y), test=(x, y))"
    )
    config = replace(user_data(tmp_path, "bg_changed", body), options={"path": str(path)})
    first = open_data(config, str(tmp_path)).facts
    np.save(path, np.zeros((7, 2)))
    second = open_data(config, str(tmp_path)).facts
    assert (first.num_train_examples, second.num_train_examples) == (6, 7)
    user_data(tmp_path, "bg_changed", body + "  # changed")
    assert open_data(config, str(tmp_path)).facts.source_hash != first.source_hash


def test_processes_that_start_together_load_once(tmp_path: Path, own_cache: Path) -> None:
    body = (
        "import time\n"
        "def load():\n    open('log', 'a').write('loaded ')\n    time.sleep(0.5)\n"
        "    x = np.ones((6, 2)); y = np.arange(6) % 2\n"
        "    return Splits(train=(x, y), test=(x, y))"
    )
    user_data(tmp_path, "bg_together", body)
    program = (
        "from trainables.config.data import DataConfig\n"
        "from trainables.datasets.cache import open_data\n"
        f"config = DataConfig(source='load', load='bg_together:load')\n"
        f"print(open_data(config, {str(tmp_path)!r}).train_inputs.sum())\n"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT), "BATCHGAP_CACHE": str(own_cache)}
    command = [sys.executable, "-c", program]
    running = [
        subprocess.Popen(command, env=environment, cwd=tmp_path, stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    assert [process.communicate()[0] for process in running] == ["12.0\n"] * 3
    assert (tmp_path / "log").read_text() == "loaded "


def test_a_cache_that_cannot_be_written_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("BATCHGAP_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(OSError, match="set BATCHGAP_CACHE to a folder") as error:
        open_data(DataConfig())
    assert str(tmp_path / "file" / "cache") in str(error.value)


def test_a_full_disk_leaves_nothing_behind(
    own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch, pytest.raises(OSError, match="No space left"):
        patch.setattr(np, "save", full)
        open_data(DataConfig())
    assert not [path for path in own_cache.iterdir() if path.is_dir()]
    assert open_data(DataConfig()).facts.num_classes == 10


def test_where_the_cache_lies(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert cache_folder() == tmp_path / "cache"
    monkeypatch.delenv("BATCHGAP_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "batchgap"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "batchgap"


@pytest.mark.parametrize("shape", [(9000, 2), (5000, 3, 2, 2)])
def test_channel_statistics_against_numpy(shape: tuple[int, ...]) -> None:
    random = np.random.default_rng(0)
    axes = (0, *range(2, len(shape)))
    for inputs, scale in (
        (random.integers(0, 256, shape, dtype=np.uint8), 255),
        ((random.normal(size=shape) + 1000).astype(np.float32), 1),
    ):
        mean, std = channel_statistics(inputs)
        assert np.allclose(mean, inputs.astype(np.float64).mean(axes) / scale, rtol=1e-12)
        assert np.allclose(std, inputs.astype(np.float64).std(axes) / scale, rtol=1e-9)


# -------------------------------------------------------------------------------------- user's data


PAIR = "(np.ones((6, 2), np.float32), np.arange(6) % 3)"


@pytest.mark.parametrize(
    "returned",
    [
        f"Splits(train={PAIR}, test={PAIR})",
        f"{{'train': {PAIR}, 'test': {PAIR}}}",
        f"{{'train': {PAIR}, 'test': {PAIR}, 'validation': {PAIR}}}",
        f"({PAIR}, {PAIR})",
        f"({PAIR}, {PAIR}, {PAIR})",
        "tuple(tuple(map(torch.as_tensor, pair)) for pair in (" + f"{PAIR}, {PAIR}))",
    ],
)
def test_a_loader_may_return_what_needs_no_import_of_ours(
    returned: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    number = request.node.callspec.indices["returned"]
    body = f"import torch\n\ndef load():\n    return {returned}"
    found = open_data(user_data(tmp_path, f"bg_form{number}", body), str(tmp_path))
    assert (found.facts.num_train_examples, found.facts.num_test_examples) == (6, 6)
    assert found.facts.num_validation_examples == (6 if returned.count("ones") == 3 else 0)


@pytest.mark.parametrize(
    "returned", ["np.ones(3), np.ones(3), np.ones(3), np.ones(3)", "{'x_train': 1, 'y_train': 2}"]
)
def test_arrays_whose_order_would_have_to_be_guessed_are_refused(
    returned: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    number = request.node.callspec.indices["returned"]
    config = user_data(tmp_path, f"bg_guess{number}", f"def load():\n    return {returned}")
    with pytest.raises(ValueError, match="return a dict of pairs"):
        open_data(config, str(tmp_path))


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("load = 3", "'bg_user.:load' is a int, no function"),
        ("def load():\n    return 1, 2", "returned a tuple; return a dict of pairs"),
        ("def load():\n    raise KeyError('x')", "raised KeyError: 'x'"),
        ("def load(other):\n    pass", "raised TypeError: .*'other'"),
        (
            "def load():\n    return Splits(train=(np.ones((3, 2)), np.arange(4)), test=None)",
            r"data.load 'bg_user.:load', train: inputs have shape \(3, 2\)",
        ),
    ],
)
def test_a_loader_that_errs_is_told_how(
    body: str, message: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    number = request.node.callspec.indices["body"]
    config = user_data(tmp_path, f"bg_user{number}", body)
    with pytest.raises(ValueError, match=message):
        open_data(config, str(tmp_path))


def test_missing_settings_are_named() -> None:
    for config, setting in (
        (DataConfig(source="load"), "data.load is not set"),
        (DataConfig(source="parquet", test="x"), "data.train is not set"),
    ):
        with pytest.raises(ValueError, match=setting):
            open_data(config)


def test_anything_with_train_and_test_serves(tmp_path: Path) -> None:
    body = (
        "from types import SimpleNamespace\n"
        "def load():\n    x = np.ones((4, 2)); y = np.arange(4) % 2\n"
        "    return SimpleNamespace(train=(x, y), test=(x, y), validation=(x[:1], y[:1]))"
    )
    data = open_data(user_data(tmp_path, "bg_duck", body), str(tmp_path))
    assert data.facts.num_validation_examples == 1


# ------------------------------------------------------------------------------- torchvision's sets


def write_idx(path: Path, array: Any) -> None:
    content = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
    content += array.astype(np.uint8).tobytes()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


def write_mnist(folder: Path, suffix: str = "") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, count in (("train", 8), ("t10k", 4)):
        inputs, labels = examples(count, shape=(28, 28))
        write_idx(folder / f"{name}-images-idx3-ubyte{suffix}", inputs)
        write_idx(folder / f"{name}-labels-idx1-ubyte{suffix}", labels)


def test_idx_files_compressed_or_not_as_torchvision_reads_them(tmp_path: Path) -> None:
    import torchvision.datasets

    write_mnist(tmp_path / "plain/MNIST/raw")
    write_mnist(tmp_path / "zipped/FashionMNIST/raw", ".gz")
    data = open_data(DataConfig(source="mnist", root=str(tmp_path / "plain")))
    zipped = open_data(DataConfig(source="fashion-mnist", root=str(tmp_path / "zipped")))
    for train, part in ((True, "train"), (False, "test")):
        theirs = torchvision.datasets.MNIST(tmp_path / "plain", train=train)
        for ours in (data, zipped):
            assert np.array_equal(getattr(ours, f"{part}_inputs")[:, 0], theirs.data.numpy())
            assert np.array_equal(getattr(ours, f"{part}_labels"), theirs.targets.numpy())


@pytest.mark.parametrize("content", [b"", b"\0\0\x08", b"\0\0\x08\1\0\0\0\5\1", b"hello, world"])
@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_damaged_idx_files_are_named(content: bytes, suffix: str, tmp_path: Path) -> None:
    write_mnist(tmp_path / "MNIST/raw", suffix)
    path = tmp_path / f"MNIST/raw/t10k-images-idx3-ubyte{suffix}"
    for damaged in (content, path.read_bytes()[:-5]):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=f"{path} is damaged"):
            open_data(DataConfig(source="mnist", root=str(tmp_path)))


def test_absent_sets_say_where_and_how(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for source, folder in (("mnist", "MNIST/raw"), ("cifar100", "cifar-100-python")):
        for root in (None, str(tmp_path)):
            with pytest.raises(FileNotFoundError, match="download: true") as error:
                open_data(DataConfig(source=source, root=root))  # type: ignore[arg-type]
            assert str(Path(root or "data") / folder) in str(error.value)
    assert not (tmp_path / "data").exists()


def test_downloads_only_when_asked_and_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torchvision.datasets

    calls = []

    def fetch(root: Path, train: bool, download: bool) -> None:
        calls.append(download)
        write_mnist(root / "MNIST/raw")

    monkeypatch.setattr(torchvision.datasets, "MNIST", fetch)
    config = DataConfig(source="mnist", root=str(tmp_path / "new"), download=True)
    assert open_data(config).facts.num_train_examples == 8
    open_data(config)
    open_data(replace(config, download=False))
    assert calls == [True]


def test_a_failed_download_is_an_error_of_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torchvision.datasets

    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("Error downloading train-images")

    monkeypatch.setattr(torchvision.datasets, "MNIST", fail)
    with pytest.raises(OSError, match=r"mnist could not be fetched into .*Error downloading"):
        open_data(DataConfig(source="mnist", root=str(tmp_path), download=True))


def write_cifar10(folder: Path) -> Any:
    folder.mkdir()
    inputs, labels = examples(12, shape=(3, 32, 32))
    names = [*(f"data_batch_{k}" for k in range(1, 6)), "test_batch"]
    for k, name in enumerate(names):
        rows = slice(2 * k, 2 * k + 2)
        batch = {"data": inputs[rows].reshape(2, -1), "labels": labels[rows].tolist()}
        (folder / name).write_bytes(pickle.dumps(batch))
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": ["a", "b", "c"]}))
    return inputs, labels


def test_cifar_is_read_by_torchvision_after_its_check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torchvision.datasets import cifar

    inputs, labels = write_cifar10(tmp_path / "cifar-10-batches-py")
    config = DataConfig(source="cifar10", root=str(tmp_path))
    with pytest.raises(ValueError, match="are not the published ones"):
        open_data(config)
    monkeypatch.setattr(cifar, "check_integrity", lambda *_: True)
    data = open_data(config)
    assert np.array_equal(data.train_inputs, inputs[:10])
    assert np.array_equal(data.test_inputs, inputs[10:])
    assert np.array_equal(data.train_labels, labels[:10])


# ------------------------------------------------------------------------------------------ parquet


def encoded(pixels: Any, kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


def write_images(path: Path, images: Sequence[bytes | None], column: str = "image") -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    kind = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    structs = pa.array([{"bytes": content, "path": None} for content in images], kind)
    table = pa.table({"label": [k % 2 for k in range(len(images))], column: structs})
    pq.write_table(table, path)
    return str(path)


GRAY, COLOUR = examples(6, shape=(5, 4))[0], examples(6, shape=(5, 4, 3))[0]


def test_images_of_a_file_a_folder_and_a_pattern(tmp_path: Path) -> None:
    parts = [[encoded(pixels) for pixels in COLOUR[rows]] for rows in (slice(0, 4), slice(4, 6))]
    for k, part in enumerate(parts):
        write_images(tmp_path / f"both/train-{k}.parquet", part, "img")
        write_images(tmp_path / f"train/{k}.parquet", part)
    test = write_images(tmp_path / "test.parquet", parts[0])
    for train in ("train", "both", "both/train-*.parquet"):
        config = DataConfig(source="parquet", train=str(tmp_path / train), test=test)
        data = open_data(config)
        assert np.array_equal(data.train_inputs, COLOUR.transpose(0, 3, 1, 2))
        assert data.train_labels.tolist() == [0, 1, 0, 1, 0, 1]
        assert np.array_equal(data.test_inputs, data.train_inputs[:4])


def test_gray_images_have_one_channel_unless_any_has_colour(tmp_path: Path) -> None:
    gray = write_images(tmp_path / "gray.parquet", [encoded(pixels) for pixels in GRAY])
    test = write_images(tmp_path / "test.parquet", [encoded(pixels) for pixels in GRAY])
    mixed = write_images(tmp_path / "mixed.parquet", [encoded(COLOUR[0]), encoded(GRAY[0])])
    data = open_data(DataConfig(source="parquet", train=gray, test=test))
    assert np.array_equal(data.train_inputs[:, 0], GRAY) and data.facts.input_shape == (1, 5, 4)
    both = open_data(DataConfig(source="parquet", train=gray, test=mixed))
    assert both.facts.input_shape == (3, 5, 4)
    assert np.array_equal(both.test_inputs[1], np.repeat(GRAY[:1], 3, axis=0))


def deep() -> bytes:
    return encoded(np.arange(20, dtype=np.uint16).reshape(5, 4) * 1000)


def test_images_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    good = encoded(COLOUR[0])
    test = write_images(tmp_path / "test.parquet", [good])
    noise = np.random.default_rng(0).integers(0, 256, (5, 4, 3), dtype=np.uint8)
    for wrong, message in (
        ([good, b"no image"], "row 1: the image is damaged"),
        ([good, encoded(noise, "JPEG")[:-40]], "row 1: the image is damaged"),
        ([good, encoded(noise)[:-40]], "row 1: the image is damaged"),
        ([None], "row 0: has no bytes"),
        ([good, encoded(COLOUR[0][:4])], r"row 1: the image is \(4, 4\) pixels .* is \(4, 5\)"),
        ([deep()], "row 0: the image has mode I;16; use 8-bit"),
        ([], "holds no rows"),
    ):
        train = write_images(tmp_path / "train.parquet", wrong)
        with pytest.raises(ValueError, match=message) as error:
            open_data(DataConfig(source="parquet", train=train, test=test))
        assert train in str(error.value)


def test_parquet_files_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    good = write_images(tmp_path / "good.parquet", [encoded(COLOUR[0])] * 2)
    cut, lacking, flat = (tmp_path / f"{name}.parquet" for name in ("cut", "lacking", "flat"))
    cut.write_bytes(Path(good).read_bytes()[:-9])
    pq.write_table(pa.table({"img": [1], "class": [0]}), lacking)
    pq.write_table(pa.table({"img": [1], "label": [0]}), flat)
    for path, message in (
        (cut, "cannot be read as Parquet"),
        (lacking, "no column 'label'; it has 'img', 'class'"),
        (flat, "the image column is int64, not a struct"),
        (Path(good), "data.train and data.test both read"),
    ):
        with pytest.raises(ValueError, match=message):
            open_data(DataConfig(source="parquet", train=str(path), test=good))
    for absent in ("absent.parquet", "cache"):
        with pytest.raises(FileNotFoundError, match=r"data.train is .* no such file"):
            train = str(tmp_path / absent)
            open_data(DataConfig(source="parquet", train=train, test=good))


# ------------------------------------------------------------------------------------------- frames


@given(
    st.lists(st.integers(1, 5), min_size=1, max_size=5),
    st.integers(0, 3),
)
def test_splice_against_a_loop(lengths: list[int], context: int) -> None:
    utterance = np.repeat(np.arange(len(lengths)), lengths)
    features = np.arange(2.0 * len(utterance)).reshape(-1, 2)
    expected = []
    for t in range(len(utterance)):
        own = np.flatnonzero(utterance == utterance[t])
        around = range(t - context, t + context + 1)
        expected.append([features[min(max(s, own[0]), own[-1])] for s in around])
    result = splice(features, utterance, context)
    assert np.array_equal(result, np.array(expected).reshape(len(utterance), -1))


def write_frames(path: Path, utterances: Any, features: Any) -> str:
    labels = [k % 2 for k in range(len(features))]
    pq.write_table(pa.table({"utterance": utterances, "features": features, "label": labels}), path)
    return str(path)


def test_frames_are_spliced_in_order(tmp_path: Path) -> None:
    features = [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]
    names = pa.array(["b", "a", "a"])
    train = write_frames(tmp_path / "train.parquet", names, features)
    test = write_frames(tmp_path / "test.parquet", names.dictionary_encode(), features)
    data = open_data(DataConfig(source="frames", train=train, test=test, context=1))
    expected = [[1, 2, 1, 2, 1, 2], [3, 4, 3, 4, 5, 6], [3, 4, 5, 6, 5, 6]]
    assert data.train_inputs.tolist() == data.test_inputs.tolist() == expected
    plain = open_data(DataConfig(source="frames", train=train, test=test))
    assert plain.train_inputs.tolist() == features


def test_frames_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    ones = [[1.0]] * 3
    test = write_frames(tmp_path / "test.parquet", ["a", "b", "c"], ones)
    for utterances, features, message in (
        (["a", "b", "a"], ones, "2 utterances lie in 3 pieces"),
        (["a", None, "b"], ones, "1 rows have no `utterance`"),
        (["a"] * 3, [[1.0], [1.0, 2.0], [1.0]], "found lengths .1, 2."),
        (["a"] * 3, [[1.0], [None], [1.0]], "1 missing values"),
        (["a"] * 3, [1.0, 2.0, 3.0], "`features` is double, not lists"),
    ):
        train = write_frames(tmp_path / "train.parquet", utterances, features)
        with pytest.raises(ValueError, match=message):
            open_data(DataConfig(source="frames", train=train, test=test))
    with pytest.raises(ValueError, match=r"data\.context is -1"):
        open_data(DataConfig(source="frames", train=train, test=test, context=-1))


# ------------------------------------------------------------------------------------------ tensors


def data_of(inputs: Any, labels: Any) -> Data:
    mean, std = channel_statistics(inputs)
    facts = DataFacts(
        num_train_examples=len(labels),
        num_validation_examples=0,
        num_test_examples=len(labels),
        input_shape=inputs.shape[1:],
        num_classes=3,
        fingerprint="",
        source_hash=None,
        channel_mean=mean,
        channel_std=std,
    )
    return Data(inputs, labels, inputs[:0], labels[:0], inputs, labels, facts)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("standardize", [False, True])
@pytest.mark.parametrize("channels_last", [False, True])
def test_batches_are_scaled_and_standardized(
    dtype: torch.dtype, standardize: bool, channels_last: bool
) -> None:
    inputs, labels = examples(40, shape=(3, 6, 5))
    config = DataConfig(standardize=standardize)
    tensors = to_tensors(data_of(inputs, labels), config, CPU, dtype, channels_last)
    expected = inputs / 255
    if standardize:
        mean, std = expected.mean((0, 2, 3)), expected.std((0, 2, 3))
        expected = (expected - mean[:, None, None]) / std[:, None, None]
    indices = torch.tensor([5, 0, 39, 5])
    for chosen in (indices, slice(3, 17)):
        got, classes = tensors.batch("train", chosen)
        assert got.dtype == dtype and classes.dtype == torch.int64
        assert np.allclose(got, expected[chosen], atol=1e-6 if dtype == torch.float32 else 1e-12)
        assert np.array_equal(classes, labels[chosen])
        if channels_last:
            assert got.is_contiguous(memory_format=torch.channels_last)
    assert len(tensors.batch("validation", slice(None))[0]) == 0


def test_float_vectors_are_standardized_per_feature_and_constant_ones_centred() -> None:
    inputs = np.random.default_rng(1).normal(3, 2, (50, 4)).astype(np.float32)
    inputs[:, 2] = 5
    data = data_of(inputs, np.arange(50) % 3)
    raw = to_tensors(data, DataConfig(), CPU, torch.float32, False)
    assert np.array_equal(raw.batch("test", slice(None))[0], inputs)
    tensors = to_tensors(data, DataConfig(standardize=True), CPU, torch.float64, False)
    got = tensors.batch("train", torch.arange(50))[0]
    assert torch.allclose(got.mean(0), torch.zeros(4, dtype=torch.float64), atol=1e-6)
    assert torch.allclose(got.std(0, correction=0), torch.tensor([1.0, 1, 0, 1]).double())


def test_changing_a_batch_changes_no_data() -> None:
    inputs = np.ones((6, 4), dtype=np.float32)
    tensors = to_tensors(data_of(inputs, np.arange(6)), DataConfig(), CPU, torch.float32, False)
    for chosen in (slice(0, 6), torch.arange(6)):
        for part in tensors.batch("train", chosen):
            part.zero_()
    assert np.all(inputs == 1)
    assert tensors.batch("train", slice(0, 6))[1].tolist() == [0, 1, 2, 3, 4, 5]


def test_on_a_cpu_the_data_is_shared_not_copied() -> None:
    inputs, labels = examples(4)
    tensors = to_tensors(data_of(inputs, labels), DataConfig(), CPU, torch.float32, False)
    assert tensors.train[0].data_ptr() == inputs.ctypes.data


def test_channels_last_is_for_images() -> None:
    data = data_of(np.ones((6, 4), dtype=np.float32), np.arange(6))
    with pytest.raises(ValueError, match=r"channels_last is true, but examples have shape \(4,\)"):
        to_tensors(data, DataConfig(), CPU, torch.float32, True)


# ---------------------------------------------------------------------------------------- real data


@needs_shared_data
def test_the_embedded_set_is_the_first_part_of_mnist() -> None:
    embedded = open_data(DataConfig(validation_examples=500))
    mnist = DataConfig(
        source="mnist", root=str(SHARED), train_examples=5000, validation_examples=500
    )
    assert open_data(mnist).facts == embedded.facts
    assert np.bincount(embedded.validation_labels).tolist() == [50] * 10
    whole = open_data(replace(mnist, train_examples=None, validation_examples=0)).facts
    assert whole.num_train_examples == 60_000
    assert np.allclose([*whole.channel_mean, *whole.channel_std], [0.1307, 0.3081], atol=1e-4)


@needs_shared_data
def test_cifar10_as_parquet(tmp_path: Path) -> None:
    test = str(SHARED / "cifar10/test.parquet")
    part = tmp_path / "part.parquet"
    pq.write_table(pq.read_table(SHARED / "cifar10/train.parquet").slice(0, 1000), part)
    data = open_data(DataConfig(source="parquet", train=str(part), test=test))
    assert data.train_inputs.shape == (1000, 3, 32, 32) and data.facts.num_classes == 10
    assert np.bincount(data.test_labels).tolist() == [1000] * 10


@needs_shared_data
def test_spoken_digits_as_frames() -> None:
    train, test = (str(SHARED / f"fsdd-frames/{part}.parquet") for part in ("train", "test"))
    data = open_data(DataConfig(source="frames", train=test, test=train, context=4))
    assert data.train_inputs.shape == (12_326, 360) and data.test_inputs.shape == (112_911, 360)
    assert data.facts.num_classes == 100
    plain = open_data(DataConfig(source="frames", train=test, test=train))
    assert np.array_equal(data.train_inputs[:, 160:200], plain.train_inputs)


def test_who_waits_for_another_process_gives_signs_of_life(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BATCHGAP_CACHE", str(tmp_path))
    monkeypatch.setattr(cache, "WAIT_SECONDS", 0.05)
    signs: list[float] = []

    def sign() -> None:
        signs.append(1)
        if len(signs) == 3:
            lock.release()

    monkeypatch.setattr(alive, "sign", sign)
    key = cache._key(DataConfig(), None)
    lock = FileLock(tmp_path / f"{key}.lock", is_singleton=False)
    lock.acquire()
    assert open_data(DataConfig()).facts.num_classes == 10
    assert len(signs) == 3
