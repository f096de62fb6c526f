"""Searches followed through their results: what each cell tries, and which values won.

Everything here is a function of the study and of the final rows of its trials, so that a search
goes on where the results folder is, whoever runs it. Loads neither torch nor ray.
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean
from typing import TYPE_CHECKING, Any

from study.cross import Setting
from study.document import StudyError
from study.search import (
    GRACE_EPOCHS,
    REDUCTION_FACTOR,
    Range,
    SearchConfig,
    Values,
    first_values,
    grid_points,
    random_points,
    with_values,
)
from study.spec import StudySpec
from trainables.batching import batch_plan
from trainables.config import DONE, DataConfig, Halving, TrialConfig, trial_id

if TYPE_CHECKING:
    from trainables.datasets.cache import DataFacts

Rows = Mapping[str, Mapping[str, Any]]
"""The final row of every trial that ended, by trial id."""
ENDED = (*DONE, "failed")
"""Statuses that a search goes on after; only complete trials can win."""
ROUND = 4
"""Points that an adaptive search asks for before it hears of any of them: fixed, so that the points
depend on the results alone and not on how many trials ran at a time."""


@dataclass(frozen=True, kw_only=True)
class Tried:
    """One point of a cell's search, with its seeds."""

    values: Values
    configs: Mapping[str, TrialConfig]
    """Its trials by id, a search seed each."""
    ended: bool
    stopped: bool
    """Whether the scheduler ended one of its trials early, and none of them died."""
    objective: float | None
    """Mean over the search's seeds; None unless all of them are complete."""


@dataclass(frozen=True, kw_only=True)
class CellSearch:
    """How far the search of one cell is."""

    setting: Setting
    config: TrialConfig
    """Of the cell with the first of the searched values: what stands for its trials in costs."""
    tried: Sequence[Tried]
    to_ask: int
    """Points that are not known yet: an adaptive search asks for them as it learns."""
    maximizes: bool

    @property
    def ended(self) -> bool:
        """Whether every point of the search has ended."""
        return not self.to_ask and all(tried.ended for tried in self.tried)

    @property
    def winner(self) -> Tried | None:
        """The point with the best objective, of equals the first; None before the search ended."""
        known = [tried for tried in self.tried if tried.objective is not None]
        if not self.ended or not known:
            return None
        best = max if self.maximizes else min
        return best(known, key=lambda tried: tried.objective or 0.0)


@dataclass(frozen=True, kw_only=True)
class Cells:
    """The cells of a study that searches, at whatever values; each is resolved once."""

    spec: StudySpec
    resolved: Callable[[Setting], TrialConfig]
    """The trial of a setting, with any seed.

    Raises:
        ValueError: it cannot be.
    """
    known: dict[tuple[int, Any], tuple[Setting, TrialConfig]] = field(default_factory=dict)

    def at(self, setting: Setting, values: Values) -> tuple[Setting, TrialConfig]:
        """A cell at the values that a search tries.

        Raises:
            StudyError: for values that cannot be.
        """
        key = id(setting), tuple(values.items())
        if key not in self.known:
            try:
                training = with_values(setting.training, values)
                there = replace(setting, training=training, grid={**setting.grid, **values})
                self.known[key] = there, self.resolved(there)
            except ValueError as error:
                tried = ", ".join(f"{name} {value:g}" for name, value in values.items())
                size = setting.training.global_batch_size
                message = f"{tried} in arm {setting.arm} at batch size {size}: {error}"
                keys = ("search", "fields", *(values if len(values) == 1 else ()))
                raise StudyError([self.spec.document.problem(keys, message)]) from error
        return self.known[key]

    def follow(self, setting: Setting, config: TrialConfig, rows: Rows) -> CellSearch:
        """A cell's search as far as its results allow.

        Args:
            setting: the cell.
            config: its trial with the first values.
            rows: what is known of trials.
        """
        search = self.spec.search
        assert search is not None
        for values in _extremes(search):
            self.at(setting, values)

        def look(values: Values) -> Tried:
            _, resolved = self.at(setting, values)
            seeded = [replace(resolved, seed=seed) for seed in search.own_seeds]
            configs = {trial_id(config): config for config in seeded}
            found = [rows.get(trial_id) for trial_id in configs]
            ended = all(row is not None and row["status"] in ENDED for row in found)
            objective = _objective(search, found)
            return Tried(
                values=values,
                configs=configs,
                ended=ended,
                stopped=_is_stopped(found),
                objective=objective,
            )

        # Named by its science: settings that are one training have one search.
        cell = trial_id(replace(config, seed=0))
        tried = list(_tried(search, cell, look))
        return CellSearch(
            setting=setting,
            config=config,
            tried=tuple({tuple(t.values.items()): t for t in tried}.values()),
            to_ask=search.points_per_cell - len(tried),
            maximizes=search.maximizes,
        )


