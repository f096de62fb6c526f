"""What a search found, and the steps to a target, as tables of text."""

from __future__ import annotations

import math

import pandas as pd

from analysis.gaps import by_cell
from analysis.load import Study
from analysis.page.tables import Row, row_head, table_of
from analysis.scaling import CriticalBatch, critical_batches, noise_scales, steps_to_target
from analysis.search.outcomes import search_outcomes
from analysis.wording import NONE, listed, number, setting, whole, words


def search_table(study: Study) -> pd.DataFrame:
    """`search_outcomes` as text."""
    return table_of(
        {
            **row_head(row),
            "points": str(row["points"]),
            "died": str(row["died"]) if row["died"] else "",
            "stopped": str(row["stopped"]) if row["stopped"] else "",
            **_best(study, row),
            words(study.search["optimize"]): number(row["objective"], 4),
            "at the edge: widen": _edge(row),
            "remark": row["remark"],
        }
        for row in by_cell.records(search_outcomes(study))
    )


def _best(study: Study, row: Row) -> dict[str, str]:
    """The winner's values."""
    values = {name: row[name] for name in study.searched}
    return {
        f"best {words(name)}": NONE if pd.isna(value) else setting(float(value))
        for name, value in values.items()
    }


def _edge(row: Row) -> str:
    return listed([words(name) for name in row["edge"]]) if row["edge"] else ""


def steps_table(study: Study) -> pd.DataFrame:
    """`steps_to_target` as text, B_simple beside it."""
    noise = noise_scales(study)
    return table_of(
        {
            **row_head(row),
            "least steps": _least(row),
            "reached, of trials": f"{row['reached']} of {row['trials']}",
            **_best(study, row),
            "at the edge: widen": _edge(row),
            "final trials, mean": _finals(row),
            "slope": "" if math.isnan(row["slope"]) else f"{row['slope']:+.2f}",
            "regime": row["regime"],
            "B_simple": number(noise.get(by_cell.cell_of(row), math.nan)),
        }
        for row in by_cell.records(steps_to_target(study))
    )


def _least(row: Row) -> str:
    if math.isinf(row["steps"]):
        return "not reached" if row["trials"] else NONE
    return f"{whole(row['steps'])} (after {whole(row['after'])})"


def _finals(row: Row) -> str:
    if not row["finals"]:
        return NONE
    if row["finals_reached"] < row["finals"]:
        return f"{row['finals_reached']} of {row['finals']} reached it"
    if math.isnan(row["low"]):
        return whole(row["mean"])
    return f"{whole(row['mean'])} [{whole(row['low'])}, {whole(row['high'])}]"


def critical_table(study: Study) -> pd.DataFrame:
    """A row per series: S_min and B_crit with their intervals, and the range of B_simple."""
    noise = noise_scales(study)

    def spread(series: tuple[str, str]) -> str:
        own = [value for (*key, _), value in noise.items() if tuple(key) == series]
        return f"{number(min(own))} to {number(max(own))}" if own else ""

    return table_of(
        {
            "arm": series[0],
            "settings": series[1],
            "batch sizes": str(fit.n),
            "S_min": _minimum(fit),
            "B_crit": _critical(fit),
            "B_simple": spread(series),
        }
        for series, fit in critical_batches(study).items()
    )


def _minimum(fit: CriticalBatch) -> str:
    if not fit.minimum_steps:
        return NONE
    return number(fit.minimum_steps) + _bounds(fit.minimum_steps_low, fit.minimum_steps_high)


def _critical(fit: CriticalBatch) -> str:
    size = fit.critical_batch_size
    if not 0 < size < math.inf:
        return f"{'below' if size == 0 else 'above'} all batch sizes"
    return number(size) + _bounds(fit.critical_low, fit.critical_high)


def _bounds(low: float, high: float) -> str:
    return "" if math.isnan(low) else f" [{number(low)}, {number(high)}]"
