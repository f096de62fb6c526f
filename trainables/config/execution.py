"""Where and how trials run: the section `execution`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from trainables.config.ranges import Count, Example, Positive


@dataclass(frozen=True, kw_only=True)
class ExecutionConfig:
    """Where and how trials run; never part of a trial's id (the study's `execution` section)."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    num_workers: Annotated[Count, Example(1)] = 1
    """Processes that share one trial's global batch (Ray Train); 1 runs without Ray Train."""
    threads_per_worker: Annotated[Count, Example(1)] = 1
    gpus_per_worker: Annotated[Positive, Example(1)] = 1.0
    """Used on cuda only; a fraction packs several trials on one GPU."""
    max_micro_batch_size: Annotated[Count | None, Example(256)] = None
    """Most examples in one forward pass of one worker; larger batches are accumulated."""
    max_concurrent_trials: Annotated[Count | None, Example(2)] = None
    channels_last: bool | None = None
    """Memory format of images; default: on for networks with convolutions."""
    heartbeat_seconds: Annotated[Positive, Example(2)] = 2.0
    checkpoint_seconds: Annotated[Positive, Example(60)] = 60.0
    hang_seconds: Annotated[Positive, Example(1800)] = 1800.0
    """After so long without a sign of life a trial's process is ended, and its stack kept."""
    keep_weights: Annotated[Literal["final", "none"] | tuple[Positive, ...], Example([10, 20])] = (
        "final"
    )
    """`final`, `none`, or the epochs whose weights to keep besides the final ones."""
