"""Data files that ask for the impossible, or are damaged: refused before they are decoded."""

from __future__ import annotations

import gzip
import io
import os
import random
import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from tests.faults.limited import DATA_BYTES, Limited, limited

pytestmark = pytest.mark.faults

NUMBER = 250
STUDY = """\
name: hostile
network: {name: mlp, hidden: [4]}
training: {base_lr: 0.05, epochs: 1, global_batch_size: 4}
seeds: 1
"""
PARQUET = STUDY + "data: {source: parquet, train: a.parquet, test: b.parquet, name: x}\n"
FRAMES = STUDY + "data: {source: frames, train: a.parquet, test: b.parquet, name: x, context: %s}\n"
MNIST = STUDY + "data: {source: mnist, root: .}\n"
FOLDER = STUDY + "data: {source: image-folder, train: t, test: v, name: x, image_size: %s}\n"
IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


@pytest.fixture(scope="module")
def verbs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Limited]:
    modules = ("pandas", "trainables.datasets.parquet_images")
    with limited(tmp_path_factory.mktemp("hostile"), *modules) as found:
        yield found


def encoded(side: int, form: str = "PNG", mode: str = "RGB", height: int | None = None) -> bytes:
    content = io.BytesIO()
    Image.new(mode, (side, height or side), 5).save(content, form)
    return content.getvalue()


def with_header_of(width: int, height: int) -> bytes:
    """A bitmap that says to have so many pixels, and has none."""
    small = bytearray(encoded(8, "BMP"))
    small[18:26] = struct.pack("<ii", width, height)
    return bytes(small)


def write_images(path: Path, images: list[bytes]) -> None:
    rows = [{"bytes": image, "path": None} for image in images]
    table = pa.table({"image": pa.array(rows, IMAGE), "label": [i % 2 for i in range(len(rows))]})
    pq.write_table(table, path, compression="zstd")


def write_frames(path: Path) -> None:
    features = np.random.default_rng(0).random((40, 4)).tolist()
    utterances, labels = ["a"] * 20 + ["b"] * 20, [i % 3 for i in range(40)]
    pq.write_table(pa.table({"utterance": utterances, "features": features, "label": labels}), path)


def idx(*shape: int, held: int | None = None) -> bytes:
    """An IDX file that says to have this shape, and holds so many zeros."""
    sizes = b"".join(struct.pack(">I", size) for size in shape)
    return b"\0\0\x08" + bytes([len(shape)]) + sizes + bytes(held or int(np.prod(shape)))


def write_mnist(folder: Path) -> list[Path]:
    raw = folder / "MNIST/raw"
    raw.mkdir(parents=True)
    contents = {
        "train-images-idx3-ubyte": idx(20, 28, 28),
        "train-labels-idx1-ubyte": idx(20),
        "t10k-images-idx3-ubyte.gz": gzip.compress(idx(10, 28, 28)),
        "t10k-labels-idx1-ubyte": idx(10),
    }
    for name, content in contents.items():
        (raw / name).write_bytes(content)
    return sorted(raw.iterdir())


def write_folders(folder: Path) -> list[Path]:
    for split in ("t", "v"):
        for label in ("a", "b"):
            (folder / split / label).mkdir(parents=True)
            for number in range(3):
                (folder / split / label / f"{number}.png").write_bytes(encoded(9))
    return sorted(folder.rglob("*.png"))


def refused(verbs: Limited, folder: Path, study: str, *says: str) -> None:
    (folder / "study.yaml").write_text(study)
    done = verbs.run("plan", folder / "study.yaml")
    assert done.code in (2, 3) and done.is_clean, done
    assert all(part in " ".join(done.said.split()) for part in says), done
    assert done.resident_bytes < 0.5 * DATA_BYTES, done


# ------------------------------------------------------------------------ counted before decoding


