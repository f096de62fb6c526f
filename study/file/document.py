"""A study file's text: YAML to plain values, with the place in the file of every key and value.

YAML 1.2 (ruamel): `1e-3` is a number, `off` a string, duplicate keys an error; what it asks for is
counted first (`trainables.parsing`). What follows sees plain dicts, lists and scalars;
`Document.problem` puts `file:line:column` before what it finds.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.constructor import DuplicateKeyError
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from trainables import limits, parsing
from trainables.limits import LimitError

Keys = tuple[str | int, ...]
"""Where a value stands: ("training", "epochs"), ("grid", 0, "training.epochs", 2)."""


class StudyError(ValueError):
    """What is wrong with a study file: one line or more, every one with its place."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(dict.fromkeys(problems))
        super().__init__("\n".join(self.problems))


@dataclass(frozen=True, kw_only=True)
class Document:
    """A study file as plain values, and where each of them was written."""

    file: str
    values: dict[str, Any]
    places: dict[Keys, tuple[str, str]]
    """`file:line:column`, or the `--set` option, of every key and of its value."""

    def problem(self, keys: Keys, message: str, *, at_key: bool = False, name: str = "") -> str:
        """One line that says where and what; a key that is absent stands at its section.

        Args:
            keys: what the message is about.
            message: the rule broken and a value that works.
            at_key: the key itself is wrong, not its value.
            name: what to call it instead of its keys.
        """
        known = keys
        while known and known not in self.places:
            known = known[:-1]
        at_key = at_key or known != keys
        place = self.places[known][0 if at_key else 1] if known else f"{self.file}:1:1"
        label = name or dotted(keys)
        return f"{place}: {label}: {message}" if label else f"{place}: {message}"


def dotted(keys: Keys) -> str:
    """Keys as a person writes them: `grid.training.epochs`, `measures[1].examples`."""
    text = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in keys)
    return text.removeprefix(".")


def suggestion(name: str, valid: Iterable[str]) -> str:
    """The end of a message about an unknown name: the nearest valid ones, or all of them."""
    names = list(dict.fromkeys(valid))
    close = difflib.get_close_matches(name, names, n=3)
    return f"did you mean {' or '.join(close)}?" if close else f"valid are {', '.join(names)}"


# ----------------------------------------------------------------------------------------- reading


