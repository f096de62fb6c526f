"""One section of a study file to its frozen dataclass of `trainables.config`.

`study.file.fields` checks every field by itself; here is what spans several: which fields a source
of data has, options of networks, tagged sections. Every problem names a value that works.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from study.file.document import Keys, suggestion
from study.file.fields import (
    Problem,
    Problems,
    Section,
    shown,
    unknown_key,
    validated,
)
from trainables.config.data import DataConfig, NetworkConfig
from trainables.config.execution import ExecutionConfig
from trainables.config.measures.evaluation import Evaluation
from trainables.config.measures.kinds import KINDS, MeasureConfig, evaluations
from trainables.config.measures.measure import WHEN
from trainables.config.optimizers.kinds import OPTIMIZERS
from trainables.config.ranges import Conflict
from trainables.config.sources import SHARED, SOURCES
from trainables.config.training import TrainingConfig
from trainables.networks.cards import checked_options

# ---------------------------------------------------------------------------------------- sections


def data_config(section: Any, problems: Problems) -> DataConfig | None:
    """The `data` section; with `load`, keys that no data set has are the user's options."""
    keys: Keys = ("data",)
    if not _is_mapping(section, keys, "{source: mnist-5k}", problems):
        return None
    before = len(problems)
    source = data_source(section)
    if source not in list(SOURCES):  # a list is compared with each, and is no key
        message = f"{shown(source)} is no source; {suggestion(str(source), SOURCES)}"
        problems.append(Problem(keys=(*keys, "source"), message=message))
        return None
    known = SHARED | SOURCES[source].settings
    rest = {key: value for key, value in section.items() if key not in known}
    for key in () if source == "load" else rest:
        problems.append(unknown_key(key, keys, known, _other_source(key, source)))
    for key, example in SOURCES[source].needed.items():
        if section.get(key) is None:
            message = f"missing; source {source} needs it, e.g. {key}: {example}"
            problems.append(Problem(keys=(*keys, key), message=message))
    own = {key: value for key, value in section.items() if key in known}
    config = validated(DataConfig, own, keys, problems)
    _check_import_string(section, "load", keys, problems)
    _check_options(rest if source == "load" else {}, "load", keys, problems)
    if config is None or len(problems) > before:
        return None
    return replace(config, source=source, options=rest)


def data_source(section: Section) -> Any:
    """The source of a `data` section: named, or implied by `load`."""
    return section.get("source", "load" if "load" in section else "mnist-5k")


def _other_source(key: str, source: str) -> str | None:
    owners = [name for name, own in SOURCES.items() if key in own.settings]
    return f"not with source {source}, only with {', '.join(owners)}; remove it" if owners else None


def network_config(section: Any, problems: Problems) -> NetworkConfig | None:
    """The `network` section: what is not `name` or `build` is an option of the network."""
    keys: Keys = ("network",)
    if not _is_mapping(section, keys, "{name: mlp}", problems):
        return None
    before = len(problems)
    own = {key: value for key, value in section.items() if key in ("name", "build")}
    options = {key: value for key, value in section.items() if key not in own}
    config = validated(NetworkConfig, own, keys, problems)
    _check_import_string(section, "build", keys, problems)
    _check_options(options, "name or build", keys, problems)
    if config is None or len(problems) > before:
        return None
    config = replace(config, options=options)
    try:
        checked_options(config)
    except ValueError as error:
        setting, _, message = str(error).partition(": ")
        path = tuple(key for key in setting.split(".") if key != "options")
        problems.append(Problem(keys=path, message=message, at_key="no such option" in message))
        return None
    return config


def training_config(section: Any, problems: Problems) -> TrainingConfig | None:
    """The `training` section of one point, complete."""
    keys: Keys = ("training",)
    if not _is_mapping(section, keys, "{global_batch_size: 32, base_lr: 0.02}", problems):
        return None
    rest = {key: value for key, value in section.items() if key != "optimizer"}
    training = validated(TrainingConfig, rest, keys, problems)
    optimizer = _tagged(
        OPTIMIZERS, section.get("optimizer", {}), (*keys, "optimizer"), "sgd", problems
    )
    if training is None or optimizer is None:
        return None
    problems.extend(_conflict(c, (*keys, "optimizer")) for c in optimizer.conflicts())
    if list(training.decay_epochs) != sorted(set(training.decay_epochs)):
        message = f"{list(training.decay_epochs)} must ascend, e.g. [30, 60]"
        problems.append(Problem(keys=(*keys, "decay_epochs"), message=message))
    return replace(training, optimizer=optimizer)


