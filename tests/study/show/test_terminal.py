"""What somebody put into a name or an error reaches a terminal as text, and as nothing else."""

from __future__ import annotations

import io

import pytest
from rich.table import Table
from rich.text import Text

from study.show import terminal
from study.show.terminal import printable

EVIL = "\x1b]0;title\x07\x1b[31mred\r\b\u202egnp"


def test_control_characters_are_replaced() -> None:
    assert printable(EVIL) == "\ufffd]0;title\ufffd\ufffd[31mred\ufffd\ufffd\ufffdgnp"
    assert printable("a\tb\nc é") == "a\tb\nc é"


def test_the_console_prints_none_in_texts_and_tables() -> None:
    out = terminal.console()
    out.file = io.StringIO()
    table = Table("name", box=None)
    table.add_row(Text(EVIL))
    out.print(Text(EVIL, style="bold"), table)
    said = out.file.getvalue()
    assert "\x1b]0" not in said and "\x07" not in said and "\u202e" not in said
    assert "title" in said and "name" in said


def test_what_is_echoed_has_none(capsys: pytest.CaptureFixture[str]) -> None:
    terminal.echo(EVIL, err=True)
    assert capsys.readouterr().err == f"{printable(EVIL)}\n"


def test_styles_of_our_own_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    out = terminal.console()
    out.file = io.StringIO()
    out.print(Text("bold", style="bold"))
    assert "\x1b[1mbold" in out.file.getvalue()