def _extremes(search: SearchConfig) -> Iterator[Values]:
    """Points that are resolved before any trial runs, so that most of what fails does so then."""
    first = first_values(search)
    for name, values in search.fields.items():
        for value in (values.low, values.high) if isinstance(values, Range) else values:
            yield {**first, name: value}


def _tried(search: SearchConfig, cell: str, look: Callable[[Values], Tried]) -> Iterator[Tried]:
    """The points that are known: all of a grid's and random ones, rounds of an adaptive search."""
    if search.method != "optuna":
        known = grid_points(search) if search.method == "grid" else random_points(search, cell)
        yield from map(look, known)
        return
    from study.search_optuna import ask  # an optional package

    told: list[Tried] = []
    while len(told) < search.points_per_cell and all(tried.ended for tried in told):
        count = min(ROUND, search.points_per_cell - len(told))
        asked = [look(values) for values in ask(search, cell, told, count)]
        yield from asked
        told += asked


def _is_stopped(rows: Sequence[Mapping[str, Any] | None]) -> bool:
    statuses = {row["status"] for row in rows if row is not None}
    return "stopped" in statuses and not statuses & {"diverged", "failed"}


def _objective(search: SearchConfig, rows: Sequence[Mapping[str, Any] | None]) -> float | None:
    values = [
        row[search.optimize] for row in rows if row is not None and row["status"] == "complete"
    ]
    known = [value for value in values if value is not None and math.isfinite(value)]
    return fmean(known) if len(known) == len(rows) else None


def halvings(
    spec: StudySpec, searches: Sequence[CellSearch], num_train_examples: Callable[[DataConfig], int]
) -> dict[str, Halving]:
    """When each trial of a search is to stop, by id; none without a scheduler.

    Raises:
        StudyError: for a run that ends before the first rung.
    """
    search, found = spec.search, {}
    for cell in searches if search is not None and search.scheduler == "asha" else ():
        assert search is not None
        size = num_train_examples(cell.setting.data)
        epochs = batch_plan(cell.config, size).examples / size
        grace = search.grace_epochs or GRACE_EPOCHS
        if grace >= epochs:
            message = f"{grace:g}: the run ends at {epochs:.6g}; take less than that"
            raise StudyError([spec.document.problem(("search", "grace_epochs"), message)])
        for ids in zip(*(tried.configs for tried in cell.tried), strict=True):  # a seed's each
            for own in ids:
                found[own] = Halving(
                    grace_epochs=grace,
                    reduction_factor=search.reduction_factor or REDUCTION_FACTOR,
                    objective=search.optimize,
                    sibling_ids=tuple(other for other in ids if other != own),
                )
    return found


def check_search(spec: StudySpec, facts: Callable[[DataConfig], DataFacts]) -> None:
    """Refuses a search without what it optimizes, or without its package.

    Raises:
        StudyError: naming a value that works.
    """
    search, problems = spec.search, []
    assert search is not None
    if search.method == "optuna" and importlib.util.find_spec("optuna") is None:
        message = "optuna is not installed: pip install 'batchgap[search]', or use method: random"
        problems.append(spec.document.problem(("search", "method"), message))
    if search.optimize.startswith("validation"):
        known = [facts(data) for data in {id(s.data): s.data for s in spec.settings}.values()]
        if lacking := [f for f in known if not f.num_validation_examples]:
            some = max(min(f.num_train_examples for f in lacking) // 10, 1)
            message = (
                f"{search.optimize}: there are no validation examples; hold some out, e.g. "
                f"data.validation_examples: {some}, or write out optimize: test_accuracy"
            )
            problems.append(spec.document.problem(("search", "optimize"), message))
    if any(setting.training.start is not None for setting in spec.settings):
        message = "a warm start cannot be searched: each value tried would need its own trunk"
        problems.append(spec.document.problem(("search",), message, at_key=True))
    if problems:
        raise StudyError(problems)
