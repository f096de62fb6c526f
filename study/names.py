"""Whether our packages are ours: `study` and `analysis` are names that others use too. Light."""

from __future__ import annotations

import importlib.util
from pathlib import Path

SOURCE_TREE = Path(__file__).resolve().parent.parent
"""Where `study`, `trainables` and `analysis` lie: a checkout, or an environment's site-packages."""

PACKAGES = ("study", "trainables", "analysis")


def foreign_packages() -> list[str]:
    """One line for each of our packages that Python finds elsewhere than beside this file."""
    lines = []
    for name in PACKAGES:
        spec = importlib.util.find_spec(name)
        found = Path(spec.origin).resolve().parent if spec and spec.origin else None
        if found != SOURCE_TREE / name:
            lines.append(
                f"package {name!r} resolves to {found or 'a folder without __init__.py'}, not to "
                f"batchgap's own in {SOURCE_TREE}; rename or remove the other, or start batchgap "
                "elsewhere"
            )
    return lines
