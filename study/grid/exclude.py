"""Which points of a study are left out: its `exclude` entries, each a partial match."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from study.file.changes import Candidate, field_path, value_in_force
from study.file.document import Keys, suggestion
from study.file.fields import Problem, Problems, dotted_fields, nearest_field, shown
from trainables import limits


def kept(
    entries: Any, candidates: Sequence[Candidate], seeds: Sequence[int], problems: Problems
) -> list[tuple[Candidate, tuple[int, ...]]]:
    """The candidates that no entry excludes, with the seeds that are left to them.

    Args:
        entries: the `exclude` section.
        candidates: every point without its seed.
        seeds: the study's.
        problems: receives what is wrong: unknown names, an entry that matches nothing.
    """
    keys: Keys = ("exclude",)
    if not isinstance(entries, list) or not all(isinstance(e, dict) and e for e in entries):
        message = "must be a list of mappings, e.g. [{training.global_batch_size: 2500}]"
        problems.append(Problem(keys=keys, message=message))
        return []
    known: dict[str, list[Any]] = {
        "arm": list(dict.fromkeys(candidate.arm for candidate in candidates)),
        "seed": list(seeds),
        "block": list(dict.fromkeys(candidate.block for candidate in candidates)),
    }
    for i, entry in enumerate(entries):
        _check_names(entry, (*keys, i), known, problems)
    if too_many := limits.beyond("EXCLUSIONS", len(entries) * len(candidates)):
        problems.append(Problem(keys=keys, message=too_many))
    if problems:
        return []
    gone: list[set[int]] = [set() for _ in candidates]
    for i, entry in enumerate(entries):
        hits = [n for n, candidate in enumerate(candidates) if _matches(entry, candidate)]
        for n in hits:
            gone[n] |= {seed for seed in seeds if _is_any_of(seed, entry.get("seed", seed))}
        if not hits:
            problems.append(Problem(keys=(*keys, i), message=_no_match(entry, candidates)))
    left = [
        (candidate, tuple(seed for seed in seeds if seed not in removed))
        for candidate, removed in zip(candidates, gone, strict=True)
        if len(removed) < len(seeds)
    ]
    if not left:
        problems.append(Problem(keys=keys, message="excludes every point; remove an entry"))
    return left


def _check_names(
    entry: Mapping[str, Any], keys: Keys, known: Mapping[str, list[Any]], problems: Problems
) -> None:
    for name, value in entry.items():
        if name not in known:
            if field_path(name) is None:
                message = f"unknown field; {nearest_field(name, (*known, *dotted_fields()))}"
                problems.append(Problem(keys=(*keys, name), message=message, at_key=True))
            continue
        for wanted in value if isinstance(value, list) else [value]:
            if wanted not in known[name]:
                names = [str(item) for item in known[name]]
                message = f"there is no {name} {shown(wanted)}; {suggestion(str(wanted), names)}"
                problems.append(Problem(keys=(*keys, name), message=message))


def _matches(entry: Mapping[str, Any], candidate: Candidate) -> bool:
    return all(
        name == "seed" or _is_any_of(_value(candidate, name), wanted)
        for name, wanted in entry.items()
    )


def _is_any_of(value: Any, wanted: Any) -> bool:
    """Equal to what is wanted or, where that is a list, to one of its items."""
    return bool(value == wanted) or (isinstance(wanted, list) and value in wanted)


def _value(candidate: Candidate, name: str) -> Any:
    """The value in force of an `arm`, a `block` or a dotted field."""
    if name in ("arm", "block"):
        return getattr(candidate, name)
    return value_in_force(candidate.sections, name)


def _no_match(entry: Mapping[str, Any], candidates: Sequence[Candidate]) -> str:
    """Why an entry matches nothing: one of its fields alone does not, or all of them together."""
    for name, wanted in entry.items():
        if name == "seed":
            continue
        values = [_value(candidate, name) for candidate in candidates]
        if not any(_is_any_of(value, wanted) for value in values):
            there = ", ".join(dict.fromkeys(map(shown, values)))
            return f"matches no point: {name} is never {shown(wanted)}; its values are {there}"
    return f"matches no point: no point has all of {', '.join(entry)} so; remove it or correct it"
