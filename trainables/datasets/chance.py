"""What a network reaches that learned nothing: the level that a result must pass to count.

At chance is an accuracy that guessing the largest class explains, and a loss that the best constant
prediction has. Such a run has not diverged, and is as dead. Loads neither torch nor ray.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

STANDARD_DEVIATIONS = 3
"""By so many binomial ones an accuracy may exceed the largest class's share by luck."""


def accuracy_level(class_counts: Sequence[int]) -> float:
    """The accuracy on a split that is still chance: p + 3 sqrt(p (1 - p) / N), p the largest share.

    Args:
        class_counts: examples of each class in the split, one or more in all.
    """
    total = sum(class_counts)
    share = max(class_counts) / total
    return share + STANDARD_DEVIATIONS * math.sqrt(share * (1 - share) / total)


def loss_level(class_counts: Sequence[int]) -> float:
    """The cross-entropy, in nats, of predicting the classes' shares whatever the input."""
    total = sum(class_counts)
    shares = [count / total for count in class_counts if count]
    return -sum(share * math.log(share) for share in shares)


def levels(split: str, class_counts: Sequence[int]) -> dict[str, float]:
    """Both levels of a split by metric, e.g. `test_accuracy`; none of a split without examples."""
    if not sum(class_counts):
        return {}
    return {
        f"{split}_accuracy": accuracy_level(class_counts),
        f"{split}_loss": loss_level(class_counts),
    }


def is_at_chance(metric: str, value: float, level: float) -> bool:
    """Whether a metric is no better than what a network reaches that learned nothing."""
    return value <= level if metric.endswith("accuracy") else value >= level
