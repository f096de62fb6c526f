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
from typing import Any

from study.file.candidates import Range, Values
from study.file.document import StudyError
from study.file.search_config import SearchConfig, first_values, with_values
from study.grid.settings import Setting
from study.grid.spec import StudySpec
from study.plan.cells import ENDED, CellSearch, Rows, Tried
from trainables.config.data import DataConfig
from trainables.config.identity import trial_id
from trainables.config.trial import TrialConfig
from trainables.datasets.facts import DataFacts

ROUND = 4
"""Points that an adaptive search asks for before it hears of any of them: fixed, so that the points
depend on the results alone and not on how many trials ran at a time."""


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
    from study.plan.optuna import ask  # an optional package

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
                f"data.validation_examples: {some}, or write out optimize: "
                f"{search.optimize.replace('validation', 'test')}"
            )
            problems.append(spec.document.problem(("search", "optimize"), message))
    if any(setting.training.start is not None for setting in spec.settings):
        message = "a warm start cannot be searched: each value tried would need its own trunk"
        problems.append(spec.document.problem(("search",), message, at_key=True))
    if problems:
        raise StudyError(problems)