def measure_configs(section: Any, problems: Problems) -> tuple[MeasureConfig, ...]:
    """The `measures` section; the evaluation along training is there even when not named."""
    keys: Keys = ("measures",)
    if section is not None and not isinstance(section, list):
        problems.append(Problem(keys=keys, message="must be a list, e.g. [{name: sharpness}]"))
        return ()
    found: list[MeasureConfig] = []
    for i, item in enumerate(section or []):
        measure = _tagged(KINDS, item, (*keys, i), None, problems)
        if measure is None:
            continue
        if all(item.get(name) is not None for name in WHEN):
            message = f"cannot be combined with every_steps {item['every_steps']}; keep one"
            path = (*keys, i, "every_epochs")
            problems.append(Problem(keys=path, message=message, at_key=True))
        problems.extend(_conflict(c, (*keys, i)) for c in measure.conflicts())
        if measure in found or (measure.is_recorded and any(m.name == measure.name for m in found)):
            message = f"{measure.name} is listed twice; keep one"
            problems.append(Problem(keys=(*keys, i), message=message))
        found.append(measure)
    if not evaluations(found):
        found.insert(0, Evaluation())
    return tuple(found)


def _conflict(conflict: Conflict, keys: Keys) -> Problem:
    """A kind's own refusal, at its place in the file."""
    path = (*keys, conflict.field)
    return Problem(keys=path, message=conflict.message, at_key=conflict.at_key)


def execution_config(section: Any, problems: Problems) -> ExecutionConfig:
    """The `execution` section."""
    keys: Keys = ("execution",)
    if section is None or not _is_mapping(section, keys, "{num_workers: 1}", problems):
        return ExecutionConfig()
    return validated(ExecutionConfig, section, keys, problems) or ExecutionConfig()


def _tagged(
    kinds: Mapping[str, type[Any]], section: Any, keys: Keys, default: str | None, found: Problems
) -> Any:
    """A section whose `name` says which dataclass it is."""
    example = f"{{name: {next(iter(kinds))}}}"
    if not _is_mapping(section, keys, example, found):
        return None
    name = section.get("name", default)
    if name is None:
        found.append(Problem(keys=(*keys, "name"), message=f"missing; one of {', '.join(kinds)}"))
        return None
    if not isinstance(name, str) or name not in kinds:
        message = f"there is no {shown(name)}; {suggestion(str(name), kinds)}"
        found.append(Problem(keys=(*keys, "name"), message=message))
        return None
    return validated(kinds[name], section, keys, found)


def _is_mapping(section: Any, keys: Keys, example: str, problems: Problems) -> bool:
    if not isinstance(section, dict):
        message = f"{shown(section)} is not a mapping, e.g. {example}"
        problems.append(Problem(keys=keys, message=message))
    return isinstance(section, dict)


def _check_import_string(section: Section, key: str, keys: Keys, problems: Problems) -> None:
    text = section.get(key)
    if isinstance(text, str) and not re.fullmatch(r"[^\W\d][\w.]*:[^\W\d]\w*", text):
        message = f"{shown(text)} is not of the form module:function, e.g. my_module:{key}"
        problems.append(Problem(keys=(*keys, key), message=message))


def _check_options(options: Section, beside: str, keys: Keys, problems: Problems) -> None:
    """Options are hashed into ids and written as JSON: plain finite values and lists of them."""
    for key, value in options.items():
        for item in value if isinstance(value, list) else [value]:
            if isinstance(item, dict | list):
                message = f"must be a plain value or a list of them; write options beside {beside}"
                problems.append(Problem(keys=(*keys, key), message=message))
            elif isinstance(item, float) and not math.isfinite(item):
                problems.append(Problem(keys=(*keys, key), message=f"{item} is not finite"))
