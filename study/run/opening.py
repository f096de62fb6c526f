"""From what a person typed to a study: its file or preset, its plan, its results folder."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path

from study.file.document import StudyError, suggestion
from study.grid.spec import PRESETS, StudySpec, load_spec
from study.plan.estimate import Cost, trial_cost
from study.plan.plan import Facts, Plan, expand
from study.run.missing import Missing
from trainables.config.data import DataConfig
from trainables.config.trial import Trial
from trainables.datasets.cache import open_data
from trainables.datasets.facts import DataFacts
from trainables.imports import source_hash
from trainables.results import layout
from trainables.results.ledger import Ledger, read_ledger
from trainables.results.storage import Storage, storage_at


@dataclass(frozen=True, kw_only=True)
class Opened:
    """A study, resolved, and where its results lie."""

    spec: StudySpec
    plan: Plan
    folder: Path
    facts: Facts

    @property
    def storage(self) -> Storage:
        """The results folder's files."""
        return storage_at(self.folder)

    @cached_property
    def trials(self) -> list[Trial]:
        """Every trial of the study, in the order in which they run."""
        return self.plan.trials(self.folder)

    def missing(self, ledger: Ledger | None = None) -> Missing:
        """What the study lacks, as a ledger of it says; by default as the folder stands now."""
        known = ledger or read_ledger(self.storage)
        return Missing(storage=self.storage, trials=self.trials, ledger=known)

    def after(self, ledger: Ledger) -> Opened:
        """The study as its results stand: a search goes on by them."""
        return replace(self, plan=expand(self.spec, self.facts, ledger.rows))

    def cost(self, trial: Trial) -> Cost:
        """What a trial is assumed to cost."""
        return trial_cost(trial, self.facts(trial.config.data))


def open_study(
    study: str,
    overrides: Sequence[str],
    results_root: Path,
    *,
    scale: str | None = None,
    data_folder: Path | None = None,
    added: Sequence[str] = (),
) -> Opened:
    """A study file, a preset, or what a results folder was run from, resolved on its data.

    Args:
        study: path of a study file, name of a preset, or path of a results folder.
        overrides: `--set` options.
        results_root: folder that holds results folders.
        scale: which of the file's scales to apply.
        data_folder: where relative paths of data are taken from.
        added: measures to take besides the study's, in YAML (`--add`).

    Raises:
        StudyError: for what is wrong with the study file, or with the data it names.
        OSError: if data is missing or cannot be cached.
        NewerSchemaError: if it searches, and a newer batchgap wrote its results.
    """
    of_results = layout.is_study(storage_at(study))
    file = Path(study) / layout.STUDY if of_results else study_file(study)
    spec = load_spec(file, overrides, scale=scale, data_folder=data_folder, added=added)
    facts = _facts(spec)
    folder = Path(study).absolute() if of_results else layout.study_folder(spec.name, results_root)
    rows = read_ledger(storage_at(folder)).rows if spec.search is not None else {}
    plan = expand(spec, facts, rows)
    _check_imports(spec)
    return Opened(spec=spec, plan=plan, folder=folder, facts=facts)


def study_file(study: str) -> Path:
    """The file that a person means: one of that path, or else the preset of that name.

    Raises:
        StudyError: there is neither.
    """
    path = Path(study)
    if path.exists() or path.suffix in (".yaml", ".yml"):
        return path
    presets = preset_files()
    if study not in presets:
        raise StudyError(
            [f"{study}: neither a file nor a preset; of the presets, {suggestion(study, presets)}"]
        )
    return presets[study]


def preset_files() -> dict[str, Path]:
    """The studies that come with batchgap, by name."""
    return {path.stem: path for path in sorted(PRESETS.glob("*.yaml"))}


def results_folder(study: str, results_root: Path, scale: str | None = None) -> Path:
    """The results of a study that was run, without looking at its data.

    Args:
        study: path of a study file, name of a preset, or path of a results folder.
        results_root: folder that holds results folders.
        scale: which of the file's scales was run.

    Raises:
        FileNotFoundError: there are no results.
    """
    if layout.is_study(storage_at(study)):
        return Path(study).absolute()
    folder = layout.study_folder(load_spec(study_file(study), scale=scale).name, results_root)
    if not layout.is_study(storage_at(folder)):
        named = study if scale is None else f"{study} --scale {scale}"
        raise FileNotFoundError(
            f"{folder}: no results there yet; `batchgap run {named}` makes them"
        )
    return folder


def _check_imports(spec: StudySpec) -> None:
    """Finds the modules of the user's own networks, without running them."""
    for build in {s.network.build for s in spec.settings if s.network.build is not None}:
        try:
            source_hash(build, spec.import_folder)
        except ValueError as error:
            raise StudyError([spec.document.problem(("network", "build"), str(error))]) from error


def _facts(spec: StudySpec) -> Facts:
    """What is known of each data set, opened once; what is wrong with one is the file's fault."""
    known: dict[str, DataFacts] = {}
    seen: dict[int, tuple[DataConfig, DataFacts]] = {}  # by identity: trials share their sections

    def facts(data: DataConfig) -> DataFacts:
        if id(data) not in seen:
            key = json.dumps(asdict(data), sort_keys=True)
            if key not in known:
                try:
                    known[key] = open_data(data, spec.import_folder).facts
                except ValueError as error:
                    raise StudyError([spec.document.problem(("data",), str(error))]) from error
            seen[id(data)] = data, known[key]
        return seen[id(data)][1]

    return facts
