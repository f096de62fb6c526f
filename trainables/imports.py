"""Code a user brings: import strings `package.module:attribute`, found and fingerprinted.

The study file's folder is appended to the end of `sys.path`, so that whatever is installed wins and
a stray file beside a study cannot replace a library. Only names are accepted, never paths.
"""

from __future__ import annotations

import difflib
import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from itertools import accumulate
from pathlib import Path
from types import ModuleType
from typing import Any


def load_object(import_string: str, folder: str | None) -> Any:
    """The object that `package.module:attribute` names.

    Args:
        import_string: A module's dotted name, a colon, the name of an attribute of the module.
        folder: Where to look after everything installed: the study file's folder.

    Raises:
        ValueError: The string is malformed, the module is not found or raises when imported, or it
            lacks the attribute. The text names the string and the cause.
    """
    module_name, attribute = _parsed(import_string)
    _extend_path(folder)
    _check_seen(module_name, import_string, folder)
    module = _imported(module_name, import_string, folder)
    if not hasattr(module, attribute):
        near = difflib.get_close_matches(attribute, dir(module), cutoff=0.4)
        hint = f"; nearest names there: {', '.join(near)}" if near else ""
        where = getattr(module, "__file__", None) or "a built-in module"
        raise ValueError(
            f"import string {import_string!r}: module {module_name!r} ({where}) has no attribute "
            f"{attribute!r}{hint}"
        )
    return getattr(module, attribute)


def source_hash(import_string: str, folder: str | None) -> str:
    """SHA-256, in hex, of the bytes of the module's source file.

    It covers that one file, not what the file itself imports.

    Raises:
        ValueError: The string is malformed, or no module of that name has a source file.
    """
    module_name, _ = _parsed(import_string)
    _extend_path(folder)
    _check_seen(module_name, import_string, folder)
    spec = _found(module_name, import_string, folder)
    if not spec.has_location or spec.origin is None:
        raise ValueError(
            f"import string {import_string!r}: module {module_name!r} has no source file; "
            "name a module that is a file"
        )
    return hashlib.sha256(Path(spec.origin).read_bytes()).hexdigest()


def _found(module_name: str, import_string: str, folder: str | None) -> ModuleSpec:
    """Where a module's file is, without running any: `find_spec` would import what it lies in."""
    path: Sequence[str] | None = None
    found: list[ModuleSpec] = []
    for name in accumulate(module_name.split("."), "{}.{}".format):
        specs = (finder.find_spec(name, path) for finder in sys.meta_path)
        found = [spec for spec in specs if spec is not None][:1]
        if not found:
            raise _not_found(name, import_string, folder)
        path = found[0].submodule_search_locations or ()
    return found[0]


def _parsed(import_string: str) -> tuple[str, str]:
    """Module and attribute; anything but dotted names (a path, say) is refused."""
    module_name, _, attribute = import_string.partition(":")
    if not all(part.isidentifier() for part in (*module_name.split("."), attribute)):
        raise ValueError(
            f"import string {import_string!r} is not of the form package.module:attribute "
            "(names only, no path and no .py), for example my_module:build"
        )
    return module_name, attribute


def _check_seen(module_name: str, import_string: str, folder: str | None) -> None:
    """Refuses a module beside the study file that another of its name hides.

    Raises:
        ValueError: naming both.
    """
    top = module_name.partition(".")[0]
    own = [] if folder is None else [Path(folder) / f"{top}.py", Path(folder) / top / "__init__.py"]
    beside = next((path for path in own if path.is_file()), None)
    if beside is None:
        return
    try:
        spec = importlib.util.find_spec(top)
    except ValueError:  # what is loaded has no spec
        spec = None
    origin = spec.origin if spec is not None and spec.origin else "no file"
    if Path(origin).resolve() != beside.resolve():
        raise ValueError(
            f"import string {import_string!r}: {beside} is hidden by another module {top!r} "
            f"({origin}), which Python finds first; rename your file"
        )


def _extend_path(folder: str | None) -> None:
    if folder is not None and folder not in sys.path:
        sys.path.append(folder)
    importlib.invalidate_caches()  # the file may be younger than the last look into its folder


def _imported(module_name: str, import_string: str, folder: str | None) -> ModuleType:
    try:
        return importlib.import_module(module_name)
    except (Exception, SystemExit) as error:  # a script without a main guard may call sys.exit
        raise _failed(module_name, import_string, folder, error) from error


def _failed(
    module_name: str, import_string: str, folder: str | None, error: BaseException
) -> ValueError:
    """Whether the module itself is missing, or its code raised (another missing import, say)."""
    missing = error.name if isinstance(error, ModuleNotFoundError) else None
    if missing and f"{module_name}.".startswith(f"{missing}."):
        return _not_found(missing, import_string, folder)
    return ValueError(
        f"import string {import_string!r}: importing {module_name!r} raised "
        f"{type(error).__name__}: {error}"
    )


def _not_found(module_name: str, import_string: str, folder: str | None) -> ValueError:
    place = f" and there is none in {folder}" if folder is not None else ""
    return ValueError(
        f"import string {import_string!r}: no module {module_name!r} is installed{place}"
    )
