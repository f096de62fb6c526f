"""What decides a result, and what follows from it: a trial's id, a measure's parameters."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from typing import Any

from trainables.config.measures.kinds import MeasureConfig
from trainables.config.trial import TrialConfig


def science(config: Any) -> Any:
    """The part of a config that decides the result, as plain JSON values.

    A field at its default is left out, so that a field added later, whose default is the
    behaviour before it existed, leaves every existing id as it was.
    """
    if is_dataclass(config):
        kept = {
            f.name: science(getattr(config, f.name))
            for f in fields(config)
            if f.metadata.get("science", True) and getattr(config, f.name) != _default(f)
        }
        # The kind of a tagged section (`optimizer: sgd`) is what its defaults depend on.
        return kept | ({"name": config.name} if hasattr(config, "name") else {})
    if isinstance(config, Mapping):
        return {key: science(value) for key, value in config.items()}
    if isinstance(config, list | tuple):
        return [science(value) for value in config]
    if isinstance(config, float) and config.is_integer():
        return int(config)  # 5 and 5.0 epochs are one setting
    return config


def parameters_text(measure: MeasureConfig) -> str:
    """Every setting of a measure with its value, as JSON: the column `parameters`."""
    return json.dumps(science(vars(measure)), sort_keys=True)


def trial_id(config: TrialConfig) -> str:
    """First 12 hex digits of the SHA-256 of the canonical JSON of the resolved science."""
    canonical = json.dumps(science(config), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:12]


def key_of(plain: Any) -> str:
    """First 16 hex digits of the SHA-256 of plain values as JSON: a name for what they say."""
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()[:16]


def _default(f: Any) -> Any:
    return f.default if f.default_factory is MISSING else f.default_factory()
