"""What a study file may not hold, whatever it means: it is copied into the results. Light."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from study.file.document import Document, Keys, StudyError
from trainables.redaction import secret_in


def check_no_secrets(document: Document) -> None:
    """Refuses passwords in addresses, and the values of secret variables of the environment.

    Raises:
        StudyError: with the place of each.
    """
    message = (
        "holds {}, which would be copied into the results; let your own code read it from the "
        "environment"
    )
    texts = _texts(document.values, ())
    found = [(keys, secret) for keys, text in texts if (secret := secret_in(text)) is not None]
    if found:
        raise StudyError([document.problem(k, message.format(secret)) for k, secret in found])


def number_of_values(value: Any) -> int:
    """How many values of YAML plain values are; keys are values too."""
    if isinstance(value, dict):
        return 1 + sum(1 + number_of_values(item) for item in value.values())
    return 1 + sum(map(number_of_values, value)) if isinstance(value, list) else 1


def _texts(value: Any, keys: Keys) -> Iterator[tuple[Keys, str]]:
    if isinstance(value, str):
        yield keys, value
    items = value.items() if isinstance(value, dict) else ()
    for key, item in enumerate(value) if isinstance(value, list) else items:
        yield from _texts(item, (*keys, key))
