"""What is printed: data to stdout, and nothing in it that a terminal takes for a command."""

from __future__ import annotations

import re
from collections.abc import Iterator

import typer
from rich.console import Console, ConsoleOptions, ConsoleRenderable, RenderHook
from rich.measure import Measurement
from rich.segment import Segment

PLAIN_WIDTH = 160
"""Columns of a table where there is no terminal to ask."""
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: str) -> str:
    """A text without control characters, which somebody may have put into a name or an error.

    They move the cursor, set the title, turn the direction of what follows; halves of characters,
    which names of files may have, cannot be printed at all.
    """
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text)


def echo(text: str, *, err: bool = False, nl: bool = True) -> None:
    """Prints a text as it can be printed, to stdout or stderr."""
    typer.echo(printable(text), err=err, nl=nl)


def console() -> Console:
    """Where data goes: stdout, wide enough for every table where it is not a terminal."""
    out = Console(highlight=False)
    if not out.is_terminal:
        out = Console(highlight=False, width=PLAIN_WIDTH)
    out.push_render_hook(_Printable())
    return out


class _Printable(RenderHook):
    """Between what is to be printed and the styles that rich puts around it."""

    def process_renderables(self, renderables: list[ConsoleRenderable]) -> list[ConsoleRenderable]:
        return [_Shown(each) for each in renderables]


class _Shown:
    def __init__(self, inner: ConsoleRenderable) -> None:
        self._inner = inner

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Segment]:
        for segment in console.render(self._inner, options):
            text = segment.text if segment.control else printable(segment.text)
            yield segment._replace(text=text)

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        return Measurement.get(console, options, self._inner)
