"""The table of arms: gains, shares, the word or why there is none, whose seeds lived."""

from __future__ import annotations

import math
from collections.abc import Mapping

import pandas as pd

from analysis.conclude import shares
from analysis.conclusions import Estimate, ShareClosed
from analysis.load import Study
from analysis.page.tables import interval, row_head, row_tail, table_of
from analysis.uncertainty import is_exploratory
from analysis.wording import NONE, headed
from trainables.task import Metric

WORDS: Mapping[str, str] = {
    "not judged": "",
    "unclear": "not shown",
    "open": "recovers",
    "lifts": "recovers",
}
"""By standing what the table says of an arm; others stand as they are."""


def closing_table(study: Study) -> pd.DataFrame:
    """What each arm gains, and which share of the gap that is."""
    small, metric = study.baseline_batch_size, study.metric
    unit = metric.unit_of_difference
    return table_of(
        {
            **row_head(vars(row)),
            headed("gain", unit): _interval(row.gain, metric),
            "gap closed, %": _share(row),
            "word": _word(row),
            headed(f"gain at {small}", unit): _interval(row.baseline_gain, metric),
            headed("gap under it", unit): _interval(row.gap_under_arm, metric),
            **_two_by_two(row, metric),
            "seeds alive": _alive(row),
            "why no word": row.reason,
            **row_tail(vars(row)),
        }
        for row in shares(study)
    )


def compact_closing_table(study: Study) -> pd.DataFrame:
    """The shares alone, for a terminal: nothing where no share is shown."""
    table = closing_table(study)
    if "gap closed, %" not in table:
        return pd.DataFrame()
    gain = headed(f"gain at {study.baseline_batch_size}", study.metric.unit_of_difference)
    wanted = ["arm", "settings", "batch size", "gap closed, %", "word", gain]
    return table[[name for name in wanted if name in table]]


def _share(row: ShareClosed) -> str:
    """A share with its interval; of a tuned arm its lower limit."""
    if row.standing == "recovers":
        return f"at least {100 * row.low:.0f}"
    if math.isnan(row.high):
        return NONE
    share, low, high = (f"{100 * part:.0f}" for part in (row.estimate, row.low, row.high))
    return share if math.isnan(row.low) else f"{share} [{low}, {high}]"


def _interval(found: Estimate, metric: Metric) -> str:
    """`mean [low, high]`."""
    named = {"mean": found.estimate, "low": found.low, "high": found.high}
    return interval(named, metric.amount)


def _word(row: ShareClosed) -> str:
    word = WORDS.get(row.standing, row.standing)
    if word and row.exploratory:
        word += f" ({row.exploratory})"
    few = " (exploratory)" if is_exploratory(min(row.ended, row.baseline_ended)) else ""
    alive = f"keeps alive{few}" if row.keeps_alive else ""
    return ", ".join(filter(None, [word, alive]))


def _alive(row: ShareClosed) -> str:
    """How many seeds lived, and of the baseline arm, where any died."""
    if row.alive == row.ended and row.baseline_alive == row.baseline_ended:
        return ""
    baseline = f"{row.baseline_alive} of {row.baseline_ended}"
    return f"{row.alive} of {row.ended}, baseline {baseline}"


def _two_by_two(row: ShareClosed, metric: Metric) -> dict[str, str]:
    """Arm against baseline at both winners, as description."""
    found = row.two_by_two
    sides = {
        "at its best": found and found.at_own,
        "at the baseline's": found and found.at_baseline,
    }
    texts = {
        name: " / ".join(_level(value, metric) for value in pair) if pair else ""
        for name, pair in sides.items()
    }
    return {
        **texts,
        "which reads": "" if found is None else "same values" if found.is_same else found.reading,
    }


def _level(goodness: float, metric: Metric) -> str:
    return "dead" if math.isnan(goodness) else metric.amount(metric.goodness(goodness))
