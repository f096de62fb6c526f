"""What verbs print of results, findings, checks and presets; `outlook` prints the plan."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import FiniteFloat, TypeAdapter, ValidationError
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from analysis.wording import counted
from study.plan.estimate import duration_text
from study.run.opening import Results
from study.run.progress import doing, first_line
from study.show.doctor import Check
from trainables.results import head
from trainables.results.files import Row
from trainables.results.ledger import read_attempts, read_ledger
from trainables.results.verify import Finding
from trainables.task import METRICS, task_named

MAX_ROWS = 40
"""A longer table of settings is cut for a person; `--json` has all."""
MAX_VERSIONS = 5
MAX_DIFFERENCES = 3
"""Between two versions of a study, for a person; `--json` has all."""

# ---------------------------------------------------------------------------------------- status


def status_json(results: Results) -> dict[str, Any]:
    """How far a study is, by its results folder."""
    storage = results.storage
    ledger = read_ledger(storage)
    columns = ["trial_id", "requires", "arm", "stage", "global_batch_size", "seed", "task"]
    points = results.head.plan.select(columns).to_pylist()
    # A trunk that is no point itself is named only by what requires it.
    ids = dict.fromkeys(i for p in points for i in (*p["requires"], p["trial_id"]))
    done = ledger.finished
    open_ids = [i for i in ids if i not in done]
    holder = storage.holder()
    attempts = read_attempts(storage, open_ids)
    states = {i: _state(ledger.rows.get(i), attempts.get(i), holder) for i in ids}
    metric = task_named(next((p["task"] for p in points), None)).metric
    versions, damaged = head.versions(storage)
    errors = (first_line(ledger.rows[i]["error"]) for i, s in states.items() if s == "failed")
    return {
        "folder": str(results.folder),
        "running": holder,
        "trials": dict(Counter(states.values())),
        "metric": metric.name,
        "settings": _per_setting(points, states, ledger.rows, metric.column("test")),
        "failures": dict(Counter(errors).most_common()),
        "unreadable": list(ledger.damaged.values()),
        "unreadable_versions": damaged,
        "differences": results.differences,
        "versions": [
            {"written_at": former.written_at, "points": former.plan.num_rows}
            | {"differences": head.differences(results.head, former)}
            for former in versions
        ],
    }


def _state(row: Row | None, attempt: Row | None, holder: Mapping[str, Any] | None) -> str:
    """A trial's status; one that was running when its process died is interrupted."""
    if holder is not None and attempt is not None and attempt["status"] == "running":
        return "running"
    if row is not None:
        return str(row["status"])
    return "planned" if attempt is None else "interrupted"


def _per_setting(
    points: Iterable[Mapping[str, Any]],
    states: Mapping[str, str],
    rows: Mapping[str, Row],
    column: str,
) -> list[dict[str, Any]]:
    groups: dict[tuple[str, int, str], list[str]] = {}
    for point in points:
        # Plans from before there were stages have none.
        key = (point["arm"], point["global_batch_size"], point["stage"] or "final")
        group = groups.setdefault(key, [])
        if point["trial_id"] not in group:
            group.append(point["trial_id"])
    found = []
    for (arm, size, stage), ids in groups.items():
        complete = [rows[i][column] for i in ids if states[i] == "complete"]
        known = [value for value in complete if value is not None and stage == "final"]
        found.append(
            {
                "arm": arm,
                "global_batch_size": size,
                "stage": stage,
                "trials": dict(Counter(states[i] for i in ids)),
                f"mean_{column}": sum(known) / len(known) if known else None,
            }
        )
    return found


