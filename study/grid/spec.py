"""A study file as a person wrote it, checked: YAML -> `StudySpec`.

Every error has `file:line:column`, the section and key, and a value that works; all that can be
found at once is reported at once. What needs the data (a warmup longer than the run, a batch larger
than the training set) is checked by `study.plan.plan`. Loads neither torch nor ray.
"""

from __future__ import annotations

import io
import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from study.file.contents import check_no_secrets, number_of_values
from study.file.document import (
    Document,
    Keys,
    StudyError,
    dotted,
    read,
    suggestion,
    with_overrides,
    with_scale,
    yaml_value,
)
from study.file.fields import Problem, dotted_fields, shown
from study.file.search import search_config
from study.file.search_config import SearchConfig, with_first_values
from study.file.sections import data_source, execution_config, measure_configs
from study.grid.settings import Setting, settings
from trainables import limits
from trainables.config.execution import ExecutionConfig
from trainables.config.measures.kinds import MeasureConfig
from trainables.installation import SOURCE_TREE
from trainables.results.layout import checked_name
from trainables.results.storage import FolderError, local
from trainables.task import TASKS, Task, metric_of

__all__ = ["StudyError", "StudySpec", "load_spec", "resolved_yaml"]

PRESETS = SOURCE_TREE / "study" / "presets"
PUBLISHED = SOURCE_TREE / "analysis" / "published"
TARGETS = tuple(f"target_{task.metric.column('test')}" for task in TASKS.values())
"""target_test_accuracy, and what other tasks have in its place."""
SECTIONS = (
    *("name", "question", "data", "network", "training", "grid", "exclude", "arms", "seeds"),
    *("baseline_batch_size", "search", *TARGETS, "measures", "execution"),
    *("reproduces", "stand_ins"),
)
DEFAULT_SEEDS = 5
"""Fewer mislead: at three, one arm's share of the gap closed looked twice what it was."""
_DATA_PATH = re.compile(r"(^|\.)data\.(root|train|test)$")


@dataclass(frozen=True, kw_only=True)
class StudySpec:
    """One study: every point less its data's facts, and how to run and measure it."""

    name: str
    question: str
    settings: tuple[Setting, ...]
    """Points without their seeds, in the order blocks, grid values, arms; none excluded."""
    seeds: tuple[int, ...]
    baseline_batch_size: int
    search: SearchConfig | None
    """With one, `settings` are its cells, which hold the first of the searched values."""
    measures: tuple[MeasureConfig, ...]
    execution: ExecutionConfig
    sections: Mapping[str, Any]
    """The file's sections as plain values, after `--set`, with absolute paths."""
    import_folder: str = field(compare=False)
    """Where import strings are looked up last: the study file's folder."""
    document: Document = field(compare=False, repr=False)


def load_spec(
    path: Path,
    overrides: Sequence[str] = (),
    *,
    scale: str | None = None,
    data_folder: Path | None = None,
    added: Sequence[str] = (),
    text: str | None = None,
) -> StudySpec:
    """The study that a file describes.

    Args:
        path: the study file.
        overrides: `section.key=VALUE` with YAML values (`--set`), applied in order, last. Relative
            paths of data given by them are taken from the current directory.
        scale: which of the file's `scales` to apply; None = as written.
        data_folder: where relative paths of data are taken from; by default the file's folder, or
            of a preset `data` in the current directory.
        added: measures in YAML (`--add`) that the study is to have too.
        text: what stands in the file, where a results folder's head says so.

    Raises:
        StudyError: for everything that is wrong, a line each.
    """
    beside = Path(os.path.realpath(path)).parent
    is_preset = beside == PRESETS.resolve()
    folder = Path.cwd() if is_preset else beside
    data = data_folder or (folder / "data" if is_preset else folder)
    document = with_overrides(with_scale(read(path, text), scale), overrides)
    document = _with_absolute_paths(document, data.absolute())
    check_no_secrets(document)
    problems: list[str] = []
    _check_sections(document, problems)
    name = _name(document, problems)
    seeds = _seeds(document, problems)
    found: list[Problem] = []
    measures = measure_configs(document.values.get("measures"), found)
    measures += _added_measures(added, measures, problems)
    execution = execution_config(document.values.get("execution"), found)
    problems.extend(document.problem(p.keys, p.message, at_key=p.at_key) for p in found)
    search = search_config(document, seeds, problems)
    whole = document if search is None else with_first_values(document, search)
    can_build = bool(seeds) and (search is not None or document.values.get("search") is None)
    searched = 0 if search is None else search.points_per_cell * search.seeds
    points = settings(whole, seeds, problems, searched) if can_build else ()
    if points:  # without them the task is not known
        task = _task(document, points, problems)
        _check_targets(document, task, problems)
        search = search and _with_objective(document, search, task, problems)
    baseline = _baseline(document, points, problems) if not problems else 0
    if problems:
        raise StudyError(sorted(problems, key=_position))
    sections = {key: document.values[key] for key in SECTIONS if key in document.values}
    resolved = _resolved(sections, seeds, baseline, search, measures)
    if message := limits.beyond("NODES", number_of_values(resolved)):  # it could not be read again
        raise StudyError([f"{document.file}: written out, with every seed: {message}"])
    return StudySpec(
        name=name,
        question=document.values.get("question") or "",
        settings=points,
        seeds=seeds,
        baseline_batch_size=baseline,
        search=search,
        measures=measures,
        execution=execution,
        sections=resolved,
        import_folder=str(folder),
        document=document,
    )


