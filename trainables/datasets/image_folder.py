"""A folder of images per class, as ImageNet is laid out: `train/CLASS/IMAGE`, `val/CLASS/IMAGE`.

The images are never in memory together. Each is decoded once, scaled so that its shorter side is
`image_size`, cropped to the square in its middle, and written to the cache; training maps the cache
and reads a batch when it is drawn. At 224 pixels ImageNet takes 200 GB there, about 1.4 times its
JPEG files (whose size is from memory). Decoding in every epoch instead would take an hour or more
of one core each time, for every trial and every seed, and again for every pass of a measure.

Labels number the training classes in the order of their names. The order of the examples is that of
a hash of `CLASS/IMAGE`: the first so many are a fair sample of all classes. Random crops, with
which ImageNet is usually trained, are not offered: every example is one image.
"""

from __future__ import annotations

import hashlib
import math
import os
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from trainables import alive, limits
from trainables.config.data import DataConfig
from trainables.datasets.splits import Splits

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".ppm", ".pgm", ".tif", ".tiff")
BLOCK = 256
"""Images decoded and held at a time."""
COPIES = 3
"""Of a decoded image while it is scaled, cropped and counted."""
REPORT_SECONDS = 10.0
"""How often a long decoding says how far it is."""

Counts = npt.NDArray[np.int64]
"""[3, 256]: how often each channel has each value."""


@dataclass(frozen=True)
class Images:
    """Image files in the place of an array uint8 [N, 3, S, S]: selected like it, then saved."""

    paths: npt.NDArray[np.object_]
    image_size: int

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, rows: slice | npt.NDArray[np.bool_]) -> Images:
        return Images(self.paths[rows], self.image_size)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Of the array."""
        return len(self), 3, self.image_size, self.image_size

    @property
    def nbytes(self) -> int:
        """Of the array."""
        return math.prod(self.shape)

    def save(self, file: BinaryIO) -> Counts:
        """Decode all, as many at a time as there are cores, into an .npy file.

        Returns:
            How often each channel has each value.

        Raises:
            ValueError: an image is damaged, cannot be read or has more than 8 bits per channel.
        """
        header = {"descr": "|u1", "fortran_order": False, "shape": self.shape}
        np.lib.format.write_array_header_1_0(file, header)
        counts = np.zeros((3, 256), dtype=np.int64)
        began = reported = time.monotonic()
        with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
            for start in range(0, len(self), BLOCK):
                alive.sign()
                block = self.paths[start : start + BLOCK]
                for pixels, values in pool.map(partial(_decoded, size=self.image_size), block):
                    file.write(pixels)
                    counts += values
                now = time.monotonic()
                if now - reported >= REPORT_SECONDS:
                    reported = now
                    self._report(start + len(block), now - began)
        return counts

    def _report(self, done: int, seconds: float) -> None:
        left = seconds / done * (len(self) - done)
        folder = Path(self.paths[0]).parents[1]
        print(
            f"{folder}: {done:,} of {len(self):,} images decoded, about {left / 60:.0f} min left",
            file=sys.stderr,
            flush=True,
        )


def load(config: DataConfig, import_folder: str | None) -> Splits:
    """The files of both splits, not yet decoded, and their labels.

    Raises:
        ValueError: a setting is missing, a folder holds no images or something else, or a class is
            tested that is not trained.
        FileNotFoundError: nothing is at `train` or `test`.
    """
    if config.image_size is None or config.image_size < 1:
        raise ValueError(
            f"data.image_size is {config.image_size}; image-folder needs the side of the square "
            "that images are scaled and cropped to, e.g. 224"
        )
    train, test = _folders(config)
    numbers = {name: number for number, name in enumerate(_classes(train, "train"))}
    for name in _classes(test, "test"):
        if name not in numbers:
            raise ValueError(
                f"data.test {test}: has the class {name!r}, which {train} lacks; a class that is "
                "tested must be trained"
            )
    splits = Splits(
        train=_split(train, "train", numbers, config.image_size),
        test=_split(test, "test", numbers, config.image_size),
    )
    at_once = min(BLOCK, max(len(splits.train[0]), len(splits.test[0])))
    said = f"for {at_once} images of {config.image_size:,} pixels squared at a time"
    limits.check_memory(COPIES * at_once * 3 * config.image_size**2, said)
    return splits


def stamp(config: DataConfig) -> str:
    """SHA-256 of every file's name, size and time: what the decoded images depend on.

    Raises:
        ValueError: as `load`.
        FileNotFoundError: as `load`.
    """
    digest = hashlib.sha256()
    for folder, setting in zip(_folders(config), ("train", "test"), strict=True):
        for name, entry in _files(folder, setting):
            stat = entry.stat()
            digest.update(f"{setting}/{name} {stat.st_size} {stat.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def channel_statistics(counts: Counts) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and population standard deviation per channel, of values / 255.

    Args:
        counts: how often each channel has each value.
    """
    values = np.arange(256) / 255
    total = counts.sum(axis=1)
    mean = counts @ values / total
    variance = (counts * (values - mean[:, None]) ** 2).sum(axis=1) / total
    return tuple(mean.tolist()), tuple(np.sqrt(variance).tolist())


