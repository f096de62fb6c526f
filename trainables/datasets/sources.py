"""Which module loads each source, and which files its examples depend on.

Modules are imported when they are needed: a cached set opens without pyarrow, Pillow or torch.
"""

from __future__ import annotations

import importlib
import os
from pathlib import Path

from trainables.config.data import DataConfig
from trainables.datasets import image_folder, mnist5k, parquet_files, torchvision_sets
from trainables.datasets.splits import Splits

LOADERS = {
    "mnist-5k": "mnist5k",
    "mnist": "torchvision_sets",
    "fashion-mnist": "torchvision_sets",
    "cifar10": "torchvision_sets",
    "cifar100": "torchvision_sets",
    "parquet": "parquet_images",
    "frames": "frames",
    "image-folder": "image_folder",
    "load": "user",
}


def load(config: DataConfig, import_folder: str | None) -> Splits:
    """The examples as the source gives them: not yet checked; if streamed, not yet decoded."""
    module = importlib.import_module(f"trainables.datasets.{LOADERS[config.source]}")
    splits: Splits = module.load(config, import_folder)
    return splits


def stamps(config: DataConfig) -> list[tuple[str, int, int]] | str:
    """What changes where a cached copy is stale: path, size and time of the files, or their hash.

    Raises:
        FileNotFoundError: They are not there.
        ValueError: A setting that names them is missing.
    """
    if config.source == "image-folder":
        return image_folder.stamp(config)  # a million files: their hash instead of their names
    stats = [(str(path), path.stat()) for path in files(config)]
    return [(path, stat.st_size, stat.st_mtime_ns) for path, stat in stats]


def files(config: DataConfig) -> list[Path]:
    """Files whose change makes a cached copy stale.

    Of a user's loader those that its options name (its source is hashed besides). What else it
    reads is not seen: pass paths as options.

    Raises:
        FileNotFoundError: They are not there.
        ValueError: A setting that names them is missing.
    """
    if config.source == "load":
        texts = [value for value in config.options.values() if isinstance(value, str)]
        return [Path(text) for text in texts if os.path.exists(text)]
    if config.source == "mnist-5k":
        return mnist5k.files(config)
    if config.source in ("parquet", "frames"):
        return parquet_files.files(config)
    return torchvision_sets.files(config)
