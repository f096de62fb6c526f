"""Who is compared with whom: an arm, the baseline arm beside it, and both at the baseline batch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from analysis.gaps import by_cell
from analysis.gaps.by_cell import BASELINE_ARM, CELL
from analysis.judged.gaps import dies_more
from analysis.load import Study
from analysis.search.cells import Cell


@dataclass(frozen=True, kw_only=True, eq=False)
class Compared:
    """An arm beside the baseline arm at one batch size, by seed."""

    row: Mapping[str, Any]
    """The arm's cell, with its counts."""
    large: Cell
    """The baseline arm's cell at this batch size."""
    small: Cell
    """That at the baseline batch size."""
    seeds: pd.DataFrame
    """The test set's metric, signed so that more is better: columns arm, large, baseline,
    arm_small; NaN where a seed did not complete."""
    survivors: tuple[int, int, int, int]
    """Seeds of the arm that came through and that diverged, and the same of the baseline arm."""
    survivors_small: tuple[int, int, int, int]
    """The same at the baseline batch size."""

    @property
    def arm(self) -> Cell:
        """The arm's cell."""
        return tuple(self.row[name] for name in CELL)

    @property
    def gain_and_gap(self) -> pd.DataFrame:
        """Per seed arm - large and baseline - large."""
        three = self.seeds[["arm", "large", "baseline"]].dropna()
        return pd.DataFrame(
            {"gain": three["arm"] - three["large"], "gap": three["baseline"] - three["large"]}
        )

    @property
    def net_gain(self) -> pd.DataFrame:
        """Per seed the gain here minus that at the baseline batch."""
        four = self.seeds.dropna()
        net = four["arm"] - four["large"] - (four["arm_small"] - four["baseline"])
        return pd.DataFrame({"net_gain": net})

    def lost_more(self) -> str:
        """Why the mean has no word: survivors' means hide what an arm lost, at either size."""
        for (alive, lost, *others), size in zip(
            (self.survivors, self.survivors_small), (self.large[-1], self.small[-1]), strict=True
        ):
            if dies_more((alive, lost), (others[0], others[1])):
                return f"{lost} of {alive + lost} seeds diverged at {size}"
        return ""


def compared(study: Study) -> list[Compared]:
    """Every arm at every batch size but the baseline's, with each baseline setting that it matches.

    In the order of the plan.
    """
    table = by_cell.off_baseline(study, by_cell.counts(study))
    values = by_cell.complete_values(study, study.test_metric).groupby(CELL, sort=False)
    goodness = {
        cell: study.metric.goodness(rows.set_index("seed")["value"]) for cell, rows in values
    }
    survived = {
        tuple(row[name] for name in CELL): (int(row["complete"]), int(row["diverged"]))
        for row in by_cell.records(by_cell.counts(study))
    }
    matching, size = by_cell.matching_settings(study), study.baseline_batch_size

    def one(row: Mapping[str, Any], other: str) -> Compared:
        arm, settings, batch = (row[name] for name in CELL)
        large, small = (BASELINE_ARM, other, batch), (BASELINE_ARM, other, size)
        cells = {
            "arm": (arm, settings, batch),
            "large": large,
            "baseline": small,
            "arm_small": (arm, settings, size),
        }
        none, nobody = pd.Series(dtype=float), (0, 0)
        own, own_small = survived[cells["arm"]], survived.get(cells["arm_small"], nobody)
        return Compared(
            row=row,
            large=large,
            small=small,
            seeds=pd.DataFrame({name: goodness.get(cell, none) for name, cell in cells.items()}),
            survivors=(*own, *survived.get(large, nobody)),
            survivors_small=(*own_small, *survived.get(small, nobody)),
        )

    return [
        one(row, other)
        for row in by_cell.records(table[table["arm"] != BASELINE_ARM])
        for other in matching[row["arm"], row["settings"]]
    ]
