"""Finals: winners on seeds that the search never saw, and what they are crossed with.

Winners are drawn with noise. An arm whose draw of a rate was the luckier one would be credited with
that, so each arm also runs at the baseline's winner, and the baseline at every arm's and beside its
own best until that is bracketed (`analysis.search.finals`, whose rule is asked here and never
repeated). Like a search, finals are a function of the study and of the final rows of its trials.
Loads neither torch nor ray.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from analysis.gaps.comparison import compared_with
from analysis.search.finals import Bracket, Outcome, bracket
from study.file.candidates import Values, is_whole
from study.file.document import StudyError
from study.file.search_config import SearchConfig
from study.grid.settings import BASELINE, Setting
from study.plan.cells import ENDED, CellSearch, Rows
from study.plan.search import Cells, objectives
from trainables.config.data import DataConfig
from trainables.config.identity import trial_id
from trainables.datasets.facts import DataFacts
from trainables.task import is_at_chance, level_name

SIZE = "training.global_batch_size"
RUNNERS_UP = 2
"""Of the baseline's search: with several searched fields a best setting has no two neighbours."""


@dataclass(frozen=True, kw_only=True)
class Crossing:
    """One cell of the baseline, and the arms' cells that are compared with it."""

    baseline: CellSearch
    arms: tuple[CellSearch, ...]
    bracket: Bracket | None
    """Of the baseline's finals; None while a search here goes on, and where the baseline's died."""
    settings: tuple[Values, ...] = ()
    """Those of the bracket, by field, the baseline's winner first."""

    @property
    def cells(self) -> tuple[CellSearch, ...]:
        """The baseline's, then the arms'."""
        return (self.baseline, *self.arms)

    @property
    def is_open(self) -> bool:
        """Whether settings may still join."""
        return self._waits or (self.bracket is not None and self.bracket.state == "waiting")

    @property
    def _waits(self) -> bool:
        return not all(cell.ended for cell in self.cells)

    def runs(self) -> Iterator[tuple[CellSearch, Values]]:
        """What is known to run beside the winners: a cell and the values that it runs at."""
        if self.bracket is None or self.baseline.winner is None:
            return
        shared = self.baseline.winner.values
        for arm in self.arms:
            if arm.winner is not None and arm.winner.values != shared:
                yield arm, shared
        for values in self.settings[1:]:
            yield self.baseline, values

    def expected(self) -> Iterator[tuple[CellSearch, int]]:
        """About how many settings more each cell will run that are not known yet."""
        known = len(self.settings) if self.bracket is not None else 1
        if self.is_open:
            yield self.baseline, max(self._about() - known, 0)
        if self._waits:
            yield from ((arm, 1) for arm in self.arms)

    def _about(self) -> int:
        """How many settings of the baseline it takes, as simulated: 4 of 8 candidates, 6 of 16."""
        tried = len(self.baseline.tried) + self.baseline.to_ask
        if len(self.baseline.tried[0].values) > 1:
            return min(tried, 1 + RUNNERS_UP + len(self.arms))
        return min(tried, max(3, round(2 * math.log2(tried)) - 2))


def crossings(
    cells: Cells,
    searches: Sequence[CellSearch],
    rows: Rows,
    facts: Callable[[DataConfig], DataFacts],
) -> tuple[Crossing, ...]:
    """How far the finals of every cell of the baseline are, and what they ask for next.

    Args:
        cells: the study's cells at whatever values.
        searches: their searches.
        rows: what is known of trials.
        facts: what is known of a data set, for what is at chance on it.
    """
    search = cells.spec.search
    if search is None or search.finals == "own":
        return ()
    baselines = [cell for cell in searches if cell.setting.arm == BASELINE]
    matches = matching([cell.setting for cell in baselines])
    arms_of: dict[int, list[CellSearch]] = {}
    for arm in (cell for cell in searches if cell.setting.arm != BASELINE):
        for i in matches(arm.setting):
            arms_of.setdefault(i, []).append(arm)
    return tuple(
        _crossing(
            cells,
            baseline,
            tuple(arms_of.get(i, ())),
            rows,
            facts(baseline.setting.data).chance.get(
                level_name(search.optimize, baseline.setting.training.loss)
            ),
        )
        for i, baseline in enumerate(baselines)
    )


def matching(baselines: Sequence[Setting]) -> Callable[[Setting], list[int]]:
    """Which of the baseline's settings an arm's is compared with (`analysis.gaps.comparison`)."""
    known = [_axes(setting) for setting in baselines]
    return lambda arm: compared_with(_axes(arm), known)


def _axes(setting: Setting) -> dict[str, str]:
    values: dict[str, Any] = {**setting.grid, SIZE: setting.training.global_batch_size}
    return {axis: repr(value) for axis, value in values.items()}


def _crossing(
    cells: Cells,
    baseline: CellSearch,
    arms: tuple[CellSearch, ...],
    rows: Rows,
    chance: float | None,
) -> Crossing:
    won = [cell.winner for cell in (baseline, *arms)]
    if baseline.winner is None or not all(cell.ended for cell in (baseline, *arms)):
        return Crossing(baseline=baseline, arms=arms, bracket=None)
    search = cells.spec.search
    assert search is not None
    more = [] if search.single else baseline.ranked[1 : 1 + RUNNERS_UP]
    first = [tried.numbers for tried in (*won, *more) if tried is not None]
    followed = bracket(
        tried=[tried.numbers for tried in baseline.tried],
        first=first,
        outcome=partial(_outcome, cells, baseline.setting, rows),
        maximizes=search.maximizes,
        is_at_chance=lambda v: chance is not None and is_at_chance(search.optimize, v, chance),
        is_whole=search.single is not None and is_whole(search.single),
    )
    settings = [_named(search, numbers) for numbers in followed.settings]
    return Crossing(
        baseline=baseline,
        arms=arms,
        bracket=followed,
        settings=tuple(values for values in settings if can_be(cells, baseline.setting, values)),
    )


def _named(search: SearchConfig, numbers: Sequence[float]) -> Values:
    """Values by field; what lies between two whole numbers is one too."""
    return {
        name: int(number) if is_whole(name) else number
        for name, number in zip(search.fields, numbers, strict=True)
    }


def _outcome(
    cells: Cells, setting: Setting, rows: Rows, numbers: tuple[float, ...]
) -> Outcome | None:
    """How a cell ended in the finals at some values; None until all of its seeds have."""
    search = cells.spec.search
    assert search is not None
    values = _named(search, numbers)
    if not can_be(cells, setting, values):
        return Outcome(planned=len(setting.seeds), objective=())
    _, config = cells.at(setting, values)
    found = [rows.get(trial_id(replace(config, seed=seed))) for seed in setting.seeds]
    if not all(row is not None and row["status"] in ENDED for row in found):
        return None
    return Outcome(planned=len(found), objective=objectives(search, found))


def can_be(cells: Cells, setting: Setting, values: Values) -> bool:
    """Whether a cell can run at values that another one chose, or that lie between two."""
    try:
        cells.at(setting, values)
    except StudyError:
        return False
    return True


def once(crossed: Sequence[Crossing], cells: Cells) -> list[tuple[CellSearch, Values]]:
    """What all crossings run beside the winners, each cell and values once."""
    found: dict[tuple[int, tuple[float, ...]], tuple[CellSearch, Values]] = {}
    for crossing in crossed:
        for cell, values in crossing.runs():
            if can_be(cells, cell.setting, values):
                found.setdefault((id(cell), tuple(values.values())), (cell, values))
    return list(found.values())
