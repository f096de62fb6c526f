"""What recording the layers costs a training step: never, now and then, at every step.

    python benchmarks/layers.py --help

One thread, C1 and F1 at batch 256 on random images, trained by a trial's own loop with SGD of
momentum .9. The peer is the same training without a record. CPU seconds; ratios within interleaved
rounds. The file is written once a minute and is apart; so is curvature, whose price is its passes.
"""

from __future__ import annotations

import argparse
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

from interleave import against, cpu_seconds, interleave, median, print_table, ratio, shown
from loop import LR, MOMENTUM, SHAPES

from trainables.collective import Collective
from trainables.config import identity
from trainables.config.data import DataConfig, NetworkConfig
from trainables.config.execution import ExecutionConfig
from trainables.config.measures.evaluation import Evaluation
from trainables.config.measures.layers import LayerStatistics
from trainables.config.optimizers.sgd import SGD
from trainables.config.training import TrainingConfig
from trainables.config.trial import Trial
from trainables.loop import train
from trainables.prepare import prepare
from trainables.rules.resolve import resolve
from trainables.run.layer_recording import LayerRecording

BATCH = 256
EXAMPLES = 8 * BATCH
NEVER = "never"
EVERY = {NEVER: None, "every 10 steps": 10, "every step": 1}
MOST = {"c1": 1.10}
"""Of the step without a record."""
STEPS = {"c1": 2, "f1": 20}
"""Steps in a turn."""


def training(network: str, every: int | None, rounds: int, folder: Path) -> Iterator[None]:
    """Pauses after every so many steps."""
    data = DataConfig(
        source="load",
        load="loop:random_images",
        options={"shape": list(SHAPES[network]), "examples": EXAMPLES},
    )
    written = TrainingConfig(
        global_batch_size=BATCH,
        base_lr=LR,
        optimizer=SGD(momentum=MOMENTUM),
        optimizer_steps=STEPS[network] * (rounds + 1),
    )
    config = resolve(
        written,
        data=data,
        network=NetworkConfig(name=network),
        seed=0,
        num_train_examples=EXAMPLES,
    )
    trial = Trial(
        trial_id=identity.trial_id(config),
        config=config,
        execution=ExecutionConfig(device="cpu"),
        measures=(Evaluation(),),
        folder=str(folder),
        import_folder=str(Path(__file__).parent),
    )
    prepared, state = prepare(trial, Collective())
    pauses = range(STEPS[network], config.optimizer_steps + 1, STEPS[network])
    looked_at: set[int] = set()
    record: Callable[[], None] = lambda: None  # noqa: E731
    if every is not None:
        asked = LayerStatistics(every_steps=every)
        recording = LayerRecording(prepared, state, asked, lambda: False)
        recording.begin()
        looked_at, record = recording.steps, recording.record
    at = looked_at | {*pauses}
    for _ in train(state, config, trial.execution, prepared.data, Collective(), at):
        record()
        if state.optimizer_step in pauses:
            yield


def compare(network: str, rounds: int) -> list[list[str]]:
    """Rows of the table of one network."""
    with tempfile.TemporaryDirectory() as folder:
        runs = {
            name: training(network, every, rounds, Path(folder)) for name, every in EVERY.items()
        }
        candidates = {
            name: lambda run=run: cpu_seconds(lambda: next(run)) for name, run in runs.items()
        }
        seconds = interleave(candidates, rounds)
    rows = []
    for name in EVERY:
        most = MOST.get(network, float("inf")) if name == "every step" else float("inf")
        step = median(seconds, name) / STEPS[network] * 1e3
        cells = [f"{network}, {name}", f"{step:.1f}", shown(seconds, name, NEVER)]
        rows.append([*cells, *against(ratio(seconds, name, NEVER), most)])
    return rows


def main() -> None:
    """Prints one table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--networks", nargs="*", choices=[*STEPS], default=[*STEPS])
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    rows = [row for network in asked.networks for row in compare(network, asked.rounds)]
    columns = ["record of layers", "step, ms", f"against {NEVER}", "target", "met"]
    print_table(f"Steps at batch {BATCH}", columns, rows)


if __name__ == "__main__":
    main()
