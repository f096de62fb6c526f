"""Which trials failed, with what, and where in whose code: `status --failed`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.text import Text

from study.run.opening import Results
from trainables.results.ledger import attempts_after, read_ledger
from trainables.results.storage import Storage


def failures_json(results: Results) -> list[dict[str, Any]]:
    """Every trial of the study that failed, with what its latest attempt left."""
    rows = read_ledger(results.storage).rows
    columns = ["trial_id", "arm", "global_batch_size", "seed"]
    points = {p["trial_id"]: p for p in results.head.plan.select(columns).to_pylist()}
    trunks = {i for ids in results.head.plan["requires"].to_pylist() for i in ids} - points.keys()
    known = points | {i: {"trial_id": i, "arm": "trunk"} for i in sorted(trunks)}
    return [
        {**point, "error": row["error"], **_latest(results.storage, trial_id, row["error"])}
        for trial_id, point in known.items()
        if (row := rows.get(trial_id)) is not None and row["status"] == "failed"
    ]


def _latest(storage: Storage, trial_id: str, error: str | None) -> dict[str, Any]:
    """What the latest attempt left; of several workers, the one whose error is the trial's."""
    attempts = attempts_after(storage, trial_id, 0)
    number = max((row["attempt"] for row in attempts), default=0)
    latest = [row for row in attempts if row["attempt"] == number]
    said = [row for row in latest if row["error"] == error] or latest
    if not said:
        return {"attempts": 0, "host": None, "log": None, "traceback": None}
    kept = {name: said[0][name] for name in ("host", "log", "traceback")}
    return {"attempts": number, **kept}


def print_failures(failures: list[dict[str, Any]], out: Console) -> None:
    """A paragraph per failed trial."""
    for failure in failures:
        out.print(Text(_head(failure), style="bold"))
        out.print(Text(failure["error"] or "no error text"), soft_wrap=True)
        where = [f"on {failure['host']}"] if failure["host"] else []
        where += [f"log {failure['log']}"] if failure["log"] else []
        if where:
            out.print(Text(", ".join(where)), soft_wrap=True)
        if failure["traceback"]:
            out.print(Text(failure["traceback"].rstrip()), soft_wrap=True)
        out.print()
    out.print("running again tries them again" if failures else "no trial failed")


def _head(failure: Mapping[str, Any]) -> str:
    about = [failure["trial_id"], failure["arm"]]
    about += [f"batch {failure['global_batch_size']}"] if "global_batch_size" in failure else []
    about += [f"seed {failure['seed']}"] if "seed" in failure else []
    times = failure["attempts"]
    return ", ".join(about) + (f", after {times} attempts" if times > 1 else "")
