"""Whom a point is compared with: one rule, for the plan that runs it and the tables that show it.

Loads neither pandas nor scipy: `study` asks here too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

Value = TypeVar("Value")
Axes = Mapping[str, Value]
"""The value that a point has on each axis of its grid."""


def compared_with(own: Axes[Value], others: Sequence[Axes[Value]]) -> list[int]:
    """Which of the others, by position: those that are equal on every axis that binds.

    An axis binds where any of the others has the point's own value. Where none has, the point's
    arm sets the axis itself, or a search tuned it apart: then every value of the others matches.
    """
    binding = [axis for axis, value in own.items() if any(o[axis] == value for o in others)]
    return [
        position
        for position, other in enumerate(others)
        if all(other[axis] == own[axis] for axis in binding)
    ]
