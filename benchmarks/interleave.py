"""Candidates side by side: in turn, round by round, so that what else a machine does meets all.

A ratio is taken within each round, and its median over the rounds is what counts; seconds alone
say little on a shared machine.
"""

from __future__ import annotations

import math
import resource
import statistics
from collections.abc import Callable, Mapping, Sequence

from rich.console import Console
from rich.table import Table

Seconds = Mapping[str, Sequence[float]]
"""Of every candidate, in every round."""


def interleave(candidates: Mapping[str, Callable[[], float]], rounds: int) -> Seconds:
    """Calls every candidate once a round, beginning with another one each time.

    Args:
        candidates: each does its share of work and returns the seconds that it took.
        rounds: how many count; one before them warms up.
    """
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    names = list(candidates)
    for i in range(rounds + 1):
        first = i % len(names)
        for name in names[first:] + names[:first]:
            seconds[name].append(candidates[name]())
    return {name: values[1:] for name, values in seconds.items()}


def cpu_seconds(act: Callable[[], object]) -> float:
    """CPU time, user's and system's, of this process and of the children that ended in it."""
    began = _used()
    act()
    return _used() - began


def _used() -> float:
    usages = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def median(seconds: Seconds, name: str) -> float:
    """A candidate's seconds."""
    return statistics.median(seconds[name])


def ratio(seconds: Seconds, name: str, reference: str) -> float:
    """How many times the reference's seconds a candidate takes."""
    return statistics.median(_ratios(seconds, name, reference))


def shown(seconds: Seconds, name: str, reference: str) -> str:
    """The ratio with the quartiles of the rounds' ratios: `1.03 (1.01-1.06)`."""
    ratios = _ratios(seconds, name, reference)
    if len(ratios) < 2:
        return f"{ratios[0]:.2f}"
    low, middle, high = statistics.quantiles(ratios, n=4, method="inclusive")
    return f"{middle:.2f} ({low:.2f}-{high:.2f})"


def _ratios(seconds: Seconds, name: str, reference: str) -> list[float]:
    return [a / b for a, b in zip(seconds[name], seconds[reference], strict=True)]


def against(value: float, most: float = math.inf) -> tuple[str, str]:
    """A target and whether it was met, as the last two cells of a row; without one, blanks."""
    if math.isinf(most):
        return "", ""
    return f"<= {most:g}", "yes" if value <= most else f"no, by {value / most - 1:.0%}"


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """One table: the first column to the left, numbers to the right."""
    table = Table(title=title, title_justify="left", box=None, header_style="bold", pad_edge=False)
    for i, column in enumerate(columns):
        table.add_column(column, justify="left" if i == 0 else "right", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    out = Console()
    out = out if out.is_terminal else Console(width=140)
    out.print(table)
    out.print()
