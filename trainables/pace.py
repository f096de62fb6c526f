"""How fast this machine trains a network, as measured, kept in the cache for estimates. Light.

The time of an optimizer step at batch size B is taken for step_seconds + B example_seconds, from
two batch sizes; what was measured holds for one network on inputs of one shape, for so many threads
of this processor.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path

from trainables.config.identity import science
from trainables.config.trial import Trial
from trainables.installation import cache_folder, cpu_model, package_version

FILE = "pace.json"


@dataclass(frozen=True, kw_only=True)
class Pace:
    """Of one network."""

    step_seconds: float
    """Of one optimizer step beside what grows with the batch."""
    example_seconds: float
    """Of one example's gradient."""


def key_of(trial: Trial, input_shape: Sequence[int], num_answers: int) -> str:
    """What a pace holds for: trials of one key train one network alike."""
    config, execution = trial.config, trial.execution
    told = [science(config.network), list(input_shape), num_answers, config.precision]
    told += [execution.threads_per_worker, execution.device, cpu_model(), package_version("torch")]
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:16]


def known(key: str) -> Pace | None:
    """The pace that was measured, if it was."""
    path = cache_folder() / FILE
    try:
        changed = path.stat().st_mtime_ns
    except OSError:
        return None
    return _read(path, changed).get(key)


def keep(paces: Mapping[str, Pace]) -> None:
    """Adds measured paces to those on record, each in the place of an older one.

    Raises:
        OSError: if the cache cannot be written.
    """
    path = cache_folder() / FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    changed = path.stat().st_mtime_ns if path.exists() else 0
    content = {**_read(path, changed), **paces}
    beside = path.with_name(f".{FILE}.{os.getpid()}")
    beside.write_text(json.dumps({key: asdict(pace) for key, pace in content.items()}, indent=1))
    beside.replace(path)


@lru_cache(maxsize=4)
def _read(path: Path, changed: int) -> dict[str, Pace]:
    """What is on record; a file that cannot be read is as none. changed: tells its versions apart.

    It is no result: what is lost is measured again.
    """
    with suppress(OSError, ValueError, TypeError, AttributeError):
        return {key: Pace(**pace) for key, pace in json.loads(path.read_text()).items()}
    return {}


def fitted(slow: tuple[int, float], fast: tuple[int, float], gradients: float) -> Pace:
    """The pace from two steps.

    Args:
        slow: batch size and seconds of a step, of the smaller batch.
        fast: the same of the larger one; where both are one batch size no overhead is known.
        gradients: that a step takes of its batch.
    """
    (small, short), (large, long) = slow, fast
    slope = (long - short) / (large - small) if large > small else long / large
    slope = min(max(slope, 0.0), long / large)  # the overhead is no less than 0, nor the slope
    return Pace(step_seconds=max(long - slope * large, 0.0), example_seconds=slope / gradients)
