"""What may be said of a study, as values: every estimate with its interval, n, level and reason.

Sentences, tiles and tables are views of them, and `batchgap report --json` prints them
(docs/conclusions.md). `analysis.conclude` makes them. Numbers are in the unit of the tables (an
accuracy a fraction of 1); NaN, in JSON null, stands for what is not there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter

from analysis.judged.arms import Standing
from analysis.judged.claim import Claim
from analysis.judged.edge import EdgeSlope
from analysis.search.tuned import TwoByTwo
from analysis.uncertainty import Number

SCHEMA_VERSION = 1
"""Of the JSON; raised when a name goes or means something else."""


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
    remark: str
    """How the cell's seeds ended, where not all completed: `3 of 5 diverged`."""


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
    edges: tuple[EdgeSlope, ...]


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
    differences: tuple[str, ...]
    """In which settings it is not what the results folder was last run as."""


def to_json(found: Conclusions) -> str:
    """As `batchgap report --json` prints it."""
    return TypeAdapter(Conclusions).dump_json(found, indent=1).decode()


def json_schema() -> dict[str, Any]:
    """What that is valid against."""
    return TypeAdapter(Conclusions).json_schema(mode="serialization")
