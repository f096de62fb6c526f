"""What a run would do now: which trials, how long, how large; for a person and as JSON."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from study.grid.settings import axis_label
from study.plan import estimate
from study.plan.points import Point
from study.plan.to_come import finals_to_come, to_come
from study.run import guard
from study.run.missing import Missing
from study.run.networks import own_parameter_shapes
from study.run.opening import Opened
from study.run.room import lacking, size_text
from study.show.search import (
    candidates_json,
    cells_json,
    search_notes,
    search_table,
)
from study.show.status import MAX_ROWS
from trainables.config.trial import Trial, TrialConfig
from trainables.networks.cards import has_batch_norm
from trainables.results.ledger import Ledger
from trainables.rules.batching import batch_plan


@dataclass(frozen=True, kw_only=True)
class Outlook:
    """What a run would do now."""

    opened: Opened
    missing: Missing
    cost: estimate.Estimate

    @property
    def ledger(self) -> Ledger:
        """What is done."""
        return self.missing.ledger


def outlook(opened: Opened, say: Callable[[str], None]) -> Outlook:
    """Looks at what is done, and builds networks that are not ours; writes nothing to the folder.

    Raises:
        StudyError: such a network cannot be built.
        FolderError: the folder holds another study, or data or code changed since.
    """
    shapes = own_parameter_shapes(opened, say, anew=False)
    missing = opened.missing()
    done = missing.ledger.finished
    guard.check_same_study(opened.storage, opened.trials)
    guard.check_unchanged(opened.trials, missing.ledger, opened.facts, shapes)
    todo = [*missing.train, *to_come(opened.plan, opened.folder)]
    cost = estimate.estimate(todo, missing.measure, done, opened.trials, opened.facts)
    return Outlook(opened=opened, missing=missing, cost=cost)


def plan_json(look: Outlook) -> dict[str, Any]:
    """The plan as plain values."""
    opened = look.opened
    arms: dict[str, list[str]] = {}
    for point in opened.plan.points:
        named = arms.setdefault(point.trial_id, [])
        if point.arm not in named:
            named.append(point.arm)
    train, measure, again = (
        {trial.trial_id for trial in trials}
        for trials in (
            look.missing.train,
            look.missing.measure,
            (trial for trials in look.missing.train_again.values() for trial in trials),
        )
    )
    return {
        "name": opened.spec.name,
        "question": opened.spec.question,
        "folder": str(opened.folder),
        "points": len(opened.plan.points),
        "estimate": asdict(look.cost),
        "candidates": candidates_json(opened),
        "finals_to_come": finals_to_come(opened.plan),
        "search": cells_json(opened, look.ledger.finished),
        "trials": [
            {
                "trial_id": trial.trial_id,
                "arms": arms.get(trial.trial_id, []),  # a trunk may be no point
                "requires": opened.plan.requires(trial.trial_id),
                "start_step": trial.start_step,
                "seed": trial.config.seed,
                "global_batch_size": trial.config.global_batch_size,
                "peak_lr": trial.config.peak_lr,
                "scaled_warmup_epochs": trial.config.scaled_warmup_epochs,
                **_length(opened, trial),
                "to_train": trial.trial_id in train,
                "to_measure": trial.trial_id in measure,
                "needs_training_again": trial.trial_id in again,
            }
            for trial in opened.trials
        ],
    }


def print_plan(look: Outlook, out: Console) -> None:
    """The plan for a person: counts, a row per setting, what it will take."""
    opened = look.opened
    spec, total = opened.spec, len(opened.trials)
    out.print(Text(f"{spec.name}: {spec.question}" if spec.question else spec.name, style="bold"))
    done = total - len(look.missing.train)
    trunks = len(opened.plan.trunks())
    out.print(
        f"{len(opened.plan.points)} points, {total} trials"
        f"{f', {trunks} of them only the trunks of warm starts' if trunks else ''}: "
        f"{done} done, {len(look.missing.train)} to run"
    )
    searches = spec.search is not None
    out.print(search_table(opened, look.ledger.finished) if searches else _settings_table(look))
    for line in _plan_notes(look):
        out.print(Text(line))


def _plan_notes(look: Outlook) -> list[str]:
    notes = [f"unreadable, will run again: {why}" for why in look.ledger.damaged.values()]
    if hidden := len(look.opened.spec.settings) - MAX_ROWS:
        notes += [f"and {hidden} more settings; --json lists every trial"] if hidden > 0 else []
    notes += filter(
        None, [guard.left_behind(look.opened.storage, look.opened.plan, look.opened.head)]
    )
    notes += search_notes(look.opened)
    notes += sorted({note for t in look.opened.trials if (note := _asked(look.opened, t))})
    notes += sorted({note for t in look.opened.trials if (note := _begun(look.opened, t))})
    if any(_misjudged(trial.config) for trial in look.opened.trials):
        notes.append(
            "evaluation recalibrates normalization on images without augmentation, which misjudges "
            "augmented training; evaluation_normalization: running does not"
        )
    if look.missing.measure:
        notes.append(
            f"{len(look.missing.measure)} complete trials lack a measure; run will take it"
        )
    notes += [f"{line}: --retrain" for line in look.missing.lines]
    cost = look.cost
    if not (look.missing.train or look.missing.measure):
        return [*notes, "nothing to run"]
    together = f"{cost.concurrent_trials} at a time on this machine's cores"
    time = (
        "time: unknown; plan --calibrate times your network"
        if cost.seconds is None
        else f"time: about {estimate.duration_text(cost.seconds)}, {together}, from {cost.basis}"
    )
    size = "unknown" if cost.bytes_on_disk is None else f"about {size_text(cost.bytes_on_disk)}"
    if cost.checkpoint_bytes:
        size += f", and {size_text(cost.checkpoint_bytes)} of checkpoints while it runs"
    lacks = [f"warning: {line}" for line in lacking(cost, look.opened.folder)]
    return [*notes, time, f"disk: {size}", *lacks]


def _misjudged(config: TrialConfig) -> bool:
    """Whether statistics are taken of other images than training sees (docs/log.md)."""
    augmented = config.horizontal_flip or config.max_shift or config.max_rotation
    recalibrated = config.evaluation_normalization == "recalibrated"
    return bool(augmented) and recalibrated and has_batch_norm(config.network) is not False


def _settings_table(look: Outlook) -> Table:
    """A row per setting: what the file wrote where it varies, what it resolves to."""
    opened, done = look.opened, look.ledger.finished
    table = Table(box=None, pad_edge=False, header_style="bold")
    axes = _varying(opened.plan.points)
    for name in ("arm", "batch size", *map(axis_label, axes[1:])):
        table.add_column(name.replace("_", " "), overflow="fold")  # words wrap, names do not
    for name in ("steps", "epochs", "peak lr", "warmup", "done"):
        table.add_column(name, justify="right")
    by_id = {trial.trial_id: trial for trial in opened.trials}
    for setting, ids in list(_trials_of_settings(opened, axes).items())[:MAX_ROWS]:
        trial = by_id[ids[0]]
        length = _length(opened, trial)
        arm, values = setting
        table.add_row(
            *map(Text, (arm, *values)),
            str(length["optimizer_steps"]),
            f"{length['epochs']:.4g}",
            f"{trial.config.peak_lr:.3g}",
            f"{trial.config.scaled_warmup_epochs:.4g}",
            f"{sum(i in done for i in ids)}/{len(ids)}",
        )
    return table


def _varying(points: Sequence[Point]) -> list[str]:
    """The axes of the grid on which points differ, batch size always among them."""
    size = "training.global_batch_size"
    axes = [axis for axis in points[0].grid if axis != size]
    return [size, *(axis for axis in axes if len({repr(p.grid[axis]) for p in points}) > 1)]


def _trials_of_settings(
    opened: Opened, axes: Sequence[str]
) -> dict[tuple[str, tuple[str, ...]], list[str]]:
    """Trial ids by what a row of the table shows, over seeds, in the plan's order."""
    found: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for p in opened.plan.points:
        values = tuple(_value(p, axis) for axis in axes)
        found.setdefault((p.arm, values), []).append(p.trial_id)
    return found


