"""Several workers for one trial: the same body as with one, under Ray Train. Imports ray.train.

Every rank runs `trial.run`, all yield together, and every rank reports every beat; rank 0 writes.
Nothing of the state goes through Ray: checkpoints lie in the results folder, under the trial's id.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import ray
import ray.train
from ray.train import (
    FailureConfig,
    RunConfig,
    ScalingConfig,
    TrainingFailedError,
    UserCallback,
)
from ray.train.torch import TorchConfig, TorchTrainer

from trainables.collective import Collective
from trainables.config.execution import ExecutionConfig
from trainables.config.trial import Trial
from trainables.results.ledger import latest_attempt
from trainables.results.storage import StorageError, storage_at
from trainables.run import trial as trials
from trainables.run.endings import failure_after, write_failure
from trainables.run.failures import GOES_ON, OUT_OF_MEMORY


def fit(
    trial: Trial,
    *,
    stop_file: str,
    on_cuda: bool,
    concurrent_trials: int,
    storage_path: str,
    scratch: str,
    placement_tries: int,
    callbacks: Sequence[UserCallback] = (),
) -> str | None:
    """Brings one trial to its end with `num_workers` workers.

    Args:
        trial: what to do.
        stop_file: the workers stop, resumable, once this file exists.
        on_cuda: nccl and `gpus_per_worker` GPUs each, rather than gloo on the CPU.
        concurrent_trials: how many trials share the cluster, for the record.
        storage_path: where Train may write what it needs for itself.
        scratch: this run's own folder.
        placement_tries: how often Train tries to place the workers, a minute each; by default it
            would for ever.
        callbacks: for Train's run config; `TuneReportCallback` belongs to ray.tune and comes from
            there.

    Returns:
        The error of a failure that a worker put on record before it ended, of whatever rank, else
        None.

    Raises:
        StorageError: a worker could not write.
        TrainingFailedError: if the workers died, or could not be placed, and left no word.
    """
    config = {
        "trial": trial,
        "stop_file": stop_file,
        "concurrent_trials": concurrent_trials,
        "scratch": scratch,
    }
    while True:
        before = latest_attempt(storage_at(trial.folder), trial.trial_id)
        try:
            _trainer(
                config, trial.execution, on_cuda, storage_path, placement_tries, callbacks
            ).fit()
        except TrainingFailedError as failed:
            if (full := _storage_error(failed)) is not None:
                raise full from failed
            if (error := failure_after(trial, before)) is None:
                raise
            if (
                error.startswith(OUT_OF_MEMORY) and GOES_ON in error
            ):  # with smaller micro-batches, from its checkpoint
                continue
            write_failure(trial, error)
            return error
        return None


def _storage_error(failed: TrainingFailedError) -> StorageError | None:
    """What the storage answered to a worker, if that is why training failed.

    Train hands on what its workers raised as text.
    """
    said = re.search(rf"^\S*\b{StorageError.__name__}: (.+)$", str(failed), re.MULTILINE)
    return said and StorageError(said[1])


def _trainer(
    config: dict[str, Any],
    execution: ExecutionConfig,
    on_cuda: bool,
    storage_path: str,
    placement_tries: int,
    callbacks: Sequence[UserCallback],
) -> TorchTrainer:
    """A fresh set of workers for the trial."""
    resources = {"CPU": float(execution.threads_per_worker)}
    if on_cuda:
        resources["GPU"] = execution.gpus_per_worker
    return TorchTrainer(
        _worker,
        train_loop_config=config,
        scaling_config=ScalingConfig(
            num_workers=execution.num_workers, use_gpu=on_cuda, resources_per_worker=resources
        ),
        torch_config=TorchConfig(backend="nccl" if on_cuda else "gloo"),
        run_config=RunConfig(
            # A new name each time: what is done is in our own ledger, not in Train's snapshot.
            name=f"{config['trial'].trial_id}-{time.time_ns()}",
            storage_path=storage_path,
            callbacks=list(callbacks),  # type: ignore[arg-type]
            failure_config=FailureConfig(  # type: ignore[call-arg]  # Train V2 has it
                max_failures=0, controller_failure_limit=placement_tries
            ),
        ),
    )


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
        scratch=config["scratch"],
        may_exit=True,
        node_id=ray.get_runtime_context().get_node_id(),
    ):
        ray.train.report(asdict(beat))
