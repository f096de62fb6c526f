"""Studies of more and more trials through Ray: is the cost of one the same?

    python benchmarks/scale.py

Trials are those of `study_cost`, so short that what is around them counts. A whole `batchgap run`,
planning and its report of progress among it, beside bare Tune with the same training in reused
actors; each in a process of its own, whose peak memory is read from the kernel.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from interleave import print_table

STUDY = """\
name: scale
data: {{source: mnist-5k, train_examples: 1000}}
network: {{name: mlp}}
training:
  optimizer: {{name: sgd, momentum: 0.9}}
  base_lr: 0.02
  global_batch_size: 100
  optimizer_steps: 20
seeds: {count}
measures: [{{name: evaluation, every_epochs: 1000000}}]
execution: {{device: cpu}}
"""
BARE = """\
import sys
sys.path.insert(0, sys.argv[2])
import study_cost
import ray.cloudpickle
ray.cloudpickle.register_pickle_by_value(study_cost)
study_cost.runner.connect(multi_worker=False)
study_cost.with_tune(study_cost.Bare, int(sys.argv[1]))
"""


@dataclass(frozen=True)
class Cost:
    """Of one run."""

    seconds: float
    peak_bytes: int
    files: int


def watched(command: list[str | Path], folder: Path) -> Cost:
    """Runs a command to its end; the peak memory is of its own process, Ray's others left out."""
    began = time.perf_counter()
    with tempfile.TemporaryFile("w+") as said:
        run = subprocess.Popen(command, stdout=said, stderr=said)
        peak = 0
        while run.poll() is None:
            peak = max(peak, peak_bytes(run.pid))
            time.sleep(0.2)
        said.seek(0)
        assert run.returncode == 0, said.read()
    seconds = time.perf_counter() - began
    return Cost(seconds, peak, sum(path.is_file() for path in folder.rglob("*")))


def peak_bytes(pid: int) -> int:
    """The most that a process has held in memory so far; 0 once it has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) << 10 for line in lines if line.startswith("VmHWM")), 0)


def with_batchgap(count: int) -> Cost:
    """A study from its file."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "scale.yaml"
        file.write_text(STUDY.format(count=count))
        batchgap = Path(sys.executable).with_name("batchgap")
        command = [batchgap, "run", file, "--results", folder, "--runner", "tune"]
        return watched(command, Path(folder))


def with_tune(count: int) -> Cost:
    """The same trainings in bare Tune, whose own files are not counted."""
    with tempfile.TemporaryDirectory() as folder:
        here = Path(__file__).parent
        return watched([sys.executable, "-c", BARE, str(count), str(here)], Path(folder))


def compare(counts: list[int], rounds: int) -> None:
    """Prints the table: of each count the round whose ratio is the median."""
    rows = []
    for count in counts:
        pairs = [(with_batchgap(count), with_tune(count)) for _ in range(rounds)]
        pairs.sort(key=lambda pair: pair[0].seconds / pair[1].seconds)
        ours, bare = pairs[len(pairs) // 2]
        rows.append(
            [
                f"{count:,}",
                f"{ours.seconds / count:.3f}",
                f"{bare.seconds / count:.3f}",
                f"{ours.seconds / bare.seconds:.2f}",
                f"{ours.peak_bytes / 1e6:.0f}",
                f"{bare.peak_bytes / 1e6:.0f}",
                f"{ours.files / count:.1f}",
            ]
        )
        print(f"{count} trials: {ours}, bare Tune {bare}", file=sys.stderr)
    columns = [
        "trials",
        "s per trial",
        "bare Tune",
        "ratio",
        "driver MB",
        "bare Tune",
        "files each",
    ]
    print_table("whole runs, starts among them", columns, rows)


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--trials", type=int, nargs="+", default=[200, 1000, 2000])
    parser.add_argument("--rounds", type=int, default=1)
    arguments = parser.parse_args()
    compare(arguments.trials, arguments.rounds)


if __name__ == "__main__":
    main()
