"""How far each way of searching comes towards the largest sharpness, on the solutions of a study.

    python benchmarks/largest_sharpness.py FOLDER [--epsilon 1e-3] [--examples 1000] [--seeds 3]
                                           [--subspace 100 | --adaptive] [--arms baseline ...]

FOLDER is a results folder whose weights were kept. Per solution: the largest value that any way
came across, and each way's share of it.

    first     zero and 2 random corners, 16 steps: how `best` searched at first (algorithm 1)
    random    16 random corners, 16 steps; 64 random corners, 32 steps
    directed  zero and each class, 4 steps, the highest three to 20
    best      what the measure does
    every     all starts through all rounds, with finer steps at the end of each

`scatter` is the standard deviation of log `first` over five seeds of its own. One thread.
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import torch

from study.run.opening import open_study
from trainables.collective import Collective
from trainables.config.measures.adaptive_sharpness import AdaptiveSharpness
from trainables.config.measures.sharpness import Sharpness
from trainables.config.trial import Trial
from trainables.draws import fixed_sample
from trainables.measures import adaptive_sharpness, maximum, sharpness
from trainables.measures.evaluation import prepared_copy
from trainables.measures.maximum import Box, Climb
from trainables.measures.objective import Objective
from trainables.prepare import prepare
from trainables.weights import kept_weights

Way = Callable[[Box, Climb], float]
"""A box and the climb at its middle to the largest loss found."""


def from_random(count: int, steps: int, seed: int = 0) -> Way:
    """Vertex iteration from zero and from random corners."""

    def way(box: Box, middle: Climb) -> float:
        generator = torch.Generator().manual_seed(seed)
        found = [maximum.climb(box, middle, steps).largest]
        for _ in range(count):
            signs = torch.randint(2, middle.z.shape, generator=generator) * 2.0 - 1
            start = replace(middle, ascent=signs.to(middle.z))
            found.append(maximum.climb(box, start, steps + 1).largest)
        return max(found)

    return way


def directed(box: Box, middle: Climb) -> float:
    """From zero and each class, 4 steps, the highest three to 20."""
    found = _short(box, middle)[:3]
    return max(maximum.climb(box, begun, 16).largest for begun in found)


def best(box: Box, middle: Climb) -> float:
    """What the measure does."""
    found = maximum.search(box, (middle.largest, middle.ascent))
    return max(one.largest for one in found)


def every(box: Box, middle: Climb) -> float:
    """All starts, 16 steps, through six kicks, with small steps at the end."""
    found = []
    for begun in _short(box, middle):
        climbed = maximum.climb(box, begun, 12)
        for share in (0.5, 0.25, 0.1, 0.05, 0.35, 0.15):
            climbed = maximum.kick(box, climbed, share)
        found.append(maximum.small_steps(box, climbed).largest)
    return max(found)


def _short(box: Box, middle: Climb) -> list[Climb]:
    starts = maximum.starts(box, (middle.largest, middle.ascent))
    climbed = [maximum.climb(box, start, maximum.STEPS) for start in starts]
    return sorted(climbed, key=lambda one: one.largest, reverse=True)


WAYS: dict[str, Way] = {
    "first": from_random(2, 16),
    "random 16x16": from_random(16, 16),
    "random 64x32": from_random(64, 32, seed=1),
    "directed": directed,
    "best": best,
    "every": every,
}


def solutions(folder: Path, arguments: argparse.Namespace) -> Iterator[tuple[str, Box]]:
    """A name and the box of each solution."""
    opened = open_study(str(folder), [], folder.parent, data_folder=arguments.data)
    arms = {point.trial_id: point.arm for point in reversed(opened.plan.points)}
    for trial in opened.plan.trials(folder):
        config, arm = trial.config, arms[trial.trial_id]
        wanted = not arguments.arms or arm in arguments.arms
        sized = not arguments.sizes or config.global_batch_size in arguments.sizes
        if wanted and sized and config.seed < arguments.seeds:
            name = f"{config.network.label} {arm} {config.global_batch_size} seed {config.seed}"
            yield name, box_of(trial, folder, arguments)


def box_of(trial: Trial, folder: Path, arguments: argparse.Namespace) -> Box:
    """The box around a trial's kept weights, as the measure has it."""
    prepared, state = prepare(trial, Collective())
    state.model.load_state_dict(kept_weights(folder, trial.trial_id))
    sample = fixed_sample(len(prepared.data.train[1]), arguments.examples)
    inputs, targets = prepared.data.batch("train", torch.from_numpy(sample.copy()))
    wanted = trial.config.evaluation_normalization
    model = prepared_copy(
        state.model, prepared.data, "recalibrated" if wanted == "batch" else wanted
    )
    objective = Objective(model, inputs, targets)
    if arguments.adaptive:
        config = AdaptiveSharpness(relative_radius=arguments.epsilon)
        return adaptive_sharpness.box_of(objective, config)
    keskar = Sharpness(sharpness_epsilon=arguments.epsilon, subspace_dim=arguments.subspace)
    return sharpness.box_of(objective, keskar, trial.config.seed)


def compare(name: str, box: Box, ways: dict[str, Way]) -> None:
    """One line of the table."""
    z = torch.zeros_like(box.half_widths)
    loss, gradient = box.value_and_gradient(z)
    middle = Climb(start="zero", largest=loss, z=z, ascent=gradient)
    rises, passes, seconds = {}, {}, {}
    for way, run in ways.items():
        before, began = box.objective.evaluations, time.process_time()
        rises[way] = run(box, middle) - loss
        passes[way] = box.objective.evaluations - before
        seconds[way] = time.process_time() - began
    logs = [math.log(from_random(2, 16, seed)(box, middle) - loss) for seed in range(5)]
    largest = max(rises.values())
    cells = [f"{rises[way] / largest:.3f} {passes[way]:>5} {seconds[way]:>6.1f}" for way in ways]
    phi = sharpness.phi(loss + largest, loss)
    print(f"{name:<34}{phi:>9.3g}{statistics.stdev(logs):>8.3f}  {'  '.join(cells)}", flush=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--epsilon", type=float, default=1e-3)
    parser.add_argument("--examples", type=int, default=1000)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--subspace", type=int)
    parser.add_argument("--adaptive", action="store_true")
    parser.add_argument("--arms", nargs="*")
    parser.add_argument("--sizes", type=int, nargs="*")
    parser.add_argument("--ways", nargs="*", default=[*WAYS])
    parser.add_argument("--data", type=Path)
    given = parser.parse_args()
    head = "  ".join(f"{way:<18}" for way in given.ways)
    print(f"{'':<34}{'largest':>9}{'scatter':>8}  {head}  (share of it, passes, CPU s)")
    for called, around in solutions(given.folder, given):
        compare(called, around, {way: WAYS[way] for way in given.ways})
