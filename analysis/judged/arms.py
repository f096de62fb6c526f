"""What closes a gap: how much of it each arm takes back, and what may be said of that.

Every arm that ran at one batch size beside others, of one network on one data set, is one of a
family, whatever block it stands in: variances are moderated towards the family's mean, and one
level, 1 - .05 / (m looks), holds for the word and the interval beside it. Arms whose values a
search chose are compared as `analysis.search.tuned` has it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Literal

import pandas as pd
from scipy import stats

from analysis.gaps import by_cell
from analysis.gaps.by_cell import BASELINE_ARM, CELL
from analysis.judged.compared import Compared, compared
from analysis.judged.gaps import NONE, all_equal_text, not_judged, spoken_gap
from analysis.judged.looks import Subject, block_of, comparisons, looks, subject_of
from analysis.load import Study
from analysis.search import tuned
from analysis.search.cells import exploratory, lived, tuned_sides, why_no_word
from analysis.uncertainty import (
    Interval,
    Spread,
    is_exploratory,
    level_of,
    moderated,
    paired_interval,
    ratio_interval,
)
from analysis.wording import percent_level

Standing = Literal["not judged", "widens", "unclear", "open", "closes", "lifts", "recovers"]

BOUNDED = ["gap", "gain", "baseline_gain", "net_gain", "gap_under_arm"]
SHARE_COLUMNS = [
    *["share", "share_low", "share_high", "n", "reason"],
    *[name + bound for name in BOUNDED for bound in ["", "_low", "_high"]],
    *["standing", "exploratory", "comparisons", "looks", "level"],
    *["alive", "ended", "baseline_alive", "baseline_ended", "keeps_alive", "two_by_two"],
]


def share_of_gap_closed(study: Study) -> pd.DataFrame:
    """How much of the gap each arm closes: mean(arm - large) / mean(baseline - large).

    `large` is the baseline arm at this batch, `baseline` the same at the baseline batch; settings
    are equal in the axes that the arm leaves alone, seeds are paired, the interval is Fieller's.
    Beside it stand the arm's gain at the baseline batch, where it ran, and the gap under the arm:
    an arm that gains at every batch size lifts the metric and closes no gap. Where a search chose
    the arm's values, gain and share are the lower limits of `analysis.search.tuned`.

    Returns:
        Per arm (settings of the baseline arm in `baseline_settings`) and batch size, both besides
        the baseline's: share, share_low, share_high (1 = the whole gap; NaN where not shown), n,
        reason (why there is no share or no word, else ""), then gap, gain, baseline_gain, net_gain
        (gain minus baseline_gain) and gap_under_arm, each with _low and _high (NaN where there is
        none); standing:
            not judged (see reason), widens or unclear (the share's interval lies below or holds 0);
            above 0: open (the arm did not run at the baseline batch), closes (it gains more here
            than there), lifts (that is not shown), recovers (of a tuned arm);
        exploratory ("", exploratory, exploratory search), comparisons (of the family, m), looks,
        level (of word and intervals); alive of ended seeds, the same of the baseline arm,
        keeps_alive (Fisher's exact p < .05 / m); two_by_two (of a tuned arm, else None).
    """
    return _shares(study).copy()


@lru_cache(maxsize=8)  # verdict, tables, figures; a study never changes
def _shares(study: Study) -> pd.DataFrame:
    blocks, subjects = block_of(study), subject_of(study)
    families: dict[tuple[int, Subject], list[Compared]] = {}
    for one in (pairs := compared(study)):
        key = one.row["global_batch_size"], subjects.get(one.large[1])
        families.setdefault(key, []).append(one)
    found = {
        id(one): row
        for (batch, subject), family in families.items()
        for one, row in zip(
            family,
            _judged(study, {blocks[one.arm] for one in family}, batch, subject, family),
            strict=True,
        )
    }
    rows = [{**one.row, "baseline_settings": one.large[1], **found[id(one)]} for one in pairs]
    return pd.DataFrame(
        rows, columns=[*by_cell.counts(study).columns, "baseline_settings", *SHARE_COLUMNS]
    )


def _judged(
    study: Study, blocks: set[int], batch: int, subject: Subject, family: Sequence[Compared]
) -> list[dict[str, Any]]:
    """What is known, and may be said, of every comparison of one family."""
    count = comparisons(study, blocks, batch, subject, len(family))
    looked = looks(study, blocks, batch, subject)
    level = level_of(looked) if study.search else level_of(looked, count)
    if study.search:
        rows = [_tuned_row(study, one, level, count) for one in family]
    else:
        rows = _untuned_rows(study, family, level)
    seen = {"comparisons": count, "looks": looked, "level": level}
    return [
        {**row, **seen, **_survival(study, one, 0 if study.is_smoke else level_of(1, count))}
        for one, row in zip(family, rows, strict=True)
    ]


def _survival(study: Study, one: Compared, level: float) -> dict[str, Any]:
    """How many seeds came through, and whether the arm keeps more alive than by chance.

    A tuned arm is held against the setting at which most of the baseline's seeds lived.

    Args:
        study: the study.
        one: the comparison.
        level: 1 - .05 / m; 0 where no word may be said.
    """
    alive, died, others, lost = one.survivors
    if study.search and (found := lived(study, one.large)):
        others, lost = found[0], found[1] - found[0]
    elif study.search:
        level = 0.0
    p = float(stats.fisher_exact([[alive, died], [others, lost]]).pvalue)
    more = alive * (others + lost) > others * (alive + died)
    return {
        "alive": alive,
        "ended": alive + died,
        "baseline_alive": others,
        "baseline_ended": others + lost,
        "keeps_alive": more and level > 0 and p < 1 - level,
    }


# -------------------------------------------------------------------------------------- untuned


def _untuned_rows(study: Study, family: Sequence[Compared], level: float) -> list[dict[str, Any]]:
    pairs, nets = [one.gain_and_gap for one in family], [one.net_gain for one in family]
    # By its own variance alone, equal differences would look certain: see `paired_interval`.
    is_one = len(family) == 1
    spreads = [None] * len(family) if is_one else moderated([pair.to_numpy() for pair in pairs])
    net_spreads = [None] * len(family) if is_one else moderated([net.to_numpy() for net in nets])
    return [
        _untuned_row(study, one, pair, net, spread, net_spread, level)
        for one, pair, net, spread, net_spread in zip(
            family, pairs, nets, spreads, net_spreads, strict=True
        )
    ]


def _untuned_row(
    study: Study,
    one: Compared,
    pair: pd.DataFrame,
    net: pd.DataFrame,
    spread: Spread | None,
    net_spread: Spread | None,
    level: float,
) -> dict[str, Any]:
    gain = paired_interval(pair["gain"], 0, level, spread)
    gap = paired_interval(pair["gap"], 0, level, spread and spread.of(1))
    ratio = ratio_interval(pair["gain"], pair["gap"], level, spread)
    absent = "" if sum(one.survivors[2:]) else "the baseline did not run there"
    reason = (
        absent
        or not_judged(study, len(pair))
        or one.lost_more()
        or _why_no_share(gap, gain, level)
        or ratio.reason
        or _why_no_gap(study, one)
    )
    shown = {"share": ratio.ratio, "share_low": ratio.low, "share_high": ratio.high}
    row = {
        **(dict.fromkeys(shown, NONE) if reason else shown),
        "n": len(pair),
        **_bounds("gap", gap),
        **_bounds("gain", gain),
        **_bounds("net_gain", paired_interval(net["net_gain"], 0, level, net_spread)),
        **_bounds("baseline_gain", _baseline_gain(one, level)),
        **_bounds("gap_under_arm", _gap_under_arm(one, level)),
        "exploratory": "exploratory" if is_exploratory(len(pair)) else "",
        "two_by_two": None,
    }
    standing = "not judged" if reason else _standing(row, has_small=len(net) > 1)
    return row | {"reason": reason, "standing": standing}


def _baseline_gain(one: Compared, level: float) -> Interval:
    small = one.seeds[["arm_small", "baseline"]].dropna()
    return paired_interval(small["arm_small"], small["baseline"], level)


def _gap_under_arm(one: Compared, level: float) -> Interval:
    own = one.seeds[["arm_small", "arm"]].dropna()
    return paired_interval(own["arm_small"], own["arm"], level)


def _why_no_share(gap: Interval, gain: Interval, level: float) -> str:
    if gap.n < 2:
        return "fewer than two seeds complete in all three"
    if gap.all_equal or gain.all_equal:
        return all_equal_text(gap.n)
    if not gap.excludes_zero:
        return f"the gap's own {percent_level(level)} interval includes 0"
    return "" if gap.mean > 0 else "no gap to close: this batch is the more accurate one"


def _why_no_gap(study: Study, one: Compared) -> str:
    """Why nothing is said of the gap itself: then there is none to close."""
    gap = spoken_gap(study)
    for row in by_cell.records(gap[(gap[CELL] == list(one.large)).all(axis=1)]):
        return "" if row["shown"] else row["reason"] or "the gap at this size is not shown"
    return ""


def _standing(row: Mapping[str, Any], *, has_small: bool) -> Standing:
    if row["share_high"] < 0:
        return "widens"
    if row["share_low"] <= 0:
        return "unclear"
    if not has_small:
        return "open"
    return "closes" if row["gain_low"] > 0 and row["net_gain_low"] > 0 else "lifts"


def _bounds(name: str, interval: Interval | tuned.Limited) -> dict[str, float]:
    return {name: interval.mean, f"{name}_low": interval.low, f"{name}_high": interval.high}


# ---------------------------------------------------------------------------------------- tuned


def _tuned_row(study: Study, one: Compared, level: float, arms: int) -> dict[str, Any]:
    """An arm at its own winner against the best that the baseline could be tuned to."""
    sides = tuned_sides(study)
    arm, large, small = (sides.get(cell) for cell in (one.arm, one.large, one.small))
    arm_small = sides.get((*one.arm[:2], study.baseline_batch_size))
    gain = share = gap = at_small = tuned.NOTHING
    table = None
    if arm and large:
        gain = tuned.advantage(arm.at_winner, large, level)
        table = tuned.two_by_two(arm, large, level)
    if arm and large and small:
        share = tuned.share(arm.at_winner, large, small, level)
        gap = tuned.gap(small, large, level)
    if arm_small and small:
        at_small = tuned.advantage(arm_small.at_winner, small, level)
    reason = _why_not_recovered(study, one, gain, share)
    is_credited = share.low > 0 and gain.low > 0
    return {
        **_bounds("share", tuned.NOTHING if reason else share),
        "n": gain.n,
        "reason": reason,
        **_bounds("gap", gap),
        **_bounds("gain", gain),
        **_bounds("net_gain", tuned.NOTHING),
        **_bounds("baseline_gain", at_small),
        **_bounds("gap_under_arm", _gap_under_arm(one, level)),
        "standing": "not judged" if reason else "recovers" if is_credited else "unclear",
        "exploratory": exploratory(study, arms, gain.n),
        "two_by_two": None if not_judged(study, gain.n) else table,
    }


def _why_not_recovered(
    study: Study, one: Compared, gain: tuned.Limited, share: tuned.Limited
) -> str:
    if said := why_no_word(study, one.arm, one.large):
        return said
    if said := why_no_word(study, one.small, one.small):
        return f"batch {one.small[-1]}: {said}"
    if said := not_judged(study, gain.n) or _why_no_gap(study, one):
        return said
    if gain.low != gain.low:
        return f"no interval: {all_equal_text(gain.n)}"
    return "the gap is not shown" if share.low != share.low else ""


def focus(study: Study) -> int | None:
    """The batch size that arms and key numbers are spoken of at; None where there is no gap.

    Where arms ran is where the question is, else at the largest batch size.
    """
    gap = spoken_gap(study)
    known = set(gap.loc[(gap["arm"] == BASELINE_ARM) & (gap["n"] > 0), "global_batch_size"])
    shares = share_of_gap_closed(study)
    with_arms = set(shares.loc[shares["n"] > 0, "global_batch_size"])
    return max((known & with_arms) or known, default=None)
