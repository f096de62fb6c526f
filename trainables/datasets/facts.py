"""What is known of a data set without looking into it. Loads neither torch nor ray."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class DataFacts:
    """What is known of the data without looking into it again."""

    num_train_examples: int
    num_validation_examples: int
    num_test_examples: int
    input_shape: tuple[int, ...]
    """Of one example: (C, H, W) for images, (F,) for vectors."""
    num_classes: int
    """Of the whole training set, before any selection; of a regression its numbers to predict."""
    fingerprint: str
    """SHA-256 over shape, type and bytes of every array, after selection."""
    source_hash: str | None
    """SHA-256 of the source file of the user's loader, if one was named."""
    channel_mean: tuple[float, ...]
    """Over the selected training inputs, uint8 as x / 255, per channel (the axis after N)."""
    channel_std: tuple[float, ...]
    chance: Mapping[str, float] = field(default_factory=dict)
    """What a network reaches on validation and test that learned nothing, by `task.level_name`."""