def _added_measures(
    added: Sequence[str], known: Sequence[MeasureConfig], problems: list[str]
) -> tuple[MeasureConfig, ...]:
    """The measures of `--add` that the study has not."""
    found: list[MeasureConfig] = []
    for text in added:
        option, wrong = f"--add {text}", list[Problem]()
        value = yaml_value(text, option)
        *_, measure = measure_configs([{"name": value} if isinstance(value, str) else value], wrong)
        if not wrong and measure.is_recorded:
            message = "is recorded along training; write it under measures and run with --retrain"
            wrong.append(Problem(keys=(measure.name,), message=message))
        for p in wrong:
            problems.append(f"{option}: {dotted(p.keys).removeprefix('measures[0].')}: {p.message}")
        if measure not in (*known, *found):
            found.append(measure)
    return tuple(found)


def _position(problem: str) -> tuple[int, int]:
    """Line and column that a problem begins with; those of `--set` come first."""
    match = re.match(r".*?:(\d+):(\d+): ", problem)
    return (int(match[1]), int(match[2])) if match else (0, 0)


def _resolved(
    sections: Mapping[str, Any],
    seeds: Sequence[int],
    baseline_batch_size: int,
    search: SearchConfig | None,
    measures: Sequence[MeasureConfig],
) -> dict[str, Any]:
    """The sections with what was implied written out, in the order of `SECTIONS`."""
    implied = {
        "seeds": list(seeds),
        "baseline_batch_size": baseline_batch_size,
        "search": None
        if search is None
        else _plain(search) | {"fields": sections["search"]["fields"]},
        "measures": [_plain(measure) for measure in measures],
    }
    merged = {**sections, **implied}
    return {key: merged[key] for key in SECTIONS if merged.get(key) is not None}


def _plain(config: MeasureConfig | SearchConfig) -> dict[str, Any]:
    values = {f.name: getattr(config, f.name) for f in fields(config)}
    if values.get("every_steps") is not None:
        del values["every_epochs"]  # not in force
    return {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in values.items()
        if value is not None
    }


# ---------------------------------------------------------------------------------------- sections


def _check_sections(document: Document, problems: list[str]) -> None:
    for key in document.values:
        if key not in SECTIONS:
            message = f"unknown section; {_nearest_section(key)}"
            problems.append(document.problem((key,), message, at_key=True))
    _check_texts(document, "stand_ins", problems)
    published = {path.stem for path in PUBLISHED.glob("*.csv")}
    for i, name in enumerate(_check_texts(document, "reproduces", problems)):
        if name not in published:
            message = f"no published numbers of that name; {suggestion(name, sorted(published))}"
            problems.append(document.problem(("reproduces", i), message))
    question = document.values.get("question")
    if question is not None and not isinstance(question, str):
        problems.append(document.problem(("question",), f"{shown(question)} is not text"))


def _check_texts(document: Document, section: str, problems: list[str]) -> list[str]:
    """A section that is a list of texts."""
    texts = document.values.get(section) or []
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        problems.append(document.problem((section,), "must be a list of texts"))
        return []
    return texts


def _nearest_section(key: str) -> str:
    owners = [name for name in dotted_fields() if name.endswith(f".{key}") and name.count(".") == 1]
    return f"did you mean {owners[0]}?" if owners else suggestion(key, SECTIONS)


def _name(document: Document, problems: list[str]) -> str:
    name = document.values.get("name")
    if not isinstance(name, str):
        what = "missing" if name is None else f"{shown(name)} is not text"
        problems.append(document.problem(("name",), f"{what}; e.g. name: my-study"))
        return ""
    try:
        return checked_name(name)
    except ValueError as error:
        message = str(error).removeprefix("name: ")
        problems.append(document.problem(("name",), message))
        return ""


