"""Data that a user's function returns: `load: "my_module:load"`, called with `options`."""

from __future__ import annotations

import os
from pathlib import Path

from trainables.config.data import DataConfig
from trainables.datasets.splits import Splits
from trainables.imports import load_object


def files(config: DataConfig) -> list[Path]:
    """Those that its options name; its source is hashed besides.

    What else it reads is not seen: pass paths as options.
    """
    texts = [value for value in config.options.values() if isinstance(value, str)]
    return [Path(text) for text in texts if os.path.exists(text)]


def load(config: DataConfig, import_folder: str | None) -> Splits:
    """What the function returns, as `Splits`.

    Raises:
        ValueError: `load` is not set, is not found or cannot be called, the call raises, or what it
            returns has no `train` and `test`.
    """
    if config.load is None:
        raise ValueError("data.load is not set; name your function, for example my_module:load")
    function = load_object(config.load, import_folder)
    if not callable(function):
        raise ValueError(f"data.load {config.load!r} is a {type(function).__name__}, no function")
    try:
        returned = function(**config.options)
    except Exception as error:  # the user's code: whatever it raises is reported as its error
        raise ValueError(
            f"data.load {config.load!r}, called with {dict(config.options)}, raised "
            f"{type(error).__name__}: {error}"
        ) from error
    if not (hasattr(returned, "train") and hasattr(returned, "test")):
        raise ValueError(
            f"data.load {config.load!r} returned a {type(returned).__name__}; return "
            "Splits(train=(inputs, labels), test=(inputs, labels)) "
            "from trainables.datasets.splits"
        )
    return Splits(
        train=returned.train,
        test=returned.test,
        validation=getattr(returned, "validation", None),
    )
