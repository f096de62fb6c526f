"""Warm starts (Keskar et al. 2017, figure 5): the trunk that a point branches off from.

A point with `training.start` begins with the weights that another trial, its trunk, had after some
epoch. The trunk is the point itself, less its start, with the changes of `start.trial`. Loads
neither torch nor ray.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

from study.file.changes import Change, changed, field_path, order, origin
from study.file.document import Keys, suggestion
from study.file.fields import Problem, Problems, dotted_fields
from study.file.sections import training_config
from trainables.config.training import TrainingConfig, WarmStart
from trainables.config.trial import TrialConfig
from trainables.rules.batching import as_written, batch_plan
from trainables.rules.record_steps import step_at

_TRIAL: Keys = ("training", "start", "trial")
_TRUNK_FIELDS = [
    name for name in dotted_fields() if name.startswith("training.") and ".start" not in name
]


def point_training(section: Any, problems: Problems) -> TrainingConfig | None:
    """The `training` section of one point, and whether the trunk of its warm start can be."""
    before = len(problems)
    training = training_config(section, problems)
    if training is None or training.start is None:
        return training
    _trunk(training, training.start, problems)
    return training if len(problems) == before else None


def trunk_training(training: TrainingConfig, start: WarmStart) -> TrainingConfig:
    """What the trunk of a checked point is trained with."""
    found = _trunk(training, start, [])
    assert found is not None, "the trunk was checked with its point"
    return found


def _trunk(training: TrainingConfig, start: WarmStart, problems: Problems) -> TrainingConfig | None:
    changes = sorted(_changes(start.trial, problems), key=order)
    own = json.loads(json.dumps(asdict(replace(training, start=None))))
    found: Problems = []
    trunk = training_config(changed({"training": own}, changes)["training"], found)
    for p in found:
        problems.append(replace(p, keys=_keys_in_trial(changes, p.keys)))
    return trunk


def _changes(written: Mapping[str, Any], problems: Problems) -> list[Change]:
    changes = []
    for name, value in written.items():
        keys, path = (*_TRIAL, name), field_path(name)
        if path is None:
            meant = name if name.startswith("training.") else f"training.{name}"
            message = f"unknown field; {suggestion(meant, _TRUNK_FIELDS)}"
        elif path[:2] == ("training", "start"):
            message = "a trunk starts from fresh weights; remove it"
        elif len(path) == 1 or path[0] != "training":
            message = "the trunk has its point's data and network; name fields of training"
        else:
            changes.append(Change(path=path, value=value, keys=keys))
            continue
        problems.append(Problem(keys=keys, message=message, at_key=True))
    return changes


def _keys_in_trial(changes: list[Change], keys: Keys) -> Keys:
    """Where in `start.trial` a problem with the trunk's training was written."""
    found = origin(changes, keys)
    return found if found != keys else _TRIAL


def start_step(trunk: TrialConfig, epoch: float, num_train_examples: int) -> int:
    """The trunk's first optimizer step at or after an epoch.

    Raises:
        ValueError: if the trunk never reaches it, naming the most.
    """
    plan = batch_plan(trunk, num_train_examples)
    if as_written(epoch) * num_train_examples > plan.examples:
        most = math.floor(10_000 * plan.examples / num_train_examples) / 10_000
        raise ValueError(
            f"start.epoch {epoch:g}: the trunk, at global_batch_size {trunk.global_batch_size}, "
            f"ends at epoch {most:g}; at most that, or give its trial a longer budget"
        )
    return step_at(plan, as_written(epoch))
