"""What trials will cost before they run: seconds and bytes, from what is known and what is assumed.

A trial's cost is counted in seconds of one core: its floating-point operations at an assumed rate,
plus an assumed overhead per step. Trials of the study that are done correct the assumption. It is
meant to tell a minute from an hour and one trial's share of the bar from another's, no more.
Loads neither torch nor ray.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from trainables.batching import BatchPlan, batch_plan
from trainables.config.data import DataConfig
from trainables.config.measures import (
    AdaptiveSharpness,
    BatchSharpness,
    Evaluation,
    GradientProbe,
    Hessian,
    Interpolation,
    Landscape,
    LayerStatistics,
    MeasureConfig,
    NoiseScale,
    RandomDirections,
    Sharpness,
    Spectrum,
)
from trainables.config.optimizers import (
    CBLR,
    LBFGS,
    SAM,
    Conservative,
    GradientDescent,
    OptimizerConfig,
)
from trainables.config.trial import Trial
from trainables.installation import usable_cores
from trainables.networks.cards import cost
from trainables.record_steps import layer_steps

FLOPS_PER_SECOND = 60e9
"""Assumed of one core, in float32; a server core reached about so much on the quickstart's MLP."""
STEP_SECONDS = 5e-4
"""Assumed overhead of one optimizer step beside its arithmetic."""
TRIAL_SECONDS = 0.1
"""Assumed overhead of one trial in a process that has torch and the data already."""
ADVERSARIAL_GRADIENTS = 2.5
"""A step with adversarial inputs, in plain ones: passes forward and back over both halves, and one
back to the inputs. Between 2.4 and 2.8 were measured on three networks, on a CPU."""
SEARCH_GRADIENTS = 93
"""Gradients per search of a box, besides those of its classes (`measures.maximum.search`)."""
GRADIENTS_PER_CLASS, MAX_CLASSES = 5, 20
"""A class's direction, and four steps from there; of more classes so many have a start."""
LOOK_GRADIENTS, LOOK_EXAMPLES = 3, 200
"""For each of more classes than that besides, over so few examples."""
PAPER_GRADIENTS = 15
"""Those of Keskar's 10 iterations of L-BFGS-B, and what SciPy's routine takes besides."""
LANCZOS_STEPS = 10
"""Hessian-vector products per top eigenvalue; one costs about two gradients."""
BOTTOM_STEPS = 30
"""The same at least, where the bottom eigenvalue is waited for (17 to 47 were seen)."""
RECALIBRATION_EXAMPLES = 10_000
"""Most training examples that normalization statistics are taken from."""
UNKNOWN_MULTIPLY_ADDS = 10_000_000
"""Stands in for a network that cannot be counted unbuilt; only the shares of trials rest on it."""
FILE_BYTES = 60_000
"""Parquet of one trial: its row, attempt, evaluations and a measure or two."""
LAYER_BYTES = 2000
"""One record of all layers: twenty tensors, a hundred bytes each."""


class Facts(Protocol):
    """What an estimate needs to know of a data set (`datasets.cache.DataFacts`)."""

    @property
    def num_train_examples(self) -> int:
        """Training examples."""

    @property
    def num_test_examples(self) -> int:
        """Test examples."""

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Of one example."""

    @property
    def num_classes(self) -> int:
        """Classes."""


@dataclass(frozen=True, kw_only=True)
class Cost:
    """One trial, in assumed core seconds, and bytes left on disk."""

    training_seconds: float
    measuring_seconds: float
    bytes_on_disk: int | None
    """None where the network cannot be counted without building it."""
    is_counted: bool
    """Whether the network's operations are known."""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What a run will take."""

    seconds: float | None
    """Wall time; None where nothing is known yet."""
    bytes_on_disk: int | None
    concurrent_trials: int
    basis: str
    """What the time rests on."""


def trial_cost(trial: Trial, facts: Facts) -> Cost:
    """The assumed cost of one trial from its start, with all its measures."""
    counted = cost(trial.config.network, facts.input_shape, facts.num_classes)
    parameters, multiply_adds = counted or (None, UNKNOWN_MULTIPLY_ADDS)
    forward = 2 * multiply_adds / FLOPS_PER_SECOND
    gradient = 3 * forward  # the backward pass costs about two forward passes
    gradients = gradients_per_step(trial.config.optimizer, parameters or 0)
    gradients *= ADVERSARIAL_GRADIENTS if trial.config.adversarial_epsilon else 1
    plan = batch_plan(trial.config, facts.num_train_examples)
    records = sum(_forward_examples(m, plan, facts) for m in trial.measures)
    kept = trial.execution.keep_weights
    weights = 0 if kept == "none" else 1 + (len(kept) if isinstance(kept, tuple) else 0)
    layers = [layer_steps(m, plan) for m in trial.measures if isinstance(m, LayerStatistics)]
    files = FILE_BYTES + LAYER_BYTES * sum(map(len, layers))
    return Cost(
        training_seconds=TRIAL_SECONDS
        + plan.optimizer_steps * STEP_SECONDS
        + plan.examples * gradient * gradients
        + records * forward,
        measuring_seconds=sum(
            _gradient_examples(m, plan, facts, len(trial.other_trial_ids)) for m in trial.measures
        )
        * gradient,
        bytes_on_disk=None if parameters is None else files + weights * 4 * parameters,
        is_counted=counted is not None,
    )