def _seeds(document: Document, problems: list[str]) -> tuple[int, ...]:
    seeds = document.values.get("seeds", DEFAULT_SEEDS)
    example = "e.g. seeds: 5, or seeds: [0, 1, 2, 3, 4]"
    if type(seeds) is int and (message := limits.beyond("POINTS", seeds)):
        problems.append(document.problem(("seeds",), message))
        return ()
    if type(seeds) is int and seeds >= 1:
        return tuple(range(seeds))
    if not isinstance(seeds, list) or not seeds:
        message = f"{shown(seeds)} must be a number of seeds of 1 or more, or a list; {example}"
        problems.append(document.problem(("seeds",), message))
        return ()
    for i, seed in enumerate(seeds):
        if type(seed) is not int or not 0 <= seed < 2**63:
            message = f"{shown(seed)} must be a whole number of 0 or more; {example}"
        elif seed in seeds[:i]:
            message = f"seed {seed} is listed twice; keep one"
        else:
            continue
        problems.append(document.problem(("seeds", i), message))
    return tuple(seeds) if not problems else ()


def _baseline(document: Document, points: Sequence[Setting], problems: list[str]) -> int:
    """The batch size that gaps are measured from; by default the smallest."""
    sizes = sorted({point.training.global_batch_size for point in points})
    wanted = document.values.get("baseline_batch_size")
    if wanted is None:
        return sizes[0]
    if type(wanted) is not int or wanted not in sizes:
        message = f"{shown(wanted)} is not a batch size of the study; use one of {sizes}"
        problems.append(document.problem(("baseline_batch_size",), message))
    return int(wanted) if not problems else 0


def _task(document: Document, points: Sequence[Setting], problems: list[str]) -> Task:
    """What all trials of the study are about."""
    names = sorted({point.data.task for point in points})
    if len(names) > 1:
        message = f"has data of several tasks, {' and '.join(names)}; make each a study of its own"
        problems.append(document.problem(("grid",), message, at_key=True))
    return TASKS[names[0]]


def _with_objective(
    document: Document, search: SearchConfig, task: Task, problems: list[str]
) -> SearchConfig:
    """By default the task's metric on the validation set; never another task's."""
    own = task.metric.column("validation")
    if "optimize" not in document.values["search"]:
        return replace(search, optimize=own)  # type: ignore[arg-type]
    if metric_of(search.optimize).name not in ("loss", task.metric.name):
        message = f"{search.optimize} is no metric of a {task.name}; e.g. {own}"
        problems.append(document.problem(("search", "optimize"), message))
    return search


def _check_targets(document: Document, task: Task, problems: list[str]) -> None:
    """The target is of the task's metric, a number that it can take."""
    metric, own = task.metric, f"target_{task.metric.column('test')}"
    for name in TARGETS:
        target = document.values.get(name)
        if target is not None and name != own:
            message = f"is no target of a {task.name}; use {own}"
            problems.append(document.problem((name,), message, at_key=True))
        elif target is not None and not (type(target) is float and 0 < target < metric.limit):
            is_free = math.isinf(metric.limit)
            rule = "above 0" if is_free else f"a fraction between 0 and {metric.limit:g}"
            message = f"{shown(target)} must be {rule}; e.g. {metric.example}"
            problems.append(document.problem((name,), message))


def _with_absolute_paths(document: Document, folder: Path) -> Document:
    """Data paths made absolute wherever they stand: sections, axes of the grid, arms, exclude."""
    data = document.values.get("data")
    if isinstance(data, dict) and data_source(data) == "load":
        return document  # options of the user's function, passed as they are

    def walked(value: Any, keys: Keys) -> Any:
        if isinstance(value, dict):
            return {key: walked(item, (*keys, key)) for key, item in value.items()}
        if isinstance(value, list):
            return [walked(item, (*keys, i)) for i, item in enumerate(value)]
        name = ".".join(key for key in keys if isinstance(key, str))
        if not isinstance(value, str) or not _DATA_PATH.search(name):
            return value
        try:
            path = local(value)
        except FolderError as error:
            raise StudyError([document.problem(keys, str(error))]) from error
        by_option = document.places[keys][1].startswith("--set") if keys in document.places else 0
        return str((Path.cwd() if by_option else folder) / path.expanduser())

    return replace(document, values=walked(document.values, ()))


# ------------------------------------------------------------------------------------ back to text


def resolved_yaml(spec: StudySpec) -> str:
    """The study file with `--set` applied, paths absolute and what was implied written out.

    Reading it again gives an equal study.
    """
    yaml = YAML()
    yaml.width = 4096  # no line is folded
    text = io.StringIO()
    yaml.dump(dict(spec.sections), text)
    return text.getvalue()
