"""The Parquet contract: tables, columns, types, units.

Every column of a results folder is declared here, cast to on write and never inferred. The columns
of `plan` and `trials` are derived from the dataclasses of `trainables.config`: the YAML key, the
dataclass field, the Parquet column and the axis label are one word. Loads neither torch nor ray.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Any, get_args, get_type_hints

import pyarrow as pa

from trainables.config.data import DataConfig, NetworkConfig
from trainables.config.optimizers.kinds import OptimizerConfig
from trainables.config.training import BatchPhase, SharedConfig, TrainingConfig, WarmStart
from trainables.config.trial import Start, TrialConfig
from trainables.task import COLUMNS as METRIC_COLUMNS

SCHEMA_VERSION = 8
"""Raised when columns are added or change their meaning; readers refuse a newer one."""

PHASE = pa.struct(
    [("until_epoch", pa.float64()), ("global_batch_size", pa.int64()), ("peak_lr", pa.float64())]
)
FILE = pa.struct([("path", pa.string()), ("rows", pa.int64()), ("sha256", pa.string())])
TIME = pa.timestamp("us", tz="UTC")

_SIMPLE = {int: pa.int64(), float: pa.float64(), bool: pa.bool_(), str: pa.string()}


def _column_type(hint: Any) -> pa.DataType:
    """The Arrow type of a config field: Literal -> string, tuple -> list, X | None -> X."""
    if hint is BatchPhase:
        return PHASE
    if hint in _SIMPLE:
        return _SIMPLE[hint]
    args = [a for a in get_args(hint) if a is not type(None)]
    if isinstance(args[0], str):
        return pa.string()
    if getattr(hint, "__origin__", None) is tuple:
        return pa.list_(_column_type(args[0]))
    return _column_type(args[0])


def _columns(config: type, skip: Iterable[str] = ()) -> dict[str, pa.DataType]:
    hints = get_type_hints(config)
    shared = {f.name for f in fields(SharedConfig)}
    names = (f.name for f in sorted(fields(config), key=lambda f: f.name in shared))
    return {name: _column_type(hints[name]) for name in names if name not in skip}


_SECTIONS = ("data", "network", "optimizer", "start")
_DATA_COLUMNS = {
    "data": pa.string(),
    "task": pa.string(),
    "context": pa.int64(),
    "image_size": pa.int64(),
    "standardize": pa.bool_(),
    "train_examples": pa.int64(),
    "validation_examples": pa.int64(),
    "data_options": pa.string(),
}
_NETWORK_COLUMNS = {"network": pa.string(), "network_options": pa.string()}
_OPTIMIZER_COLUMNS = {
    "optimizer": pa.string(),
    **{
        name: type_
        for kind in get_args(OptimizerConfig)
        for name, type_ in _columns(kind, ("name",)).items()
    },
}


def flatten(config: TrainingConfig | TrialConfig) -> dict[str, Any]:
    """A config as one row: sections unfolded, options as JSON, absent optimizer fields None."""
    row: dict[str, Any] = {}
    for f in fields(config):
        value = getattr(config, f.name)
        if f.name == "data":
            row |= flatten_data(value)
        elif f.name == "network":
            row |= flatten_network(value)
        elif f.name == "optimizer":
            row |= {"optimizer": value.name}
            row |= {g.name: getattr(value, g.name) for g in fields(value) if g.name != "name"}
        elif f.name == "start":
            row |= _flatten_start(value)
        elif f.name == "batch_schedule":
            row[f.name] = [vars(phase) for phase in value]
        else:
            row[f.name] = list(value) if isinstance(value, tuple) else value
    return row


def _flatten_start(start: WarmStart | Start | None) -> dict[str, Any]:
    if start is None:
        return {}
    if isinstance(start, WarmStart):
        return {"start_trial": options_json(start.trial), "start_epoch": start.epoch}
    return {"start_trial_id": start.trial_id, "start_epoch": start.epoch}


def flatten_data(data: DataConfig) -> dict[str, Any]:
    """The columns that name the data."""
    row = {name: getattr(data, name) for name in _DATA_COLUMNS if hasattr(data, name)}
    return row | {"data": data.label, "data_options": options_json(data.options)}


def flatten_network(network: NetworkConfig) -> dict[str, Any]:
    """The columns that name the network."""
    return {"network": network.label, "network_options": options_json(network.options)}


def options_json(options: Mapping[str, Any]) -> str | None:
    """Options of a network or data set as canonical JSON; None when there are none."""
    return json.dumps(options, sort_keys=True) if options else None


SUBJECT = ("network", "network_options", "data", "data_options")
"""Columns that say what a trial is about."""

POINT_COLUMNS: dict[str, pa.DataType] = {
    "seed": pa.int64(),
    **_DATA_COLUMNS,
    **_NETWORK_COLUMNS,
    **_OPTIMIZER_COLUMNS,
    **_columns(TrainingConfig, _SECTIONS),
    "start_trial": pa.string(),
    "start_epoch": pa.float64(),
}
"""What the YAML wrote for one point, unfolded."""

TRIAL_CONFIG_COLUMNS: dict[str, pa.DataType] = {
    "seed": pa.int64(),
    **_DATA_COLUMNS,
    **_NETWORK_COLUMNS,
    **_OPTIMIZER_COLUMNS,
    **_columns(TrialConfig, (*_SECTIONS, "seed")),
    "start_trial_id": pa.string(),
    "start_epoch": pa.float64(),
}
"""What it resolved to, unfolded."""

_CLOCKS = {
    "optimizer_step": pa.int64(),
    "epoch": pa.float64(),
    "examples_seen": pa.int64(),
}
_METRICS = {column: pa.float64() for column in METRIC_COLUMNS}
"""Means over the split, units as `task.METRICS` has them; accuracy as a fraction of 1."""

_PLAN = {
    "block": pa.int64(),
    "arm": pa.string(),
    "stage": pa.string(),
    "trial_id": pa.string(),
    "requires": pa.list_(pa.string()),
    **POINT_COLUMNS,
}
_TRIALS = {
    "trial_id": pa.string(),
    "status": pa.string(),
    "stop_reason": pa.string(),
    "error": pa.string(),
    **TRIAL_CONFIG_COLUMNS,
    **_CLOCKS,
    **_METRICS,
    "effective_batch_size": pa.float64(),
    "extra_forward_examples": pa.int64(),
    "gradient_evaluations": pa.int64(),
    "lr_per_example": pa.float64(),
    "weight_decay_per_epoch": pa.float64(),
    "momentum_half_life_examples": pa.float64(),
    "smith_le_noise": pa.float64(),
    "every_epochs": pa.float64(),
    "every_steps": pa.int64(),
    "training_seconds": pa.float64(),
    "evaluation_seconds": pa.float64(),
    "concurrent_trials": pa.int64(),
    "peak_memory_bytes": pa.int64(),
    "num_parameters": pa.int64(),
    "num_train_examples": pa.int64(),
    "num_validation_examples": pa.int64(),
    "num_test_examples": pa.int64(),
    "data_fingerprint": pa.string(),
    "data_source_hash": pa.string(),
    "network_source_hash": pa.string(),
    "parameter_shapes_hash": pa.string(),
    "num_workers": pa.int64(),
    "threads_per_worker": pa.int64(),
    "micro_batch_size": pa.int64(),
    "accumulation_steps": pa.int64(),
    "device": pa.string(),
    "device_name": pa.string(),
    "channels_last": pa.bool_(),
    "attempt": pa.int64(),
    "host": pa.string(),
    "started_at": TIME,
    "finished_at": TIME,
    "torch_version": pa.string(),
    "files": pa.list_(FILE),
}
_ATTEMPTS = {
    "trial_id": pa.string(),
    "attempt": pa.int64(),
    "rank": pa.int64(),
    "status": pa.string(),
    "error": pa.string(),
    "traceback": pa.string(),
    "host": pa.string(),
    "node_ids": pa.list_(pa.string()),
    "num_workers": pa.int64(),
    "threads_per_worker": pa.int64(),
    "max_micro_batch_size": pa.int64(),
    "pid": pa.int64(),
    "log": pa.string(),
    "started_at": TIME,
    "finished_at": TIME,
    "start_step": pa.int64(),
    "end_step": pa.int64(),
}
_EVALUATIONS = {
    "trial_id": pa.string(),
    **_CLOCKS,
    "lr": pa.float64(),
    "global_batch_size": pa.int64(),
    "effective_batch_size": pa.int64(),
    "train_examples_evaluated": pa.int64(),
    **_METRICS,
    "training_seconds": pa.float64(),
    "examples_per_second": pa.float64(),
}
_MEASURES = {
    "trial_id": pa.string(),
    "other_trial_id": pa.string(),
    "measure": pa.string(),
    "quantity": pa.string(),
    "method": pa.string(),
    "layer": pa.string(),
    "index": pa.int64(),
    "value": pa.float64(),
    "standard_error": pa.float64(),
    "sharpness_epsilon": pa.float64(),
    "subspace_dim": pa.int64(),
    "examples": pa.int64(),
    "parameters": pa.string(),
    "at_end": pa.bool_(),
    "optimizer_step": pa.int64(),
    "epoch": pa.float64(),
    "start_loss": pa.float64(),
    "algorithm": pa.int64(),
    "evaluations": pa.int64(),
    "iterations": pa.int64(),
    "certificate": pa.string(),
    "starts": pa.string(),
    "starts_near_largest": pa.int64(),
    "normalization": pa.string(),
    "split": pa.string(),
    "precision": pa.string(),
    "seconds": pa.float64(),
    "error": pa.string(),
    "torch_version": pa.string(),
}
_CURVES = {
    "trial_id": pa.string(),
    "other_trial_id": pa.string(),
    "measure": pa.string(),
    "method": pa.string(),
    "layer": pa.string(),
    "index": pa.int64(),
    "x": pa.float64(),
    "y": pa.float64(),
    "quantity": pa.string(),
    "value": pa.float64(),
    "standard_error": pa.float64(),
    "parameters": pa.string(),
    "at_end": pa.bool_(),
    "optimizer_step": pa.int64(),
    "epoch": pa.float64(),
    "examples": pa.int64(),
    "normalization": pa.string(),
    "split": pa.string(),
}
"""Points of curves: a value at `x` (alpha, eigenvalue, batch size) and, on a plane, `y`."""
_LAYERS = {
    "trial_id": pa.string(),
    **_CLOCKS,
    "lr": pa.float64(),
    "layer": pa.string(),
    "kind": pa.string(),
    "num_parameters": pa.int64(),
    "weight_norm": pa.float64(),
    "mean_abs_gradient": pa.float64(),
    "gradient_norm": pa.float64(),
    "parameter_stride": pa.float64(),
    "parameter_stride_per_lr": pa.float64(),
    "loss_stride": pa.float64(),
    "trust_ratio": pa.float64(),
    "mean_curvature_radius": pa.float64(),
    "median_curvature_radius": pa.float64(),
    "curvature_samples": pa.int64(),
    "examples": pa.int64(),
    "error": pa.string(),
}
"""Per layer, weights (`kind` weight) and biases (bias) apart, and those of normalization."""
_TIMINGS = {
    "trial_id": pa.string(),
    "steps": pa.int64(),
    "step_seconds": pa.float64(),
    "examples_per_second": pa.float64(),
    "seconds_per_epoch": pa.float64(),
    "peak_memory_bytes": pa.int64(),
    "num_workers": pa.int64(),
    "threads_per_worker": pa.int64(),
    "device_name": pa.string(),
    "host": pa.string(),
    "taken_at": TIME,
}

TABLES: dict[str, pa.Schema] = {
    name: pa.schema(list(columns.items()), metadata={"schema_version": str(SCHEMA_VERSION)})
    for name, columns in {
        "plan": _PLAN,
        "trials": _TRIALS,
        "attempts": _ATTEMPTS,
        "evaluations": _EVALUATIONS,
        "measures": _MEASURES,
        "curves": _CURVES,
        "layers": _LAYERS,
        "timings": _TIMINGS,
    }.items()
}
