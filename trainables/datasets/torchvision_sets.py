"""MNIST, Fashion-MNIST, CIFAR-10 and CIFAR-100 from a folder in torchvision's layout.

The IDX files of the MNIST family are read here, compressed or not (torchvision wants them
uncompressed). CIFAR's files are pickles: torchvision reads them, after it has compared their MD5
with the published one, so nothing but the published bytes is ever unpickled.
"""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from filelock import FileLock

from trainables import limits
from trainables.config.data import DataConfig
from trainables.datasets.splits import Splits

FOLDERS = {
    "mnist": "MNIST/raw",
    "fashion-mnist": "FashionMNIST/raw",
    "cifar10": "cifar-10-batches-py",
    "cifar100": "cifar-100-python",
}
CLASSES = {
    "mnist": "MNIST",
    "fashion-mnist": "FashionMNIST",
    "cifar10": "CIFAR10",
    "cifar100": "CIFAR100",
}
FILES = {
    "cifar10": (*(f"data_batch_{part}" for part in range(1, 6)), "test_batch"),
    "cifar100": ("train", "test"),
}
IDX_FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)


def files(config: DataConfig) -> list[Path]:
    """The files that are read, fetched first when they are absent and `download` is set.

    Raises:
        FileNotFoundError: They are absent and `download` is not set.
        OSError: They are absent and could not be downloaded.
    """
    found = _present(config)
    if not found and config.download:
        _download(config)
        found = _present(config)
    if not found:
        raise FileNotFoundError(
            f"data.source is {config.source!r}, but {_folder(config)} lacks its files; set "
            "data.root to the folder that holds them in torchvision's layout, or data.download: "
            "true to fetch them"
        )
    return found


def load(config: DataConfig, import_folder: str | None) -> Splits:
    """Images uint8 [N, C, H, W] and labels.

    Raises:
        FileNotFoundError: The files are absent and `download` is not set.
        ValueError: A file is damaged.
    """
    found = files(config)
    if config.source in FILES:
        return _cifar(config)
    arrays = [read_idx(path) for path in found]
    for path, array, dimensions in zip(found, arrays, (3, 1, 3, 1), strict=True):
        if array.ndim != dimensions:
            raise ValueError(f"{path} is damaged (it has {array.ndim} dimensions); fetch it again")
    train_inputs, train_labels, test_inputs, test_labels = arrays
    return Splits(
        train=(train_inputs[:, None], train_labels), test=(test_inputs[:, None], test_labels)
    )


def read_idx(path: Path) -> npt.NDArray[np.uint8]:
    """An IDX file of bytes: 0, 0, type 8, dimensions, their sizes as big-endian uint32, the data.

    Raises:
        ValueError: It is not such a file, or is cut short.
    """
    opened = gzip.open if path.suffix == ".gz" else open
    try:
        with opened(path, "rb") as file:
            begin = file.read(4)
            if len(begin) < 4 or begin[:3] != b"\0\0\x08":
                raise ValueError("it does not begin as an IDX file of bytes does")
            shape = [int(n) for n in np.frombuffer(file.read(4 * begin[3]), ">u4")]
            limits.check_memory(math.prod(shape), f"for an array of {shape}")
            content = file.read(math.prod(shape) + 1)  # what is packed may be far more than it says
        return np.frombuffer(content, np.uint8).reshape(shape)
    except (ValueError, EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"{path} is damaged ({error}); remove it and fetch it again") from error


# -------------------------------------------------------------------------------------- torchvision


def _root(config: DataConfig) -> Path:
    return Path(config.root or "data")


def _folder(config: DataConfig) -> Path:
    return _root(config) / FOLDERS[config.source]


def _present(config: DataConfig) -> list[Path]:
    """All files of the set, in the order they are read; none if one is missing."""
    files = [_folder(config) / name for name in FILES.get(config.source, IDX_FILES)]
    found = [next(filter(Path.is_file, (file, Path(f"{file}.gz"))), None) for file in files]
    return [] if None in found else [path for path in found if path is not None]


def _torchvision_set(config: DataConfig, *, train: bool, download: bool = False) -> Any:
    """The set as torchvision reads it; imported here because the other sources do without torch."""
    import torchvision.datasets

    return getattr(torchvision.datasets, CLASSES[config.source])(
        _root(config), train=train, download=download
    )


def _download(config: DataConfig) -> None:
    try:
        _root(config).mkdir(parents=True, exist_ok=True)
        with FileLock(_root(config) / ".batchgap-download.lock"):
            if not _present(config):
                _torchvision_set(config, train=True, download=True)
    except (OSError, RuntimeError) as error:  # torchvision raises RuntimeError when mirrors fail
        raise OSError(
            f"data.download: {config.source} could not be fetched into {_root(config)}: {error}"
        ) from error


def _cifar(config: DataConfig) -> Splits:
    try:
        train, test = (_torchvision_set(config, train=part) for part in (True, False))
    except RuntimeError as error:
        raise ValueError(
            f"{_folder(config)} is damaged: its files are not the published ones "
            f"({error}); remove it and fetch it again"
        ) from error
    return Splits(
        train=(train.data.transpose(0, 3, 1, 2), np.asarray(train.targets)),
        test=(test.data.transpose(0, 3, 1, 2), np.asarray(test.targets)),
    )
