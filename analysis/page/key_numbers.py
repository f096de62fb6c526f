"""What to know first: per network and data set a few numbers, all at one batch size."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from analysis.conclude import at, gaps, ratios, shares
from analysis.conclusions import Gap, Ratio, ShareClosed
from analysis.gaps.sharpness import leading
from analysis.gaps.subjects import subjects
from analysis.judged.arms import focus
from analysis.load import Study
from analysis.wording import counted, number, percent_level, unbroken, whole
from analysis.words.arms import shown_share


@dataclass(frozen=True, kw_only=True)
class Tile:
    """One key number."""

    label: str
    value: str
    range: str
    unit: str


@dataclass(frozen=True, kw_only=True)
class KeyNumbers:
    """What to know first, all at one batch size."""

    heading: str
    tiles: list[Tile]


def key_numbers(study: Study) -> list[KeyNumbers]:
    """Per network and data set gap, sharpness, curvature and share closed, at its focus."""
    found = [(name, part, focus(part)) for name, part in subjects(study)]
    return [_at_size(name, part, size) for name, part, size in found if size is not None]


def _at_size(name: str, study: Study, size: int) -> KeyNumbers:
    first = at(gaps(study), size)[0]
    metric, tiles = study.metric, []
    unit = metric.unit_of_difference
    tiles.append(_tile(first, "generalization gap", metric.amount, unit))
    for definition, measure in leading(study):
        own = [r for r in at(ratios(study, definition), size) if r.settings == first.settings]
        tiles += [_tile(ratio, unbroken(measure), number, "times") for ratio in own[:1]]
    sizes = f"batch size {size} against {study.baseline_batch_size}"
    parts = [f"{name}: {sizes}" if name else sizes.capitalize(), first.settings]
    heading = ", ".join(filter(None, parts))
    return KeyNumbers(heading=heading, tiles=tiles + _share_tiles(study, size))


def _share_tiles(study: Study, size: int) -> list[Tile]:
    """The largest share among those of which something may be said."""
    here = [share for share in shares(study) if share.global_batch_size == size]
    said = [share for share in here if share.standing in ("closes", "recovers")]
    return [_share_tile(max(said, key=shown_share), len(said))] if said else []


def _share_tile(best: ShareClosed, count: int) -> Tile:
    among = f" (largest of {count})" if count > 1 else ""
    settings = f", {best.settings}" if best.settings else ""
    of = f"{best.arm}{settings}{among}"
    level = f"of {counted(best.comparisons, 'comparison')}, {percent_level(best.level)}"
    seeds = f"{_seeds(best.n)}, {level}"
    if best.standing == "recovers":
        label = f"of the gap recovered, at least, by {of}"
        least = _whole_percent(best.low)
        return Tile(label=label, value=least, unit="%", range=f"lower limit, {seeds}")
    low, high = map(_whole_percent, (best.low, best.high))
    label, value = f"of the gap closed by {of}", _whole_percent(best.estimate)
    return Tile(label=label, value=value, unit="%", range=f"{low} to {high}, {seeds}")


def _tile(found: Gap | Ratio, name: str, text: Callable[[float], str], unit: str) -> Tile:
    low, high = found.low, found.high
    why = found.reason if isinstance(found, Gap) else ""
    bounds = why or "no interval" if math.isnan(low) else f"{text(low)} to {text(high)}"
    bounds += ", not judged" if why and not math.isnan(low) else ""
    value = text(found.estimate)
    return Tile(label=name, value=value, unit=unit, range=f"{bounds}, {_seeds(found.n)}")


def _seeds(n: int) -> str:
    return f"n\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}{n}"


def _whole_percent(share: float) -> str:
    return whole(100 * share)
