"""Import strings: found, refused, failed, and fingerprinted."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import pytest

from trainables.imports import load_object, source_hash


@pytest.fixture(autouse=True)
def own_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "modules", dict(sys.modules))


def module(folder: Path, name: str, text: str) -> str:
    path = folder / f"{name.replace('.', '/')}.py"
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    return str(folder)


def test_loads_from_the_folder_and_from_what_is_installed(tmp_path: Path) -> None:
    folder = module(tmp_path, "bg_nets", "def build():\n    return 7\n")
    module(tmp_path, "bg_package.nets", "width = 3\n")
    assert load_object("bg_nets:build", folder)() == 7
    assert load_object("bg_package.nets:width", folder) == 3
    assert load_object("hashlib:sha256", None) is hashlib.sha256


def test_the_folder_comes_last_and_only_once(tmp_path: Path) -> None:
    folder = module(tmp_path, "bg_last", "here = 1\n")
    before = list(sys.path)
    assert load_object("bg_last:here", folder) == 1
    load_object("bg_last:here", folder)
    assert sys.path == [*before, folder]


@pytest.mark.parametrize("name", ["fractions", "pytest"])
def test_a_file_that_another_module_hides_is_an_error_with_both_paths(
    name: str, tmp_path: Path
) -> None:
    folder = module(tmp_path, name, "Fraction = 'not the library'\n")
    for function in (load_object, source_hash):
        with pytest.raises(ValueError, match="is hidden by another module") as error:
            function(f"{name}:Fraction", folder)
        assert str(tmp_path / f"{name}.py") in str(error.value)
        assert str(sys.modules.get(name, pytest).__file__) in str(error.value)


def test_of_two_studies_the_second_s_file_is_not_taken_for_the_first_s(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    two.mkdir()
    assert load_object("bg_twice:here", module(one, "bg_twice", "here = 1\n")) == 1
    with pytest.raises(ValueError, match="is hidden by another module"):
        load_object("bg_twice:here", module(two, "bg_twice", "here = 2\n"))


@pytest.mark.parametrize(
    "text",
    ["../bg:build", "/tmp/bg.py:build", "a/b:build", "..bg:build", "bg", "bg:", ":build", "a:b:c"],
)
def test_refuses_what_is_not_a_dotted_name(text: str, tmp_path: Path) -> None:
    for function in (load_object, source_hash):
        with pytest.raises(ValueError, match=r"not of the form package\.module:attribute") as error:
            function(text, str(tmp_path))
        assert repr(text) in str(error.value)


def test_a_missing_module_is_named_with_the_folder(tmp_path: Path) -> None:
    for function in (load_object, source_hash):
        for text in ("bg_absent:build", "bg_absent.inner:build"):
            with pytest.raises(ValueError, match="no module 'bg_absent' is installed") as error:
                function(text, str(tmp_path))
            assert str(tmp_path) in str(error.value) and text in str(error.value)


@pytest.mark.parametrize(
    ("name", "body", "cause"),
    [
        ("bg_raises", "raise KeyError('width')", "KeyError: 'width'"),
        ("bg_exits", "import sys; sys.exit(3)", "SystemExit: 3"),
        ("bg_syntax", "def build(:", "SyntaxError"),
        ("bg_import", "import bg_not_there", "No module named 'bg_not_there'"),
    ],
)
def test_an_exception_inside_the_module_is_quoted(
    name: str, body: str, cause: str, tmp_path: Path
) -> None:
    folder = module(tmp_path, name, body)
    with pytest.raises(ValueError, match=f"importing '{name}' raised") as error:
        load_object(f"{name}:build", folder)
    assert cause in str(error.value)


def test_a_missing_attribute_lists_the_nearest_and_the_file(tmp_path: Path) -> None:
    folder = module(tmp_path, "bg_near", "def build_mlp(): ...\n")
    with pytest.raises(ValueError, match="has no attribute 'build_mpl'") as error:
        load_object("bg_near:build_mpl", folder)
    assert "build_mlp" in str(error.value) and str(tmp_path / "bg_near.py") in str(error.value)


def test_source_hash_is_that_of_the_file_and_runs_nothing(tmp_path: Path) -> None:
    folder = module(tmp_path, "bg_hashed", "raise RuntimeError\n")
    path = tmp_path / "bg_hashed.py"
    first = source_hash("bg_hashed:build", folder)
    assert first == hashlib.sha256(path.read_bytes()).hexdigest()
    path.write_text("raise RuntimeError  # changed\n")
    assert source_hash("bg_hashed:build", folder) != first


def test_source_hash_needs_a_source_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="has no source file"):
        source_hash("sys:path", None)


def test_finding_a_module_runs_nothing_of_its_package(tmp_path: Path) -> None:
    package = tmp_path / "bg_package"
    (package / "inner").mkdir(parents=True)
    for folder in (package, package / "inner"):
        (folder / "__init__.py").write_text("raise SystemExit('it ran')\n")
    (package / "inner" / "net.py").write_text("def build(): pass\n")
    assert len(source_hash("bg_package.inner.net:build", str(tmp_path))) == 64
    assert not [name for name in sys.modules if name.startswith("bg_package")]
