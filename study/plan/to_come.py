"""About which trials a search will ask for that are not known yet. Loads neither torch nor ray."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from study.plan.cells import CellSearch
from study.plan.plan import Plan
from trainables.config.measures.kinds import evaluations
from trainables.config.trial import Trial


def to_come(plan: Plan, folder: Path) -> list[Trial]:
    """Stand-ins for the trials that are not known yet, with the first of the searched values.

    They are the rest of an adaptive search, the runs of winners that are not known, and about what
    these will be crossed with.
    """
    spec = plan.spec
    only_evaluated = evaluations(spec.measures)
    light = replace(spec.execution, keep_weights="none")
    found: list[Trial] = []

    def add(cell: CellSearch, count: int, *, measured: bool = False) -> None:
        found.extend(
            Trial(
                trial_id=f"to-come-{len(found) + i}",
                config=cell.config,
                execution=spec.execution if measured else light,
                measures=spec.measures if measured else only_evaluated,
                folder=str(folder),
                import_folder=spec.import_folder,
            )
            for i in range(count)
        )

    for cell in plan.searches:
        add(cell, cell.to_ask * (spec.search.seeds if spec.search else 0))
        add(cell, 0 if cell.ended else len(cell.setting.seeds), measured=True)
    for cell, settings in expected(plan):
        add(cell, settings * len(cell.setting.seeds))
    return found


def expected(plan: Plan) -> Iterator[tuple[CellSearch, int]]:
    """About how many settings more are crossed, by cell, that are not known yet."""
    for crossing in plan.crossings:
        yield from crossing.expected()


def finals_to_come(plan: Plan) -> int:
    """About how many final trials there will be that are not known yet, crossed ones too."""
    cells = [cell for cell in plan.searches if not cell.ended]
    winners = sum(len(cell.setting.seeds) for cell in cells)
    return winners + sum(n * len(cell.setting.seeds) for cell, n in expected(plan))
