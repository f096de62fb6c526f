"""The Parquet contract: a public surface, pinned as literals, and configs unfolded into it."""

from __future__ import annotations

import json
from dataclasses import fields
from typing import get_args

import pyarrow as pa
import pytest

from trainables.config.data import DataConfig, NetworkConfig
from trainables.config.optimizers.adam import Adam, AdamW
from trainables.config.optimizers.kinds import OptimizerConfig
from trainables.config.optimizers.lamb import LAMB
from trainables.config.optimizers.layerwise import LARS, MCLR, PercentDelta
from trainables.config.optimizers.sgd import SGD
from trainables.config.optimizers.sgd_folded import SGDFolded
from trainables.config.training import BatchPhase, TrainingConfig
from trainables.config.trial import TrialConfig
from trainables.results import schema
from trainables.results.schema import TABLES, flatten

PHASE = "struct<until_epoch: double, global_batch_size: int64, peak_lr: double>"
FILE = "struct<path: string, rows: int64, sha256: string>"
TIME = "timestamp[us, tz=UTC]"

COLUMNS = {
    "plan": {
        "block": "int64",
        "arm": "string",
        "stage": "string",
        "trial_id": "string",
        "requires": "list<item: string>",
        "seed": "int64",
        "data": "string",
        "task": "string",
        "context": "int64",
        "image_size": "int64",
        "standardize": "bool",
        "train_examples": "int64",
        "validation_examples": "int64",
        "data_options": "string",
        "network": "string",
        "network_options": "string",
        "optimizer": "string",
        "momentum": "double",
        "nesterov": "bool",
        "weight_decay": "double",
        "decay_normalization": "bool",
        "beta1": "double",
        "beta2": "double",
        "epsilon": "double",
        "momentum_correction": "bool",
        "trust_coefficient": "double",
        "adapt_vectors": "bool",
        "medians": "string",
        "curvature": "string",
        "curvature_samples": "int64",
        "rho": "double",
        "proximal_weight": "double",
        "inner_steps": "int64",
        "sufficient_decrease": "double",
        "backtracking": "double",
        "max_backtracks": "int64",
        "history_size": "int64",
        "global_batch_size": "int64",
        "base_lr": "double",
        "lr_scaling": "string",
        "lr_reference_batch_size": "int64",
        "averaging_scaling": "string",
        "warmup_epochs": "double",
        "warmup_scaling": "string",
        "epochs": "double",
        "optimizer_steps": "int64",
        "steps_of_batch_size": "int64",
        "max_epochs": "double",
        "loss": "string",
        "target_train_loss": "double",
        "batch_schedule": f"list<item: {PHASE}>",
        "warmup_shape": "string",
        "warmup_start_lr": "double",
        "decay": "string",
        "decay_epochs": "list<item: double>",
        "decay_factor": "double",
        "discard_ratio": "double",
        "discard_epochs": "double",
        "discard_rule": "string",
        "discard_gradient_ratio": "double",
        "max_gradient_norm": "double",
        "label_smoothing": "double",
        "focal_gamma": "double",
        "adversarial_epsilon": "double",
        "ghost_batch_size": "int64",
        "evaluation_normalization": "string",
        "horizontal_flip": "bool",
        "max_shift": "double",
        "max_rotation": "double",
        "precision": "string",
        "start_trial": "string",
        "start_epoch": "double",
    },
    "trials": {
        "trial_id": "string",
        "status": "string",
        "stop_reason": "string",
        "error": "string",
        "seed": "int64",
        "data": "string",
        "task": "string",
        "context": "int64",
        "image_size": "int64",
        "standardize": "bool",
        "train_examples": "int64",
        "validation_examples": "int64",
        "data_options": "string",
        "network": "string",
        "network_options": "string",
        "optimizer": "string",
        "momentum": "double",
        "nesterov": "bool",
        "weight_decay": "double",
        "decay_normalization": "bool",
        "beta1": "double",
        "beta2": "double",
        "epsilon": "double",
        "momentum_correction": "bool",
        "trust_coefficient": "double",
        "adapt_vectors": "bool",
        "medians": "string",
        "curvature": "string",
        "curvature_samples": "int64",
        "rho": "double",
        "proximal_weight": "double",
        "inner_steps": "int64",
        "sufficient_decrease": "double",
        "backtracking": "double",
        "max_backtracks": "int64",
        "history_size": "int64",
        "global_batch_size": "int64",
        "peak_lr": "double",
        "optimizer_steps": "int64",
        "scaled_warmup_epochs": "double",
        "loss": "string",
        "target_train_loss": "double",
        "batch_schedule": f"list<item: {PHASE}>",
        "warmup_shape": "string",
        "warmup_start_lr": "double",
        "decay": "string",
        "decay_epochs": "list<item: double>",
        "decay_factor": "double",
        "discard_ratio": "double",
        "discard_epochs": "double",
        "discard_rule": "string",
        "discard_gradient_ratio": "double",
        "max_gradient_norm": "double",
        "label_smoothing": "double",
        "focal_gamma": "double",
        "adversarial_epsilon": "double",
        "ghost_batch_size": "int64",
        "evaluation_normalization": "string",
        "horizontal_flip": "bool",
        "max_shift": "double",
        "max_rotation": "double",
        "precision": "string",
        "start_trial_id": "string",
        "start_epoch": "double",
        "optimizer_step": "int64",
        "epoch": "double",
        "examples_seen": "int64",
        "train_loss": "double",
        "train_accuracy": "double",
        "train_absolute_error": "double",
        "test_loss": "double",
        "test_accuracy": "double",
        "test_absolute_error": "double",
        "validation_loss": "double",
        "validation_accuracy": "double",
        "validation_absolute_error": "double",
        "effective_batch_size": "double",
        "extra_forward_examples": "int64",
        "gradient_evaluations": "int64",
        "lr_per_example": "double",
        "weight_decay_per_epoch": "double",
        "momentum_half_life_examples": "double",
        "smith_le_noise": "double",
        "every_epochs": "double",
        "every_steps": "int64",
        "training_seconds": "double",
        "evaluation_seconds": "double",
        "concurrent_trials": "int64",
        "peak_memory_bytes": "int64",
        "num_parameters": "int64",
        "num_train_examples": "int64",
        "num_validation_examples": "int64",
        "num_test_examples": "int64",
        "data_fingerprint": "string",
        "data_source_hash": "string",
        "network_source_hash": "string",
        "parameter_shapes_hash": "string",
        "num_workers": "int64",
        "threads_per_worker": "int64",
        "micro_batch_size": "int64",
        "accumulation_steps": "int64",
        "device": "string",
        "device_name": "string",
        "channels_last": "bool",
        "attempt": "int64",
        "host": "string",
        "started_at": TIME,
        "finished_at": TIME,
        "torch_version": "string",
        "files": f"list<item: {FILE}>",
    },
    "attempts": {
        "trial_id": "string",
        "attempt": "int64",
        "rank": "int64",
        "status": "string",
        "error": "string",
        "traceback": "string",
        "host": "string",
        "node_ids": "list<item: string>",
        "num_workers": "int64",
        "threads_per_worker": "int64",
        "max_micro_batch_size": "int64",
        "pid": "int64",
        "log": "string",
        "started_at": TIME,
        "finished_at": TIME,
        "start_step": "int64",
        "end_step": "int64",
    },
    "evaluations": {
        "trial_id": "string",
        "optimizer_step": "int64",
        "epoch": "double",
        "examples_seen": "int64",
        "lr": "double",
        "global_batch_size": "int64",
        "effective_batch_size": "int64",
        "train_examples_evaluated": "int64",
        "train_loss": "double",
        "train_accuracy": "double",
        "train_absolute_error": "double",
        "test_loss": "double",
        "test_accuracy": "double",
        "test_absolute_error": "double",
        "validation_loss": "double",
        "validation_accuracy": "double",
        "validation_absolute_error": "double",
        "training_seconds": "double",
        "examples_per_second": "double",
    },
    "measures": {
        "trial_id": "string",
        "other_trial_id": "string",
        "measure": "string",
        "quantity": "string",
        "method": "string",
        "layer": "string",
        "index": "int64",
        "value": "double",
        "standard_error": "double",
        "sharpness_epsilon": "double",
        "subspace_dim": "int64",
        "examples": "int64",
        "parameters": "string",
        "at_end": "bool",
        "optimizer_step": "int64",
        "epoch": "double",
        "start_loss": "double",
        "algorithm": "int64",
        "evaluations": "int64",
        "iterations": "int64",
        "certificate": "string",
        "starts": "string",
        "starts_near_largest": "int64",
        "normalization": "string",
        "split": "string",
        "precision": "string",
        "seconds": "double",
        "error": "string",
        "torch_version": "string",
    },
    "curves": {
        "trial_id": "string",
        "other_trial_id": "string",
        "measure": "string",
        "method": "string",
        "layer": "string",
        "index": "int64",
        "x": "double",
        "y": "double",
        "quantity": "string",
        "value": "double",
        "standard_error": "double",
        "parameters": "string",
        "at_end": "bool",
        "optimizer_step": "int64",
        "epoch": "double",
        "examples": "int64",
        "normalization": "string",
        "split": "string",
    },
    "layers": {
        "trial_id": "string",
        "optimizer_step": "int64",
        "epoch": "double",
        "examples_seen": "int64",
        "lr": "double",
        "layer": "string",
        "kind": "string",
        "num_parameters": "int64",
        "weight_norm": "double",
        "mean_abs_gradient": "double",
        "gradient_norm": "double",
        "parameter_stride": "double",
        "parameter_stride_per_lr": "double",
        "loss_stride": "double",
        "trust_ratio": "double",
        "mean_curvature_radius": "double",
        "median_curvature_radius": "double",
        "curvature_samples": "int64",
        "examples": "int64",
        "error": "string",
    },
    "timings": {
        "trial_id": "string",
        "steps": "int64",
        "step_seconds": "double",
        "examples_per_second": "double",
        "seconds_per_epoch": "double",
        "peak_memory_bytes": "int64",
        "num_workers": "int64",
        "threads_per_worker": "int64",
        "device_name": "string",
        "host": "string",
        "taken_at": TIME,
    },
}
"""Who removes or renames a column, or changes its type, breaks what people wrote to read it."""


