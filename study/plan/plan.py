"""Which trials a study is: `StudySpec` -> ordered points and the distinct trials behind them.

With a search the plan depends on what has run: the points that the search tries come first, those
of a cell's winner join them once the cell's search has ended, and what winners are crossed with
follows in waves. Within each of the three, points of all settings with the first seed come first,
then those with the second: a study that is interrupted half-way has answered its whole question,
with fewer seeds, instead of half of it with all of them. Loads neither torch nor ray.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from study.file.candidates import Values
from study.file.document import StudyError
from study.file.fields import shown
from study.grid.settings import Setting
from study.grid.spec import StudySpec
from study.grid.warm_start import start_step, trunk_training
from study.plan.cells import CellSearch, Rows
from study.plan.finals import Crossing, crossings, once
from study.plan.pairs import other_trial_ids
from study.plan.points import Point, Stage
from study.plan.refusals import refusals
from study.plan.rungs import halvings
from study.plan.search import Cells, check_search
from trainables.config import identity
from trainables.config.data import DataConfig
from trainables.config.execution import ExecutionConfig
from trainables.config.measures.kinds import evaluations
from trainables.config.training import TrainingConfig
from trainables.config.trial import Halving, Trial, TrialConfig
from trainables.datasets.facts import DataFacts
from trainables.networks.cards import check_input_shape, has_batch_norm
from trainables.results.schema import flatten, flatten_data, flatten_network
from trainables.rules.batching import batch_plan, layouts
from trainables.rules.record_steps import trial_facts
from trainables.rules.resolve import resolve

Facts = Callable[[DataConfig], DataFacts]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Every point of a study in the order they run; several may share a trial."""

    spec: StudySpec
    points: tuple[Point, ...]
    configs: dict[str, TrialConfig]
    """The distinct trials by id, in the order in which points first need them; a trunk stands
    before its branches, whether it is a point too or not."""
    start_steps: Mapping[str, int] = field(default_factory=dict)
    """Of a warm start: the trunk's optimizer step that it begins from."""
    branch_epochs: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    """Of a trunk: the epochs that its branches begin from."""
    other_trial_ids: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """The trials that measures between two compare a trial with, if there are such measures."""
    searches: tuple[CellSearch, ...] = field(default=(), compare=False)
    """How far the search of each cell is, where the study searches."""
    crossings: tuple[Crossing, ...] = field(default=(), compare=False)
    """How far the finals of each cell of the baseline are, where they are crossed."""
    halvings: Mapping[str, Halving] = field(default_factory=dict)
    """When trials of a search stop that fall behind, if they do."""

    def trials(self, folder: Path) -> list[Trial]:
        """What a runner is handed, for results in `folder`.

        Trials of a search, and those that finals are only crossed with, are evaluated only and
        leave no weights: nothing else asks for them.
        """
        place = str(folder.resolve())
        finals = {point.trial_id for point in self.points if point.stage == "final"}
        light = {point.trial_id for point in self.points} - finals
        only_evaluated = evaluations(self.spec.measures)
        return [
            Trial(
                trial_id=trial_id,
                config=config,
                execution=self._execution(trial_id, trial_id in light),
                measures=only_evaluated if trial_id in light else self.spec.measures,
                folder=place,
                import_folder=self.spec.import_folder,
                start_step=self.start_steps.get(trial_id),
                other_trial_ids=self.other_trial_ids.get(trial_id, ()),
                halving=self.halvings.get(trial_id),
            )
            for trial_id, config in self.configs.items()
        ]

    def _execution(self, trial_id: str, is_light: bool) -> ExecutionConfig:
        """The study's; a trunk also keeps the weights that its branches begin from."""
        execution, needed = self.spec.execution, self.branch_epochs.get(trial_id)
        if is_light:
            return replace(execution, keep_weights="none")
        if needed is None:
            return execution
        kept = execution.keep_weights
        epochs = sorted({*needed, *(kept if isinstance(kept, tuple) else ())})
        return replace(execution, keep_weights=tuple(epochs))

    def trunks(self) -> list[str]:
        """The trials that no point resolves to: trunks that are there for their branches only."""
        points = {point.trial_id for point in self.points}
        return [trial_id for trial_id in self.configs if trial_id not in points]

    def requires(self, trial_id: str) -> list[str]:
        """The trials that must be there first: its trunk, and what it is compared with."""
        start = self.configs[trial_id].start
        others = self.other_trial_ids.get(trial_id, ())
        return [*([start.trial_id] if start else []), *others]

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
                    "stage": point.stage,
                    "trial_id": point.trial_id,
                    "requires": self.requires(point.trial_id),
                    "seed": point.seed,
                    **written[key],
                }
            )
        return rows


@dataclass(frozen=True, kw_only=True, slots=True)
class Resolved:
    """The trial of a setting, with its first seed, and the trunk that it begins from."""

    config: TrialConfig
    trunk: TrialConfig | None = None
    start_step: int | None = None

    def add_to(self, trials: dict[str, TrialConfig], seed: int) -> str:
        """Adds the trial with a seed, behind the trunk with that seed; returns the trial's id."""
        config = replace(self.config, seed=seed)
        if self.trunk is not None and config.start is not None:
            trunk = replace(self.trunk, seed=seed)
            trunk_id = identity.trial_id(trunk)
            trials.setdefault(trunk_id, trunk)
            config = replace(config, start=replace(config.start, trial_id=trunk_id))
        trial_id = identity.trial_id(config)
        trials.setdefault(trial_id, config)
        return trial_id


