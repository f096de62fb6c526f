"""Under what conditions the numbers were made."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from analysis.load import Study
from analysis.page import tables
from analysis.wording import TIMES, counted, number


def reproduction(study: Study, provenance: Mapping[str, Any]) -> dict[str, str]:
    """Under what conditions the numbers were made, by name; what is not known is left out."""
    trials, measures = study.trials, study.measures
    hardware = dict(provenance.get("hardware") or {})
    hardware["memory"] = tables.memory(hardware.pop("memory_bytes", None))
    facts = {
        "versions": _pairs(provenance.get("versions") or {}),
        "commit": _commit(provenance),
        "hardware": _pairs(hardware) if len(hardware) > 1 else "",
        "time of runs": "; ".join(map(_time, provenance.get("times") or ())),
        "device": _distinct(trials["device_name"].fillna(trials["device"])),
        f"processes {TIMES} threads": _distinct(
            f"{row.num_workers:g} {TIMES} {row.threads_per_worker:g}"
            for row in trials.dropna(subset=["num_workers", "threads_per_worker"]).itertuples()
        ),
        "data": _pairs(
            {
                name: known.get("fingerprint")
                for name, known in (provenance.get("data") or {}).items()
            }
        ),
        "seeds": _distinct(study.points["seed"]),
        "precision": _distinct(trials["precision"]),
        "normalization in evaluations": _distinct(trials["evaluation_normalization"]),
        "measured on": _distinct(
            f"{row.examples:g} examples of {row.split}, {row.normalization} statistics"
            for row in measures.dropna(subset=["examples", "split", "normalization"]).itertuples()
        ),
    }
    return {name: text for name, text in facts.items() if text}


def _time(run: Mapping[str, Any]) -> str:
    """How long a run took beside its estimate, on the machine as busy as it was."""
    said = f"{counted(run['trials'], 'trial')} in {number(run['seconds'])} s"
    expected = run.get("estimated_seconds")
    return said if expected is None else f"{said} ({number(expected)} s were estimated)"


def _commit(provenance: Mapping[str, Any]) -> str:
    changed = ", with uncommitted changes" if provenance.get("dirty") else ""
    return f"{provenance['commit']}{changed}" if provenance.get("commit") else ""


def _pairs(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items() if value)


def _distinct(values: Iterable[Any]) -> str:
    return ", ".join(dict.fromkeys(str(value) for value in values if not pd.isna(value)))
