"""Which examples, and which function of them: the sections `data` and `network`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal

from trainables.config.ranges import Count, Example, Whole

NOT_SCIENCE = {"science": False}
"""Field metadata: where a thing lies or how it is fetched, never part of a trial's id."""

Scalar = bool | int | float | str | None
Options = Mapping[str, Scalar | list[Scalar]]


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Which examples. `source` names a loader; `load` an import string of the user's instead."""

    source: Literal[
        "mnist-5k",
        "mnist",
        "fashion-mnist",
        "cifar10",
        "cifar100",
        "parquet",
        "frames",
        "image-folder",
        "load",
    ] = "mnist-5k"
    task: Literal["classification", "regression"] = "classification"
    """What its labels are: classes, or numbers that a function of your own loads."""
    name: str | None = None
    """What results call the data (`cifar10-jpeg`); default: the source, or the import string."""
    root: str | None = field(default=None, metadata=NOT_SCIENCE)
    """Folder in torchvision's layout, for mnist, fashion-mnist, cifar10 and cifar100."""
    download: bool = field(default=False, metadata=NOT_SCIENCE)
    train: str | None = field(default=None, metadata=NOT_SCIENCE)
    """Parquet file or folder with the training rows, for parquet and frames; for image-folder the
    folder of class folders."""
    test: str | None = field(default=None, metadata=NOT_SCIENCE)
    load: str | None = None
    """Import string `module:function`, called with `options`, returns `Splits`."""
    options: Options = field(default_factory=dict)
    context: Annotated[Whole, Example(4)] = 0
    """frames: frames of context spliced on each side, within an utterance."""
    image_size: Annotated[Count | None, Example(224)] = None
    """image-folder: side of the square, in pixels, that images are scaled and cropped to."""
    standardize: bool = False
    """Subtract the training set's channel mean and divide by its standard deviation."""
    train_examples: Annotated[Count | None, Example(5000)] = None
    """Use the first so many training examples only."""
    validation_examples: Annotated[Whole, Example(500)] = 0
    """Held out of the training examples, class-balanced, by a fixed seed."""

    @property
    def label(self) -> str:
        """The name results carry."""
        return self.name or self.load or self.source


@dataclass(frozen=True, kw_only=True)
class NetworkConfig:
    """Which function. `name` is a built-in or `torchvision/MODEL`; `build` an import string."""

    name: str | None = None
    build: str | None = None
    options: Options = field(default_factory=dict)

    @property
    def label(self) -> str:
        """The name results carry."""
        return self.name or self.build or ""