def expand(spec: StudySpec, facts: Facts, rows: Rows = MappingProxyType({})) -> Plan:
    """All points of a study that are known, resolved.

    Args:
        spec: the study.
        facts: what is known of a data set: number of examples, shape of one.
        rows: final rows of its trials, which a search goes by.

    Raises:
        StudyError: for points that cannot run, by reason, with the `exclude` entries that remove
            exactly those.
    """
    resolved, infeasible = _resolved(spec, facts)
    if infeasible:
        raise StudyError(refusals(spec, infeasible))
    settings = list(zip(spec.settings, resolved, strict=True))
    if spec.search is None:
        return _plan(spec, _points(settings, spec.seeds, "final"))
    check_search(spec, facts)
    cells = Cells(
        spec=spec, resolved=lambda setting: _trial(setting, spec, facts(setting.data)).config
    )

    def at(cell: CellSearch, values: Values) -> tuple[Setting, Resolved]:
        setting, config = cells.at(cell.setting, values)
        return setting, Resolved(config=config)

    searches = tuple(cells.follow(setting, own.config, rows) for setting, own in settings)
    won = [at(cell, cell.winner.values) for cell in searches if cell.winner]
    crossed = crossings(cells, searches, rows, facts)
    beside = [at(cell, values) for cell, values in once(crossed, cells)]
    points = [at(cell, point.values) for cell in searches for point in cell.tried]
    seeds = spec.search.own_seeds
    tried = [(replace(setting, seeds=seeds), own) for setting, own in points]
    entries = [
        *_points(tried, seeds, "search"),
        *_points(won, spec.seeds, "final"),
        *_points(beside, spec.seeds, "crossed"),
    ]
    stopping = halvings(spec, searches, lambda data: facts(data).num_train_examples)
    plan = _plan(spec, entries)
    return replace(plan, searches=searches, crossings=crossed, halvings=stopping)


Entry = tuple[Setting, Resolved, int, Stage]
"""A setting, its trial but for the seed, the seed, and what for."""


def _points(
    settings: Sequence[tuple[Setting, Resolved]], seeds: Sequence[int], stage: Stage
) -> Iterator[Entry]:
    wanted = [(setting, own, frozenset(setting.seeds)) for setting, own in settings]
    for seed in seeds:
        for setting, own, own_seeds in wanted:
            if seed in own_seeds:
                yield setting, own, seed, stage


def _plan(spec: StudySpec, entries: Iterable[Entry]) -> Plan:
    points: list[Point] = []
    trials: dict[str, TrialConfig] = {}
    start_steps: dict[str, int] = {}
    for setting, own, seed, stage in entries:
        trial_id = own.add_to(trials, seed)
        if own.start_step is not None:
            start_steps[trial_id] = own.start_step
        points.append(
            Point(
                block=setting.block,
                arm=setting.arm,
                stage=stage,
                grid=setting.grid,
                seed=seed,
                data=setting.data,
                network=setting.network,
                training=setting.training,
                trial_id=trial_id,
            )
        )
    compares = any(measure.compares for measure in spec.measures)
    final = [point for point in points if point.stage == "final"]
    return Plan(
        spec=spec,
        points=tuple(points),
        configs=trials,
        start_steps=start_steps,
        branch_epochs=_branch_epochs(trials),
        other_trial_ids=other_trial_ids(final, spec.baseline_batch_size) if compares else {},
    )


def _branch_epochs(trials: Mapping[str, TrialConfig]) -> dict[str, tuple[float, ...]]:
    epochs: dict[str, set[float]] = {}
    for config in trials.values():
        if config.start is not None:
            epochs.setdefault(config.start.trial_id, set()).add(config.start.epoch)
    return {trunk_id: tuple(sorted(found)) for trunk_id, found in epochs.items()}


def _resolved(spec: StudySpec, facts: Facts) -> tuple[list[Resolved], dict[str, list[Setting]]]:
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


def _trial(setting: Setting, spec: StudySpec, facts: DataFacts) -> Resolved:
    for measure in spec.measures:
        measure.check_data(facts.num_train_examples)
    check_input_shape(setting.network, facts.input_shape)
    start = setting.training.start
    if start is None:
        return Resolved(config=_feasible(setting, setting.training, spec, facts))
    try:
        trunk = _feasible(setting, trunk_training(setting.training, start), spec, facts)
    except ValueError as error:
        raise ValueError(f"start.trial {shown(start.trial)}: as a trunk, {error}") from error
    step = start_step(trunk, start.epoch, facts.num_train_examples)
    config = _feasible(setting, setting.training, spec, facts, identity.trial_id(trunk))
    return Resolved(config=config, trunk=trunk, start_step=step)


def _feasible(
    setting: Setting,
    training: TrainingConfig,
    spec: StudySpec,
    facts: DataFacts,
    trunk_id: str | None = None,
) -> TrialConfig:
    """A training of the setting's network on its data, resolved; refused if it cannot be."""
    config = resolve(
        training,
        data=setting.data,
        network=setting.network,
        seed=setting.seeds[0],
        num_train_examples=facts.num_train_examples,
        trunk_id=trunk_id,
    )
    plan = batch_plan(config, facts.num_train_examples)
    seen = trial_facts(config, plan, facts.num_test_examples, facts.num_classes)
    for measure in spec.measures:
        measure.check(seen)
        measure.check_records(seen)
    layouts(config, spec.execution, has_batch_norm(setting.network))
    _check_kept(config, spec.execution.keep_weights, facts.num_train_examples)
    return config


def _check_kept(config: TrialConfig, kept: str | tuple[float, ...], num_examples: int) -> None:
    """Refuses epochs whose weights are to be kept and which the trial never reaches."""
    epochs = batch_plan(config, num_examples).examples / num_examples
    if isinstance(kept, tuple) and max(kept, default=0.0) > epochs:
        raise ValueError(
            f"keep_weights {max(kept):g}: later than the end of the run at {epochs:.6g} epochs, "
            "whose weights are kept anyway; leave it out"
        )