@pytest.mark.parametrize("table", COLUMNS)
def test_columns_are_pinned(table):
    assert {field.name: str(field.type) for field in TABLES[table]} == COLUMNS[table]
    assert TABLES[table].names == list(COLUMNS[table])


def test_tables_and_version_are_pinned():
    assert set(TABLES) == set(COLUMNS)
    assert schema.SCHEMA_VERSION == 8
    assert all(t.metadata == {b"schema_version": b"8"} for t in TABLES.values())


@pytest.mark.parametrize(("config", "table"), [(TrainingConfig, "plan"), (TrialConfig, "trials")])
def test_every_field_has_a_column_of_its_name(config, table):
    names = {field.name for field in fields(config)} - {"data", "network", "optimizer", "start"}
    sections = {"data", "network", "optimizer"}
    for kind in get_args(OptimizerConfig):
        names |= {field.name for field in fields(kind)} - {"name"}
    assert names | sections | {"start_epoch"} <= set(TABLES[table].names)


OPTIMIZERS = [
    SGD(momentum=0.9, nesterov=True, weight_decay=5e-4),
    Adam(epsilon=1e-7),
    AdamW(beta1=0.8),
    SGDFolded(momentum_correction=False),
    LARS(trust_coefficient=0.01, adapt_vectors=True),
    PercentDelta(weight_decay=1e-4),
    MCLR(medians="signed"),
    LAMB(epsilon=1e-5),
]