def print_status(status: Mapping[str, Any], out: Console) -> None:
    """Status for a person: counts, a row per arm and batch size, failures."""
    out.print(Text(status["folder"], style="bold"))
    total = sum(status["trials"].values())
    counts = ", ".join(f"{count} {state}" for state, count in sorted(status["trials"].items()))
    out.print(f"{total} trials: {counts}")
    if holder := status["running"]:
        who = f"run by process {holder['pid']} on {holder['host']}, since {holder['since']}"
        out.print(Text(who))
        _print_told(holder.get("told"), status["trials"].get("running", 0), out)
    states = sorted(status["trials"])
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("arm", overflow="fold")
    searched = any(row["stage"] == "search" for row in status["settings"])
    metric = METRICS[status["metric"]]
    test = f"test {metric.unit or metric.name.replace('_', ' ')}"
    for name in ("batch size", *(["stage"] if searched else []), *states, test):
        table.add_column(name, justify="right")
    for row in status["settings"][:MAX_ROWS]:
        mean = row[f"mean_{metric.column('test')}"]
        table.add_row(
            Text(row["arm"]),
            str(row["global_batch_size"]),
            *([row["stage"]] if searched else []),
            *(str(row["trials"].get(state, "")) for state in states),
            "" if mean is None else metric.text(mean).removesuffix(f" {metric.unit}"),
        )
    out.print(table)
    for error, count in status["failures"].items():
        out.print(Text(f"failed {count} x: {error}"))
    if status["failures"]:
        out.print("running again tries failed trials again; --failed shows their tracebacks")
    for why in status["unreadable"]:
        out.print(Text(f"unreadable, will run again: {why}"))
    for why in status["unreadable_versions"]:
        out.print(Text(f"unreadable: {why}"))
    if status["differences"]:
        differ = "; ".join(status["differences"][:MAX_DIFFERENCES])
        out.print(Text(f"not what the folder's last run was of: {differ}"))
    if older := len(status["versions"]) - MAX_VERSIONS:
        out.print(f"and {older} older former versions; --json lists them") if older > 0 else None
    for former in status["versions"][-MAX_VERSIONS:]:
        differ = "; ".join(former["differences"][:MAX_DIFFERENCES]) or "the same settings"
        since = former["written_at"] or "an older batchgap"
        out.print(Text(f"former version of {since}, {former['points']} points: {differ}"))


@dataclass(frozen=True, kw_only=True)
class _Trial:
    label: str
    measure: str | None
    fraction: FiniteFloat
    silent_seconds: FiniteFloat


@dataclass(frozen=True, kw_only=True)
class _Told:
    """What a run says of itself, in a file that anybody may have written."""

    doing: str
    seconds_left: FiniteFloat | None = None
    trials: tuple[_Trial, ...] = ()


def _print_told(said: Any, running: int, out: Console) -> None:
    """What the run said of itself a moment ago, and how many of its trials said nothing yet."""
    try:
        told = TypeAdapter(_Told).validate_python(said)
    except ValidationError:
        return  # nothing yet
    left = told.seconds_left
    out.print(Text(told.doing + (f", about {duration_text(left)} left" if left else "")))
    for trial in told.trials[:MAX_ROWS]:
        does = doing(trial.measure, trial.fraction, trial.silent_seconds)
        out.print(Text(f"  {trial.label}: {does}"))
    if (beginning := running - len(told.trials)) > 0:
        out.print(f"  {counted(beginning, 'trial')} more, at their data, network or first step")


# --------------------------------------------------------------------------------- the other verbs

_STYLES = {"ok": "green", "warning": "yellow", "orphan": "yellow"}


def print_findings(findings: Sequence[Finding], out: Console) -> None:
    """What `verify` found, a line each."""
    for finding in findings:
        style = _STYLES.get(finding.problem, "red")
        out.print(Text(f"{finding.problem:8}", style=style), Text(finding.path), end=": ")
        out.print(Text(finding.detail), soft_wrap=True)
    harmful = sum(finding.problem != "orphan" for finding in findings)
    out.print(f"{harmful} files damaged or missing" if harmful else "nothing is damaged")


def print_checks(checks: Sequence[Check], out: Console) -> None:
    """What `doctor` looked at, a line each."""
    for check in checks:
        state = Text(f"{check.state:8}", style=_STYLES.get(check.state, "red"))
        out.print(state, Text(f"{check.name:14}"), Text(check.detail), soft_wrap=True)


def print_presets(files: Mapping[str, Path], out: Console) -> None:
    """Each preset with what its first lines say of its question and cost."""
    for name, path in files.items():
        head = preset_head(path)
        out.print(Text(name, style="bold"))
        for key in ("Question", "Cost"):
            if key in head:
                out.print(Padding(Text(head[key]), (0, 0, 0, 2)))
    out.print("\nbatchgap run NAME runs one; presets --show NAME prints its file, to start from.")


def preset_head(path: Path) -> dict[str, str]:
    """The paragraphs of a preset's head by their first word, such as Question and Cost."""
    paragraphs: dict[str, str] = {}
    key = ""
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("# "):
            break
        text = line[2:]
        if not text.startswith(" "):
            key, _, text = text.partition(" ")
        paragraphs[key] = f"{paragraphs.get(key, '')} {text.strip()}".strip()
    return paragraphs
