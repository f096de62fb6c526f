"""Every kind of every list, from its check to the page, before a user meets it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
from typer.testing import CliRunner, Result

from study.cli import app
from trainables.config.data import DataConfig
from trainables.config.identity import parameters_text
from trainables.config.measures.kinds import KINDS
from trainables.config.optimizers.kinds import OPTIMIZERS
from trainables.config.sources import SOURCES
from trainables.datasets.sources import LOADERS
from trainables.networks.cards import CARDS
from trainables.results import files
from trainables.results.layout import parts
from trainables.results.storage import PosixFolder

SMALL: dict[str, dict[str, Any]] = {
    "hessian": {"trace_samples": 2},
    "spectrum": {"lanczos_steps": 4, "vectors": 1},
    "noise-scale": {"small_batch_size": 5, "large_batch_size": 20, "pairs": 2},
    "gradient-probe": {"batch_sizes": [5, 20], "draws": 2},
    "batch-sharpness": {"batches": 2},
    "random-directions": {"directions": 4},
    "interpolation": {"points": 3},
    "landscape": {"points": 3},
    "layers": {"curvature_samples": 1},
}
RATES = {"cblr": 0.01, "lbfgs": 1.0, "gradient-descent": 1.0}


def listed(name: str) -> dict[str, Any]:
    """A measure as a study file has it, over 40 examples where it looks at any."""
    kind = KINDS[name]
    examples = {"examples": 40} if "examples" in kind.__dataclass_fields__ else {}
    return {"name": name, **examples, **SMALL.get(name, {})}


STUDY: dict[str, Any] = {
    "name": "kinds",
    "data": {"source": "mnist-5k", "train_examples": 100},
    "network": {"name": "mlp", "hidden": [6]},
    "training": {"base_lr": 0.05, "epochs": 1, "ghost_batch_size": 10},
    "baseline_batch_size": 20,
    "execution": {"device": "cpu"},
}


def batchgap(verb: str, folder: Path, *options: str) -> Result:
    options = ("--results", str(folder), *options)
    result = CliRunner().invoke(app, [verb, str(folder / "kinds.yaml"), *options])
    assert result.exit_code == 0, result.stderr
    return result


def test_every_measure_from_check_to_page(tmp_path: Path) -> None:
    measures = [listed(name) for name in KINDS]
    study = STUDY | {"grid": {"training.global_batch_size": [20, 40]}, "seeds": 2}
    (tmp_path / "kinds.yaml").write_text(json.dumps(study | {"measures": measures}))
    plan = json.loads(batchgap("plan", tmp_path, "--json").stdout)
    assert plan["estimate"]["seconds"] > 0
    batchgap("run", tmp_path, "--runner", "serial")
    storage = PosixFolder(tmp_path / "kinds")
    rows = [
        row for part in parts(storage, "measures") for row in files.read_rows(storage, part.name)
    ]
    assert [row["error"] for row in rows if row["error"]] == []
    recorded = {name for name, kind in KINDS.items() if kind.is_recorded}
    assert {row["measure"] for row in rows} == set(KINDS) - recorded
    assert all(parts(storage, table) for table in ("evaluations", "layers"))
    for row in rows:
        own = KINDS[row["measure"]](**{**listed(row["measure"]), **_tuples(row["measure"])})
        assert row["parameters"] == parameters_text(own)
    batchgap("report", tmp_path)
    page = (tmp_path / "kinds" / "report.html").read_text()
    missing = [name for name in set(KINDS) - recorded if name not in page]
    assert not missing


def _tuples(name: str) -> dict[str, Any]:
    return {key: tuple(v) for key, v in listed(name).items() if isinstance(v, list)}


def test_every_optimizer_from_check_to_page(tmp_path: Path) -> None:
    arms = {
        name: {
            "training.optimizer": {"name": name},
            "training.base_lr": RATES.get(name, 0.05),
        }
        for name in OPTIMIZERS
    }
    study = STUDY | {"grid": {"training.global_batch_size": [20]}, "seeds": 1, "arms": arms}
    (tmp_path / "kinds.yaml").write_text(json.dumps(study))
    batchgap("run", tmp_path, "--runner", "serial")
    storage = PosixFolder(tmp_path / "kinds")
    rows = [files.read_rows(storage, part.name)[0] for part in parts(storage, "trials")]
    assert {row["optimizer"]: row["status"] for row in rows} == dict.fromkeys(
        OPTIMIZERS, "complete"
    )
    batchgap("report", tmp_path)
    page = (tmp_path / "kinds" / "report.html").read_text()
    assert not [name for name in OPTIMIZERS if name not in page]


def test_every_source_has_a_loader_and_its_fields() -> None:
    sources = set(get_args(get_type_hints(DataConfig)["source"]))
    assert sources == set(LOADERS) == set(SOURCES)


@pytest.mark.parametrize("name", CARDS)
def test_every_network_is_planned(name: str, tmp_path: Path) -> None:
    """Refused with what works, or planned with a cost."""
    study = STUDY | {"network": {"name": name}, "grid": {"training.global_batch_size": [20]}}
    (tmp_path / "kinds.yaml").write_text(json.dumps(study | {"seeds": 1}))
    options = ["--results", str(tmp_path), "--json"]
    result = CliRunner().invoke(app, ["plan", str(tmp_path / "kinds.yaml"), *options])
    if result.exit_code == 2:
        assert "images" in result.stderr or "input" in result.stderr
    else:
        assert json.loads(result.stdout)["estimate"]["seconds"] > 0
