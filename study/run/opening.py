"""From what a person typed to a study: its file or preset, its plan, its results folder.

Given a file, a verb works from that file, and the results folder is the store of its trials; given
a results folder, from what that holds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import pyarrow as pa

from study.file.document import StudyError, suggestion
from study.grid.spec import PRESETS, StudySpec, load_spec, resolved_yaml
from study.plan.estimate import Cost, trial_cost
from study.plan.plan import Facts, Plan, expand
from study.run.facts import facts_of, stored_facts
from study.run.missing import Missing
from trainables.config.data import DataConfig
from trainables.config.trial import Trial
from trainables.imports import source_hash
from trainables.results import head, layout
from trainables.results.head import Head
from trainables.results.ledger import Ledger, read_ledger
from trainables.results.schema import TABLES
from trainables.results.storage import Storage, storage_at


@dataclass(frozen=True, kw_only=True)
class Opened:
    """A study, resolved, and where its results lie."""

    spec: StudySpec
    plan: Plan
    folder: Path
    facts: Facts
    without_set: Callable[[], Plan] | None = None
    """Makes the plan of what was typed without its `--set`; None where nothing was set."""

    @property
    def storage(self) -> Storage:
        """The results folder's files."""
        return storage_at(self.folder)

    @cached_property
    def trials(self) -> list[Trial]:
        """Every trial of the study, in the order in which they run."""
        return self.plan.trials(self.folder)

    @property
    def data(self) -> list[DataConfig]:
        """Its data sets, each once."""
        return list({t.config.data.label: t.config.data for t in self.trials}.values())

    @cached_property
    def head(self) -> Head:
        """What its results folder is of, once it runs."""
        sections = {id(config.data): config.data for config in self.plan.configs.values()}
        return Head(
            study=resolved_yaml(self.spec),
            plan=pa.Table.from_pylist(self.plan.point_rows(), schema=TABLES["plan"]),
            data=stored_facts(sections.values(), self.facts),
        )

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


@dataclass(frozen=True, kw_only=True)
class Results:
    """A results folder, and the study that a verb is to read there."""

    folder: Path
    head: Head

    stored: Head
    """What the folder was last run as; `head` itself where a folder was named."""

    @property
    def storage(self) -> Storage:
        """The folder's files."""
        return storage_at(self.folder)

    @property
    def asked(self) -> Head | None:
        """The study where it is not simply what the folder holds."""
        return None if self.head is self.stored else self.head

    @property
    def differences(self) -> list[str]:
        """In which settings they differ."""
        return [] if self.asked is None else head.differences(self.head, self.stored)


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
    spec, folder = _spec(study, overrides, results_root, scale, data_folder, added)
    opened = _resolved(spec, folder, (), runs_code=True)
    _check_imports(spec)

    def without_set() -> Plan:
        written, _ = _spec(study, (), results_root, scale, data_folder, added)
        return _resolved(written, folder, (), runs_code=True).plan

    return replace(opened, without_set=without_set if overrides else None)


def open_results(
    study: str,
    overrides: Sequence[str],
    results_root: Path,
    *,
    scale: str | None = None,
    data_folder: Path | None = None,
) -> Results:
    """The results of a study that was run, to read them.

    The facts of its data are those that the folder has; data is opened only where it has none, and
    no code that the study names is run.

    Args:
        study: path of a study file, name of a preset, or path of a results folder.
        overrides: `--set` options.
        results_root: folder that holds results folders.
        scale: which of the file's scales to apply.
        data_folder: where relative paths of data are taken from.

    Raises:
        FileNotFoundError: there are no results.
        StudyError: for what is wrong with the study file, or with the data it names.
        DamagedFileError: if the folder's head is not what was written.
    """
    as_stored = storage_at(study)
    if layout.is_study(as_stored) and not overrides and scale is None:
        own = head.read(as_stored)
        return Results(folder=Path(study).absolute(), head=own, stored=own)
    spec, folder = _spec(study, overrides, results_root, scale, data_folder, ())
    _check_was_run(folder, study, scale)
    last = head.read(storage_at(folder))
    try:
        asked = _resolved(spec, folder, last.data, runs_code=False).head
    except OSError:
        if last.data:
            raise
        asked = last  # an older batchgap's folder knows nothing of its data: it speaks for itself
    return Results(folder=folder, head=asked, stored=last)


