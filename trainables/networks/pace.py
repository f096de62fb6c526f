"""How fast this machine trains a network, as measured, kept in the cache for estimates. Light.

The time of an optimizer step at batch size B is taken for step_seconds + B example_seconds, from
two batch sizes; what was measured holds for one network on inputs of one shape, for so many threads
of this processor.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass

from trainables.config import identity
from trainables.config.trial import Trial
from trainables.installation import cpu_model, package_version, remember, remembered
from trainables.networks import own

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
    told = own.identity(config.network, input_shape, num_answers, trial.import_folder)
    told += [config.precision, execution.threads_per_worker, execution.device]
    told += [cpu_model(), package_version("torch")]
    return identity.key_of(told)


def known(key: str) -> Pace | None:
    """The pace that was measured, if it was."""
    values = remembered(FILE, key)
    with suppress(TypeError):  # another version's
        return None if values is None else Pace(**values)
    return None


def keep(key: str, pace: Pace) -> None:
    """Puts a measured pace on record, in the place of an older one.

    Raises:
        OSError: if the cache cannot be written.
    """
    remember(FILE, key, asdict(pace))


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
