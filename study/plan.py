"""Which trials a study is: `StudySpec` -> ordered points and the distinct trials behind them.

With a search the plan depends on what has run: the points that the search tries come first, and
those of a cell's winner join them once the cell's search has ended. Within each of the two, points
of all settings with the first seed come first, then those with the second: a study that is
interrupted half-way has answered its whole question, with fewer seeds, instead of half of it with
all of them. Loads neither torch nor ray.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

from study.cross import Setting
from study.document import StudyError
from study.refusals import refusals
from study.searching import Cells, CellSearch, Rows, check_search
from study.spec import StudySpec
from trainables import config as c
from trainables.batching import batch_plan, layouts
from trainables.networks.cards import check_input_shape, has_batch_norm
from trainables.resolve import resolve
from trainables.schema import flatten, flatten_data, flatten_network

if TYPE_CHECKING:
    from trainables.datasets.cache import DataFacts

Facts = Callable[[c.DataConfig], "DataFacts"]
Stage = Literal["search", "final"]
"""What a point is for: to choose values by, or to enter the tables."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Point:
    """What the YAML wrote for one row of the plan, and the trial it resolves to."""

    block: int
    arm: str
    stage: Stage
    grid: Mapping[str, Any]
    """Value in force of every axis and of every searched field."""
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
    searches: tuple[CellSearch, ...] = field(default=(), compare=False)
    """How far the search of each cell is, where the study searches."""

    def trials(self, folder: Path) -> list[c.Trial]:
        """What a runner is handed, for results in `folder`.

        Trials of a search are evaluated only and leave no weights: nothing else asks for them.
        """
        place = str(folder.resolve())
        searching = {i for cell in self.searches for tried in cell.tried for i in tried.configs}
        evaluations = tuple(m for m in self.spec.measures if isinstance(m, c.Evaluation))
        light = replace(self.spec.execution, keep_weights="none")
        return [
            c.Trial(
                trial_id=trial_id,
                config=config,
                execution=light if trial_id in searching else self.spec.execution,
                measures=evaluations if trial_id in searching else self.spec.measures,
                folder=place,
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
                    "stage": point.stage,
                    "trial_id": point.trial_id,
                    "requires": [],
                    "seed": point.seed,
                    **written[key],
                }
            )
        return rows


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
    configs, infeasible = _resolved(spec, facts)
    if infeasible:
        raise StudyError(refusals(spec, infeasible))
    settings = list(zip(spec.settings, configs, strict=True))
    if spec.search is None:
        return _plan(spec, _points(settings, spec.seeds, "final"))
    check_search(spec, facts)
    cells = Cells(spec=spec, resolved=lambda setting: _trial(setting, spec, facts(setting.data)))
    searches = tuple(cells.follow(*setting, rows) for setting in settings)
    won = [cells.at(cell.setting, cell.winner.values) for cell in searches if cell.winner]
    tried = [cells.at(cell.setting, tried.values) for cell in searches for tried in cell.tried]
    seeds = spec.search.own_seeds
    tried = [(replace(setting, seeds=seeds), config) for setting, config in tried]
    entries = [*_points(tried, seeds, "search"), *_points(won, spec.seeds, "final")]
    return _plan(spec, entries, searches)


Entry = tuple[Setting, c.TrialConfig, int, Stage]
"""A setting, its trial but for the seed, the seed, and what for."""


def _points(
    settings: Sequence[tuple[Setting, c.TrialConfig]], seeds: Sequence[int], stage: Stage
) -> Iterator[Entry]:
    for seed in seeds:
        for setting, config in settings:
            if seed in setting.seeds:
                yield setting, config, seed, stage


def _plan(spec: StudySpec, entries: Iterable[Entry], searches: tuple[CellSearch, ...] = ()) -> Plan:
    points: list[Point] = []
    trials: dict[str, c.TrialConfig] = {}
    for setting, config, seed, stage in entries:
        seeded = replace(config, seed=seed)
        trial_id = c.trial_id(seeded)
        trials.setdefault(trial_id, seeded)
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
    return Plan(spec=spec, points=tuple(points), configs=trials, searches=searches)


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
        most = facts.num_train_examples
        if isinstance(measure, c.NoiseScale) and measure.large_batch_size > most:
            raise ValueError(
                f"large_batch_size {measure.large_batch_size} of measure {measure.name}: the "
                f"training set has {most} examples; at most that, e.g. "
                f"{{small_batch_size: {max(most // 16, 1)}, large_batch_size: {most}}}"
            )
    check_input_shape(setting.network, facts.input_shape)
    config = resolve(
        setting.training,
        data=setting.data,
        network=setting.network,
        seed=setting.seeds[0],
        num_train_examples=facts.num_train_examples,
    )
    for measure in spec.measures:
        if isinstance(measure, c.BatchSharpness):
            _check_batch_sharpness(measure, config, facts.num_train_examples)
    layouts(config, spec.execution, has_batch_norm(setting.network))
    _check_kept(config, spec.execution.keep_weights, facts.num_train_examples)
    return config


def _check_batch_sharpness(
    measure: c.BatchSharpness, config: c.TrialConfig, num_examples: int
) -> None:
    """Refuses batches larger than what they are drawn from; by default they are the trial's own."""
    most = measure.examples or num_examples
    along = config.batch_schedule if measure.every_epochs is not None else ()
    own = max(config.global_batch_size, *(phase.global_batch_size for phase in along), 0)
    if (measure.batch_size or own) > most:
        whose = "batch_size" if measure.batch_size else "global_batch_size"
        raise ValueError(
            f"{whose} {measure.batch_size or own} of measure batch-sharpness: batches are drawn "
            f"from {most} examples; give a batch_size of at most {most}"
            + ("" if measure.examples is None else ", or leave examples out for all")
        )


def _check_kept(config: c.TrialConfig, kept: str | tuple[float, ...], num_examples: int) -> None:
    """Refuses epochs whose weights are to be kept and which the trial never reaches."""
    epochs = batch_plan(config, num_examples).examples / num_examples
    if isinstance(kept, tuple) and max(kept, default=0.0) > epochs:
        raise ValueError(
            f"keep_weights {max(kept):g}: later than the end of the run at {epochs:.6g} epochs, "
            "whose weights are kept anyway; leave it out"
        )
