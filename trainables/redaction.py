"""Secrets that an error's text may hold, made unreadable before it is shown or kept. Light."""

from __future__ import annotations

import json
import os
import re

HIDDEN = "***"
_SCHEME = r"(?P<scheme>(?<![\w+.-])[A-Za-z][\w+.-]{0,30}://)"  # at a word's begin: it is linear
_IN_URL = re.compile(rf"{_SCHEME}(?:[^\s/@'\"]+|[^\s/@:'\"]+:[^\s@'\"]+)@")
_SECRET_NAME = re.compile(r"(TOKEN|KEY|SECRET|PASSWORD)$")
SHORTEST = 6
"""Characters of a variable's value from which on it is hidden: a shorter one is in many words."""


def redacted(text: str) -> str:
    """The text without credentials in URLs, and without the values of secret variables.

    Those are the environment's whose names end in TOKEN, KEY, SECRET or PASSWORD.
    """
    text = _IN_URL.sub(rf"\g<scheme>{HIDDEN}@", text)
    for value in sorted(_secrets(), key=len, reverse=True):  # one may hold another
        text = text.replace(value, HIDDEN)
    return text


def secret_in(text: str) -> str | None:
    """What a text holds that `redacted` hides, by name; None if nothing."""
    named = next((name for value, name in _secrets().items() if value in text), None)
    if named is not None:
        return f"the value of {named}"
    return "a password in an address" if _IN_URL.search(text) else None


def _secrets() -> dict[str, str]:
    """The variables whose values are secret, by each way to write that."""
    values = {
        name: value
        for name, value in os.environ.items()
        if _SECRET_NAME.search(name.upper()) and len(value) >= SHORTEST
    }
    # As it is, and as Python and JSON spell it within quotes.
    ways = {name: (v, repr(v)[1:-1], json.dumps(v)[1:-1]) for name, v in values.items()}
    return {way: name for name, spelled in ways.items() for way in spelled}
