"""Folders of images: listed, decoded to the cache block by block, drawn from the disk."""

from __future__ import annotations

import hashlib
import os
import shutil
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import v2

from trainables.config.data import DataConfig, NetworkConfig
from trainables.config.trial import Trial
from trainables.datasets import image_folder
from trainables.datasets.cache import channel_statistics, open_data
from trainables.datasets.sources import LOADERS
from trainables.datasets.splits import Splits
from trainables.datasets.tensors import to_tensors
from trainables.run import trial as trials

CPU = torch.device("cpu")
SIZE = 6
Pictures = dict[str, np.ndarray[Any, np.dtype[np.uint8]]]


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("BATCHGAP_CACHE", str(folder))
    return folder


def pictures(counts: dict[str, int], seed: int = 0, size: int = SIZE) -> Pictures:
    """Random pixels [size, size, 3] by `CLASS/IMAGE`."""
    random = np.random.default_rng(seed)
    names = [f"{name}/{k}.png" for name, count in counts.items() for k in range(count)]
    return {name: random.integers(0, 256, (size, size, 3), dtype=np.uint8) for name in names}


def write(folder: Path, shown: Pictures) -> str:
    for name, pixels in shown.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / name)
    return str(folder)


TRAIN, TEST = pictures({"cat": 9, "ant": 12, "bee": 15}), pictures({"bee": 4, "cat": 5}, seed=1)
CLASSES = ("ant", "bee", "cat")


@pytest.fixture
def config(tmp_path: Path) -> DataConfig:
    """36 training and 9 test images of three classes."""
    return DataConfig(
        source="image-folder",
        name="animals",
        train=write(tmp_path / "data/train", TRAIN),
        test=write(tmp_path / "data/val", TEST),
        image_size=SIZE,
    )


def in_order(shown: Pictures) -> tuple[Any, Any]:
    """Oracle: what the folder is as arrays, in the order of the hashes of the names."""
    names = sorted(shown, key=lambda name: hashlib.sha256(name.encode()).digest())
    pixels = np.stack([shown[name].transpose(2, 0, 1) for name in names])
    return pixels, np.array([CLASSES.index(name.split("/")[0]) for name in names])


# ----------------------------------------------------------------------------------------- content


def test_pixels_labels_and_facts(config: DataConfig) -> None:
    data = open_data(config)
    for found, expected in (
        ((data.train_inputs, data.train_labels), in_order(TRAIN)),
        ((data.test_inputs, data.test_labels), in_order(TEST)),
    ):
        assert found[0].dtype == np.uint8 and found[1].dtype == np.int64
        assert np.array_equal(found[0], expected[0]) and np.array_equal(found[1], expected[1])
    facts = data.facts
    assert (facts.num_train_examples, facts.num_test_examples, facts.num_classes) == (36, 9, 3)
    assert facts.num_validation_examples == len(data.validation_inputs) == 0
    assert facts.input_shape == (3, SIZE, SIZE)
    mean, std = channel_statistics(in_order(TRAIN)[0])
    assert np.allclose(facts.channel_mean, mean, rtol=1e-12)
    assert np.allclose(facts.channel_std, std, rtol=1e-12)


