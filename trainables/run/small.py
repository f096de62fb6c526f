"""Running out of memory: what it is, and the micro-batch that is tried next.

Only the micro-batch is halved, which leaves the mathematics as it is (`trainables.rules.batching`);
what was found to fit is kept for all trials of a run that need as much.
"""

from __future__ import annotations

import gc
from dataclasses import replace

import torch

from trainables.config.identity import key_of, science
from trainables.config.trial import Trial
from trainables.results.storage import storage_at
from trainables.rules.batching import layouts


class StepOutOfMemoryError(RuntimeError):
    """An optimizer step did not fit into memory."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether torch could not allocate: its own error on a GPU, the CPU allocator's on a CPU."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    text = str(error)
    return isinstance(error, RuntimeError) and "DefaultCPUAllocator" in text


def known(trial: Trial, scratch: str | None) -> int | None:
    """The largest micro-batch that fits, where this run had to find it; None: as planned."""
    if scratch is None:
        return None
    try:
        return int(storage_at(scratch).read(_name(trial)))
    except FileNotFoundError:
        return None


def keep(trial: Trial, size: int, scratch: str | None) -> None:
    """Remembers for this run how much fits."""
    if scratch is not None:
        storage_at(scratch).replace(_name(trial), str(size).encode())


def with_at_most(trial: Trial, size: int | None) -> Trial:
    """The same trial in micro-batches of at most so many examples."""
    if size is None:
        return trial
    return replace(trial, execution=replace(trial.execution, max_micro_batch_size=size))


def halved(trial: Trial, has_batch_norm: bool) -> tuple[int, int]:
    """The micro-batch that a trial has, at its largest batch, and at most half of it.

    Raises:
        ValueError: if no smaller one computes the same; it says why.
    """
    now = _largest(trial, has_batch_norm)
    if now < 2:
        raise ValueError("it holds one example")
    return now, _largest(with_at_most(trial, now // 2), has_batch_norm)


def _largest(trial: Trial, has_batch_norm: bool) -> int:
    cut = layouts(trial.config, trial.execution, has_batch_norm)
    return max(layout.micro_batch_size for layout in cut.values())


def release() -> None:
    """Gives back what the failed attempt held."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _name(trial: Trial) -> str:
    """What needs as much memory has one name."""
    config, execution = trial.config, trial.execution
    told = [science(config.network), config.global_batch_size, config.precision]
    told += [config.ghost_batch_size, execution.device, execution.num_workers]
    return f"micro_batches/{key_of(told)}"
