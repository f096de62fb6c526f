"""One row per point with everything final, to read with pandas or SQL without a join."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pyarrow as pa

from analysis.gaps.by_cell import axes
from analysis.gaps.measured import measure_values
from analysis.load import RESOLVED, Study, load_study
from analysis.wording import setting
from trainables.results import files
from trainables.results.export import Format
from trainables.results.storage import PosixFolder
from trainables.task import COLUMNS as METRICS

ENDS = ("optimizer_step", "epoch", "examples_seen", "peak_lr", "training_seconds")
"""Columns of a trial's row that stand between its metrics and its measures."""


def points(folder: Path | str) -> pd.DataFrame:
    """The final points of a results folder, or of its exported form: see `points_of`."""
    return points_of(load_study(Path(folder)))


def points_of(study: Study) -> pd.DataFrame:
    """One row per final point, the trial's outcome and every measure at the end beside it.

    A trial that several points share stands in each of their rows.

    Returns:
        block, arm, the axes of the grid that vary, global_batch_size, seed, trial_id, status; the
        task's metrics and losses on train, validation and test; optimizer_step, epoch,
        examples_seen, peak_lr, training_seconds; and a column for each measure by its label, which
        is the quantity with its definition: `sharpness best, ε 1e-3, full space`. What is not
        there is null.
    """
    head = ["block", "arm", *axes(study), "global_batch_size", "seed", "trial_id", "status"]
    known = [*head, *METRICS, *ENDS]
    rows = study.points.rename(columns={f"peak_lr{RESOLVED}": "peak_lr"})
    rows = rows[[name for name in known if name in rows]].copy()
    for name in axes(study):  # a batch schedule or a list of epochs
        rows[name] = rows[name].map(
            lambda value: setting(value) if isinstance(value, tuple) else value
        )
    unused = [name for name in METRICS if name in rows and rows[name].isna().all()]
    values = measure_values(study)
    measured = values.pivot(index="trial_id", columns="label", values="value")
    order = list(dict.fromkeys(values["label"]))
    return rows.drop(columns=unused).join(measured[order], on="trial_id").reset_index(drop=True)


def write_points(study: Study, target: Path, form: Format) -> Path:
    """Writes them beside the exported tables, as `points.parquet` or `points.csv`."""
    rows, name = points_of(study), f"points.{form}"
    if form == "parquet":
        content = files.encoded(pa.Table.from_pandas(rows, preserve_index=False))
    else:
        content = rows.to_csv(index=False).encode()
    PosixFolder(target).replace(name, content)
    return target / name
