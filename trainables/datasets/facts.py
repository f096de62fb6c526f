"""What is known of a data set without looking into it. Loads neither torch nor ray."""

from __future__ import annotations

from dataclasses import dataclass

from trainables.datasets import chance


@dataclass(frozen=True, kw_only=True)
class DataFacts:
    """What is known of the data without looking into it again."""

    num_train_examples: int
    num_validation_examples: int
    num_test_examples: int
    input_shape: tuple[int, ...]
    """Of one example: (C, H, W) for images, (F,) for vectors."""
    num_classes: int
    """One more than the largest label of the whole training set, before any selection."""
    fingerprint: str
    """SHA-256 over shape, type and bytes of every array, after selection."""
    source_hash: str | None
    """SHA-256 of the source file of the user's loader, if one was named."""
    channel_mean: tuple[float, ...]
    """Over the selected training inputs, uint8 as x / 255, per channel (the axis after N)."""
    channel_std: tuple[float, ...]
    validation_class_counts: tuple[int, ...] = ()
    """Examples of each class; () where nobody counted."""
    test_class_counts: tuple[int, ...] = ()

    @property
    def chance(self) -> dict[str, float]:
        """What a network reaches that learned nothing, by metric of validation and test."""
        validation = chance.levels("validation", self.validation_class_counts)
        return validation | chance.levels("test", self.test_class_counts)
