"""Data that a user's function returns: `load: "my_module:load"`, called with `options`."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from trainables import alive
from trainables.config.data import DataConfig
from trainables.datasets.splits import Splits
from trainables.imports import load_object

LIMIT_SECONDS = 1800.0
"""In which it must have returned; in a trial's process `execution.hang_seconds` is in force."""
_PARTS = ("train", "test", "validation")
_FORMS = (
    "return a dict of pairs, {'train': (inputs, labels), 'test': (inputs, labels)}, with "
    "'validation' if there is one, or the tuple ((inputs, labels), (inputs, labels)) of both"
)


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
            returns is not told apart into `train` and `test`.
    """
    if config.load is None:
        raise ValueError("data.load is not set; name your function, for example my_module:load")
    function = load_object(config.load, import_folder)
    if not callable(function):
        raise ValueError(f"data.load {config.load!r} is a {type(function).__name__}, no function")
    # Nobody watches the process that plans and starts a run, and this may be the first it does.
    print(f"calling data.load {config.load}", file=sys.stderr)
    try:
        with alive.limited(LIMIT_SECONDS), redirect_stdout(sys.stderr):  # stdout is the verb's
            returned = function(**config.options)
    except (
        Exception,
        SystemExit,
    ) as error:  # the user's code: whatever it raises is reported as its error
        raise ValueError(
            f"data.load {config.load!r}, called with {dict(config.options)}, raised "
            f"{type(error).__name__}: {error}"
        ) from error
    return _as_splits(returned, f"data.load {config.load!r} returned")


def _as_splits(returned: Any, said: str) -> Splits:
    """A dict or an object with `train` and `test` (and `validation`), or a pair of pairs."""
    if isinstance(returned, Mapping):
        if unknown := sorted(map(str, returned.keys() - _PARTS)):
            raise ValueError(f"{said} a dict with {', '.join(unknown)}; {_FORMS}")
        found = dict(returned)
    elif isinstance(returned, tuple) and len(returned) in (2, 3) and all(map(_is_pair, returned)):
        found = dict(zip(_PARTS, returned, strict=False))
    else:
        found = {name: getattr(returned, name) for name in _PARTS if hasattr(returned, name)}
    if not {"train", "test"} <= found.keys():
        raise ValueError(f"{said} a {type(returned).__name__}; {_FORMS}")
    return Splits(train=found["train"], test=found["test"], validation=found.get("validation"))


def _is_pair(part: Any) -> bool:
    return isinstance(part, tuple | list) and len(part) == 2
