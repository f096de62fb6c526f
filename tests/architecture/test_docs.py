"""The documentation keeps step with the code: settings, columns, verbs and study files named."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import get_args, get_type_hints

import pytest
import typer

from study.cli import app
from study.file.search_config import Range, SearchConfig
from study.grid.spec import SECTIONS, load_spec
from study.plan.plan import expand
from trainables.config.data import DataConfig, NetworkConfig
from trainables.config.execution import ExecutionConfig
from trainables.config.measures.kinds import MeasureConfig
from trainables.config.optimizers.kinds import OptimizerConfig
from trainables.config.training import BatchPhase, TrainingConfig, WarmStart
from trainables.datasets.cache import open_data
from trainables.limits import LIMITS
from trainables.networks.cards import CARDS
from trainables.results.schema import TABLES

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
PAGES = [README, *sorted((ROOT / "docs").rglob("*.md"))]
OWN_PAGE = ROOT / "docs" / "your-own.md"

WRITTEN = [
    DataConfig,
    NetworkConfig,
    TrainingConfig,
    BatchPhase,
    WarmStart,
    ExecutionConfig,
    SearchConfig,
    Range,
    *get_args(OptimizerConfig),
    *get_args(MeasureConfig),
]
"""What a person writes in a study file."""


def code_blocks(page: Path, language: str) -> list[str]:
    """The fenced blocks of one language in a page."""
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)


def code_of(page: Path) -> str:
    """All code of a page, fenced, inline or indented; prose may say "batchgap answers"."""
    text = page.read_text()
    fenced = re.findall(r"^```.*?^```", text, re.MULTILINE | re.DOTALL)
    return "\n".join([*fenced, *re.findall(r"`[^`\n]+`|^ {4}.*$", text, re.MULTILINE)])


def named_in(page: Path) -> set[str]:
    """Words in `code` of a page: names of settings, columns, values."""
    return set(re.findall(r"\w+(?:-\w+)*", " ".join(re.findall(r"`([^`\n]+)`", page.read_text()))))


def study_files() -> Iterator[tuple[str, str]]:
    for page in PAGES:
        for number, block in enumerate(code_blocks(page, "yaml"), start=1):
            if block.startswith("name:"):
                yield f"{page.stem}-{number}", block


STUDIES = dict(study_files())


# ------------------------------------------------------------------------------------------ names


@pytest.mark.parametrize("kind", WRITTEN, ids=lambda kind: kind.__name__)
def test_every_field_of_a_study_file_is_described(kind: type) -> None:
    names = {f.name for f in fields(kind)}
    assert not names - named_in(ROOT / "docs" / "study-file.md")


def test_every_section_choice_and_network_is_described() -> None:
    page = named_in(ROOT / "docs" / "study-file.md")
    kinds = (*get_args(OptimizerConfig), *get_args(MeasureConfig))
    assert not {*SECTIONS, *CARDS, *(kind.name for kind in kinds)} - page
    assert not set(get_args(get_type_hints(DataConfig)["source"])) - page


@pytest.mark.parametrize("table", TABLES)
def test_every_column_is_described(table: str) -> None:
    assert not {table, *TABLES[table].names} - named_in(ROOT / "docs" / "results.md")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_verb_and_option_that_a_page_names_exists(page: Path) -> None:
    command = typer.main.get_command(app)
    assert isinstance(command, typer.core.TyperGroup)
    for verb, rest in re.findall(r"\bbatchgap ([a-z]+)\b([^\n`'#]*)", code_of(page)):
        assert verb in command.commands, verb
        known = {option for p in command.commands[verb].params for option in p.opts}
        assert not set(re.findall(r"--[a-z]+", rest)) - known, (verb, rest)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_file_that_a_page_links_to_exists(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text())
    assert not [link for link in links if not (page.parent / link).exists()]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_module_that_a_page_names_exists(page: Path) -> None:
    named = re.findall(r"\b(?:tests|study|trainables|analysis)/[a-z_/0-9]+\.py", page.read_text())
    assert not [name for name in named if not (ROOT / name).exists()]


@pytest.mark.parametrize("target", sorted(set(re.findall(r"`make ([a-z-]+)`", README.read_text()))))
def test_every_make_target_that_the_readme_names_exists(target: str) -> None:
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE)


# ---------------------------------------------------------------------------------- study files


def test_there_are_study_files_to_check() -> None:
    pages = {name.rpartition("-")[0] for name in STUDIES}
    assert {"README", "study-file", "cluster", "your-own"} <= pages


@pytest.mark.parametrize("name", STUDIES)
def test_a_study_file_in_the_documentation_loads(name: str, tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    path.write_text(STUDIES[name])
    spec = load_spec(path)
    if spec.settings[0].data.source == "mnist-5k":  # the one that needs nothing else
        assert expand(spec, lambda data: open_data(data).facts).points


def test_the_module_of_ones_own_builds_and_loads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (module,) = code_blocks(OWN_PAGE, "python")
    (tmp_path / "my_module.py").write_text(module)
    (study, *_) = (block for name, block in STUDIES.items() if name.startswith("your-own"))
    (tmp_path / "study.yaml").write_text(study)
    monkeypatch.setattr(sys, "path", [*sys.path])
    try:
        spec = load_spec(tmp_path / "study.yaml")
        facts = open_data(spec.settings[0].data, str(tmp_path)).facts
        assert (facts.num_train_examples, facts.input_shape, facts.num_classes) == (4000, (2,), 2)
        from trainables.networks.build import build

        assert build(spec.settings[0].network, (2,), 2, seed=0, import_folder=str(tmp_path))
    finally:
        sys.modules.pop("my_module", None)


SURE = re.compile(
    r"\bno (accuracy )?gap\b|\blevel with\b|\btest alike\b|\b(no|not) worse\b"
    r"|does not generalize worse|accuracy is the same|not contradicted|beyond its uncertainty",
    re.IGNORECASE,
)
"""What nobody may say of an interval that includes 0: it is "not shown", up to so much."""
NO_CLAIM = re.compile(
    r"no gap (to (form|close)|is formed|can be formed)|closes no gap|ever \"not worse\"",
    re.IGNORECASE,
)


def _texts() -> Iterator[tuple[str, str]]:
    """The texts that speak of results: pages, presets, and what the analysis prints."""
    for page in [*PAGES, *(ROOT / "study" / "presets").glob("*.yaml")]:
        text = page.read_text(encoding="utf-8")
        yield page.name, re.sub(r"\s+#?\s*", " ", text)
    for module in (ROOT / "analysis").glob("*.py"):
        nodes = list(ast.walk(ast.parse(module.read_text(encoding="utf-8"))))
        docs = {id(node.value) for node in nodes if isinstance(node, ast.Expr)}
        for node in nodes:
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield module.name, "" if id(node) in docs else node.value


def test_no_text_takes_what_is_not_shown_for_what_is_not_there() -> None:
    found = [
        f"{name}: {text[max(match.start() - 60, 0) : match.end() + 40]}"
        for name, text in _texts()
        for match in SURE.finditer(NO_CLAIM.sub("", text))
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(("page", "least"), [("reliability", 15), ("security", 3)])
def test_every_test_that_a_promise_names_is_there(page: str, least: int) -> None:
    text = (ROOT / "docs" / f"{page}.md").read_text()
    named = re.findall(r"`(tests/[\w/.]+\.py)(?:::(\w+))?`", text)
    assert len(named) > least
    for path, name in named:
        assert not name or f"def {name}(" in (ROOT / path).read_text(), f"{path}::{name}"
        assert (ROOT / path).exists(), path


def test_every_limit_is_on_the_page_with_its_number() -> None:
    text = (ROOT / "docs" / "security.md").read_text()
    shown = dict(re.findall(r"^\| `(\w+)` \| ([\d,^]+) \|", text, flags=re.MULTILINE))
    assert shown.keys() == LIMITS.keys()
    assert {name: limit.most for name, limit in LIMITS.items()} == {
        name: 10**12 if number == "10^12" else int(number.replace(",", ""))
        for name, number in shown.items()
    }
