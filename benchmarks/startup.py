"""What the command line costs before it does anything, in times of `python -c pass`.

    python benchmarks/startup.py

`status` reads a small folder of results, `plan` the preset `quickstart`. `loads` names what a verb
imported of torch, ray, pandas and pyplot; `help` and `status` should name neither torch, ray nor
pyplot.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from interleave import against, cpu_seconds, interleave, print_table, ratio, shown
from planning import planned, write_results, write_study_file

BATCHGAP = str(Path(sys.executable).with_name("batchgap"))
NOTHING = "python -c pass"
HEAVY = ("torch", "ray", "pandas", "matplotlib.pyplot")
SPY = f"""
import sys
from study.cli import app
try:
    app(sys.argv[1:])
except SystemExit:
    pass
print(*[name for name in {HEAVY} if name in sys.modules], file=sys.stderr)
"""


def seconds_of(command: Sequence[str]) -> float:
    """CPU seconds of one run of a command."""
    return cpu_seconds(lambda: subprocess.run(command, check=True, stdout=subprocess.DEVNULL))


def loaded(arguments: Sequence[str]) -> str:
    """What of the heavy modules `batchgap ARGUMENTS` leaves in `sys.modules`."""
    command = [sys.executable, "-c", SPY, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stderr.strip()


def compare(results_folder: Path, preset: str, rounds: int) -> None:
    """Prints the table."""
    verbs = {
        "batchgap --help": (["--help"], 10.0),
        f"batchgap plan {preset}": (["plan", preset], float("inf")),
        "batchgap status": (["status", str(results_folder)], 20.0),
    }
    commands = {name: [BATCHGAP, *arguments] for name, (arguments, _) in verbs.items()}
    commands[NOTHING] = [sys.executable, "-c", "pass"]
    candidates = {
        name: lambda command=command: seconds_of(command) for name, command in commands.items()
    }
    seconds = interleave(candidates, rounds)
    rows = []
    for name, (arguments, most) in verbs.items():
        times = ratio(seconds, name, NOTHING)
        heavy = loaded(arguments) or "none"
        rows.append([name, shown(seconds, name, NOTHING), *against(times, most), heavy])
    columns = ["", f"/ {NOTHING}", "target", "met", "loads"]
    print_table("Start-up, CPU time; median over rounds (quartiles)", columns, rows)


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=15, help="default: 15")
    parser.add_argument("--preset", default="quickstart", help="what plan plans")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        os.chdir(name)
        os.environ["BATCHGAP_CACHE"] = name  # filled by the round that warms up
        folder = Path(name) / "studies" / "large"
        study = planned(write_study_file(Path(name) / "large.yaml", settings=100, seeds=1))
        write_results(study, folder, records=10)
        compare(folder, arguments.preset, arguments.rounds)


if __name__ == "__main__":
    main()
