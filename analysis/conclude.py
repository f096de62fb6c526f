"""From a study to its conclusions: what `analysis.judged` says may be said, in one shape.

Nothing is decided here.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeVar

import pandas as pd

from analysis import choice, scaling
from analysis.conclusions import (
    SCHEMA_VERSION,
    Conclusions,
    Cost,
    Estimate,
    Fit,
    Gain,
    Gap,
    OfCell,
    Ratio,
    ShareClosed,
    Subject,
    TunedGap,
)
from analysis.gaps import by_cell
from analysis.gaps.by_cell import BASELINE_ARM
from analysis.gaps.measured import Definition, definitions, measure_ratio, measure_values
from analysis.gaps.subjects import subjects
from analysis.judged.arms import focus, share_of_gap_closed
from analysis.judged.claims import claims
from analysis.judged.edge import edge_slopes
from analysis.judged.gaps import not_judged, spoken_gap
from analysis.load import Study
from analysis.search.cells import tuned_sides
from analysis.uncertainty import LEVEL, is_exploratory

NAN = math.nan
Said = TypeVar("Said", bound=OfCell)


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
        differences=study.differences,
    )


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
        edges=edge_slopes(part),
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


def at(found: Iterable[Said], batch: int | None) -> list[Said]:
    """What is said of the baseline arm at one batch size, and has a mean."""
    own = (one for one in found if one.arm == BASELINE_ARM and one.n)
    return [one for one in own if one.global_batch_size == batch]


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
            exploratory="exploratory" if is_exploratory(row["n"]) else "",
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

    ids: Mapping[tuple[Any, ...], Mapping[int, str]]

    @classmethod
    def of(cls, study: Study, among: set[str] | None = None) -> _Trials:
        points = by_cell.complete_points(study)
        if among is not None:
            points = points[points["trial_id"].isin(among)]
        groups = points.groupby(by_cell.CELL, sort=False)
        return cls(ids={key: dict(zip(g["seed"], g["trial_id"], strict=True)) for key, g in groups})

    def paired(self, *cells: tuple[Any, ...]) -> tuple[str, ...]:
        """The trials of the seeds that all these cells have, each once."""
        found = [self.ids.get(cell, {}) for cell in cells]
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
        "remark": row["remark"],
    }


def _bounds(row: Mapping[str, Any], name: str) -> dict[str, float]:
    ends = {end: _number(row[f"{name}_{end}"]) for end in ("low", "high")}
    return {"estimate": _number(row[name])} | ends


def _picked(row: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    return {name: row[name] for name in names}


def _number(value: Any) -> float:
    return NAN if pd.isna(value) else float(value)


def _count(value: Any) -> int:
    return 0 if pd.isna(value) else int(value)


def _finite(value: Any) -> float:
    return _number(value) if pd.isna(value) or math.isfinite(value) else NAN
