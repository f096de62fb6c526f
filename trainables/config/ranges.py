"""What a number may be, written where the field is: pydantic checks it, the JSON Schema shows it.

    train_examples: Annotated[Count | None, Example(5000)] = None

The value that works ends every message about the field. Light.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from annotated_types import Ge, Gt, Le, Lt


@dataclass(frozen=True)
class Example:
    """A value of the field that works; of a list, a whole list."""

    value: Any

    def __get_pydantic_json_schema__(self, schema: Any, handler: Any) -> dict[str, Any]:
        """Shows the value in the JSON Schema."""
        return {**handler(schema), "examples": [self.value]}


LARGEST = 2**63 - 1
"""What a column of the results holds."""

Whole = Annotated[int, Ge(0), Le(LARGEST)]
Count = Annotated[int, Ge(1), Le(LARGEST)]
Several = Annotated[int, Ge(2), Le(LARGEST)]
NotNegative = Annotated[float, Ge(0)]
Positive = Annotated[float, Gt(0)]
Share = Annotated[float, Ge(0), Lt(1)]
Inside = Annotated[float, Gt(0), Lt(1)]
"""Between 0 and 1, neither of them."""


@dataclass(frozen=True, kw_only=True)
class Conflict:
    """A setting that another one rules out."""

    field: str
    message: str
    """The rule, and a value that works."""
    at_key: bool = False
    """Whether it is the key that is wrong, not its value."""
