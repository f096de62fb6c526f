"""Which trials a study is: `StudySpec` -> ordered points and the distinct trials behind them.

Points of all settings with the first seed come first, then those with the second: a study that is
interrupted half-way has answered its whole question, with fewer seeds, instead of half of it with
all of them. Loads neither torch nor ray.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any, TypeVar, cast

from study.cross import Setting
from study.document import StudyError
from study.refusals import refusals
from study.spec import StudySpec
from trainables import config as c
from trainables.batching import batch_plan, layouts
from trainables.networks.cards import check_input_shape, cost, has_batch_norm
from trainables.resolve import resolve
from trainables.schema import flatten, flatten_data, flatten_network

if TYPE_CHECKING:
    from trainables.datasets.cache import DataFacts

Facts = Callable[[c.DataConfig], "DataFacts"]
N = TypeVar("N", int, float)


@dataclass(frozen=True, kw_only=True, slots=True)
class Point:
    """What the YAML wrote for one row of the plan, and the trial it resolves to."""

    block: int
    arm: str
    seed: int
    data: c.DataConfig
    network: c.NetworkConfig
    training: c.TrainingConfig
    trial_id: str


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Every point of a study in the order they run; several may share a trial."""

    spec: StudySpec
    points: tuple[Point, ...]
    configs: dict[str, c.TrialConfig]
    """The distinct trials by id, in the order in which points first need them."""

    def trials(self, folder: Path) -> list[c.Trial]:
        """What a runner is handed, for results in `folder`."""
        return [
            c.Trial(
                trial_id=trial_id,
                config=config,
                execution=self.spec.execution,
                measures=self.spec.measures,
                folder=str(folder.resolve()),
                import_folder=self.spec.import_folder,
            )
            for trial_id, config in self.configs.items()
        ]

    def point_rows(self) -> list[dict[str, Any]]:
        """Rows of the `plan` table."""
        written: dict[tuple[int, int, int], dict[str, Any]] = {}
        rows = []
        for point in self.points:
            key = (id(point.data), id(point.network), id(point.training))
            if key not in written:
                sections = flatten_data(point.data) | flatten_network(point.network)
                written[key] = sections | flatten(point.training)
            rows.append(
                {
                    "block": point.block,
                    "arm": point.arm,
                    "trial_id": point.trial_id,
                    "requires": [],
                    "seed": point.seed,
                    **written[key],
                }
            )
        return rows


def expand(spec: StudySpec, facts: Facts) -> Plan:
    """All points of a study, resolved.

    Args:
        spec: the study.
        facts: what is known of a data set: number of examples, shape of one.

    Raises:
        StudyError: for points that cannot run, by reason, with the `exclude` entries that remove
            exactly those.
    """
    configs, infeasible = _resolved(spec, facts)
    if infeasible:
        raise StudyError(refusals(spec, infeasible))
    points: list[Point] = []
    trials: dict[str, c.TrialConfig] = {}
    for seed in spec.seeds:
        for setting, config in zip(spec.settings, configs, strict=True):
            if seed not in setting.seeds:
                continue
            seeded = replace(config, seed=seed)
            trial_id = c.trial_id(seeded)
            trials.setdefault(trial_id, seeded)
            points.append(
                Point(
                    block=setting.block,
                    arm=setting.arm,
                    seed=seed,
                    data=setting.data,
                    network=setting.network,
                    training=setting.training,
                    trial_id=trial_id,
                )
            )
    return Plan(spec=spec, points=tuple(points), configs=trials)


def _resolved(
    spec: StudySpec, facts: Facts
) -> tuple[list[c.TrialConfig], dict[str, list[Setting]]]:
    """A trial per setting, with its first seed; and the settings that cannot be, by reason."""
    configs = []
    infeasible: dict[str, list[Setting]] = {}
    known: dict[int, DataFacts] = {}  # by identity: equal sections are one object
    for setting in spec.settings:
        if id(setting.data) not in known:
            known[id(setting.data)] = facts(setting.data)
        try:
            configs.append(_trial(setting, spec, known[id(setting.data)]))
        except ValueError as error:
            infeasible.setdefault(str(error), []).append(setting)
    return configs, infeasible


def _trial(setting: Setting, spec: StudySpec, facts: DataFacts) -> c.TrialConfig:
    for measure in spec.measures:
        name = "train_examples" if isinstance(measure, c.Evaluation) else "examples"
        if (getattr(measure, name) or 0) > facts.num_train_examples:
            raise ValueError(
                f"{name} {getattr(measure, name)} of measure {measure.name}: the training set has "
                f"{facts.num_train_examples} examples; at most that, or leave it out for all"
            )
    check_input_shape(setting.network, facts.input_shape)
    config = resolve(
        setting.training,
        data=setting.data,
        network=setting.network,
        seed=setting.seeds[0],
        num_train_examples=facts.num_train_examples,
    )
    layouts(config, spec.execution, has_batch_norm(setting.network))
    return config


# ----------------------------------------------------------------------------------- what it costs

MULTIPLY_ADDS_PER_SECOND = 30e9
STEP_SECONDS = 6e-4
"""Nominal speed of one core where nothing was timed yet (assumed, after the quickstart's MLP:
4 s at batch 32 and 1.2 s at 2500 for 150,000 examples). A GPU or a large network differs by much;
the first finished trial replaces both."""
LANCZOS_PRODUCTS = 100
SHARPNESS_GRADIENTS = 75
"""Passes of one measurement, of the order of what the measures do (assumed)."""
TRIAL_BYTES = 40_000
"""Parquet files of one trial: nearly all of it headers and column names, a row adds little."""


