"""Images in Parquet, in the Hugging Face layout: encoded bytes in `image` or `img`, and `label`.

Decoded by Pillow, once per machine, since what is decoded is cached. torchvision's decoders take a
third of the time but are deprecated since its 0.29; threads do not help with images this small.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from PIL import Image

from trainables import alive, limits
from trainables.config.data import DataConfig
from trainables.datasets import encoded_images
from trainables.datasets.parquet_files import read_columns, split_files
from trainables.datasets.splits import Splits

COPIES = 2
"""Of the decoded images that are in memory at once, while some are held out."""
Row = tuple[str, bytes]
"""Where an image stands, for errors, and its encoded bytes."""


def load(config: DataConfig, import_folder: str | None) -> Splits:
    """Images uint8 [N, C, H, W]: C is 1 if all images of both splits are gray, else 3.

    Raises:
        ValueError: A file or an image is damaged, a column missing, sizes differ, or the images
            do not fit into the memory.
        FileNotFoundError: Nothing is at `train` or `test`.
    """
    train, train_labels = _rows(split_files(config.train, "train"))
    test, test_labels = _rows(split_files(config.test, "test"))
    headers = [_size_and_mode(row) for row in train + test]
    _check_one_size([size for size, _ in headers], train + test)
    mode = "L" if all(mode in ("1", "L") for _, mode in headers) else "RGB"
    (width, height), channels = headers[0][0], len(mode)
    said = f"for {len(headers):,} images of {width} x {height} pixels"
    limits.check_memory(COPIES * len(headers) * channels * width * height, said)
    return Splits(
        train=(_stacked(train, mode, (channels, height, width)), train_labels),
        test=(_stacked(test, mode, (channels, height, width)), test_labels),
    )


def _rows(paths: list[Path]) -> tuple[list[Row], npt.NDArray[Any]]:
    images, labels = read_columns(paths, (("image", "img"), ("label",)))
    names = f"{paths[0]}" if len(paths) == 1 else f"{paths[0]} and following"
    kind = images.type
    if not pa.types.is_struct(kind) or kind.get_field_index("bytes") < 0:
        raise ValueError(
            f"{names}: the image column is {kind}, not a struct with the encoded images in `bytes`"
        )
    column = pc.struct_field(images, "bytes")
    if not (pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type)):
        raise ValueError(f"{names}: `bytes` of the image column is {column.type}, not binary")
    encoded = column.to_pylist()
    rows = [(f"{names}, row {row}", content) for row, content in enumerate(encoded)]
    if not rows:
        raise ValueError(f"{names}: holds no rows")
    return rows, labels.to_numpy()


def _opened(row: Row) -> Image.Image:
    where, content = row
    if content is None:
        raise ValueError(f"{where}: has no bytes (a path alone is not read); embed the images")
    return encoded_images.opened(where, content)


def _size_and_mode(row: Row) -> tuple[tuple[int, int], str]:
    image = _opened(row)
    return image.size, image.mode


def _check_one_size(sizes: list[tuple[int, int]], rows: list[Row]) -> None:
    other = next((row for row, size in enumerate(sizes) if size != sizes[0]), None)
    if other is not None:
        raise ValueError(
            f"{rows[other][0]}: the image is {sizes[other]} pixels (width, height), that of "
            f"{rows[0][0]} is {sizes[0]}; resize all images to one size"
        )


def _stacked(rows: list[Row], mode: str, shape: tuple[int, ...]) -> npt.NDArray[np.uint8]:
    """All images, [N, C, H, W]."""
    pixels = np.empty((len(rows), *shape), np.uint8)
    for place, row in zip(pixels, rows, strict=True):
        place[:] = _decoded(row, mode)
    return pixels


def _decoded(row: Row, mode: str) -> npt.NDArray[np.uint8]:
    """The image as [C, H, W]."""
    alive.sign()
    image = _opened(row)
    with encoded_images.damage(row[0]):
        pixels = np.asarray(image.convert(mode))
    return pixels.reshape(*pixels.shape[:2], -1).transpose(2, 0, 1)
