"""What loads each source, and on which files its examples depend."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from trainables.config.data import DataConfig
from trainables.datasets import image_folder, mnist5k, parquet_files, torchvision_sets, user
from trainables.datasets.splits import Splits

Load = Callable[[DataConfig, str | None], Splits]
Stamp = list[tuple[str, int, int]] | str
"""What changes where a cached copy is stale: path, size and time of the files, or their hash."""


@dataclass(frozen=True)
class Loader:
    """How one source is read."""

    load: Load
    """The examples as the source gives them: not yet checked; if streamed, not yet decoded."""
    stamp: Callable[[DataConfig], Stamp]
    """Of the files that the examples depend on.

    Raises:
        FileNotFoundError: They are not there.
        ValueError: A setting that names them is missing.
    """


def _parquet_images(config: DataConfig, import_folder: str | None) -> Splits:
    from trainables.datasets import parquet_images  # a cached set opens without pyarrow and Pillow

    return parquet_images.load(config, import_folder)


def _frames(config: DataConfig, import_folder: str | None) -> Splits:
    from trainables.datasets import frames  # as above

    return frames.load(config, import_folder)


def _of(files: Callable[[DataConfig], list[Path]]) -> Callable[[DataConfig], Stamp]:
    """The stamp of a few files."""

    def stamp(config: DataConfig) -> Stamp:
        stats = [(str(path), path.stat()) for path in files(config)]
        return [(path, stat.st_size, stat.st_mtime_ns) for path, stat in stats]

    return stamp


_TORCHVISION = Loader(torchvision_sets.load, _of(torchvision_sets.files))

LOADERS: dict[str, Loader] = {
    "mnist-5k": Loader(mnist5k.load, _of(mnist5k.files)),
    "mnist": _TORCHVISION,
    "fashion-mnist": _TORCHVISION,
    "cifar10": _TORCHVISION,
    "cifar100": _TORCHVISION,
    "parquet": Loader(_parquet_images, _of(parquet_files.files)),
    "frames": Loader(_frames, _of(parquet_files.files)),
    # A million files: their hash instead of their names.
    "image-folder": Loader(image_folder.load, image_folder.stamp),
    "load": Loader(user.load, _of(user.files)),
}