def gradients_per_step(optimizer: OptimizerConfig, num_parameters: int) -> float:
    """Gradients of the global batch that one step takes; of line searches, the fewest."""
    match optimizer:
        case SAM() | GradientDescent() | LBFGS():
            return 2
        case Conservative():
            return optimizer.inner_steps
        case CBLR(curvature="exact"):
            return 1 + 2 * num_parameters
        case CBLR():
            return 1 + 2 * optimizer.curvature_samples
    return 1


def _forward_examples(measure: MeasureConfig, plan: BatchPlan, facts: Facts) -> float:
    """Examples evaluated along training, and once at its end."""
    if not isinstance(measure, Evaluation):
        return 0.0
    records = plan.examples / plan.num_train_examples / measure.every_epochs
    along = (measure.train_examples or facts.num_train_examples) + facts.num_test_examples
    return max(records, 1.0) * along


def _gradient_examples(
    measure: MeasureConfig, plan: BatchPlan, facts: Facts, other_trials: int
) -> float:
    """Examples whose gradient a measure takes, over all the times it is taken."""
    if isinstance(measure, Evaluation):
        return 0.0
    all_examples = getattr(measure, "examples", None) or facts.num_train_examples
    if isinstance(measure, LayerStatistics):
        samples = measure.curvature_samples
        of_curvature = (1 + 2 * samples) * all_examples if samples else 0
        return float(len(layer_steps(measure, plan)) * of_curvature)
    once = 0.0
    classes = facts.num_classes
    searching = SEARCH_GRADIENTS + GRADIENTS_PER_CLASS * min(classes, MAX_CLASSES)
    looked_at = classes if classes > MAX_CLASSES else 0
    look = LOOK_GRADIENTS * looked_at * min(LOOK_EXAMPLES, all_examples)
    match measure:
        case Sharpness():
            once = (PAPER_GRADIENTS + searching) * all_examples + look
        case Hessian():
            steps = max(LANCZOS_STEPS * measure.eigenvalues, BOTTOM_STEPS * measure.bottom)
            once = 2 * (steps + measure.trace_samples) * all_examples
        case Interpolation():  # statistics, then losses on train and test: no gradient
            statistics_of = min(facts.num_train_examples, RECALIBRATION_EXAMPLES)
            seen = statistics_of + all_examples + facts.num_test_examples
            once = other_trials * measure.points * seen / 3
        case NoiseScale():
            drawn = measure.pairs * (measure.small_batch_size + measure.large_batch_size)
            once = drawn + all_examples
        case AdaptiveSharpness():
            once = searching * all_examples + look
        case Spectrum():
            once = 2 * measure.lanczos_steps * measure.vectors * all_examples
        case BatchSharpness():
            size = measure.batch_size or plan.phases[-1].global_batch_size
            # A gradient, its graph, and a backward pass through that.
            once = 4 * measure.batches * size + all_examples / 3
        case RandomDirections():
            once = (measure.directions + 1) * all_examples / 3  # losses alone
        case Landscape():
            once = measure.points**2 * all_examples / 3
        case GradientProbe():
            once = measure.draws * sum(measure.batch_sizes)
    every, epochs = measure.every_epochs, plan.examples / plan.num_train_examples
    taken = 1 if every is None else 1 + int(epochs / every)
    return float(taken * once)


def estimate(
    todo: Sequence[Trial],
    to_measure: Sequence[Trial],
    rows: Mapping[str, Mapping[str, Any]],
    known: Sequence[Trial],
    facts: Callable[[DataConfig], Facts],
) -> Estimate:
    """What is left of a study.

    Args:
        todo: trials to train.
        to_measure: trials to measure only.
        rows: the final rows of trials that are done, by id.
        known: the study's trials, of which those with a row correct the assumed rate.
        facts: what is known of a data set.
    """
    costs = {t.trial_id: trial_cost(t, facts(t.config.data)) for t in (*todo, *to_measure)}
    measured = [
        row["training_seconds"] / trial_cost(trial, facts(trial.config.data)).training_seconds
        for trial in known[:: max(len(known) // 200, 1)]
        if (row := rows.get(trial.trial_id)) and row["training_seconds"]
    ]
    training = sum(costs[t.trial_id].training_seconds for t in todo)
    measuring = sum(c.measuring_seconds for c in costs.values())
    is_known = bool(measured) or all(c.is_counted for c in costs.values())
    factor = statistics.median(measured) if measured else 1.0
    together = _concurrent_trials(todo or to_measure)
    sizes = [costs[t.trial_id].bytes_on_disk for t in todo]
    return Estimate(
        seconds=(training + measuring) * factor / together if is_known else None,
        bytes_on_disk=None if None in sizes else sum(size or 0 for size in sizes),
        concurrent_trials=together,
        basis=f"{len(measured)} trials of this study" if measured else "an assumed speed per core",
    )


def _concurrent_trials(trials: Sequence[Trial]) -> int:
    """How many trials this machine's cores hold at a time."""
    if not trials:
        return 1
    execution = trials[0].execution
    fits = usable_cores() // (execution.threads_per_worker * execution.num_workers)
    return max(1, min(fits, execution.max_concurrent_trials or fits, len(trials)))