def read(path: Path, text: str | None = None) -> Document:
    """The study file at `path`, or a text that it is to stand for.

    Raises:
        StudyError: it cannot be read, is not YAML, or is not a mapping of sections.
    """
    node = _parsed(_text(path) if text is None else text, str(path))
    if not isinstance(node, CommentedMap):
        raise StudyError(
            [f"{path}:1:1: a study file is a mapping of sections, beginning e.g. name: my-study"]
        )
    places: dict[Keys, tuple[str, str]] = {}
    values = _plain(node, (), str(path), places)
    return Document(file=str(path), values=values, places=places)


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(limits.most("STUDY_BYTES") + 1)
        return content.decode()
    except FileNotFoundError:
        raise StudyError(
            [f"{path}: no such file; `batchgap init {path}` writes one to start from"]
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise StudyError([f"{path}: cannot be read as UTF-8 text: {error}"]) from error


def _parsed(text: str, file: str) -> Any:
    try:
        parsing.check_yaml(text)
        return YAML(typ="rt").load(text)
    except LimitError as error:
        raise StudyError([f"{file}:{error}"]) from error
    except DuplicateKeyError as error:
        key = str(error.problem).partition('"')[2].partition('"')[0]
        raise StudyError([f"{_mark(file, error)}: {key}: given twice; keep one"]) from error
    except MarkedYAMLError as error:
        detail = ", ".join(filter(None, (error.context, error.problem)))
        raise StudyError([f"{_mark(file, error)}: not valid YAML: {detail}"]) from error
    except parsing.NO_YAML as error:
        said = " ".join(str(error).split())
        hint = "" if isinstance(error, YAMLError) else "; put what is no number or date in quotes"
        raise StudyError([f"{file}: not valid YAML: {said}{hint}"]) from error


def _mark(file: str, error: MarkedYAMLError) -> str:
    mark = error.problem_mark or error.context_mark
    return f"{file}:{mark.line + 1}:{mark.column + 1}" if mark else file


def _plain(node: Any, keys: Keys, file: str, places: dict[Keys, tuple[str, str]]) -> Any:
    """Plain Python for a ruamel node; notes the place of everything below it."""
    if isinstance(node, CommentedMap):
        return dict(_pairs(node, keys, file, places))
    if isinstance(node, CommentedSeq):
        for i, (line, column) in (node.lc.data or {}).items():
            places[(*keys, i)] = (_place(file, line, column),) * 2
        return [_plain(item, (*keys, i), file, places) for i, item in enumerate(node)]
    if isinstance(node, bool) or node is None:
        return node
    for kind in (int, float, str):  # ruamel's numbers and strings remember how they were written
        if isinstance(node, kind):
            return kind(node)
    return str(node)  # a date


def _pairs(
    node: CommentedMap, keys: Keys, file: str, places: dict[Keys, tuple[str, str]]
) -> Iterator[tuple[str, Any]]:
    for key, value in node.items():
        # A key that came by a merge (`<<: *base`) has no place of its own: its section's is used.
        marks = (node.lc.data or {}).get(key)
        if marks is not None:
            at_key = _place(file, marks[0], marks[1])
            at_value = at_key if value is None else _place(file, marks[2], marks[3])
            places[(*keys, key)] = (at_key, at_value)
        if not isinstance(key, str):
            here = places.get((*keys, key), (file,))[0]
            raise StudyError([f"{here}: {dotted(keys) or 'study'}: key {key!r} must be text"])
        if message := limits.beyond("NAME", len(key)):
            here = places.get((*keys, key), (file,))[0]
            raise StudyError([f"{here}: {message}"])
        yield key, _plain(value, (*keys, key), file, places)


def _place(file: str, line: int, column: int) -> str:
    return f"{file}:{line + 1}:{column + 1}"


# ------------------------------------------------------------------------------ --scale and --set


def with_scale(document: Document, scale: str | None) -> Document:
    """The document at one of its `scales`: its changes made, its name with the scale's behind it.

    Args:
        document: the study file.
        scale: a key of its `scales` section; None = as written.

    Raises:
        StudyError: there is no such scale, or a change's key leads into a plain value.
    """
    scales = document.values.get("scales") or {}
    rest = {key: value for key, value in document.values.items() if key != "scales"}
    document = replace(document, values=rest)
    if scale is None:
        return document
    if not isinstance(scales, dict) or not isinstance(scales.get(scale), dict):
        names = ", ".join(scales) if isinstance(scales, dict) else ""
        raise StudyError([f"--scale {scale}: {document.file} has {names or 'no scales'}"])
    for key, value in scales[scale].items():
        keys, written = _override_keys(key, document), ("scales", scale, key)
        moved = {
            (*keys, *at[len(written) :]): place
            for at, place in document.places.items()
            if at[: len(written)] == written
        }
        old = {at: place for at, place in document.places.items() if at[: len(keys)] != keys}
        values = _set(document.values, keys, value, f"scales.{scale}.{key}")
        document = replace(document, values=values, places=old | moved)
    name = document.values.get("name")
    return replace(document, values={**document.values, "name": f"{name}-{scale}"})


def with_overrides(document: Document, overrides: Sequence[str]) -> Document:
    """The document with every `a.b=c` of `--set` applied, in order.

    Raises:
        StudyError: an override is not of that form, or its key leads into a plain value.
    """
    for override in overrides:
        key, equals, text = override.partition("=")
        option = f"--set {override}"
        if not (key and equals):
            raise StudyError([f"{option}: not of the form KEY=VALUE, e.g. training.epochs=10"])
        keys = _override_keys(key.strip(), document)
        values = _set(document.values, keys, yaml_value(text, option), option)
        here = {keys[: n + 1]: (option, option) for n in range(len(keys))}
        old = {k: v for k, v in document.places.items() if k[: len(keys)] != keys}
        document = Document(file=document.file, values=values, places=here | old)
    return document


def _override_keys(key: str, document: Document) -> Keys:
    """Where an override goes: keys of `grid` and of an arm hold dots themselves."""
    section, *rest = key.split(".")
    indexed = isinstance(document.values.get(section), list)
    head: list[str | int] = [section]
    if rest and ((indexed and rest[0].isdigit()) or section == "arms"):
        first = rest.pop(0)
        head.append(int(first) if indexed else first)
    if section in ("grid", "arms"):
        return (*head, ".".join(rest)) if rest else tuple(head)
    return (*head, *rest)


def yaml_value(text: str, option: str) -> Any:
    """A value of the command line, which is YAML.

    Raises:
        StudyError: it is not; the line begins with the option.
    """
    return _plain(_parsed(text, option), (), option, {})


def _set(container: Any, keys: Keys, value: Any, option: str) -> Any:
    """A copy of `container` with the value at `keys`; sections on the way are made."""
    if not keys:
        return value
    key, *rest = keys
    if isinstance(container, list):
        if not isinstance(key, int) or key >= len(container):
            raise StudyError(
                [f"{option}: {key} is no item of this list; use 0 to {len(container) - 1}"]
            )
        return [
            _set(item, tuple(rest), value, option) if i == key else item
            for i, item in enumerate(container)
        ]
    if not isinstance(container, dict | None):
        raise StudyError([f"{option}: {key} would lie within {container!r}, a plain value"])
    inside = (container or {}).get(key)
    return {**(container or {}), key: _set(inside, tuple(rest), value, option)}