def results_folder(
    study: str, overrides: Sequence[str], results_root: Path, *, scale: str | None = None
) -> Path:
    """Where the results of a study lie that was run; its plan is not looked at.

    Raises:
        FileNotFoundError: there are none.
    """
    if layout.is_study(storage_at(study)) and not overrides and scale is None:
        return Path(study).absolute()
    stored = storage_at(study)
    if layout.parts(stored, "trials") or layout.is_export(stored):  # `verify` says what is missing
        return Path(study).absolute()
    _, folder = _spec(study, overrides, results_root, scale, None, ())
    _check_was_run(folder, study, scale)
    return folder


def _check_was_run(folder: Path, study: str, scale: str | None) -> None:
    if not layout.is_study(storage_at(folder)):
        named = study if scale is None else f"{study} --scale {scale}"
        raise FileNotFoundError(
            f"{folder}: no results there yet; `batchgap run {named}` makes them"
        )


def study_file(study: str) -> Path:
    """The file that a person means: one of that path, or else the preset of that name.

    Raises:
        StudyError: there is neither.
    """
    path = Path(study)
    if path.is_dir():
        raise StudyError([_no_study(path)])
    if path.exists() or path.suffix in (".yaml", ".yml"):
        return path
    presets = preset_files()
    if study not in presets:
        raise StudyError(
            [f"{study}: neither a file nor a preset; of the presets, {suggestion(study, presets)}"]
        )
    return presets[study]


def _no_study(folder: Path) -> str:
    """What to say of a folder that is named as a study, and has no plan."""
    storage = storage_at(folder)
    if layout.parts(storage, "trials") or layout.is_export(storage):
        return (
            f"{folder}: its {layout.PLAN} is missing, which says what its trials are of; run its "
            "study file, which trains nothing anew that is done"
        )
    return f"{folder}: a folder without {layout.PLAN}, so no study's results; name a study file"


def preset_files() -> dict[str, Path]:
    """The studies that come with batchgap, by name."""
    return {path.stem: path for path in sorted(PRESETS.glob("*.yaml"))}


def _spec(
    study: str,
    overrides: Sequence[str],
    results_root: Path,
    scale: str | None,
    data_folder: Path | None,
    added: Sequence[str],
) -> tuple[StudySpec, Path]:
    """The study that was named, and where its results lie."""
    stored = storage_at(study)
    of_results = layout.is_study(stored)
    spec = load_spec(
        Path(study) / layout.STUDY if of_results else study_file(study),
        overrides,
        scale=scale,
        data_folder=data_folder,
        added=added,
        text=head.read(stored).study if of_results else None,
    )
    folder = Path(study).absolute() if of_results else layout.study_folder(spec.name, results_root)
    return spec, folder


def _resolved(
    spec: StudySpec, folder: Path, stored: Sequence[head.Facts], *, runs_code: bool
) -> Opened:
    """A study's plan, as its results stand."""
    facts = facts_of(spec, stored, runs_code=runs_code)
    rows = read_ledger(storage_at(folder)).rows if spec.search is not None else {}
    return Opened(spec=spec, plan=expand(spec, facts, rows), folder=folder, facts=facts)


def _check_imports(spec: StudySpec) -> None:
    """Finds the modules of the user's own networks, without running them."""
    for build in {s.network.build for s in spec.settings if s.network.build is not None}:
        try:
            source_hash(build, spec.import_folder)
        except ValueError as error:
            raise StudyError([spec.document.problem(("network", "build"), str(error))]) from error
