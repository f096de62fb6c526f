"""What closes a gap: how much of it each arm takes back, and what may be said of that."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import pandas as pd

from analysis import gaps
from analysis.gaps import BASELINE_ARM, CELL
from analysis.load import Study
from analysis.uncertainty import Interval, paired_interval, ratio_interval

Standing = Literal["not shown", "widens", "unclear", "open", "closes", "lifts"]

SHARE_COLUMNS = [
    *["share", "share_low", "share_high", "n", "reason"],
    *[
        name + bound
        for name in ["gap", "gain", "baseline_gain", "net_gain", "gap_under_arm"]
        for bound in ["", "_low", "_high"]
    ],
    "may_say_closes",
]


def share_of_gap_closed(study: Study) -> pd.DataFrame:
    """How much of the gap each arm closes: mean(arm - large) / mean(baseline - large).

    `large` is the baseline arm at this batch, `baseline` the same at the baseline batch; settings
    are equal in the axes that the arm leaves alone, seeds are paired, the interval is Fieller's.
    Beside it stand the arm's gain at the baseline batch, where it ran, and the gap under the arm:
    an arm that gains at every batch size lifts the accuracy and closes no gap.

    Returns:
        Per arm (settings of the baseline arm in `baseline_settings`) and batch size, both besides
        the baseline's: share, share_low, share_high (1 = the whole gap; NaN where not shown), n,
        reason (why it is not shown, else ""), then gap, gain, baseline_gain, net_gain (gain minus
        baseline_gain) and gap_under_arm, each with _low and _high (NaN where there is none), and
        may_say_closes (a share is shown and the arm also ran at the baseline batch).
    """
    values = gaps.complete_values(study, "test_accuracy").groupby(CELL, sort=False)
    accuracy = {cell: rows.set_index("seed")["value"] for cell, rows in values}
    matching = gaps.matching_settings(study)
    table = gaps.off_baseline(study, gaps.cells(study))
    rows = [
        {
            **row,
            "baseline_settings": other,
            **_share(accuracy, row, other, study.baseline_batch_size),
        }
        for row in table[table["arm"] != BASELINE_ARM].to_dict("records")
        for other in matching[row["arm"], row["settings"]]
    ]
    return pd.DataFrame(rows, columns=[*table.columns, "baseline_settings", *SHARE_COLUMNS])


def _share(
    accuracy: dict[Any, pd.Series], row: dict[str, Any], other: str, small: int | None
) -> dict[str, Any]:
    batch = row["global_batch_size"]
    wanted = {
        "arm": (row["arm"], row["settings"], batch),
        "arm_small": (row["arm"], row["settings"], small),
        "large": (BASELINE_ARM, other, batch),
        "baseline": (BASELINE_ARM, other, small),
    }
    # One row per seed; which seeds a difference uses is decided pair by pair below.
    seeds = pd.DataFrame({k: accuracy.get(v, pd.Series(dtype=float)) for k, v in wanted.items()})
    three = seeds[["arm", "large", "baseline"]].dropna()
    gap = paired_interval(three["baseline"], three["large"])
    gain = paired_interval(three["arm"], three["large"])
    ratio = ratio_interval(three["arm"] - three["large"], three["baseline"] - three["large"])
    at_small = seeds[["arm_small", "baseline"]].dropna()
    own = seeds[["arm_small", "arm"]].dropna()
    four = seeds.dropna()
    net_gain = paired_interval(four["arm"] - four["large"], four["arm_small"] - four["baseline"])
    reason = _why_no_share(gap)
    shown = {"share": ratio.ratio, "share_low": ratio.low, "share_high": ratio.high}
    return {
        **(dict.fromkeys(shown, float("nan")) if reason else shown),
        "n": len(three),
        "reason": reason,
        **_bounds("gap", gap),
        **_bounds("gain", gain),
        **_bounds("baseline_gain", paired_interval(at_small["arm_small"], at_small["baseline"])),
        **_bounds("net_gain", net_gain),
        **_bounds("gap_under_arm", paired_interval(own["arm_small"], own["arm"])),
        "may_say_closes": not reason and len(at_small) > 1,
    }


def _why_no_share(gap: Interval) -> str:
    if gap.n < 2:
        return "fewer than two seeds complete in all three"
    if not gap.excludes_zero:
        return "the gap's own 95 % interval includes 0"
    return "" if gap.mean > 0 else "no gap to close: this batch is the more accurate one"


def _bounds(name: str, interval: Interval) -> dict[str, float]:
    return {name: interval.mean, f"{name}_low": interval.low, f"{name}_high": interval.high}


def standing(row: Mapping[str, Any]) -> Standing:
    """What may be said of a row of `share_of_gap_closed`.

    Returns:
        not shown (no share is given), widens or unclear (its interval lies below or holds 0); above
        0: open (the arm did not run at the baseline batch), closes (it gains more here than there,
        beyond chance), lifts (that is not shown: it may lift the accuracy at every batch size).
    """
    if row["reason"]:
        return "not shown"
    if row["share_high"] < 0:
        return "widens"
    if row["share_low"] <= 0:
        return "unclear"
    if not row["may_say_closes"]:
        return "open"
    return "closes" if row["net_gain_low"] > 0 else "lifts"


def focus(study: Study) -> int | None:
    """The batch size that headline and key numbers are of; None where there is no gap.

    Where arms ran is where the question is, else at the largest batch size.
    """
    gap = gaps.generalization_gap(study)
    known = set(gap.loc[(gap["arm"] == BASELINE_ARM) & (gap["n"] > 0), "global_batch_size"])
    shares = share_of_gap_closed(study)
    with_arms = set(shares.loc[shares["n"] > 0, "global_batch_size"])
    return max((known & with_arms) or known, default=None)
