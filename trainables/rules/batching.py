"""Which examples make up each optimizer step, and how a global batch is cut for the hardware.

The index stream (`trainables.draws`) is cut into batches of exactly `global_batch_size`; a batch
may span two permutations, nothing is ragged and nothing dropped. Loads neither torch nor ray.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

from trainables.config.execution import ExecutionConfig
from trainables.config.training import BatchPhase
from trainables.config.trial import TrialConfig


@lru_cache(maxsize=4096)
def as_written(value: float) -> Fraction:
    """The decimal number that a person wrote, exactly: .3 is 3/10, not the nearest double."""
    return Fraction(repr(value))


# ----------------------------------------------------------------------------- steps and examples


@dataclass(frozen=True, kw_only=True)
class Phase:
    """Consecutive steps of one global batch size and one peak rate."""

    start_step: int
    end_step: int
    start_examples: int
    global_batch_size: int
    peak_lr: float


@dataclass(frozen=True, kw_only=True)
class BatchPlan:
    """Every optimizer step of a trial: which stream positions it takes, at which peak rate."""

    phases: tuple[Phase, ...]
    num_train_examples: int

    @property
    def optimizer_steps(self) -> int:
        """Steps in the whole budget."""
        return self.phases[-1].end_step

    @property
    def examples(self) -> int:
        """Examples in the whole budget; the actual ones, to the last step's end."""
        return self.examples_before(self.optimizer_steps)

    def phase_at(self, step: int) -> Phase:
        """The phase that holds 0-based step `step`; the last one also holds the end."""
        starts = [phase.start_step for phase in self.phases]
        return self.phases[bisect_right(starts, step) - 1]

    def examples_before(self, step: int) -> int:
        """Examples seen when `step` steps have been taken."""
        phase = self.phase_at(step)
        return phase.start_examples + (step - phase.start_step) * phase.global_batch_size

    def step_at_examples(self, examples: Fraction | int) -> int:
        """The fewest steps after which at least so many examples were seen (within the budget)."""
        for phase in self.phases:
            steps = math.ceil((examples - phase.start_examples) / Fraction(phase.global_batch_size))
            if phase.start_step + steps <= phase.end_step:
                return phase.start_step + max(steps, 0)
        return self.optimizer_steps


def steps_for_epochs(
    epochs: Fraction,
    schedule: Sequence[BatchPhase],
    global_batch_size: int,
    num_train_examples: int,
) -> int:
    """Steps taken by "while examples_seen < epochs x N, take a step"."""
    seen = steps = 0
    ends = [(as_written(p.until_epoch), p.global_batch_size) for p in schedule]
    for until, size in (*ends, (epochs, global_batch_size)):
        taken = max(math.ceil((min(until, epochs) * num_train_examples - seen) / size), 0)
        seen, steps = seen + taken * size, steps + taken
    return steps


def batch_plan(config: TrialConfig, num_train_examples: int) -> BatchPlan:
    """The steps of a resolved trial, batch size by batch size.

    A batch size switches at the first step boundary at or after its epoch: no step is cut short.
    """
    phases: list[Phase] = []
    step = seen = 0
    exceptions = [
        (as_written(p.until_epoch) * num_train_examples, p.global_batch_size, p.peak_lr)
        for p in config.batch_schedule
    ]
    for until, size, peak_lr in (
        *exceptions,
        (None, config.global_batch_size, config.peak_lr),
    ):
        left = config.optimizer_steps - step
        steps = left if until is None else min(max(math.ceil((until - seen) / size), 0), left)
        if steps == 0:
            continue
        assert peak_lr is not None, "resolve() gives every phase its peak rate"
        phases.append(
            Phase(
                start_step=step,
                end_step=step + steps,
                start_examples=seen,
                global_batch_size=size,
                peak_lr=peak_lr,
            )
        )
        step, seen = step + steps, seen + steps * size
    return BatchPlan(phases=tuple(phases), num_train_examples=num_train_examples)


# ------------------------------------------------------------------------------------- the layout


