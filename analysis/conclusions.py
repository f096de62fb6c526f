"""What may be said of a study, as values: every estimate with its interval, n, level and reason.

Sentences, tiles and tables are views of them, and `batchgap report --json` prints them
(docs/conclusions.md). Nothing is decided here: `analysis.judged` says what may be said, and this
puts it in one shape. Numbers are in the unit of the tables (an accuracy a fraction of 1); NaN, in
JSON null, stands for what is not there.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import Any

import pandas as pd
from pydantic import TypeAdapter

from analysis import choice, scaling
from analysis.gaps import by_cell
from analysis.gaps.by_cell import BASELINE_ARM
from analysis.gaps.measured import Definition, definitions, measure_ratio, measure_values
from analysis.gaps.subjects import subjects
from analysis.judged.arms import Standing, focus, share_of_gap_closed
from analysis.judged.claims import Claim, claims
from analysis.judged.gaps import not_judged, spoken_gap
from analysis.load import Study
from analysis.search.cells import tuned_sides
from analysis.search.tuned import TwoByTwo
from analysis.uncertainty import LEVEL, Number

SCHEMA_VERSION = 1
"""Of the JSON; raised when a name goes or means something else."""
NAN = math.nan


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A mean and where it may lie."""

    estimate: Number
    low: Number
    high: Number


@dataclass(frozen=True, kw_only=True)
class OfCell:
    """What is said of one cell of the study."""

    arm: str
    settings: str
    """The values on the grid's axes, as `base_lr=0.1, network=f1`."""
    global_batch_size: int
    estimate: Number
    low: Number
    high: Number
    level: float
    """Of the interval."""
    n: int
    """Seeds that it rests on."""
    unit: str
    """fraction, times, or that of the metric."""
    reason: str
    """Why nothing is said of it; "" where something is."""
    exploratory: str
    """What qualifies a word: "", exploratory, exploratory search."""
    trials: tuple[str, ...]
    """The ids of the trials that it rests on."""


@dataclass(frozen=True, kw_only=True)
class Gap(OfCell):
    """By how much a metric is better at the baseline batch size than here; see docs/methods."""

    column: str
    """test_accuracy, train_accuracy, ..."""
    looks: int
    at_most: Number
    """This batch size loses no more: a one-sided upper limit."""
    shown: bool
    """Whether the gap may be spoken of."""
    std: Number
    """Over the seeds' differences."""


@dataclass(frozen=True, kw_only=True)
class TunedGap(Gap):
    """The same between batch sizes whose values a search chose, each side held against the best."""

    winner: tuple[float, ...]
    """What the search chose here."""
    baseline_winner: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Gain(Estimate):
    """What an arm gains over the baseline arm, all else equal, positive where it is the better."""


@dataclass(frozen=True, kw_only=True)
class ShareClosed(OfCell):
    """Which share of the gap an arm takes back, and what follows: `judged.arms` has the rule."""

    baseline_settings: str
    standing: Standing
    gap: Estimate
    gain: Gain
    """At this batch size."""
    baseline_gain: Gain
    """At the baseline batch size."""
    net_gain: Gain
    """Here less there."""
    gap_under_arm: Estimate
    comparisons: int
    """Of the family that shares one level."""
    looks: int
    alive: int
    """Seeds that came through, of those that ended."""
    ended: int
    baseline_alive: int
    baseline_ended: int
    keeps_alive: bool
    """More than by chance."""
    two_by_two: TwoByTwo | None
    """Of a tuned arm: both arms at both winners, a description."""


@dataclass(frozen=True, kw_only=True)
class Ratio(OfCell):
    """What was measured here over the same at the baseline batch size; a geometric mean."""

    label: str
    quantity: str
    method: str
    left_out: int
    """Pairs without a logarithm."""
    std: Number
    """Over the seeds' logarithms."""


@dataclass(frozen=True, kw_only=True)
class Fit:
    """S(B) = S_min (1 + B_crit / B) of one series: steps to the target."""

    arm: str
    settings: str
    minimum_steps: Estimate
    critical_batch_size: Estimate
    """Without an estimate where it lies below, or above, all batch sizes."""
    n: int
    """Batch sizes."""


@dataclass(frozen=True, kw_only=True)
class Cost(OfCell):
    """What a batch size gives (the metric on the test set) and costs."""

    optimizer_steps: Number
    seconds_per_epoch: Number
    timing: str
    peak_memory_bytes: Number
    target_reached: int
    """Trials that came near the baseline's metric, of so many."""
    target_trials: int
    target_seconds: Number
    """The median; none where half of them or more never did."""


@dataclass(frozen=True, kw_only=True)
class Subject:
    """What is said of one network on one data set."""

    name: str
    """"" where the study has one."""
    focus: int | None
    """The batch size that sentences and key numbers are of; none where there is no gap."""
    gaps: tuple[TunedGap | Gap, ...]
    train_gaps: tuple[Gap, ...]
    shares: tuple[ShareClosed, ...]
    ratios: tuple[Ratio, ...]
    costs: tuple[Cost, ...]
    fits: tuple[Fit, ...]


