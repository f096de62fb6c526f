"""Pairs: which trials at the baseline batch size a trial is compared with by measures between two.

The other one is equal in everything but the batch size: data, network, seed, arm, and the values in
force on the grid's axes. Two exceptions are those of `analysis.gaps.baseline_settings`: where the
arm has no such point the baseline arm's is taken, and an axis on which no candidate has the point's
own value (a rate tuned apart for each batch size, say) does not bind. Loads neither torch nor ray.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from study.cross import BASELINE, Setting

_SIZE = "training.global_batch_size"


def other_trial_ids(
    settings: Sequence[Setting], baseline_batch_size: int, ids: Mapping[tuple[int, int], str]
) -> dict[str, tuple[str, ...]]:
    """What each trial is compared with, by trial id; none for those at the baseline batch size.

    Args:
        settings: the study's.
        baseline_batch_size: the small batch.
        ids: trial by index of the setting and seed.
    """
    at_baseline: dict[str, list[int]] = {}
    for i, setting in enumerate(settings):
        if setting.training.global_batch_size == baseline_batch_size:
            at_baseline.setdefault(setting.arm, []).append(i)
    found: dict[str, dict[str, None]] = {}
    for (i, seed), trial_id in ids.items():
        own = settings[i]
        if own.training.global_batch_size == baseline_batch_size:
            continue
        for arm in dict.fromkeys((own.arm, BASELINE)):
            seeded = [n for n in at_baseline.get(arm, []) if (n, seed) in ids]
            if others := _equal(own, settings, seeded):
                found.setdefault(trial_id, {}).update(dict.fromkeys(ids[n, seed] for n in others))
                break
    return {key: tuple(others) for key, others in found.items()}


def _equal(own: Setting, settings: Sequence[Setting], among: Sequence[int]) -> list[int]:
    """Of some settings at the baseline batch size those that are equal in all else."""
    alike = [n for n in among if (settings[n].data, settings[n].network) == (own.data, own.network)]

    def taken(axis: str, value: Any) -> bool:
        return any(settings[n].grid[axis] == value for n in alike)

    binding = {axis: v for axis, v in own.grid.items() if axis != _SIZE and taken(axis, v)}
    return [n for n in alike if all(settings[n].grid[axis] == v for axis, v in binding.items())]