def trial_config(optimizer: OptimizerConfig) -> TrialConfig:
    return TrialConfig(
        data=DataConfig(source="load", load="mine:load", options={"b": [1, 2], "a": 1.5}),
        network=NetworkConfig(name="mlp", options={"hidden": [8]}),
        seed=7,
        optimizer=optimizer,
        global_batch_size=64,
        peak_lr=0.1,
        optimizer_steps=10,
        batch_schedule=(BatchPhase(until_epoch=1.0, global_batch_size=8, peak_lr=0.05),),
        decay="step",
        decay_epochs=(1.0, 2.0),
        decay_factor=0.1,
    )


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=lambda o: o.name)
def test_a_flattened_config_survives_its_columns(optimizer):
    config = trial_config(optimizer)
    table = pa.Table.from_pylist(
        [flatten(config)], schema=pa.schema(list(schema.TRIAL_CONFIG_COLUMNS.items()))
    )
    (row,) = table.to_pylist()
    phases = tuple(BatchPhase(**phase) for phase in row["batch_schedule"])
    own = {f.name: row[f.name] for f in fields(optimizer) if f.name != "name"}
    others = {f.name for kind in get_args(OptimizerConfig) for f in fields(kind)}
    assert type(optimizer)(**own) == optimizer and row["optimizer"] == optimizer.name
    assert all(row[name] is None for name in others - own.keys() - {"name"})
    assert phases == config.batch_schedule
    assert tuple(row["decay_epochs"]) == config.decay_epochs
    assert row["data"] == "mine:load" and row["network"] == "mlp"
    assert json.loads(row["data_options"]) == config.data.options
    assert json.loads(row["network_options"]) == config.network.options
    simple = {
        "seed", "global_batch_size", "peak_lr", "optimizer_steps", "decay", "decay_factor",
        "discard_ratio", "discard_epochs", "ghost_batch_size", "precision", "target_train_loss",
    }  # fmt: skip
    assert {name: row[name] for name in simple} == {name: getattr(config, name) for name in simple}


def test_a_written_config_is_flattened_as_written():
    training = TrainingConfig(global_batch_size=32, base_lr=0.1, warmup_epochs=2.0, epochs=3.0)
    row = flatten(training)
    assert set(row) <= set(schema.POINT_COLUMNS)
    assert row["warmup_epochs"] == 2.0 and row["epochs"] == 3.0 and row["batch_schedule"] == []


def test_no_options_are_null_and_options_are_canonical():
    assert schema.options_json({}) is None
    assert schema.options_json({"b": 1, "a": None}) == '{"a": null, "b": 1}'


def test_the_name_of_the_data_is_what_results_call_it():
    assert schema.flatten_data(DataConfig(name="mine"))["data"] == "mine"
    assert schema.flatten_data(DataConfig())["data"] == "mnist-5k"
