"""YAML and JSON that somebody else wrote. Light.

YAML is counted as a stream of events before anything is made of it: an alias stands for all that
its anchor holds, so that ten lines may ask for a billion values; sizes are added up, and nothing is
expanded.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    CollectionEndEvent,
    CollectionStartEvent,
    NodeEvent,
    ScalarEvent,
)

from trainables import limits
from trainables.limits import LimitError

_LONG_TAG = re.compile(r"!\S{1000}")
"""Over which the scanner takes minutes; tags have no use here anyway."""
_HALF = re.compile(r"[\ud800-\udfff]")
NO_YAML = (YAMLError, ValueError, IndexError, TypeError, AttributeError, OverflowError)
"""What the library raises of a text; of `0x_` and 2001-99-99, which look like a number and a date,
what Python raises."""
_LIKE_A_NUMBER = re.compile(r"[-+]?\.?\d[\w.:+-]*")


@dataclass
class _Open:
    """A mapping or list whose end was not seen yet."""

    anchor: str | None
    size: int = 1


def check_yaml(text: str) -> None:
    """Counts what a text asks for.

    Raises:
        LimitError: for more than `limits` allow, a tag, or an alias within what it stands for; the
            text begins with `line:column: `.
        YAMLError: where it is no YAML.
    """
    limits.check("STUDY_BYTES", len(text.encode(errors="replace")))
    if _LONG_TAG.search(text):
        raise LimitError("YAML tags have no use here, and one is a thousand characters long")
    sizes: dict[str, int] = {}
    open_nodes: list[_Open] = []
    total = 0
    for event in YAML(typ="safe", pure=True).parse(text):
        try:
            if isinstance(event, CollectionEndEvent):
                _close(open_nodes, sizes)
            elif isinstance(event, NodeEvent):
                size = _size(event, sizes, open_nodes)
                total += size
                limits.check("NODES", total)
                _add(event, size, open_nodes, sizes)
                limits.check("DEPTH", len(open_nodes))
        except LimitError as error:
            mark = event.start_mark
            raise LimitError(f"{mark.line + 1}:{mark.column + 1}: {error}") from None


def json_values(text: str | bytes) -> Any:
    """What a JSON text holds.

    Raises:
        ValueError: it is no JSON, or nested deeper than Python follows.
    """
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("nested too deep") from error


def yaml_values(text: str) -> Any:
    """The plain values of a text: dicts of texts, lists, numbers, texts, true, false, null.

    Raises:
        ValueError: it is no YAML, or not one that `check_yaml` allows.
    """
    try:
        check_yaml(text)
        return _plain(YAML(typ="safe", pure=True).load(text))
    except LimitError:
        raise
    except NO_YAML as error:
        raise ValueError(f"not valid YAML: {' '.join(str(error).split())}") from error


def _size(event: NodeEvent, sizes: dict[str, int], open_nodes: list[_Open]) -> int:
    """How many values a node is, those within it not yet counted."""
    if isinstance(event, AliasEvent):
        if any(node.anchor == event.anchor for node in open_nodes):
            raise LimitError(f"*{event.anchor} stands for what it is a part of")
        return sizes.get(event.anchor, 1)  # of an unknown one the loader says so
    if isinstance(event, ScalarEvent | CollectionStartEvent) and event.tag is not None:
        raise LimitError(f"YAML tags ({event.tag}) have no use here")
    if isinstance(event, ScalarEvent):
        if _HALF.search(event.value):
            raise LimitError("half of a character (a surrogate) is no text")
        if not event.style:
            _check_digits(event.value)
    return 1


def _check_digits(text: str) -> None:
    if len(text) > limits.most("DIGITS") and _LIKE_A_NUMBER.fullmatch(text):
        limits.check("DIGITS", sum(map(str.isalnum, text)))


def _add(event: NodeEvent, size: int, open_nodes: list[_Open], sizes: dict[str, int]) -> None:
    if isinstance(event, CollectionStartEvent):
        open_nodes.append(_Open(event.anchor))
        return
    if open_nodes:
        open_nodes[-1].size += size
    if event.anchor is not None and not isinstance(event, AliasEvent):
        sizes[event.anchor] = size


def _close(open_nodes: list[_Open], sizes: dict[str, int]) -> None:
    node = open_nodes.pop()
    if open_nodes:
        open_nodes[-1].size += node.size
    if node.anchor is not None:
        sizes[node.anchor] = node.size


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return dict(_pairs(value))
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def _pairs(value: dict[Any, Any]) -> Iterator[tuple[str, Any]]:
    for key, item in value.items():
        if not isinstance(key, str):
            raise ValueError(f"key {key!r} must be text")
        yield key, _plain(item)