def _decoded(path: str, size: int) -> tuple[bytes, Counts]:
    """The pixels [3, size, size] as bytes, and how often each channel has each value."""
    from PIL import Image, ImageOps  # here, so that listing files costs nothing

    from trainables.datasets.encoded_images import damage, opened

    try:
        content = limits.whole_file(path)
    except OSError as error:
        raise ValueError(f"{path}: cannot be read: {error}") from error
    image = opened(path, content)
    with damage(path):
        square = ImageOps.fit(image.convert("RGB"), (size, size), Image.Resampling.BILINEAR)
    pixels = np.asarray(square).transpose(2, 0, 1).tobytes()
    return pixels, np.array(square.histogram(), dtype=np.int64).reshape(3, 256)


# -------------------------------------------------------------------------------------- listing


def _folders(config: DataConfig) -> tuple[Path, Path]:
    for path, setting in ((config.train, "train"), (config.test, "test")):
        if path is None:
            raise ValueError(f"data.{setting} is not set; name a folder of one folder per class")
        if not Path(path).is_dir():
            raise FileNotFoundError(f"data.{setting} is {path!r}, but there is no such folder")
    train, test = Path(str(config.train)), Path(str(config.test))
    if train.samefile(test):
        raise ValueError(f"data.train and data.test both read {train}; name different folders")
    return train, test


def _classes(folder: Path, setting: str) -> list[str]:
    """Names of the class folders, sorted; hidden files are passed over."""
    entries = _visible(folder)
    for entry in entries:
        if not entry.is_dir():
            raise ValueError(
                f"data.{setting} {folder}: {entry.name!r} lies beside the class folders; move it, "
                "an image to the folder of its class"
            )
    if not entries:
        raise ValueError(
            f"data.{setting} {folder}: is empty; lay images out as {folder.name}/CLASS/IMAGE.jpg"
        )
    return [entry.name for entry in entries]


def _files(folder: Path, setting: str) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Every image as CLASS/IMAGE and its entry, sorted by class, then name."""
    for name in _classes(folder, setting):
        entries = _visible(folder / name)
        if not entries:
            raise ValueError(
                f"data.{setting} {folder / name}: holds no images; remove the folder, or fill it"
            )
        for entry in entries:
            if entry.is_dir() or not entry.name.lower().endswith(SUFFIXES):
                raise ValueError(
                    f"data.{setting} {entry.path}: is no image ({', '.join(SUFFIXES)}); move or "
                    "convert it"
                )
            yield f"{name}/{entry.name}", entry


def _visible(folder: Path) -> list[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        shown = [entry for entry in entries if not entry.name.startswith(".")]
    return sorted(shown, key=lambda entry: entry.name)


def _split(
    folder: Path, setting: str, numbers: dict[str, int], image_size: int
) -> tuple[Images, npt.NDArray[Any]]:
    names = [name for name, _ in _files(folder, setting)]
    names.sort(key=lambda name: hashlib.sha256(name.encode()).digest())
    paths = np.array([f"{folder}/{name}" for name in names], dtype=object)
    labels = np.array([numbers[name.partition("/")[0]] for name in names], dtype=np.int64)
    return Images(paths, image_size), labels
