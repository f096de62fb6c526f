"""What `plan` shows of a search: how far each cell is, who won, and what is still to come."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rich.table import Table
from rich.text import Text

from study.opening import Opened
from study.searching import CellSearch, Rows
from study.show import MAX_ROWS
from trainables.config import Evaluation, Trial

SIZE = "training.global_batch_size"


def to_come(opened: Opened) -> list[Trial]:
    """Stand-ins for the trials that are not known yet, with the first of the searched values.

    They are the rest of an adaptive search, and the runs of winners that are not known.
    """
    return [
        trial for i, cell in enumerate(opened.plan.searches) for trial in _rest(opened, i, cell)
    ]


def _rest(opened: Opened, number: int, cell: CellSearch) -> Iterator[Trial]:
    spec = opened.spec
    searched = cell.to_ask * (spec.search.seeds if spec.search else 0)
    finals = 0 if cell.ended else len(cell.setting.seeds)
    evaluations = tuple(m for m in spec.measures if isinstance(m, Evaluation))
    for i, measures in enumerate([evaluations] * searched + [spec.measures] * finals):
        yield Trial(
            trial_id=f"to-come-{number}-{i}",
            config=cell.config,
            execution=spec.execution,
            measures=measures,
            folder=str(opened.folder),
            import_folder=spec.import_folder,
        )


def cells_json(opened: Opened, rows: Rows) -> list[dict[str, Any]]:
    """Each cell's search as plain values."""
    return [
        {
            "block": cell.setting.block,
            "arm": cell.setting.arm,
            "global_batch_size": cell.setting.training.global_batch_size,
            "points": len(cell.tried) + cell.to_ask,
            "ended": sum(tried.ended for tried in cell.tried),
            "died": _died(cell),
            "stopped": sum(tried.stopped for tried in cell.tried),
            "winner": cell.winner and dict(cell.winner.values),
            "objective": cell.winner and cell.winner.objective,
            "finals": len(cell.setting.seeds),
            "finals_done": _finals_done(opened, rows).get(_key(cell), 0),
        }
        for cell in opened.plan.searches
    ]


def search_table(opened: Opened, rows: Rows) -> Table:
    """A row per cell."""
    search = opened.spec.search
    assert search is not None
    searches = opened.plan.searches
    axes = [axis for axis in searches[0].setting.grid if axis not in (SIZE, *search.fields)]
    varied = [a for a in axes if len({repr(cell.setting.grid[a]) for cell in searches}) > 1]
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("arm", "batch", *(_short(axis) for axis in varied)):
        table.add_column(name, overflow="fold")
    for name in ("searched", *map(_short, search.fields), search.optimize, "finals done"):
        table.add_column(name.replace("_", " "), justify="right")
    done = _finals_done(opened, rows)
    for cell in searches[:MAX_ROWS]:
        setting, winner = cell.setting, cell.winner
        table.add_row(
            Text(setting.arm),
            str(setting.training.global_batch_size),
            *(Text(str(setting.grid[axis])) for axis in varied),
            f"{sum(tried.ended for tried in cell.tried)}/{len(cell.tried) + cell.to_ask}",
            *(f"{winner.values[name]:.4g}" if winner else "" for name in search.fields),
            f"{winner.objective:.4f}" if winner else "",
            f"{done.get(_key(cell), 0)}/{len(setting.seeds)}",
        )
    return table


def search_notes(opened: Opened) -> list[str]:
    """What a person must know of the search beside the table."""
    spec, searches = opened.spec, opened.plan.searches
    if spec.search is None:
        return []
    open_cells = [cell for cell in searches if not cell.ended]
    notes = [
        f"search: {spec.search.method}, {spec.search.points_per_cell} points per cell, by "
        f"{spec.search.optimize}"
    ]
    if stopped := sum(tried.stopped for cell in searches for tried in cell.tried):
        notes.append(f"{stopped} points were stopped early, having fallen behind")
    if open_cells:
        finals = sum(len(cell.setting.seeds) for cell in open_cells)
        notes.append(
            f"{finals} final trials follow, of the winners of {len(open_cells)} cells, with seeds "
            "that the search never saw"
        )
    if spec.search.optimize.startswith("test"):
        notes.append("the search optimizes on the test set, and the report will say so")
    for cell in searches:
        if cell.ended and cell.winner is None:
            size = cell.setting.training.global_batch_size
            notes.append(
                f"arm {cell.setting.arm}, batch {size}: all {len(cell.tried)} points of the search "
                "died; widen its fields"
            )
    return notes


def _died(cell: CellSearch) -> int:
    """Points that ended without a value, those that were stopped early apart."""
    return sum(t.ended and t.objective is None and not t.stopped for t in cell.tried)


def _key(cell: CellSearch) -> tuple[Any, ...]:
    return cell.setting.block, cell.setting.arm, repr(dict(cell.setting.grid))


def _finals_done(opened: Opened, rows: Rows) -> Mapping[tuple[Any, ...], int]:
    """How many final trials of each cell are done."""
    search = opened.spec.search
    counts: dict[tuple[Any, ...], int] = {}
    for point in opened.plan.points:
        if point.stage == "final" and point.trial_id in rows:
            names = () if search is None else search.fields
            grid = {name: value for name, value in point.grid.items() if name not in names}
            key = point.block, point.arm, repr(grid)
            counts[key] = counts.get(key, 0) + 1
    return counts


def _short(field: str) -> str:
    return field.rpartition(".")[2]
