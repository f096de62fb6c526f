"""Several workers for one trial: the same body as with one, under Ray Train. Imports ray.train.

Every rank runs `trial.run`, all yield together, and every rank reports every beat; rank 0 writes.
Nothing of the state goes through Ray: checkpoints lie in the results folder, under the trial's id.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import ray.train
from ray.train import FailureConfig, RunConfig, ScalingConfig, UserCallback
from ray.train.torch import TorchConfig, TorchTrainer

from trainables import trial as trials
from trainables.collective import Collective
from trainables.config import Trial
from trainables.ledger import write_failure

PLACEMENT_TRIES = 3
"""How often Train tries to place the workers, a minute each; by default it would for ever."""


def fit(
    trial: Trial,
    *,
    stop_file: str,
    on_cuda: bool,
    concurrent_trials: int,
    storage_path: str,
    callbacks: Sequence[UserCallback] = (),
) -> None:
    """Brings one trial to its end with `num_workers` workers; a failure becomes its row.

    Args:
        trial: what to do.
        stop_file: the workers stop, resumable, once this file exists.
        on_cuda: nccl and `gpus_per_worker` GPUs each, rather than gloo on the CPU.
        concurrent_trials: how many trials share the cluster, for the record.
        storage_path: where Train may write what it needs for itself.
        callbacks: for Train's run config; `TuneReportCallback` belongs to ray.tune and comes from
            there.

    Raises:
        RuntimeError: if the workers failed, once the failure is on record.
    """
    execution = trial.execution
    resources = {"CPU": float(execution.threads_per_worker)}
    if on_cuda:
        resources["GPU"] = execution.gpus_per_worker
    trainer = TorchTrainer(
        _worker,
        train_loop_config={
            "trial": trial,
            "stop_file": stop_file,
            "concurrent_trials": concurrent_trials,
        },
        scaling_config=ScalingConfig(
            num_workers=execution.num_workers, use_gpu=on_cuda, resources_per_worker=resources
        ),
        torch_config=TorchConfig(backend="nccl" if on_cuda else "gloo"),
        run_config=RunConfig(
            # A new name each time: what is done is in our own ledger, not in Train's snapshot.
            name=f"{trial.trial_id}-{time.time_ns()}",
            storage_path=storage_path,
            callbacks=list(callbacks),  # type: ignore[arg-type]
            failure_config=FailureConfig(max_failures=0),  # the trial's driver is what tries again,
        ),
    )
    try:
        trainer.fit()
    except Exception as error:  # Train wraps whatever a worker raised in several types
        write_failure(trial, f"{type(error).__name__}: {error}")
        raise RuntimeError(f"trial {trial.trial_id}: {error}") from error


def _worker(config: dict[str, Any]) -> None:
    """What every rank runs."""
    context = ray.train.get_context()
    collective = Collective(rank=context.get_world_rank(), world_size=context.get_world_size())
    should_stop: Callable[[], bool] = lambda: os.path.exists(config["stop_file"])  # noqa: E731
    for beat in trials.run(
        config["trial"],
        collective=collective,
        should_stop=should_stop,
        concurrent_trials=config["concurrent_trials"],
    ):
        ray.train.report(asdict(beat))
