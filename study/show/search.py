"""What `plan` shows of a search: how far each cell is, who won, and what is still to come."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.table import Table
from rich.text import Text

from study.file.search_config import SearchConfig
from study.plan.cells import CellSearch, Rows
from study.plan.points import Stage
from study.plan.to_come import expected, finals_to_come
from study.run.opening import Opened
from study.show.status import MAX_ROWS

SIZE = "training.global_batch_size"
MAX_CANDIDATES = 8
"""Of several fields, that are shown to a person."""
WHY_CROSSED = (
    "each arm also runs at the baseline's best values, and the baseline at every arm's and beside "
    "its own best, so that an arm is not credited with the draw of its rate"
)
WHY_BRACKETED = (
    "each cell also runs beside its own best values, so that a gap is not that of two draws"
)


def cells_json(opened: Opened, rows: Rows) -> list[dict[str, Any]]:
    """Each cell's search as plain values."""
    finals, crossed = (_counted(opened, rows, stage) for stage in ("final", "crossed"))
    later = _crossed_to_come(opened)
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
            "finals_done": finals.get(_key(cell), (0, 0))[1],
            "crossed": crossed.get(_key(cell), (0, 0))[0],
            "crossed_done": crossed.get(_key(cell), (0, 0))[1],
            "crossed_to_come": later.get(_key(cell), 0),
        }
        for cell in opened.plan.searches
    ]


def candidates_json(opened: Opened) -> list[dict[str, float]]:
    """What every cell tries."""
    return opened.spec.search.candidates if opened.spec.search else []


def search_table(opened: Opened, rows: Rows) -> Table:
    """A row per cell."""
    search = opened.spec.search
    assert search is not None
    searches = opened.plan.searches
    axes = [axis for axis in searches[0].setting.grid if axis not in (SIZE, *search.fields)]
    varied = [a for a in axes if len({repr(cell.setting.grid[a]) for cell in searches}) > 1]
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("arm", "batch size", *(_short(axis) for axis in varied)):
        table.add_column(name, overflow="fold")
    is_crossed = search.finals == "crossed"
    tails = ("finals done", *(["crossed done"] if is_crossed else []))
    for name in ("searched", *map(_short, search.fields), search.optimize, *tails):
        table.add_column(name.replace("_", " "), justify="right")
    finals, crossed = (_counted(opened, rows, stage) for stage in ("final", "crossed"))
    later = _crossed_to_come(opened)
    for cell in searches[:MAX_ROWS]:
        setting, winner = cell.setting, cell.winner
        table.add_row(
            Text(setting.arm),
            str(setting.training.global_batch_size),
            *(Text(str(setting.grid[axis])) for axis in varied),
            f"{sum(tried.ended for tried in cell.tried)}/{len(cell.tried) + cell.to_ask}",
            *(f"{winner.values[name]:.4g}" if winner else "" for name in search.fields),
            f"{winner.objective:.4f}" if winner else "",
            f"{finals.get(_key(cell), (0, 0))[1]}/{len(setting.seeds)}",
            *([_of_about(*crossed.get(_key(cell), (0, 0)), later.get(_key(cell), 0))] * is_crossed),
        )
    return table


def _of_about(known: int, done: int, to_come: int) -> str:
    """How many are done of those that are known and of about so many more."""
    return f"{done}/{'~' if to_come else ''}{known + to_come}"


def search_notes(opened: Opened) -> list[str]:
    """What a person must know of the search beside the table."""
    spec, searches = opened.spec, opened.plan.searches
    if spec.search is None:
        return []
    open_cells = [cell for cell in searches if not cell.ended]
    notes = [
        f"search: {spec.search.method}, {spec.search.points_per_cell} points per cell, by "
        f"{spec.search.optimize}",
        _candidates_note(spec.search),
    ]
    if stopped := sum(tried.stopped for cell in searches for tried in cell.tried):
        notes.append(f"{stopped} points were stopped early, having fallen behind")
    if count := finals_to_come(opened.plan):
        notes.append(_finals_note(opened, count, len(open_cells)))
    elif any(point.stage == "crossed" for point in opened.plan.points):
        notes.append(f"finals are crossed: {_why(opened)}")
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


def _candidates_note(search: SearchConfig) -> str:
    """The candidates in ascending order; of several fields the first few."""
    points = sorted(search.candidates, key=lambda point: tuple(point.values()))
    if name := search.single:
        text = f"candidates: {name} {', '.join(f'{point[name]:.4g}' for point in points)}"
    else:
        shown = [", ".join(f"{_short(n)} {v:.4g}" for n, v in p.items()) for p in points]
        more = len(shown) - MAX_CANDIDATES
        text = f"candidates: {'; '.join(shown[:MAX_CANDIDATES])}"
        text += f"; and {more} more (--json lists all)" if more > 0 else ""
    if search.method == "optuna":
        own = search.points_per_cell - len(points)
        return f"{text}, the same for all cells; then {own} that each cell asks for by itself"
    return f"{text}, the same for all cells"


def _finals_note(opened: Opened, count: int, open_cells: int) -> str:
    """How many trials follow the search, and why."""
    seeds = "with seeds that the search never saw"
    if not opened.plan.crossings:
        return (
            f"{count} final trials follow, of the winners of {open_cells} cells, {seeds}; finals "
            "are not crossed (search.finals: own), so no arm will be credited with a gain"
        )
    return f"about {count} final trials follow, {seeds}: {_why(opened)}"


def _why(opened: Opened) -> str:
    """Why finals run at more than the winners."""
    has_arms = any(crossing.arms for crossing in opened.plan.crossings)
    return WHY_CROSSED if has_arms else WHY_BRACKETED


def _died(cell: CellSearch) -> int:
    """Points that ended without a value, those that were stopped early apart."""
    return sum(t.ended and t.objective is None and not t.stopped for t in cell.tried)


def _key(cell: CellSearch) -> tuple[Any, ...]:
    return cell.setting.block, cell.setting.arm, repr(dict(cell.setting.grid))


def _counted(opened: Opened, rows: Rows, stage: Stage) -> Mapping[tuple[Any, ...], tuple[int, int]]:
    """How many trials of a stage each cell has, and how many of them are done."""
    search = opened.spec.search
    counts: dict[tuple[Any, ...], tuple[int, int]] = {}
    for point in opened.plan.points:
        if point.stage == stage:
            names = () if search is None else search.fields
            grid = {name: value for name, value in point.grid.items() if name not in names}
            key = point.block, point.arm, repr(grid)
            known, done = counts.get(key, (0, 0))
            counts[key] = known + 1, done + (point.trial_id in rows)
    return counts


def _crossed_to_come(opened: Opened) -> Mapping[tuple[Any, ...], int]:
    """About how many crossed trials more each cell will have."""
    counts: dict[tuple[Any, ...], int] = {}
    for cell, settings in expected(opened.plan):
        count = settings * len(cell.setting.seeds)
        counts[_key(cell)] = counts.get(_key(cell), 0) + count
    return counts


def _short(field: str) -> str:
    return field.rpartition(".")[2]