@dataclass(frozen=True, kw_only=True)
class Conclusions:
    """All that is said of a study."""

    schema_version: int
    study: str
    question: str
    task: str
    metric: str
    is_larger_better: bool
    baseline_batch_size: int | None
    is_smoke: bool
    """At that scale nothing is said."""
    trials: Mapping[str, int]
    """How many, by status."""
    subjects: tuple[Subject, ...]
    claims: tuple[Claim, ...]
    problems: tuple[str, ...]


def conclusions(study: Study) -> Conclusions:
    """All that may be said of a study, in one value."""
    statuses = by_cell.labelled_points(study).drop_duplicates("trial_id")["status"]
    return Conclusions(
        schema_version=SCHEMA_VERSION,
        study=study.name,
        question=study.question,
        task=study.task.name,
        metric=study.metric.name,
        is_larger_better=study.metric.is_larger_better,
        baseline_batch_size=study.baseline_batch_size,
        is_smoke=study.is_smoke,
        trials={str(name): int(count) for name, count in statuses.value_counts().items()},
        subjects=tuple(_subject(name, part) for name, part in subjects(study)),
        claims=tuple(claims(study)),
        problems=study.problems,
    )


def to_json(found: Conclusions) -> str:
    """As `batchgap report --json` prints it."""
    return TypeAdapter(Conclusions).dump_json(found, indent=1).decode()


def json_schema() -> dict[str, Any]:
    """What that is valid against."""
    return TypeAdapter(Conclusions).json_schema(mode="serialization")


def _subject(name: str, part: Study) -> Subject:
    return Subject(
        name=name,
        focus=focus(part),
        gaps=gaps(part),
        train_gaps=gaps(part, part.metric.column("train")),
        shares=shares(part),
        ratios=tuple(r for d in definitions(part) for r in ratios(part, d)),
        costs=costs(part),
        fits=fits(part) if part.target is not None else (),
    )


# ------------------------------------------------------------------------------------------- gaps


@lru_cache(maxsize=16)  # sentences, tiles and tables ask for the same; a study never changes
def gaps(study: Study, column: str | None = None) -> tuple[TunedGap | Gap, ...]:
    """The generalization gap of every cell off the baseline batch size, or another column's."""
    column = column or study.test_metric
    sides = tuned_sides(study) if column == study.test_metric else {}
    trials = _Trials.of(study)

    def one(row: Mapping[str, Any]) -> Gap:
        cell = by_cell.cell_of(row)
        small = (*cell[:2], study.baseline_batch_size)
        known = {
            **_of_cell(row, "mean", study.metric.stored_unit),
            **_picked(row, ("level", "n", "reason", "exploratory", "looks", "at_most", "std")),
            "shown": bool(row["shown"]),
            "column": column,
            "trials": trials.paired(cell, small),
        }
        if cell in sides and small in sides:
            winner, baseline_winner = sides[cell].winner, sides[small].winner
            return TunedGap(**known, winner=winner, baseline_winner=baseline_winner)
        return Gap(**known)

    return tuple(one(row) for row in by_cell.records(spoken_gap(study, column)))


def at(found: Iterable[Gap], batch: int | None) -> list[Gap]:
    """The baseline arm's gaps at one batch size that have a mean."""
    return [
        gap for gap in found if gap.arm == BASELINE_ARM and gap.global_batch_size == batch and gap.n
    ]


# ------------------------------------------------------------------------------------------- arms


@lru_cache(maxsize=8)
def shares(study: Study) -> tuple[ShareClosed, ...]:
    """Every arm beside the baseline arm, at every batch size but the baseline's."""
    trials = _Trials.of(study)
    plain = (
        *("level", "n", "reason", "exploratory", "baseline_settings", "standing", "comparisons"),
        *("looks", "alive", "ended", "baseline_alive", "baseline_ended", "two_by_two"),
    )

    def one(row: Mapping[str, Any]) -> ShareClosed:
        cell, size = by_cell.cell_of(row), study.baseline_batch_size
        others = [
            (BASELINE_ARM, row["baseline_settings"], cell[2]),
            (BASELINE_ARM, row["baseline_settings"], size),
        ]
        return ShareClosed(
            **_of_cell(row, "share", "fraction"),
            **_picked(row, plain),
            gap=Estimate(**_bounds(row, "gap")),
            gain=Gain(**_bounds(row, "gain")),
            baseline_gain=Gain(**_bounds(row, "baseline_gain")),
            net_gain=Gain(**_bounds(row, "net_gain")),
            gap_under_arm=Estimate(**_bounds(row, "gap_under_arm")),
            keeps_alive=bool(row["keeps_alive"]),
            trials=trials.paired(cell, *others),
        )

    return tuple(one(row) for row in by_cell.records(share_of_gap_closed(study)))


