"""Secrets that an error's text may hold, made unreadable before it is shown or kept. Light."""

from __future__ import annotations

import os
import re

HIDDEN = "***"
_IN_URL = re.compile(r"(?P<scheme>[A-Za-z][\w+.-]*://)[^\s/@'\"]+@")
_SECRET_NAME = re.compile(r"(TOKEN|KEY|SECRET|PASSWORD)$")
SHORTEST = 6
"""Characters of a variable's value from which on it is hidden: a shorter one is in many words."""


def redacted(text: str) -> str:
    """The text without credentials in URLs, and without the values of secret variables.

    Those are the environment's whose names end in TOKEN, KEY, SECRET or PASSWORD.
    """
    text = _IN_URL.sub(rf"\g<scheme>{HIDDEN}@", text)
    secrets = {
        value
        for name, value in os.environ.items()
        if _SECRET_NAME.search(name.upper()) and len(value) >= SHORTEST
    }
    for value in sorted(secrets, key=len, reverse=True):  # one may hold another
        text = text.replace(value, HIDDEN)
    return text
