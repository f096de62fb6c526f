"""Points of small synthetic studies, and their rows in the tables found."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

WriteStudy = Callable[..., Path]
"""The fixture `study`: points and settings as a results folder."""

SMALL = [0.950, 0.951, 0.952, 0.950, 0.952]
LARGE = [0.930, 0.932, 0.931, 0.929, 0.931]
WOBBLE = [1e-4, -2e-4, 0.0, 2e-4, -1e-4]
"""Of single seeds, 0 on average: without it all differences would be equal, which is no word."""


def points_of(accuracies: dict[int, list[float]], **changes: Any) -> list[dict[str, Any]]:
    """One point per batch size and seed."""
    return [
        {"global_batch_size": batch, "seed": seed, "test_accuracy": accuracy, **changes}
        for batch, values in accuracies.items()
        for seed, accuracy in enumerate(values)
    ]


def row_at(table: pd.DataFrame, batch: int, arm: str = "baseline", **columns: Any) -> pd.Series:
    """The one row of a batch size and an arm."""
    match = (table["global_batch_size"] == batch) & (table["arm"] == arm)
    for name, value in columns.items():
        match &= table[name] == value
    assert match.sum() == 1
    return table[match].iloc[0]
