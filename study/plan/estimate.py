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
from datetime import timedelta
from typing import Any, Protocol

from trainables.config.data import DataConfig
from trainables.config.measures.kinds import layer_statistics
from trainables.config.trial import Trial
from trainables.installation import usable_cores
from trainables.networks import own
from trainables.networks.pace import Pace, key_of, known
from trainables.rules.batching import batch_plan
from trainables.rules.record_steps import trial_facts

FLOPS_PER_SECOND = 60e9
"""Assumed of one core, in float32; a server core reached about so much on the quickstart's MLP."""
STEP_SECONDS = 5e-4
"""Assumed overhead of one optimizer step beside its arithmetic."""
TRIAL_SECONDS = 0.1
"""Assumed overhead of one trial in a process that has torch and the data already."""
ADVERSARIAL_GRADIENTS = 2.5
"""A step with adversarial inputs, in plain ones: passes forward and back over both halves, and one
back to the inputs. Between 2.4 and 2.8 were measured on three networks, on a CPU."""
UNKNOWN_MULTIPLY_ADDS = 10_000_000
"""Stands in for a network that was never built; only the shares of trials rest on it."""
FILE_BYTES = 60_000
"""Parquet of one trial: its row, attempt, evaluations and a measure or two."""
START_SECONDS = 3.0
"""Until a process has torch and the data."""
RAY_SECONDS = 8.0
"""Ray's start on this machine and that of its trials' processes, besides; 7 to 9 were measured."""
RECORD_BYTES, RECORD_SECONDS = 12_000, 0.01
"""A measure's record along training: its file, and what it takes beside its arithmetic."""
LAYER_BYTES = 2000
"""One record of all layers: twenty tensors, a hundred bytes each."""
YEAR_SECONDS = 365.25 * 24 * 3600


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
    """None where the network was never built here, if it is not ours; so are the next two."""
    state_bytes: int | None
    """What goes on between two steps: weights and what the optimizer keeps of them."""
    memory_bytes: int | None
    """That and a gradient: what training takes at least, activations and data left out."""
    is_counted: bool
    """Whether the network's operations, or its pace here, are known."""
    is_timed: bool
    """Whether its pace here is."""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What a run will take."""

    seconds: float | None
    """Wall time, starts included; None where nothing is known yet."""
    work_seconds: float | None
    """Of one core, without any start."""
    bytes_on_disk: int | None
    checkpoint_bytes: int | None
    """Besides, while it runs: of every running trial a checkpoint, and the one that replaces it."""
    memory_bytes: int | None
    """At least, of all that run at a time."""
    concurrent_trials: int
    basis: str
    """What the time rests on."""


def trial_cost(trial: Trial, facts: Facts) -> Cost:
    """The assumed cost of one trial from its start, with all its measures."""
    network, folder = trial.config.network, trial.import_folder
    counted = own.size(network, facts.input_shape, facts.num_classes, folder)
    parameters, multiply_adds = counted or (None, UNKNOWN_MULTIPLY_ADDS)
    timed = known(key_of(trial, facts.input_shape, facts.num_classes))
    pace = timed or Pace(
        step_seconds=STEP_SECONDS, example_seconds=6 * multiply_adds / FLOPS_PER_SECOND
    )
    gradient = pace.example_seconds
    forward = gradient / 3  # the backward pass costs about two forward passes
    gradients = trial.config.optimizer.gradients_per_step(parameters or 0)
    gradients *= ADVERSARIAL_GRADIENTS if trial.config.adversarial_epsilon else 1
    plan = batch_plan(trial.config, facts.num_train_examples)
    others = len(trial.other_trial_ids)
    seen = trial_facts(trial.config, plan, facts.num_test_examples, facts.num_classes, others)
    passes = [(measure, measure.cost(seen)) for measure in trial.measures]
    along = sum(taken.forward for measure, taken in passes if measure.is_recorded)
    afterwards = sum(taken.forward for measure, taken in passes if not measure.is_recorded)
    kept = trial.execution.keep_weights
    weights = 0 if kept == "none" else 1 + (len(kept) if isinstance(kept, tuple) else 0)
    layers = layer_statistics(trial.measures)
    records = sum(len(m.records(seen)) for m in trial.measures if not m.is_recorded)
    files = FILE_BYTES + RECORD_BYTES * records
    files += LAYER_BYTES * len(layers.records(seen)) if layers else 0
    number = 8 if trial.config.precision == "float64" else 4
    kept_numbers = 1 + trial.config.optimizer.kept_per_parameter
    state = None if parameters is None else number * parameters * kept_numbers
    return Cost(
        training_seconds=TRIAL_SECONDS
        + plan.optimizer_steps * pace.step_seconds
        + plan.examples * gradient * gradients
        + along * forward,
        measuring_seconds=sum(taken.gradient for _, taken in passes) * gradient
        + afterwards * forward
        + records * RECORD_SECONDS,
        bytes_on_disk=None if parameters is None else files + weights * number * parameters,
        state_bytes=state,
        memory_bytes=None if state is None or parameters is None else state + number * parameters,
        is_counted=counted is not None or timed is not None,
        is_timed=timed is not None,
    )


def estimate(
    todo: Sequence[Trial],
    to_measure: Sequence[Trial],
    rows: Mapping[str, Mapping[str, Any]],
    study: Sequence[Trial],
    facts: Callable[[DataConfig], Facts],
    runner: str = "auto",
) -> Estimate:
    """What is left of a study.

    Args:
        todo: trials to train.
        to_measure: trials to measure only.
        rows: the final rows of trials that are done, by id.
        study: its trials, of which those with a row correct the assumed rate.
        facts: what is known of a data set.
        runner: auto, serial or tune.
    """
    costs = {t.trial_id: trial_cost(t, facts(t.config.data)) for t in (*todo, *to_measure)}
    measured = [
        (row["training_seconds"] + (row["evaluation_seconds"] or 0))
        / trial_cost(trial, facts(trial.config.data)).training_seconds
        for trial in study[:: max(len(study) // 200, 1)]
        if (row := rows.get(trial.trial_id)) and row["training_seconds"]
    ]
    training = sum(costs[t.trial_id].training_seconds for t in todo)
    measuring = sum(c.measuring_seconds for c in costs.values())
    is_known = bool(measured) or all(c.is_counted for c in costs.values())
    factor = statistics.median(measured) if measured else 1.0
    together = _concurrent_trials(todo or to_measure)
    work = (training + measuring) * factor if is_known else None
    sizes = [costs[t.trial_id].bytes_on_disk for t in todo]
    return Estimate(
        seconds=None if work is None else _wall_seconds(work, together, runner, len(costs)),
        work_seconds=work,
        bytes_on_disk=None if None in sizes else sum(size or 0 for size in sizes),
        checkpoint_bytes=_at_a_time([costs[t.trial_id].state_bytes for t in todo], 2 * together),
        memory_bytes=_at_a_time([c.memory_bytes for c in costs.values()], together),
        concurrent_trials=together,
        basis=_basis(len(measured), all(c.is_timed for c in costs.values())),
    )


def _at_a_time(sizes: Sequence[int | None], count: int) -> int | None:
    """So many of the largest, where all are known."""
    known = [size for size in sizes if size is not None]
    return count * max(known, default=0) if len(known) == len(sizes) else None


def _basis(measured: int, is_timed: bool) -> str:
    if measured:
        return f"{measured} trials of this study"
    if is_timed:
        return "the pace measured on this machine"
    return "an assumed speed per core (plan --calibrate measures it)"


def is_short(work_seconds: float | None) -> bool:
    """Whether one process has done it before Ray has started."""
    return work_seconds is not None and work_seconds < RAY_SECONDS


def _wall_seconds(work: float, together: int, runner: str, trials: int) -> float:
    in_one_process = runner == "serial" or (runner == "auto" and (trials < 2 or is_short(work)))
    if in_one_process:
        return START_SECONDS * bool(trials) + work
    return START_SECONDS + RAY_SECONDS + work / together


def duration_text(seconds: float) -> str:
    """`12 s`, `0:19:27`, `350 years`."""
    if seconds < 60:
        return f"{max(seconds, 1):.0f} s"
    if seconds < 100 * YEAR_SECONDS:
        return str(timedelta(seconds=round(seconds)))
    return f"{seconds / YEAR_SECONDS:.3g} years"


def _concurrent_trials(trials: Sequence[Trial]) -> int:
    """How many trials this machine's cores hold at a time."""
    if not trials:
        return 1
    execution = trials[0].execution
    fits = usable_cores() // (execution.threads_per_worker * execution.num_workers)
    return max(1, min(fits, execution.max_concurrent_trials or fits, len(trials)))