def test_the_same_arrays_have_the_same_fingerprint_from_any_source(
    config: DataConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    facts = open_data(replace(config, validation_examples=6)).facts
    own = open_data(replace(in_memory(tmp_path, monkeypatch), validation_examples=6)).facts
    assert facts.fingerprint == own.fingerprint and facts.num_validation_examples == 6


def test_the_first_so_many_are_of_all_classes(config: DataConfig) -> None:
    data = open_data(replace(config, train_examples=12, validation_examples=3))
    inputs, labels = (part[:12] for part in in_order(TRAIN))
    assert set(labels) == {0, 1, 2}  # not the first class alone
    both = np.concatenate([data.train_inputs, data.validation_inputs])
    assert {x.tobytes() for x in both} == {x.tobytes() for x in inputs}
    assert data.facts.num_train_examples == 9
    assert sorted(data.validation_labels) == [0, 1, 2]
    assert data.facts.num_classes == 3
    with pytest.raises(ValueError, match="train_examples is 37, but the data has 36"):
        open_data(replace(config, train_examples=37))


def test_images_are_scaled_and_cropped_to_their_middle(tmp_path: Path) -> None:
    ramp = np.linspace(20, 230, 48)
    wide = np.broadcast_to(ramp[None, :, None], (24, 48, 3)).astype(np.uint8)
    tall = np.ascontiguousarray(wide.transpose(1, 0, 2))
    shown = {"a/wide.png": wide, "a/tall.png": tall, "a/small.png": wide[:4, 10:14]}
    train = write(tmp_path / "train", shown)
    test = write(tmp_path / "test", {"a/exact.png": wide[:8, 3:11], "a/crop.png": wide[:8]})
    data = open_data(
        DataConfig(source="image-folder", name="ramps", train=train, test=test, image_size=8)
    )
    torchvisions = v2.Compose([v2.Resize(8), v2.CenterCrop(8)])
    names = sorted(shown, key=lambda name: hashlib.sha256(name.encode()).digest())
    for name, found in zip(names, data.train_inputs, strict=True):
        expected = np.asarray(torchvisions(Image.fromarray(shown[name]))).transpose(2, 0, 1)
        assert np.abs(found.astype(int) - expected).max() <= 1, name
    exact, crop = wide[:8, 3:11], wide[:8, 20:28]  # no scaling: the pixels themselves
    tests = {x.tobytes() for x in data.test_inputs}
    assert tests == {x.transpose(2, 0, 1).tobytes() for x in (exact, crop)}


def test_gray_and_other_modes_become_rgb(tmp_path: Path) -> None:
    folder = tmp_path / "train/a"
    folder.mkdir(parents=True)
    gray = np.full((SIZE, SIZE), 77, dtype=np.uint8)
    Image.fromarray(gray).save(folder / "gray.JPEG")
    Image.fromarray(gray).convert("CMYK").save(folder / "cmyk.jpg")
    Image.fromarray(gray).convert("RGBA").save(folder / "alpha.png")
    test = write(tmp_path / "test", pictures({"a": 1}))
    data = open_data(
        DataConfig(
            source="image-folder", name="g", train=str(tmp_path / "train"), test=test, image_size=3
        )
    )
    assert data.train_inputs.shape == (3, 3, 3, 3)
    assert np.abs(data.train_inputs.astype(int) - 77).max() <= 1


# ---------------------------------------------------------------------------------------- streamed


def in_memory(folder: Path, monkeypatch: pytest.MonkeyPatch) -> DataConfig:
    """The same examples by a loader of one's own, whose arrays are in memory."""
    monkeypatch.syspath_prepend(str(folder))
    name = f"animals_{folder.name}"
    for split, shown in (("train", TRAIN), ("test", TEST)):
        inputs, labels = in_order(shown)
        np.savez(folder / f"{split}.npz", inputs=inputs, labels=labels)
    (folder / f"{name}.py").write_text(
        "import numpy as np\nfrom trainables.datasets.splits import Splits\n"
        "def load():\n"
        f"    pairs = [np.load('{folder}/' + s + '.npz') for s in ('train', 'test')]\n"
        "    train, test = [(p['inputs'], p['labels']) for p in pairs]\n"
        "    return Splits(train=train, test=test)\n"
    )
    return DataConfig(source="load", load=f"{name}:load")


@pytest.mark.parametrize("standardize", [False, True])
def test_batches_are_those_of_data_in_memory(
    config: DataConfig, standardize: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def tensors(source: DataConfig) -> Any:
        source = replace(source, standardize=standardize, validation_examples=6)
        return to_tensors(open_data(source), source, CPU, torch.float64, channels_last=True)

    streamed, whole = tensors(config), tensors(in_memory(tmp_path, monkeypatch))
    for split, indices in (
        ("train", torch.tensor([5, 0, 29, 5])),
        ("train", slice(3, 17)),
        ("validation", torch.arange(6)),
        ("test", slice(None)),
    ):
        (inputs, labels), expected = (t.batch(split, indices) for t in (streamed, whole))
        torch.testing.assert_close(inputs, expected[0], rtol=1e-12, atol=1e-12)
        assert torch.equal(labels, expected[1])
        assert inputs.is_contiguous(memory_format=torch.channels_last)
        inputs.zero_()  # copies: the data stays as it is
        labels.zero_()
    assert torch.equal(streamed.batch("test", slice(None))[1], whole.batch("test", slice(None))[1])


def test_a_trial_is_that_of_data_in_memory(
    make_trial: Callable[..., Trial],
    config: DataConfig,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def weights(data: DataConfig) -> bytes:
        trial = make_trial(
            tmp_path / "study",
            12,
            data=data,
            network=NetworkConfig(name="c1", options={"dropout": 0.5}),
            horizontal_flip=True,
            epochs=2,
            execution={"max_micro_batch_size": 6},
            ghost_batch_size=6,
        )
        (*_, end) = trials.run(trial)
        assert end.status == "complete", end.error
        (path,) = (tmp_path / "study/weights" / trial.trial_id).iterdir()
        return path.read_bytes()

    assert weights(config) == weights(in_memory(tmp_path, monkeypatch))


def test_inputs_stay_on_the_disk(config: DataConfig) -> None:
    data = open_data(config)
    tensors = to_tensors(data, config, torch.device("meta"), torch.float32, channels_last=False)
    inputs, labels = tensors.train
    assert isinstance(inputs, np.memmap) and inputs is data.train_inputs
    assert not inputs.flags.writeable
    assert isinstance(labels, torch.Tensor) and labels.is_meta
    batch, _ = tensors.batch("train", torch.arange(4))  # what is drawn goes to the device
    assert batch.is_meta and batch.shape == (4, 3, SIZE, SIZE)


def test_images_are_never_in_memory_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image_folder, "BLOCK", 8)
    few = pictures({"a": 4}, size=8)
    train = {f"a/{k}.png": np.full((8, 8, 3), k % 256, dtype=np.uint8) for k in range(300)}
    config = DataConfig(
        source="image-folder",
        name="many",
        train=write(tmp_path / "train", train),
        test=write(tmp_path / "test", few),
        image_size=96,
    )
    one = 3 * 96 * 96
    tracemalloc.start()
    try:
        data = open_data(config)
        tensors = to_tensors(data, config, CPU, torch.float32, channels_last=False)
        for start in range(0, 300, 10):
            tensors.batch("train", torch.arange(start, start + 10))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert data.train_inputs.nbytes == 300 * one
    assert peak < 60 * one  # what Python and the blocks take; all images would be 304


# ------------------------------------------------------------------------------------------- cache


def test_opening_again_decodes_nothing(
    config: DataConfig, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    first = open_data(config)

    def never(*_: Any) -> Splits:
        raise AssertionError("decoded again")

    own = replace(LOADERS["image-folder"], load=never)
    monkeypatch.setitem(LOADERS, "image-folder", own)
    assert open_data(replace(config, standardize=True)).facts == first.facts
    (tmp_path / "data/train/ant/.hidden").write_text("passed over")
    open_data(config)
    with pytest.raises(AssertionError, match="decoded again"):
        open_data(replace(config, image_size=5))
    # A file overwritten in place, with the same size and name, is seen by its time.
    path = tmp_path / "data/train/ant/0.png"
    os.utime(path, ns=(1, 1))
    with pytest.raises(AssertionError, match="decoded again"):
        open_data(config)


def test_an_interrupted_decoding_leaves_nothing_behind(
    config: DataConfig, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(image_folder, "_decoded", interrupted)
        open_data(config)
    assert not [path for path in own_cache.iterdir() if path.is_dir()]
    assert open_data(config).facts.num_classes == 3


def test_too_small_a_disk_is_refused_at_once(
    config: DataConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage("/")._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    message = rf"take {45 * 3 * SIZE**2:,} bytes, and 1,000 are free.*set BATCHGAP_CACHE"
    with pytest.raises(OSError, match=message):
        open_data(config)


def test_a_long_decoding_says_how_far_it_is(
    config: DataConfig, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(image_folder, "REPORT_SECONDS", 0)
    monkeypatch.setattr(image_folder, "BLOCK", 20)
    open_data(config)
    shown = capsys.readouterr()
    assert shown.out == ""
    lines = shown.err.splitlines()
    assert len(lines) == 3  # 20 and 36 of the training images, 9 of the others
    assert lines[0] == f"{config.train}: 20 of 36 images decoded, about 0 min left"


# ------------------------------------------------------------------------------------------ refused


def damaged(folder: Path) -> None:
    path = folder / "train/bee/3.png"
    path.write_bytes(path.read_bytes()[:-40])


def deep(folder: Path) -> None:
    pixels = np.arange(SIZE**2, dtype=np.uint16).reshape(SIZE, SIZE) * 900
    Image.fromarray(pixels).save(folder / "train/bee/3.png")


def emptied(folder: Path) -> None:
    shutil.rmtree(folder / "train")
    (folder / "train").mkdir()


def unreadable(folder: Path) -> None:
    path = folder / "train/bee/3.png"
    path.unlink()
    path.symlink_to(folder / "train/bee")  # a directory by the name of an image


MISTAKES: dict[str, tuple[Callable[[Path], object], str]] = {
    "damaged": (damaged, "train/bee/3.png: the image is damaged"),
    "deep": (deep, "train/bee/3.png: the image has mode I;16; use 8-bit"),
    "folder as image": (unreadable, "train/bee/3.png: is no image"),
    "no image": (
        lambda f: (f / "train/ant/notes.txt").write_text(""),
        r"data.train .*/train/ant/notes.txt: is no image \(.jpg, .*move or convert it",
    ),
    "nested": (lambda f: os.mkdir(f / "val/cat/images"), "data.test .*cat/images: is no image"),
    "empty class": (lambda f: (f / "val/dog").mkdir(), "data.test .*val/dog: holds no images"),
    "flat": (
        lambda f: (f / "val/0.png").write_bytes((f / "val/cat/0.png").read_bytes()),
        "data.test .*: '0.png' lies beside the class folders",
    ),
    "empty": (
        emptied,
        "data.train .*: is empty; lay images out as train/CLASS/IMAGE.jpg",
    ),
    "untrained": (
        lambda f: (f / "val/cat").rename(f / "val/dog"),
        "data.test .*: has the class 'dog', which .*train lacks",
    ),
    "absent": (
        lambda f: (f / "val").rename(f / "gone"),
        "data.test is '.*val', but there is no such",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_folders_that_cannot_be_used_are_named(
    mistake: str, config: DataConfig, tmp_path: Path, own_cache: Path
) -> None:
    make, message = MISTAKES[mistake]
    make(tmp_path / "data")
    with pytest.raises((ValueError, FileNotFoundError), match=message) as error:
        open_data(config)
    assert "\n" not in str(error.value)
    assert not own_cache.exists() or not [p for p in own_cache.iterdir() if p.is_dir()]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train": None}, "data.train is not set; name a folder of one folder per class"),
        ({"image_size": None}, "data.image_size is None; image-folder needs .* e.g. 224"),
        ({"image_size": 0}, "data.image_size is 0"),
    ],
)
def test_settings_that_are_missing_are_named(
    config: DataConfig, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        open_data(replace(config, **changes))


def test_training_images_are_not_tested(config: DataConfig) -> None:
    assert config.train is not None
    with pytest.raises(ValueError, match=r"data\.train and data\.test both read"):
        open_data(replace(config, test=f"{config.train}/../train"))
