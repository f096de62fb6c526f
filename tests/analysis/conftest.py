"""A builder of small results folders, written as a real run writes them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.analysis.synthetic import WriteStudy
from tests.stored import at, write_bytes
from trainables.results import files
from trainables.results.layout import timing_file
from trainables.results.schema import POINT_COLUMNS, TABLES
from trainables.results.storage import PosixFolder
from trainables.task import task_named

STARTS = '{"L-BFGS-B": 1.0, "zero": 1.0, "class 0": 1.0}'
BEST = {"measure": "sharpness", "method": "best", "algorithm": 2, "starts": STARTS}
QUANTITIES = {
    "sharpness": {**BEST, "sharpness_epsilon": 1e-3},
    "paper_sharpness": {
        **BEST,
        "method": "paper",
        "sharpness_epsilon": 1e-3,
        "starts": None,
    },
    "subspace_sharpness": {**BEST, "sharpness_epsilon": 1e-3, "subspace_dim": 100},
    "hessian_top_eigenvalue": {"measure": "hessian", "method": "lanczos"},
    "hessian_trace": {"measure": "hessian", "method": "hutchinson"},
}
POINT = {
    "arm": "baseline",
    "block": 0,
    "data": "mnist-5k",
    "network": "mlp",
    "optimizer": "sgd",
    "base_lr": 0.02,
    "lr_scaling": "none",
    "warmup_epochs": 0.0,
    "epochs": 2.0,
    "discard_ratio": 0.0,
}
OUTCOME = {
    "status": "complete",
    "train_accuracy": 1.0,
    "train_loss": 0.01,
    "test_loss": 0.2,
    "epoch": 2.0,
    "training_seconds": 4.0,
    "concurrent_trials": 1,
    "num_train_examples": 5000,
    "device": "cpu",
    "num_workers": 1,
}


def write_study(
    folder: Path,
    points: Sequence[Mapping[str, Any]],
    *,
    one_file_per_table: bool = False,
    timings: Sequence[Mapping[str, Any]] = (),
    measures: Sequence[Mapping[str, Any]] = (),
    curves: Sequence[Mapping[str, Any]] = (),
    **settings: Any,
) -> Path:
    """Write points and their outcomes.

    Args:
        folder: The results folder.
        points: Each a mapping over columns of plan and trials, the names in QUANTITIES (measured
            values) and `curve`, a list of (epoch, the test set's metric). Status "planned" writes
            no trial.
        one_file_per_table: The exported form, which is much faster to write and to read.
        timings: Rows of that table.
        measures: Further rows of that table.
        curves: Rows of that table.
        settings: Keys of study.yaml.
    """
    plan = [_plan_row(POINT | dict(point)) for point in points]
    files.write_rows(*at(folder / "plan.parquet"), plan)
    ended = {
        row["trial_id"]: POINT | OUTCOME | dict(point)
        for row, point in zip(plan, points, strict=True)
        if point.get("status") != "planned"
    }
    tables = {
        "trials": [_trial(id_, point) for id_, point in ended.items()],
        "evaluations": [row for id_, point in ended.items() for row in _curve(id_, point)],
        "measures": [*(m for id_, p in ended.items() for m in _measured(id_, p)), *measures],
        "timings": [*timings],
        "curves": [*curves],
    }
    (_write_tables if one_file_per_table else _write_trials)(folder, tables)
    content = {"name": "synthetic", "question": "Does it add up?", "baseline_batch_size": 32}
    lines = [f"{key}: {json.dumps(value)}\n" for key, value in (content | settings).items()]
    write_bytes(folder / "study.yaml", "".join(lines).encode())
    return folder


Tables = Mapping[str, list[dict[str, Any]]]


def _write_tables(folder: Path, tables: Tables) -> None:
    for table, rows in tables.items():
        files.write_rows(*at(folder / f"{table}.parquet"), rows)


def _write_trials(folder: Path, tables: Tables) -> None:
    stored = PosixFolder(folder)
    for table in ("measures", "curves"):
        for i, row in enumerate(tables[table]):
            files.write_keyed(stored, table, f"{row['trial_id']}-{table}{i}", [row])
    for row in tables["timings"]:
        files.write_rows(stored, timing_file(row["trial_id"]), [row])
    for trial in tables["trials"]:
        name = f"{trial['trial_id']}.parquet"
        rows = [r for r in tables["evaluations"] if r["trial_id"] == trial["trial_id"]]
        path = folder / "evaluations" / name
        files.write_rows(*at(path), rows)
        trial = trial | {"files": [files.file_record(*at(path))]}
        files.write_rows(*at(folder / "trials" / name), [trial])


def trial_id(point: Mapping[str, Any]) -> str:
    """A stand-in for the real id: equal for points whose written settings and arm are equal."""
    row = POINT | {k: v for k, v in point.items() if k in POINT_COLUMNS or k == "arm"}
    return hashlib.sha256(json.dumps(row, sort_keys=True).encode()).hexdigest()[:12]


def _plan_row(point: Mapping[str, Any]) -> dict[str, Any]:
    row = {k: v for k, v in point.items() if k in TABLES["plan"].names}
    return (
        row
        | {"trial_id": point.get("trial_id", trial_id(point))}
        | {"requires": point.get("requires", [])}
    )


def _trial(id_: str, point: Mapping[str, Any]) -> dict[str, Any]:
    steps = round(point["epoch"] * 5000 / point["global_batch_size"])
    resolved = {"optimizer_step": steps, "optimizer_steps": steps, "peak_lr": point["base_lr"]}
    resolved |= {"lr_per_example": point["base_lr"] / point["global_batch_size"]}
    row = {k: v for k, v in point.items() if k in TABLES["trials"].names}
    return resolved | row | {"trial_id": id_}


def _curve(id_: str, point: Mapping[str, Any]) -> list[dict[str, Any]]:
    metric = task_named(point.get("task")).metric
    final = point.get(metric.column("test"), 0.1)
    trial = _trial(id_, point)
    return [
        {
            "trial_id": id_,
            "epoch": epoch,
            "lr": trial["peak_lr"],
            "optimizer_step": round(trial["optimizer_step"] * epoch / trial["epoch"]),
            "global_batch_size": trial["global_batch_size"],
            metric.column("test"): value,
            "train_loss": trial["train_loss"] * 3 ** (trial["epoch"] - epoch),
            "test_loss": trial["test_loss"] * 2 ** (trial["epoch"] - epoch),
            metric.column("train"): value,
            "training_seconds": trial["training_seconds"] * epoch / trial["epoch"],
        }
        for epoch, value in point.get("curve", [(1.0, 0.9 * final), (2.0, final)])
    ]


def _measured(id_: str, point: Mapping[str, Any]) -> list[dict[str, Any]]:
    common = {"trial_id": id_, "index": 0, "at_end": True, "optimizer_step": 10, "split": "train"}
    return [
        common
        | {"quantity": name if name.startswith("hessian") else "sharpness", "value": point[name]}
        | QUANTITIES[name]
        for name in QUANTITIES
        if name in point
    ]


@pytest.fixture
def results_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> WriteStudy:
    """`results_folder(points, **settings)` writes a study as runs do and returns its folder."""
    monkeypatch.setattr("os.fsync", lambda file: None)  # what a power cut leaves is not tested here
    return partial(write_study, tmp_path / "synthetic")


@pytest.fixture
def study(results_folder: WriteStudy) -> WriteStudy:
    """`study(points, **settings)` writes a study in the exported form and returns its folder."""
    return partial(results_folder, one_file_per_table=True)


def quickstart_points(seeds: int = 5) -> list[dict[str, Any]]:
    """Points like the quickstart's: a gap that grows with the batch, arms that close parts of it.

    At batch 1000 the gap is 2 points of accuracy with standard deviation .1; "sqrt" gains .5 there
    and nothing at 32 (closes a quarter), "lars" gains 1.2 and .4 at 32, "discard" ran at the large
    batch only. Sharpness rises up to 512 and falls at 1000, where the training loss is higher; the
    top eigenvalue rises throughout.
    """
    draw = np.random.default_rng(0)
    cells = {
        ("baseline", 32): (0.957, 10.0, 0.03, 0.001),
        ("baseline", 512): (0.943, 330.0, 2.0, 0.004),
        ("baseline", 1000): (0.937, 210.0, 8.0, 0.09),
        ("sqrt", 32): (0.957, 10.0, 0.03, 0.001),
        ("sqrt", 1000): (0.942, 200.0, 6.0, 0.05),
        ("lars", 32): (0.961, 9.0, 0.02, 0.001),
        ("lars", 1000): (0.949, 90.0, 2.0, 0.02),
        ("discard", 1000): (0.940, 215.0, 8.0, 0.08),
    }
    changes: dict[str, dict[str, Any]] = {
        "sqrt": {"lr_scaling": "sqrt", "lr_reference_batch_size": 32},
        "lars": {"optimizer": "adam"},  # any change of optimizer will do
        "discard": {"discard_ratio": 0.3},
    }
    return [
        {"arm": arm, "global_batch_size": batch, "seed": seed}
        | changes.get(arm, {})
        | {
            "test_accuracy": accuracy + draw.normal(0, 0.001),
            "train_accuracy": 1 - train_loss / 10,
            "train_loss": train_loss * np.exp(draw.normal(0, 0.05)),
            "sharpness": sharpness * np.exp(draw.normal(0, 0.1)),
            "paper_sharpness": sharpness / 10 * np.exp(draw.normal(0, 0.1)),
            "hessian_top_eigenvalue": eigenvalue * np.exp(draw.normal(0, 0.1)),
            "hessian_trace": 30 * eigenvalue * np.exp(draw.normal(0, 0.05)),
        }
        for (arm, batch), (accuracy, sharpness, eigenvalue, train_loss) in cells.items()
        for seed in range(seeds)
    ]


@pytest.fixture(scope="session")
def quickstart(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A results folder of `quickstart_points`, five seeds; shared, so read only."""
    return write_study(tmp_path_factory.mktemp("studies") / "quickstart", quickstart_points())
