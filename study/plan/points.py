"""A point: what the YAML wrote for one row of the plan. Light."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from study.grid.settings import axis_label
from trainables.config.data import DataConfig, NetworkConfig
from trainables.config.training import TrainingConfig

Stage = Literal["search", "final", "crossed"]
"""What a point is for: to choose values by, to enter the tables, or for these to be held against
it in a tuned comparison."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Point:
    """What the YAML wrote for one row of the plan, and the trial it resolves to."""

    block: int
    arm: str
    stage: Stage
    grid: Mapping[str, Any]
    """Value in force of every axis and of every searched field."""
    seed: int
    data: DataConfig
    network: NetworkConfig
    training: TrainingConfig
    trial_id: str

    def shown(self, axis: str) -> str:
        """The value on an axis as a table has it: of a whole section its name and options."""
        if axis not in ("data", "network"):
            return _shown(self.grid[axis])
        whole = self.data if axis == "data" else self.network
        return ", ".join([whole.label, *filter(None, [_shown(whole.options)])])


def _shown(value: Any) -> str:
    """A mapping, such as what makes a trunk, as fields and their values."""
    if not isinstance(value, Mapping):
        return str(value)
    return ", ".join(f"{axis_label(name)} {_shown(v)}" for name, v in value.items())