def _value(point: Point, axis: str) -> str:
    if axis == "training.global_batch_size":
        return str(point.training.global_batch_size)
    return point.shown(axis)


def _length(opened: Opened, trial: Trial) -> dict[str, Any]:
    facts = opened.facts(trial.config.data)
    plan = batch_plan(trial.config, facts.num_train_examples)
    return {
        "optimizer_steps": plan.optimizer_steps,
        "examples": plan.examples,
        "epochs": plan.examples / plan.num_train_examples,
    }


def _asked(opened: Opened, trial: Trial) -> str | None:
    """Where a batch schedule switches later than it was asked to: steps are whole."""
    if not trial.config.batch_schedule:
        return None
    facts = opened.facts(trial.config.data)
    plan = batch_plan(trial.config, facts.num_train_examples)
    late = [
        f"{phase.until_epoch:g} -> {after.start_examples / plan.num_train_examples:.4g}"
        for phase, after in zip(trial.config.batch_schedule, plan.phases[1:], strict=False)
        if after.start_examples != phase.until_epoch * plan.num_train_examples
    ]
    if not late:
        return None
    size = trial.config.global_batch_size
    return f"batch {size}: the batch schedule switches at whole steps, epochs {', '.join(late)}"


def _begun(opened: Opened, trial: Trial) -> str | None:
    """Where a warm start begins later than it was asked to: the trunk's steps are whole."""
    start = trial.config.start
    if start is None or trial.start_step is None:
        return None
    facts = opened.facts(trial.config.data)
    trunk = batch_plan(opened.plan.configs[start.trial_id], facts.num_train_examples)
    epoch = trunk.examples_before(trial.start_step) / trunk.num_train_examples
    if epoch == start.epoch:
        return None
    return f"warm start: begins at whole steps of its trunk, epoch {start.epoch:g} -> {epoch:.4g}"