@dataclass(frozen=True, kw_only=True)
class Layout:
    """global_batch_size = num_workers x micro_batch_size x accumulation_steps.

    The accumulation step a holds `num_workers * micro_batch_size` consecutive stream positions, of
    which the worker r holds the r-th part: micro-batches and workers follow the stream's order.
    """

    global_batch_size: int
    num_workers: int
    micro_batch_size: int
    accumulation_steps: int

    def offset(self, accumulation_step: int, rank: int) -> int:
        """First position, within the global batch, of one worker's micro-batch."""
        return (accumulation_step * self.num_workers + rank) * self.micro_batch_size


def layouts(
    config: TrialConfig, execution: ExecutionConfig, has_batch_norm: bool | None
) -> dict[int, Layout]:
    """The layout of every global batch size of a trial: the fewest accumulation steps that fit.

    Args:
        config: the trial.
        execution: `num_workers` and `max_micro_batch_size` decide.
        has_batch_norm: whether the network normalizes over the batch; None = not known yet, which
            asks nothing of the ghost size.

    Raises:
        ValueError: if a batch size cannot be cut so, naming what would work, or if the optimizer
            needs all of it in one place.
    """
    workers, optimizer = execution.num_workers, config.optimizer
    if workers > 1 and optimizer.searches_line:
        # The loss that decides is a worker's share of it; the workers would go different ways.
        raise ValueError(
            f"num_workers {workers}: optimizer {optimizer.name} searches along a line, by the loss "
            "of the whole batch; use num_workers 1, with max_micro_batch_size if memory is short"
        )
    sizes = {phase.global_batch_size for phase in config.batch_schedule}
    ghost = config.ghost_batch_size
    return {
        size: _layout(size, execution, ghost, has_batch_norm)
        for size in sorted(sizes | {config.global_batch_size})
    }


def _layout(
    size: int, execution: ExecutionConfig, ghost: int | None, has_batch_norm: bool | None
) -> Layout:
    workers = execution.num_workers
    if size % workers:
        below = size // workers * workers
        raise ValueError(
            f"global_batch_size {size}: must be a multiple of num_workers {workers}; "
            f"nearest: {', '.join(str(n) for n in (below, below + workers) if n)}"
        )
    if layout := _smallest(size, execution, ghost if has_batch_norm else None):
        if layout.accumulation_steps == 1 or ghost or not has_batch_norm:
            return layout
        groups = _ghost_sizes(size, execution)
        raise ValueError(
            f"max_micro_batch_size {execution.max_micro_batch_size}: normalization over the whole "
            f"batch of {size} cannot be accumulated in {layout.accumulation_steps} parts; "
            + (f"set ghost_batch_size to one of {groups}, or " if groups else "")
            + f"raise max_micro_batch_size to {size // workers}"
        )
    groups = _ghost_sizes(size, execution)
    raise ValueError(
        f"ghost_batch_size {ghost}: groups of {ghost} do not fit micro-batches of at most "
        f"{execution.max_micro_batch_size or size // workers} on {workers} workers at "
        f"global_batch_size {size}; "
        + (
            f"ghost sizes that work: {groups}"
            if groups
            else f"no ghost size does: leave it out, with max_micro_batch_size {size // workers}"
        )
    )


def _ghost_sizes(size: int, execution: ExecutionConfig) -> str:
    """The largest ghost sizes that have a layout; empty where none has."""
    found = [g for g in divisors(size) if g > 1 and _smallest(size, execution, g)]
    return ", ".join(map(str, found[-6:]))


def _smallest(size: int, execution: ExecutionConfig, ghost: int | None) -> Layout | None:
    """The layout with the fewest accumulation steps, or None."""
    workers = execution.num_workers
    local = size // workers
    most = execution.max_micro_batch_size or local
    for steps in divisors(local):
        micro = local // steps
        chunk = micro * workers
        whole = ghost is None or (chunk % ghost == 0 and (micro % ghost == 0 or ghost % micro == 0))
        if micro <= most and whole:
            return Layout(
                global_batch_size=size,
                num_workers=workers,
                micro_batch_size=micro,
                accumulation_steps=steps,
            )
    return None


@lru_cache(maxsize=1024)
def divisors(number: int) -> tuple[int, ...]:
    """All divisors, ascending."""
    small = [d for d in range(1, math.isqrt(number) + 1) if number % d == 0]
    return tuple(sorted({*small, *(number // d for d in small)}))
