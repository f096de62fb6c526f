"""The `search` section: which numbers of `training` are tuned apart for every cell, and how.

A *cell* is a setting of the study: block, arm, grid values, batch size. `study.file.search` reads
it from a file, `study.file.candidates` has what all cells try, `study.plan.search` follows a
search through its results, `study.plan.finals` crosses its winners. Loads neither torch nor ray.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Annotated, Any, Literal

from study.file.candidates import Range, Values, half_power, listed, spread
from study.file.changes import Change, Sections, changed, field_path
from study.file.document import Document
from trainables.config.ranges import Count, Example, Positive, Several
from trainables.config.training import TrainingConfig
from trainables.task import metric_of

OptimizedMetric = Literal[
    "validation_accuracy",
    "validation_absolute_error",
    "validation_loss",
    "test_accuracy",
    "test_absolute_error",
    "test_loss",
]

FIRST_SEED = 1_000_000
"""Seeds of a search begin here, where those of studies do not lie."""
GRACE_EPOCHS, REDUCTION_FACTOR = 1.0, 3
"""Of asha, where the study leaves them open."""


@dataclass(frozen=True, kw_only=True)
class SearchConfig:
    """The `search` section of a study file."""

    fields: Mapping[str, tuple[float, ...] | Range] = field(default_factory=dict)
    """Dotted fields of `training`: values to choose from, or a range."""
    method: Literal["grid", "random", "optuna"] = "grid"
    points: Annotated[Count | None, Example(16)] = None
    """random, optuna: points per cell."""
    finals: Literal["crossed", "own"] = "crossed"
    """crossed: arms also run at the baseline's best values, and the baseline at theirs and beside
    its own; own: every cell at its own winner alone, and no arm is credited with anything."""
    seeds: Annotated[Count, Example(1)] = 1
    """Each point is trained with so many seeds, of the search's own."""
    optimize: OptimizedMetric = "validation_accuracy"
    """What the winner has the best mean of, at the end of training; default: the task's metric on
    the validation set."""
    scheduler: Literal["none", "asha"] = "none"
    """asha stops trials that fall behind (Li et al. 2020)."""
    grace_epochs: Annotated[Positive | None, Example(1)] = None
    """asha: no trial is stopped before so many epochs; default: 1."""
    reduction_factor: Annotated[Several | None, Example(3)] = None
    """asha: one trial in so many goes on at each rung, and the next lies so many times later;
    default: 3."""

    @property
    def maximizes(self) -> bool:
        """Whether more is better."""
        return metric_of(self.optimize).is_larger_better

    @property
    def own_seeds(self) -> tuple[int, ...]:
        """The seeds that its trials are trained with."""
        return tuple(range(FIRST_SEED, FIRST_SEED + self.seeds))

    @property
    def points_per_cell(self) -> int:
        """How many points a cell tries, those that are drawn twice counted twice."""
        if self.points is not None:
            return self.points
        return math.prod(len(v) for v in self.fields.values() if not isinstance(v, Range))

    @property
    def candidates(self) -> list[Values]:
        """What every cell tries; an adaptive search goes its own way after these."""
        if self.method == "grid":
            return list(listed(self.fields))
        return spread(self.fields, self.shared_points, FIRST_SEED)

    @property
    def shared_points(self) -> int:
        """How many points are the same in all cells."""
        count = self.points_per_cell
        return half_power(count) if self.method == "optuna" else count

    @property
    def single(self) -> str | None:
        """The searched field where there is but one."""
        return next(iter(self.fields)) if len(self.fields) == 1 else None


def first_values(search: SearchConfig) -> Values:
    """Values that stand for those of a cell before any is chosen: the first, or the low end."""
    return {
        name: values.low if isinstance(values, Range) else values[0]
        for name, values in search.fields.items()
    }


def with_first_values(document: Document, search: SearchConfig) -> Document:
    """The document as if the first values stood in `training`, so that settings are whole."""
    sections: Sections = {"training": document.values.get("training") or {}}
    changes = []
    for name, value in first_values(search).items():
        path = field_path(name)
        assert path is not None, f"{name} was checked"
        changes.append(Change(path=path, value=value, keys=("search", "fields", name)))
    return replace(document, values={**document.values, **changed(sections, changes)})


def with_values(training: TrainingConfig, values: Values) -> TrainingConfig:
    """A cell's `training` with what a search tries.

    Raises:
        ValueError: if its optimizer has no such field.
    """
    for name, value in values.items():
        _, *section, key = name.split(".")
        if not section:
            training = replace(training, **{key: value})  # type: ignore[arg-type]
        elif key not in {f.name for f in fields(training.optimizer)}:
            raise ValueError(f"optimizer {training.optimizer.name} has no {key}")
        else:
            changes: dict[str, Any] = {key: value}
            training = replace(training, optimizer=replace(training.optimizer, **changes))
    return training
