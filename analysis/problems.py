"""What a results folder lacks of what its study file asks for, a line each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
import pyarrow as pa


def failed_measures(measures: pd.DataFrame) -> list[str]:
    """Measures that ended in an error."""
    failed = measures[measures["error"].notna()]
    return [
        f"{row.measure} of trial {row.trial_id} failed: {row.error}" for row in failed.itertuples()
    ]


def missing_measures(
    plan: pa.Table, trials: pd.DataFrame, measures: pd.DataFrame, settings: Mapping[str, Any]
) -> list[str]:
    """Complete trials without a value of a measure that the study file asks for."""
    all_complete = set(trials.loc[trials["status"] == "complete", "trial_id"])
    compared = _compared(plan, settings.get("baseline_batch_size"))
    # Some are taken once too, though of the weights at the start.
    once = measures["at_end"].fillna(False).astype(bool) | (measures["optimizer_step"] == 0)
    at_end = measures[once]
    problems = []
    for measure in _asked_for(settings):
        complete = all_complete & compared if measure == "interpolation" else all_complete
        lacking = complete - set(at_end.loc[at_end["measure"] == measure, "trial_id"])
        if lacking:
            problems.append(
                f"{measure}: {len(lacking)} of {len(complete)} complete trials have no value"
            )
    return problems


def _compared(plan: pa.Table, baseline_batch_size: int | None) -> set[str]:
    """The trials that the plan sets beside one at the baseline batch size."""
    points = plan.select(["trial_id", "global_batch_size", "requires"]).to_pylist()
    small = {p["trial_id"] for p in points if p["global_batch_size"] == baseline_batch_size}
    large = (p for p in points if p["trial_id"] not in small)
    return {p["trial_id"] for p in large if small & {*p["requires"]}}


def _asked_for(settings: Mapping[str, Any]) -> list[str]:
    """The study file's measures, evaluation apart, whose rows are a table of their own."""
    measures = settings.get("measures") or []
    names = {m["name"] if isinstance(m, Mapping) else str(m) for m in measures}
    return sorted(names - {"evaluation", "layers"})


def missing_layers(
    trials: pd.DataFrame, layers: pd.DataFrame, settings: Mapping[str, Any]
) -> list[str]:
    """Complete trials without the record of layers asked for; curvature that could not be taken."""
    measures = settings.get("measures") or []
    asked = any(isinstance(m, Mapping) and m.get("name") == "layers" for m in measures)
    complete = set(trials.loc[trials["status"] == "complete", "trial_id"])
    lacking = complete - set(layers["trial_id"]) if asked else set()
    failed = layers[layers["error"].notna()].drop_duplicates("trial_id")
    problems = [
        f"curvature of trial {row.trial_id} failed: {row.error}" for row in failed.itertuples()
    ]
    if lacking:
        problems.append(f"layers: {len(lacking)} of {len(complete)} complete trials have no record")
    return problems