# --------------------------------------------------------------------------------------- measures


@lru_cache(maxsize=64)
def ratios(study: Study, definition: Definition) -> tuple[Ratio, ...]:
    """What was measured, over the same at the baseline batch size, of every cell off that."""
    values = measure_values(study)
    measured = set(values.loc[values["label"] == definition.label, "trial_id"])
    trials = _Trials.of(study, measured)

    def one(row: Mapping[str, Any]) -> Ratio:
        cell = by_cell.cell_of(row)
        return Ratio(
            **_of_cell(row, "mean", "times"),
            level=LEVEL,
            **_picked(row, ("n", "left_out", "std")),
            reason=not_judged(study, row["n"]),
            exploratory="",
            label=definition.label,
            quantity=definition.quantity,
            method=definition.method,
            trials=trials.paired(cell, (*cell[:2], study.baseline_batch_size)),
        )

    return tuple(one(row) for row in by_cell.records(measure_ratio(study, definition)))


# ----------------------------------------------------------------------------------- fits, costs


def fits(study: Study) -> tuple[Fit, ...]:
    """Steps to the target of every series that has enough batch sizes."""
    return tuple(
        Fit(
            arm=arm,
            settings=settings,
            minimum_steps=Estimate(
                estimate=fit.minimum_steps or NAN,
                low=fit.minimum_steps_low,
                high=fit.minimum_steps_high,
            ),
            critical_batch_size=Estimate(
                estimate=_finite(fit.critical_batch_size or NAN),
                low=fit.critical_low,
                high=fit.critical_high,
            ),
            n=fit.n,
        )
        for (arm, settings), fit in scaling.critical_batches(study).items()
    )


def costs(study: Study) -> tuple[Cost, ...]:
    """What every cell gives and costs."""
    trials = _Trials.of(study)

    def one(row: Mapping[str, Any]) -> Cost:
        return Cost(
            **_of_cell(row, "test_metric", study.metric.stored_unit),
            level=LEVEL,
            n=row["n"],
            reason=not_judged(study, row["n"]),
            exploratory="",
            trials=trials.paired(by_cell.cell_of(row)),
            optimizer_steps=_number(row["optimizer_steps"]),
            seconds_per_epoch=_number(row["seconds_per_epoch"]),
            timing=row["timing"] if isinstance(row["timing"], str) else "",
            peak_memory_bytes=_number(row["peak_memory_bytes"]),
            target_reached=_count(row["target_reached"]),
            target_trials=_count(row["target_trials"]),
            target_seconds=_finite(row["target_seconds"]),
        )

    return tuple(one(row) for row in by_cell.records(choice.choice_table(study)))


# -------------------------------------------------------------------------------------------- rows


@dataclass(frozen=True, kw_only=True, eq=False)
class _Trials:
    """Complete trials by cell and seed."""

    by_cell: Mapping[tuple[Any, ...], Mapping[int, str]]

    @classmethod
    def of(cls, study: Study, among: set[str] | None = None) -> _Trials:
        points = by_cell.complete_points(study)
        if among is not None:
            points = points[points["trial_id"].isin(among)]
        groups = points.groupby(by_cell.CELL, sort=False)
        return cls(
            by_cell={key: dict(zip(g["seed"], g["trial_id"], strict=True)) for key, g in groups}
        )

    def paired(self, *cells: tuple[Any, ...]) -> tuple[str, ...]:
        """The trials of the seeds that all these cells have, each once."""
        found = [self.by_cell.get(cell, {}) for cell in cells]
        seeds = sorted(set.intersection(*(set(trials) for trials in found)))
        return tuple(dict.fromkeys(trials[seed] for seed in seeds for trials in found))


def _of_cell(row: Mapping[str, Any], name: str, unit: str) -> dict[str, Any]:
    low, high = ("low", "high") if name == "mean" else (f"{name}_low", f"{name}_high")
    arm, settings, size = by_cell.cell_of(row)
    return {
        "arm": arm,
        "settings": settings,
        "global_batch_size": int(size),
        "estimate": _number(row[name]),
        "low": _number(row[low]),
        "high": _number(row[high]),
        "unit": unit,
    }


def _bounds(row: Mapping[str, Any], name: str) -> dict[str, float]:
    names = {f.name for f in fields(Estimate)} - {"estimate"}
    return {"estimate": _number(row[name])} | {n: _number(row[f"{name}_{n}"]) for n in names}


def _picked(row: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    return {name: row[name] for name in names}


def _number(value: Any) -> float:
    return NAN if pd.isna(value) else float(value)


def _count(value: Any) -> int:
    return 0 if pd.isna(value) else int(value)


def _finite(value: Any) -> float:
    return _number(value) if pd.isna(value) or math.isfinite(value) else NAN