@dataclass(frozen=True, kw_only=True)
class Work:
    """How much training one trial is."""

    optimizer_steps: int
    examples: int
    requested_examples: float | None
    """What the epochs asked for; None for a budget in steps. Batches are whole: it may differ."""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What is left of a plan, and what it will cost."""

    trials: int
    seconds: float | None
    """Of one trial after another; None for a network whose speed is not known yet."""
    rough: bool
    """Whether a nominal speed was used, because no trial like these was timed."""
    disk_bytes: int | None
    """None for a network whose size is not known without building it."""


def work(plan: Plan, facts: Facts) -> dict[str, Work]:
    """The training that every trial is, by trial id."""
    written = {point.trial_id: point.training for point in reversed(plan.points)}
    counts: dict[str, Work] = {}
    for trial_id, config in plan.configs.items():
        total = facts(config.data).num_train_examples
        training = written[trial_id]
        epochs = training.max_epochs if training.epochs is None else training.epochs
        by_epochs = epochs is not None and training.steps_of_batch_size is None
        counts[trial_id] = Work(
            optimizer_steps=config.optimizer_steps,
            examples=batch_plan(config, total).examples,
            requested_examples=epochs * total if by_epochs and epochs is not None else None,
        )
    return counts


def estimate(plan: Plan, facts: Facts, done: Mapping[str, Mapping[str, Any]]) -> Estimate:
    """What is left of the plan: trials, time of one after the other, disk.

    Seconds per example come from the finished trials of the same network and data whose batch size
    is nearest, else from the network's multiply-adds (three times the forward pass) at a nominal
    speed.

    Args:
        plan: the plan.
        facts: what is known of a data set.
        done: rows of table `trials` of what is finished, by trial id.
    """
    counts = work(plan, facts)
    timed = [
        (plan.configs[key], row["training_seconds"] / counts[key].examples)
        for key, row in done.items()
        if key in plan.configs and row.get("training_seconds")
    ]
    left = {key: config for key, config in plan.configs.items() if key not in done}
    seconds: list[float | None] = []
    sizes: list[int | None] = []
    rough = False
    for trial_id, config in left.items():
        known, trial_work = facts(config.data), counts[trial_id]
        size = cost(config.network, known.input_shape, known.num_classes)
        measured = _example_seconds(config, timed)
        rough = rough or measured is None
        if measured is not None:
            seconds.append(measured * _examples_passed(plan.spec, known, trial_work))
        elif size is not None:
            passes = _examples_passed(plan.spec, known, trial_work)
            steps = trial_work.optimizer_steps * STEP_SECONDS
            seconds.append(steps + passes * 3 * size[1] / MULTIPLY_ADDS_PER_SECOND)
        else:
            seconds.append(None)
        sizes.append(_disk_bytes(config, plan.spec, trial_work, size and size[0]))
    return Estimate(
        trials=len(left), seconds=_total(seconds), rough=rough, disk_bytes=_total(sizes)
    )


def _total(values: Sequence[N | None]) -> N | None:
    known = [value for value in values if value is not None]
    return cast(N, sum(known)) if len(known) == len(values) else None


def _example_seconds(
    config: c.TrialConfig, timed: Sequence[tuple[c.TrialConfig, float]]
) -> float | None:
    """Seconds per training example in the finished trials nearest in batch size, their mean."""
    alike = [
        (abs(math.log(other.global_batch_size / config.global_batch_size)), seconds)
        for other, seconds in timed
        if other.network == config.network and other.data == config.data
    ]
    nearest = min((distance for distance, _ in alike), default=0.0)
    return fmean(s for distance, s in alike if distance == nearest) if alike else None


def _examples_passed(spec: StudySpec, facts: DataFacts, trial_work: Work) -> float:
    """Examples trained and, in equivalents of a training example, evaluated and measured."""
    epochs = trial_work.examples / facts.num_train_examples
    total = float(trial_work.examples)
    for measure in spec.measures:
        records = 1 + (epochs / measure.every_epochs if measure.every_epochs else 0)
        if isinstance(measure, c.Evaluation):
            train = measure.train_examples or facts.num_train_examples
            passed = train + facts.num_test_examples + facts.num_validation_examples
            total += records * passed / 3  # forward only
            continue
        examples = measure.examples or facts.num_train_examples
        if isinstance(measure, c.Sharpness):
            total += records * examples * SHARPNESS_GRADIENTS
        else:  # a product with the Hessian costs about two gradients
            total += records * examples * 2 * (LANCZOS_PRODUCTS + measure.trace_samples)
    return total


def _disk_bytes(
    config: c.TrialConfig, spec: StudySpec, trial_work: Work, parameters: int | None
) -> int | None:
    keep = spec.execution.keep_weights
    kept = {"final": 1, "none": 0}[keep] if isinstance(keep, str) else 1 + len(keep)
    if kept and parameters is None:
        return None
    weight_bytes = 8 if config.precision == "float64" else 4
    return TRIAL_BYTES + kept * weight_bytes * (parameters or 0)
