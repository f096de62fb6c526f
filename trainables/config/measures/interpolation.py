"""The loss between two solutions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from annotated_types import Ge, Le

from trainables.config.measures.measure import Measure, Normalization, Passes, TrialFacts
from trainables.config.ranges import Count, Example

RECALIBRATION_EXAMPLES = 10_000
"""Most training examples that normalization statistics are taken from."""


@dataclass(frozen=True, kw_only=True)
class Interpolation(Measure):
    """Keskar et al. 2017, figure 3: loss and accuracy between two solutions.

    From the trial at the baseline batch size (alpha = 0) to this one (alpha = 1), all else equal.
    """

    compares: ClassVar[bool] = True
    needs_others: ClassVar[bool] = True

    name: Literal["interpolation"] = "interpolation"
    path: Literal["linear", "curvilinear"] = "linear"
    points: Annotated[int, Ge(3), Le(10_000), Example(25)] = 25
    alpha_min: Annotated[float, Le(0), Example(-1)] = -1.0
    alpha_max: Annotated[float, Ge(1), Example(2)] = 2.0
    examples: Annotated[Count | None, Example(2000)] = None

    def normalization(self, wanted: Normalization) -> Normalization:
        """Of the points between: statistics of their own, or those of each batch."""
        return "batch" if wanted == "batch" else "recalibrated"

    def once(self, facts: TrialFacts, examples: int) -> Passes:
        """At every point statistics, then losses on train and test: no gradient."""
        statistics_of = min(facts.num_train_examples, RECALIBRATION_EXAMPLES)
        seen = statistics_of + examples + facts.num_test_examples
        return Passes(forward=facts.num_others * self.points * seen)
