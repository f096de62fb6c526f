"""A study of 10,000 trials: planning it, its status, and loading its results.

    python benchmarks/planning.py

The results are synthetic, written as runs write them: a file per trial and table, a hundred
evaluations each. `analysis.load` verifies checksums, digests and schema, and joins plan and trials;
pandas and polars only read the same tables, polars without keeping an index or verifying anything.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
from interleave import Seconds, against, cpu_seconds, interleave, median, print_table, ratio, shown

from analysis import load
from study.grid import spec
from study.plan import plan as planning
from trainables.datasets.facts import DataFacts
from trainables.results import files, layout
from trainables.results.export import export
from trainables.results.schema import TABLES, flatten
from trainables.results.storage import PosixFolder

STUDY = """\
name: large
network: {{name: mlp}}
training:
  optimizer: {{name: sgd, momentum: 0.9}}
  epochs: 10
  decay: cosine
grid:
  training.global_batch_size: [32, 50, 64, 100, 125, 200, 250, 400, 500, 1000]
  training.base_lr: {rates}
  training.warmup_epochs: [0, 1, 2, 3, 4]
  training.discard_ratio: [0, 0.3]
seeds: {seeds}
baseline_batch_size: 32
"""
FACTS = DataFacts(
    num_train_examples=5000,
    num_validation_examples=0,
    num_test_examples=10_000,
    input_shape=(1, 28, 28),
    num_classes=10,
    fingerprint="0" * 64,
    source_hash=None,
    channel_mean=(0.13,),
    channel_std=(0.31,),
)
TABLES_READ = ("plan", "trials", "evaluations")


def write_study_file(path: Path, settings: int, seeds: int) -> Path:
    """A study file of so many settings (a multiple of 100), each with so many seeds."""
    rates = [round(0.001 * (i + 1), 3) for i in range(settings // 100)]
    path.write_text(STUDY.format(rates=rates, seeds=seeds), encoding="utf-8")
    return path


def planned(path: Path) -> planning.Plan:
    """The plan of a study file, without its data."""
    return planning.expand(spec.load_spec(path), lambda _: FACTS)


def write_results(plan: planning.Plan, folder: Path, records: int) -> None:
    """Every trial of a plan as complete, with so many evaluations."""
    rows = pa.Table.from_pylist(plan.point_rows(), schema=TABLES["plan"])
    storage = PosixFolder(folder)
    files.write_table(storage, layout.PLAN, rows)
    storage.replace(layout.STUDY, spec.resolved_yaml(plan.spec).encode())
    draw = np.random.default_rng(0)
    for trial_id, config in plan.configs.items():
        name = layout.evaluations_file(trial_id)
        files.write_table(storage, name, _curve(trial_id, records, draw))
        outcome = {
            "trial_id": trial_id,
            "status": "complete",
            "optimizer_step": config.optimizer_steps,
            "test_accuracy": 0.95,
            "num_train_examples": 5000,
            "training_seconds": 1.0,
            "files": [files.file_record(storage, name)],
        }
        files.write_rows(storage, layout.trial_file(trial_id), [flatten(config) | outcome])


def _curve(trial_id: str, records: int, draw: np.random.Generator) -> pa.Table:
    """Evaluations of one trial, all drawn: equal numbers would be read faster than real ones."""

    def column(field: pa.Field) -> pa.Array:
        if field.name == "trial_id":
            return pa.array([trial_id] * records)
        if pa.types.is_integer(field.type):
            return pa.array(np.arange(records))
        absent = field.name.startswith("validation_")
        return pa.nulls(records, field.type) if absent else pa.array(draw.random(records))

    schema = TABLES["evaluations"]
    return pa.Table.from_arrays([column(field) for field in schema], schema=schema)


def compare_planning(folder: Path, rounds: int) -> None:
    """Prints what 10,000 points cost, as few settings with many seeds and the other way."""
    rows = []
    for settings, seeds in ((2_000, 5), (10_000, 1)):
        path = write_study_file(folder / f"{settings}.yaml", settings, seeds)
        opened = spec.load_spec(path)
        steps: dict[str, Callable[[], object]] = {
            "load_spec": lambda path=path: spec.load_spec(path),  # type: ignore[misc]
            "expand": lambda opened=opened: planning.expand(  # type: ignore[misc]
                opened, lambda _: FACTS
            ),
        }
        seconds = interleave(_timed(steps), rounds)
        total = sum(median(seconds, name) for name in steps)
        cells = [f"{median(seconds, name):.2f}" for name in steps]
        row = [f"{settings:,} settings x {seeds} seeds", *cells, f"{total:.2f}"]
        rows.append([*row, *against(total, 2.0)])
    columns = ["10,000 points", "read the YAML", "expand", "planned", "target", "met"]
    print_table("Planning, CPU seconds", columns, rows)


def compare_loading(folder: Path, exported: Path, rounds: int) -> None:
    """Prints what reading the results costs, in both forms."""
    forms = {"a file per trial and table": folder, "one file per table (export)": exported}
    rows = []
    for form, below in forms.items():
        # The export is read in no time: more rounds cost nothing.
        whole = below is exported
        seconds = interleave(_timed(_readers(below)), 8 * rounds if whole else rounds)
        most = 2.0 if whole else float("inf")
        cells = [shown(seconds, "analysis.load", "pandas")]
        if "polars" in seconds:
            cells.append(shown(seconds, "analysis.load", "polars"))
            cells += against(ratio(seconds, "analysis.load", "polars"), most)
        rows.append([form, *_medians(seconds), *cells])
    names = list(seconds)
    columns = ["", *(f"{name} (s)" for name in names), "load / pandas"]
    columns += ["load / polars", "target", "met"] if "polars" in names else []
    print_table("Loading results, CPU time", columns, rows)


def _medians(seconds: Seconds) -> list[str]:
    return [f"{median(seconds, name):.2f}" for name in seconds]


def _readers(folder: Path) -> dict[str, Callable[[], object]]:
    paths = [folder / f"{name}.parquet" for name in TABLES_READ]
    # polars reads a folder where there is one, as pandas does.
    paths = [path if path.exists() else path.with_suffix("") for path in paths]
    readers: dict[str, Callable[[], object]] = {
        "analysis.load": lambda: load.load_study(folder),
        "pandas": lambda: [pd.read_parquet(path) for path in paths],
    }
    try:
        import polars
    except ImportError:
        return readers
    return readers | {"polars": lambda: [polars.read_parquet(path) for path in paths]}


def compare_status(folder: Path, rounds: int) -> None:
    """Prints what `batchgap status` costs, from its start to its end."""
    batchgap = str(Path(sys.executable).with_name("batchgap"))
    commands = {
        "status": [batchgap, "status", str(folder)],
        "nothing": [sys.executable, "-c", "pass"],
    }
    acts: dict[str, Callable[[], object]] = {
        name: lambda command=command: subprocess.run(  # type: ignore[misc]
            command, check=True, stdout=subprocess.DEVNULL
        )
        for name, command in commands.items()
    }
    seconds = interleave(_timed(acts), rounds)
    value, pace = median(seconds, "status"), median(seconds, "nothing")
    print_table(
        "batchgap status, CPU seconds",
        ["", "seconds", "target", "met", "python -c pass"],
        [["status", f"{value:.2f}", *against(value, 5.0), f"{1000 * pace:.0f} ms"]],
    )
    print("The targets in seconds were set where `python -c pass` takes 10 ms.\n")


def _timed(acts: dict[str, Callable[[], object]]) -> dict[str, Callable[[], float]]:
    return {name: lambda act=act: cpu_seconds(act) for name, act in acts.items()}  # type: ignore[misc]


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5, help="default: 5")
    parser.add_argument(
        "--settings", type=int, default=10_000, help="trials loaded, a multiple of 100"
    )
    parser.add_argument("--records", type=int, default=100, help="evaluations per trial")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        compare_planning(Path(name), arguments.rounds)
        folder, exported = Path(name) / "large", Path(name) / "large-export"
        study = write_study_file(Path(name) / "large.yaml", arguments.settings, seeds=1)
        write_results(planned(study), folder, arguments.records)
        export(PosixFolder(folder), exported, "parquet", skip=())
        compare_status(folder, arguments.rounds)
        compare_loading(folder, exported, arguments.rounds)


if __name__ == "__main__":
    main()
