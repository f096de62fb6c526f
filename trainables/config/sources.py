"""Where data may come from, and what each source asks of the section `data`: the one list."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields

from trainables.config.data import DataConfig


@dataclass(frozen=True, kw_only=True)
class Source:
    """What one source asks of the section."""

    settings: frozenset[str] = frozenset()
    """The fields that it has and some others do not."""
    needed: Mapping[str, str | int] = field(default_factory=dict)
    """Fields that it cannot do without, each with a value that works."""
    is_streamed: bool = False
    """Examples are never in memory together: they are written to the cache one by one, and read
    from it when a batch is drawn."""


_TORCHVISION = Source(settings=frozenset({"root", "download"}), needed={"root": "data"})
_FILES = frozenset({"train", "test"})
# Paths are no part of a trial's id, so that a name must tell two sets of files apart.
_NAMED_FILES = {"name": "faces", "train": "faces/train.parquet", "test": "faces/test.parquet"}

SOURCES: dict[str, Source] = {
    "mnist-5k": Source(),
    "mnist": _TORCHVISION,
    "fashion-mnist": _TORCHVISION,
    "cifar10": _TORCHVISION,
    "cifar100": _TORCHVISION,
    "parquet": Source(settings=_FILES, needed=_NAMED_FILES),
    "frames": Source(settings=_FILES | {"context"}, needed=_NAMED_FILES),
    "image-folder": Source(
        settings=_FILES | {"image_size"},
        needed={
            "name": "imagenet",
            "train": "imagenet/train",
            "test": "imagenet/val",
            "image_size": 224,
        },
        is_streamed=True,
    ),
    "load": Source(settings=frozenset({"load", "task"}), needed={"load": "my_module:load"}),
}

SHARED = frozenset(f.name for f in fields(DataConfig)) - {"options"}
SHARED -= frozenset().union(*(source.settings for source in SOURCES.values()))
"""The fields that every source has."""
