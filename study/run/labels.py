"""How trials are called on screen, and how much work each is."""

from __future__ import annotations

from collections.abc import Sequence

from study.grid.settings import BASELINE, axis_label
from study.run.opening import Opened
from study.run.progress import Line
from trainables.config.trial import Trial
from trainables.results.layout import parts
from trainables.results.ledger import Ledger


def display_lines(opened: Opened, todo: Sequence[Trial], ledger: Ledger) -> dict[str, Line]:
    """Every trial to run as the display wants it."""
    names = labels(opened)
    done, lines = ledger.finished, {}
    begun = {part.trial_id for part in parts(opened.storage, "checkpoints")}
    for trial in todo:
        cost = opened.cost(trial)
        lines[trial.trial_id] = Line(
            label=names[trial.trial_id],
            training=0.0 if trial.trial_id in done else cost.training_seconds,
            measuring=cost.measuring_seconds,
            resumed=trial.trial_id in begun,
        )
    return lines


def labels(opened: Opened) -> dict[str, str]:
    """A short name per trial: batch size, seed, its arm if it has one, and what else varies."""
    points = opened.plan.points
    axes = [axis for axis in points[0].grid if axis != "training.global_batch_size"]
    varied = [axis for axis in axes if len({repr(p.grid[axis]) for p in points}) > 1]
    names: dict[str, str] = {}
    for p in points:
        if p.trial_id not in names:
            starts = "training.start"  # absent from all but warm starts
            told = [a for a in varied if p.grid[a] is not None or not a.startswith(starts)]
            named = [f"{axis_label(axis)} {p.shown(axis)}" for axis in told]
            arm = [] if p.arm == BASELINE else [p.arm]
            stage = [p.stage] if p.stage != "final" else []
            size = f"batch {p.training.global_batch_size}, seed {p.seed}"
            names[p.trial_id] = ", ".join([size, *stage, *arm, *named])
    for trial_id in opened.plan.trunks():
        config = opened.plan.configs[trial_id]
        names[trial_id] = f"batch {config.global_batch_size}, seed {config.seed}, trunk"
    return names