def test_a_header_of_too_many_pixels(verbs: Limited, tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_images(tmp_path / f"{name}.parquet", [with_header_of(60_000, 60_000)] * 4)
    refused(verbs, tmp_path, PARQUET, "3,600,000,000 pixels of one image", "IMAGE_PIXELS")


def test_headers_times_rows_against_the_memory(verbs: Limited, tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_images(tmp_path / f"{name}.parquet", [encoded(9000, mode="L")] * 42)
    assert (tmp_path / "a.parquet").stat().st_size < 200_000
    refused(verbs, tmp_path, PARQUET, "for 84 images of 9000 x 9000 pixels", "of memory here")


def test_millions_of_rows_in_a_few_kilobytes(verbs: Limited, tmp_path: Path) -> None:
    zeros = np.zeros(20_000_000, np.int8)
    rows = pa.table({"image": zeros, "label": zeros})
    for name in ("a", "b"):
        pq.write_table(rows, tmp_path / f"{name}.parquet", compression="zstd")
    refused(verbs, tmp_path, PARQUET, "times its size, once it is read", "EXPANSION")


def test_one_long_text_that_all_rows_point_to(verbs: Limited, tmp_path: Path) -> None:
    rows = [{"bytes": b"x" * 3_000_000, "path": "p"}] * 150
    table = pa.table({"image": pa.array(rows, IMAGE), "label": [0] * 150})
    pq.write_table(
        table, tmp_path / "a.parquet", compression="zstd", dictionary_pagesize_limit=10**8
    )
    (tmp_path / "b.parquet").write_bytes((tmp_path / "a.parquet").read_bytes())
    assert (tmp_path / "a.parquet").stat().st_size < 10_000
    refused(verbs, tmp_path, PARQUET, "once it is read")


def test_frames_around_frames_against_the_memory(verbs: Limited, tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_frames(tmp_path / f"{name}.parquet")
    refused(verbs, tmp_path, FRAMES % 10**9, "numbers", "of memory here")


def test_an_idx_file_that_says_or_unpacks_to_too_much(verbs: Limited, tmp_path: Path) -> None:
    files = write_mnist(tmp_path)
    files[2].write_bytes(idx(2**32 - 1, 2**32 - 1, 28, held=100))
    refused(verbs, tmp_path, MNIST, "of memory here")
    files[2].unlink()
    with gzip.open(f"{files[2]}.gz", "wb", compresslevel=1) as packed:
        packed.write(idx(20, 28, 28))
        for _ in range(3 << 6):
            packed.write(bytes(1 << 24))
    refused(verbs, tmp_path, MNIST, "is damaged")


def test_images_scaled_to_what_does_not_fit(verbs: Limited, tmp_path: Path) -> None:
    write_folders(tmp_path)
    refused(verbs, tmp_path, FOLDER % 100_000, "100,000 pixels squared", "of memory here")


@pytest.mark.parametrize("strange", ["pipe", "device"])
def test_what_never_ends_is_not_read(verbs: Limited, tmp_path: Path, strange: str) -> None:
    image = write_folders(tmp_path)[0]
    image.unlink()
    os.mkfifo(image) if strange == "pipe" else image.symlink_to("/dev/zero")
    refused(verbs, tmp_path, FOLDER % 8, "is no regular file")


@pytest.mark.parametrize("form", ["EPS", "ICO", "DDS", "SPIDER"])
def test_formats_that_start_programs_or_hold_others_are_none(
    verbs: Limited, tmp_path: Path, form: str
) -> None:
    """Pillow hands EPS to Ghostscript, and decodes what an ICO holds to learn its size."""
    for name in ("a", "b"):
        image = encoded(8, form, "L" if form == "SPIDER" else "RGB")
        write_images(tmp_path / f"{name}.parquet", [image] * 4)
    refused(verbs, tmp_path, PARQUET, "the image is damaged")


def test_bytes_that_are_none(verbs: Limited, tmp_path: Path) -> None:
    table = pa.table({"image": [{"bytes": 3, "path": None}] * 4, "label": [0, 1, 0, 1]})
    for name in ("a", "b"):
        pq.write_table(table, tmp_path / f"{name}.parquet")
    refused(verbs, tmp_path, PARQUET, "`bytes` of the image column is int64, not binary")


def test_utterances_that_are_no_names(verbs: Limited, tmp_path: Path) -> None:
    columns = {"utterance": [["a"]] * 4, "features": [[0.5]] * 4, "label": [0, 1, 0, 1]}
    for name in ("a", "b"):
        pq.write_table(pa.table(columns), tmp_path / f"{name}.parquet")
    refused(verbs, tmp_path, FRAMES % 1, "`utterance` is list", "not names or numbers")


@pytest.mark.parametrize("dimensions", [0, 2, 64])
def test_an_idx_file_of_other_dimensions(verbs: Limited, tmp_path: Path, dimensions: int) -> None:
    files = write_mnist(tmp_path)
    files[2].write_bytes(idx(*[1] * dimensions, held=1))
    refused(verbs, tmp_path, MNIST, "is damaged")


# --------------------------------------------------------------------------------------- at random


def changed(draw: random.Random, content: bytes) -> bytes:
    found, kind = bytearray(content), draw.randrange(4)
    at = draw.randrange(len(found))
    if kind == 0:
        for _ in range(draw.choice([1, 2, 5, 30])):
            found[draw.randrange(len(found))] ^= 1 << draw.randrange(8)
    elif kind == 1:
        del found[at:]
    elif kind == 2:
        found[at : at + draw.randrange(1, 40)] = draw.randbytes(draw.randrange(40))
    else:
        found[at:at] = found[: draw.randrange(1, 100)]
    return bytes(found)


def damaged(draw: random.Random, folder: Path) -> str:
    """Writes data of one kind, one file of it damaged, and gives the study."""
    kind = draw.choice(["images", "file", "frames", "idx", "folder"])
    if kind in ("images", "file"):
        form = draw.choice(["PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF"])
        images = [encoded(8, form)] * 12
        if kind == "images":
            images = [*images[:7], changed(draw, images[0]), *images[8:]]
        write_images(folder / "a.parquet", images)
        write_images(folder / "b.parquet", images[:6])
        files, study = [folder / "a.parquet"] * (kind == "file"), PARQUET
    elif kind == "frames":
        files = [folder / "a.parquet", folder / "b.parquet"]
        for file in files:
            write_frames(file)
        study = FRAMES % draw.choice([0, 1, 3, 10**6, 10**18])
    elif kind == "idx":
        files, study = write_mnist(folder), MNIST
    else:
        files, study = write_folders(folder), FOLDER % draw.choice([1, 8, 10**4, 10**6, 10**10])
    if files:
        file = draw.choice(files)
        file.write_bytes(changed(draw, file.read_bytes()))
    return study


def test_damaged_files_are_answered(verbs: Limited, tmp_path: Path) -> None:
    def written() -> Iterator[Path]:
        draw = random.Random(15)
        for number in range(NUMBER):
            folder = tmp_path / str(number)
            folder.mkdir()
            (folder / "study.yaml").write_text(damaged(draw, folder))
            yield folder / "study.yaml"

    def check(study: Path) -> None:
        done = verbs.run("plan", study)
        assert done.is_clean and done.resident_bytes < DATA_BYTES, done

    verbs.each(check, written())
