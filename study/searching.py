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

from study.candidates import Range, Values
from study.cross import Setting
from study.document import StudyError
from study.search import SearchConfig, first_values, with_values
from study.spec import StudySpec
from trainables.config.data import DataConfig
from trainables.config.identity import trial_id
from trainables.config.trial import DONE, TrialConfig

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

    @property
    def numbers(self) -> tuple[float, ...]:
        """The values without their names, in the order of the section."""
        return tuple(self.values.values())


@dataclass(frozen=True, kw_only=True)
class CellSearch:
    """How far the search of one cell is."""

    setting: Setting
    config: TrialConfig
    """Of the cell with the first of the searched values: what stands for its trials in costs."""
    tried: Sequence[Tried]
    to_ask: int
    """Points that are not known yet: an adaptive search asks for them as it learns."""
    extremes: Sequence[TrialConfig]
    """The cell at the ends of what it may ask for."""
    maximizes: bool

    @property
    def ended(self) -> bool:
        """Whether every point of the search has ended."""
        return not self.to_ask and all(tried.ended for tried in self.tried)

    @property
    def winner(self) -> Tried | None:
        """The point with the best objective, of equals the smallest value; None before the end."""
        return next(iter(self.ranked), None) if self.ended else None

    @property
    def ranked(self) -> list[Tried]:
        """The points with an objective, the best first, of equals the smaller value first."""
        known = [tried for tried in self.tried if tried.objective is not None]
        sign = -1 if self.maximizes else 1
        return sorted(known, key=lambda t: (sign * (t.objective or 0.0), t.numbers))

    @property
    def configs(self) -> list[TrialConfig]:
        """A trial of each point that is known, or may be asked for."""
        return [*(next(iter(tried.configs.values())) for tried in self.tried), *self.extremes]


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
        adaptive = search.method == "optuna"
        extremes = [self.at(setting, v)[1] for v in _extremes(search)] if adaptive else []

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
            to_ask=search.points_per_cell - len(tried) if adaptive else 0,
            extremes=extremes,
            maximizes=search.maximizes,
        )


def _extremes(search: SearchConfig) -> Iterator[Values]:
    """Points that are resolved before any trial runs, so that most of what fails does so then."""
    first = first_values(search)
    for name, values in search.fields.items():
        for value in (values.low, values.high) if isinstance(values, Range) else values:
            yield {**first, name: value}


def _tried(search: SearchConfig, cell: str, look: Callable[[Values], Tried]) -> Iterator[Tried]:
    """The points that are known: what all cells share, then rounds of an adaptive search."""
    told = [look(values) for values in search.candidates]
    yield from told
    if search.method != "optuna":
        return
    from study.search_optuna import ask  # an optional package

    while len(told) < search.points_per_cell and all(tried.ended for tried in told):
        count = min(ROUND, search.points_per_cell - len(told))
        asked = [look(values) for values in ask(search, cell, told, count)]
        yield from asked
        told += asked


def _is_stopped(rows: Sequence[Mapping[str, Any] | None]) -> bool:
    statuses = {row["status"] for row in rows if row is not None}
    return "stopped" in statuses and not statuses & {"diverged", "failed"}


def _objective(search: SearchConfig, rows: Sequence[Mapping[str, Any] | None]) -> float | None:
    known = objectives(search, rows)
    return fmean(known) if len(known) == len(rows) else None


def objectives(search: SearchConfig, rows: Sequence[Mapping[str, Any] | None]) -> list[float]:
    """What the search optimizes, of the trials that are complete."""
    values = [
        row[search.optimize] for row in rows if row is not None and row["status"] == "complete"
    ]
    return [value for value in values if value is not None and math.isfinite(value)]


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
