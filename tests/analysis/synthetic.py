"""Points of small synthetic studies, and their rows in the tables found."""

from __future__ import annotations

from collections.abc import Callable, Sequence
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


def edge_points(
    distance: Callable[[int, int], float],
    sizes: Sequence[int] = (2, 4, 8, 20, 64, 256),
    seeds: int = 5,
    records: int = 10,
    **changes: Any,
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Points of plain SGD at rate .05, and rows of the top eigenvalue along training.

    It rises through the first four fifths of the records, and lies so far below 2 / lr = 40 in the
    last: distance(batch size, seed).
    """
    points, rows = [], []
    for size in sizes:
        for seed in range(seeds):
            id_ = f"{changes.get('arm', 'base')[:4]}{size:04d}{seed:04d}"
            shared = {"base_lr": 0.05, "test_accuracy": 0.9 + 1e-4 * seed, "optimizer_step": 100}
            points.append({"global_batch_size": size, "seed": seed, "trial_id": id_, **shared})
            late = 40 * (1 - distance(size, seed))
            rows += [
                {"trial_id": id_, "measure": "hessian", "quantity": "hessian_top_eigenvalue"}
                | {"method": "lanczos", "index": 0, "parameters": "{}", "at_end": i == records}
                | {"optimizer_step": 10 * i, "epoch": i * size / 500}
                | {"value": late if i > 0.8 * records else i}
                for i in range(1, records + 1)
            ]
    return [point | changes for point in points], rows
