"""At which steps a trial is looked at, and what its measures must know. Loads no torch."""

from __future__ import annotations

import math
from fractions import Fraction
from functools import lru_cache, partial

from trainables.config.measures.measure import Measure, TrialFacts
from trainables.config.trial import TrialConfig
from trainables.rules.batching import BatchPlan, as_written
from trainables.task import TASKS


def step_at(plan: BatchPlan, epoch: Fraction) -> int:
    """The first step boundary at or after an epoch."""
    return plan.step_at_examples(epoch * plan.num_train_examples)


@lru_cache(maxsize=32)
def steps_every(plan: BatchPlan, epochs: float) -> frozenset[int]:
    """The first step boundary at or after every so many epochs."""
    interval = as_written(epochs)
    count = math.floor(Fraction(plan.examples, plan.num_train_examples) / interval)
    return frozenset(step_at(plan, interval * (i + 1)) for i in range(count))


def recorded_steps(measure: Measure, plan: BatchPlan) -> set[int]:
    """The steps of a plan after which a measure is taken along training."""
    return measure.steps(plan.optimizer_steps, partial(steps_every, plan))


def trial_facts(
    config: TrialConfig,
    plan: BatchPlan,
    num_test_examples: int,
    num_classes: int,
    num_others: int = 0,
) -> TrialFacts:
    """What measures must know of a trial to refuse it, or to say what they cost."""
    return TrialFacts(
        num_train_examples=plan.num_train_examples,
        num_test_examples=num_test_examples,
        num_answers=TASKS[config.data.task].num_answers(num_classes),
        global_batch_size=config.global_batch_size,
        scheduled_batch_sizes=tuple(phase.global_batch_size for phase in config.batch_schedule),
        epochs=plan.examples / plan.num_train_examples,
        optimizer_steps=plan.optimizer_steps,
        steps_every=partial(steps_every, plan),
        num_others=num_others,
    )
