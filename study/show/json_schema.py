"""The JSON Schema of a study file, for completion and checks in an editor. Light."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import TypeAdapter

from study.file.fields import adapter, dotted_fields
from study.file.search_config import SearchConfig
from study.grid.spec import DEFAULT_SEEDS
from trainables.config.data import DataConfig, NetworkConfig
from trainables.config.execution import ExecutionConfig
from trainables.config.measures.kinds import KINDS
from trainables.config.training import TrainingConfig
from trainables.task import TASKS


def json_schema() -> dict[str, Any]:
    """JSON Schema of a study file (draft 2020-12), for completion and checks in an editor.

    It describes sections one by one; what spans several (a point's required fields, which may come
    from the grid) is left to `load_spec`.
    """
    sections = (DataConfig, NetworkConfig, TrainingConfig, ExecutionConfig, SearchConfig)
    kinds: list[Any] = [*sections, *KINDS.values()]
    references, definitions = TypeAdapter.json_schemas(
        [(kind, "validation", adapter(kind)) for kind in kinds]
    )
    defs = definitions["$defs"]
    for kind in (DataConfig, NetworkConfig):  # keys of one's own are options
        defs[kind.__name__]["additionalProperties"] = True
        del defs[kind.__name__]["properties"]["options"]
    del defs["TrainingConfig"]["required"]
    of = {kind: references[kind, "validation"] for kind in kinds}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "batchgap study file",
        **_object(_sections_schema(of), required=["name"]),
        **definitions,
    }


def _sections_schema(of: Mapping[type, Any]) -> dict[str, Any]:
    fields_pattern = f"^({'|'.join(dotted_fields())}|(data|network)\\.[A-Za-z_][A-Za-z0-9_]*)$"
    values = {"type": "array", "minItems": 1}
    block = {"type": "object", "propertyNames": {"pattern": fields_pattern}}
    axes = {**block, "additionalProperties": values}
    seed = {"type": "integer", "minimum": 0}
    return {
        "name": {"type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]*$"},
        "question": {"type": "string", "description": "What the study is to answer."},
        "data": of[DataConfig],
        "network": of[NetworkConfig],
        "training": of[TrainingConfig],
        "grid": {"anyOf": [axes, {"type": "array", "minItems": 1, "items": axes}]},
        "exclude": {"type": "array", "items": {"type": "object", "minProperties": 1}},
        "arms": {"type": "object", "additionalProperties": block},
        "seeds": {
            "anyOf": [
                {"type": "integer", "minimum": 1},
                {"type": "array", "minItems": 1, "uniqueItems": True, "items": seed},
            ],
            "default": DEFAULT_SEEDS,
        },
        "baseline_batch_size": {"type": "integer", "minimum": 1},
        "search": {"allOf": [of[SearchConfig]], "required": ["fields"]},
        **_targets(),
        "measures": {
            "type": "array",
            "items": {"anyOf": [_tagged(of[kind]) for kind in KINDS.values()]},
        },
        "execution": of[ExecutionConfig],
        "reproduces": {"type": "array", "items": {"type": "string"}},
        "stand_ins": {"type": "array", "items": {"type": "string"}},
        "scales": {"type": "object", "additionalProperties": {"type": "object"}},
    }


def _targets() -> dict[str, Any]:
    """One key for each task's metric."""
    metrics = {f"target_{task.metric.column('test')}": task.metric for task in TASKS.values()}
    return {
        name: {
            "type": "number",
            "exclusiveMinimum": 0,
            **({} if math.isinf(metric.limit) else {"exclusiveMaximum": metric.limit}),
            "description": f"Steps to this {metric.column('test')} are compared between sizes.",
        }
        for name, metric in metrics.items()
    }


def _object(properties: Mapping[str, Any], required: Sequence[str]) -> dict[str, Any]:
    return {
        "type": "object",
        "additionalProperties": False,
        "properties": dict(properties),
        "required": list(required),
    }


def _tagged(schema: Mapping[str, Any]) -> dict[str, Any]:
    return {"allOf": [dict(schema)], "required": ["name"]}
