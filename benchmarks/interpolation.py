"""What a point between two solutions costs, beside one evaluation as training records it.

    python benchmarks/interpolation.py

One thread, CPU time, medians of interleaved rounds. An evaluation takes normalization
statistics, then losses on 5,000 training and 10,000 test images. Both read the cached data.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch
from interleave import cpu_seconds, interleave, median, shown

from trainables.collective import Collective
from trainables.config.data import DataConfig, NetworkConfig
from trainables.config.execution import ExecutionConfig
from trainables.config.identity import trial_id
from trainables.config.measures.evaluation import Evaluation
from trainables.config.measures.interpolation import Interpolation
from trainables.config.training import TrainingConfig
from trainables.config.trial import Trial
from trainables.measures import interpolation
from trainables.measures.evaluation import evaluate, prepared_copy
from trainables.measures.solution import Solution
from trainables.prepare import prepare
from trainables.rules.resolve import resolve
from trainables.run import trial as trials

POINTS = 5
REPETITIONS = 5


def trial(name: str, batch_size: int, folder: Path) -> Trial:
    """One epoch of a built-in network on the shipped MNIST subset."""
    config = resolve(
        TrainingConfig(global_batch_size=batch_size, base_lr=0.02, epochs=1.0),
        data=DataConfig(),
        network=NetworkConfig(name=name),
        seed=0,
        num_train_examples=5000,
    )
    return Trial(
        trial_id=trial_id(config),
        config=config,
        execution=ExecutionConfig(device="cpu"),
        measures=(Evaluation(),),
        folder=str(folder),
    )


def compare(name: str, folder: Path) -> None:
    """One row of the table."""
    small, large = (trial(name, size, folder) for size in (50, 500))
    for each in (small, large):
        assert [beat.status for beat in trials.run(each)][-1] == "complete"
    prepared, state = prepare(large, Collective())
    solution = Solution(
        prepared=prepared,
        model=state.model,
        should_stop=lambda: False,
        other_trial_ids=(small.trial_id,),
    )
    path = Interpolation(points=POINTS, alpha_min=0.0, alpha_max=1.0)

    def one_evaluation() -> None:
        ready = prepared_copy(state.model, prepared.data, "recalibrated")
        evaluate(ready, prepared.data, "train", "recalibrated", Collective())
        evaluate(ready, prepared.data, "test", "recalibrated", Collective())

    def path_of_points() -> None:
        interpolation.measure(solution, path)

    seconds = interleave(
        {
            "evaluation": lambda: cpu_seconds(one_evaluation),
            "point": lambda: cpu_seconds(path_of_points) / POINTS,
        },
        rounds=REPETITIONS,
    )
    evaluation, point = (median(seconds, way) for way in ("evaluation", "point"))
    print(f"{name:>6}{evaluation:>14.3f}{point:>14.3f}  {shown(seconds, 'point', 'evaluation')}")


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(f"{'':>6}{'evaluation, s':>14}{'point, s':>14}  ratio")
    with tempfile.TemporaryDirectory() as temporary:
        for network in ("mlp", "f1"):
            compare(network, Path(temporary))
