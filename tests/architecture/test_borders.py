"""The borders between the packages, as facts: what a fresh interpreter loads, and the contracts."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.stored import BELOW

ROOT = Path(__file__).parents[2]

LIGHT = [
    "analysis.gaps.comparison",
    "analysis.search.finals",
    "study.cli",
    "study.grid.spec",
    "study.plan.looks",
    "study.plan.plan",
    "study.plan.to_come",
    "study.run.guard",
    "study.run.missing",
    "study.run.giving_up",
    "study.run.progress",
    "study.run.room",
    "study.run.scratch",
    "study.run.stopping",
    "study.run.telling",
    "trainables.alive",
    "trainables.config.identity",
    "trainables.datasets.cache",
    "trainables.datasets.splits",
    "trainables.networks.cards",
    "trainables.networks.own",
    "trainables.networks.pace",
    "trainables.redaction",
    "trainables.results.export",
    "trainables.results.ledger",
    "trainables.results.measure_keys",
    "trainables.results.verify",
    "trainables.rules.learning_rate",
    "trainables.rules.record_steps",
    "trainables.rules.resolve",
    "trainables.run.asha",
    "trainables.run.failures",
    "trainables.run.hangs",
    "trainables.task",
]
ANALYSIS = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for path in (ROOT / "analysis").rglob("*.py")
    if path.stem != "__init__"
)


def loaded_by(modules: list[str]) -> set[str]:
    """Top-level packages in a fresh interpreter that imports each module."""
    code = f"import sys, importlib\nfor m in {modules!r}: importlib.import_module(m)\n"
    code += "print(*{name.partition('.')[0] for name in sys.modules})"
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    return set(run.stdout.split())


def test_light_modules_load_neither_torch_nor_ray_nor_pandas() -> None:
    assert not loaded_by(LIGHT) & {"torch", "torchvision", "ray", "pandas", "matplotlib"}


def test_the_process_that_runs_a_study_loads_no_torch() -> None:
    driver = ["study.run.tune", "study.run.run_study", "study.run.opening", "study.run.node"]
    assert not loaded_by(driver) & {"torch", "torchvision", "matplotlib"}


def test_analysis_loads_neither_torch_nor_ray() -> None:
    assert "analysis.gaps.by_cell" in ANALYSIS
    assert not loaded_by(ANALYSIS) & {"torch", "torchvision", "ray"}


def test_only_the_results_folder_s_owner_spells_its_names() -> None:
    """In f-strings, constants and paths; the data of a user may be called what it likes."""
    place = re.compile(rf"(^|/)({'|'.join(BELOW - {'plan'})})/|provenance\.json")
    joined = re.compile(r"/ f?\"[^\"]*\.(parquet|safetensors|json|pt)\"")
    for package in ("study", "analysis", "trainables"):
        for path in (ROOT / package).rglob("*.py"):
            if path.is_relative_to(ROOT / "trainables/results"):
                continue
            text = path.read_text()
            tree = ast.parse(text)
            constants = {
                node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)
            } - {ast.get_docstring(node, clean=False) for node in _documented(tree)}
            spelled = [text for text in constants if isinstance(text, str) and place.search(text)]
            assert not spelled, (path, spelled)
            if not path.is_relative_to(ROOT / "trainables/datasets"):
                assert not joined.search(text), path


def _documented(tree: ast.Module) -> Iterator[ast.Module | ast.ClassDef | ast.FunctionDef]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            yield node


@pytest.mark.parametrize("package", ["study", "analysis", "trainables"])
def test_an_init_holds_a_docstring_only(package: str) -> None:
    """A re-export there would drag torch into `import analysis.load`."""
    for path in (ROOT / package).rglob("__init__.py"):
        tree = ast.parse(path.read_text())
        assert ast.get_docstring(tree), path
        assert len(tree.body) == 1, path


def test_import_contracts_hold() -> None:
    run = subprocess.run(
        [str(Path(sys.executable).with_name("lint-imports"))],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert run.returncode == 0, run.stdout
