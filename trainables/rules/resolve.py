"""From what a person wrote to what is in force: `TrainingConfig` -> `TrialConfig`.

Every rule is applied here once: rate scaling, warmup length, budget in steps. What cannot be is
refused with the setting, the value, the rule and a value that works; nothing is repaired. Settings
that another switches off (the shape of a warmup of length 0) resolve to their defaults, so that
they do not tell trials apart that are the same. Loads neither torch nor ray.
"""

from __future__ import annotations

import math
from dataclasses import fields
from decimal import ROUND_CEILING, ROUND_FLOOR, Context
from fractions import Fraction
from typing import Any

from trainables import limits
from trainables.config.data import DataConfig, NetworkConfig
from trainables.config.training import BatchPhase, SharedConfig, TrainingConfig
from trainables.config.trial import Start, TrialConfig
from trainables.networks.cards import without_defaults
from trainables.rules.batching import as_written, batch_plan, divisors, steps_for_epochs
from trainables.rules.learning_rate import peak_rate
from trainables.rules.optimizer_rules import resolve_optimizer
from trainables.task import DEFAULT_LOSS, TASKS


def resolve(
    training: TrainingConfig,
    *,
    data: DataConfig,
    network: NetworkConfig,
    seed: int,
    num_train_examples: int,
    trunk_id: str | None = None,
) -> TrialConfig:
    """The trial that a point stands for.

    Args:
        training: as written.
        data: which examples.
        network: which function.
        seed: the trial's.
        num_train_examples: how many the data has.
        trunk_id: the trial that `training.start` makes of the point, where there is one.

    Raises:
        ValueError: for a setting that cannot be, with the rule and a value that works.
    """
    _check_batches(training, num_train_examples)
    _check_loss(training, data)
    steps, stretch = _budget(training, num_train_examples)
    limits.check("STEPS", steps)
    resolved = {
        **{f.name: getattr(training, f.name) for f in fields(SharedConfig)},
        "data": data,
        "network": without_defaults(network),
        "seed": seed,
        "optimizer": resolve_optimizer(training),
        "global_batch_size": training.global_batch_size,
        "peak_lr": _peak(training, training.global_batch_size),
        "optimizer_steps": steps,
        "batch_schedule": _schedule(training),
        "start": _start(training, trunk_id),
        **_warmup(training, stretch),
        **_decay(training, stretch),
        **_discard(training, stretch),
    }
    config = TrialConfig(**resolved)
    _check_within(config, training, num_train_examples)
    return config


def _start(training: TrainingConfig, trunk_id: str | None) -> Start | None:
    if training.start is None:
        return None
    assert trunk_id is not None, "the plan resolves the trunk before its branches"
    return Start(trial_id=trunk_id, epoch=training.start.epoch)


def _schedule(training: TrainingConfig) -> tuple[BatchPhase, ...]:
    """The exceptions with their peak rates; one that only repeats what follows it is none."""
    phases = [
        BatchPhase(
            until_epoch=phase.until_epoch,
            global_batch_size=phase.global_batch_size,
            peak_lr=phase.peak_lr or _peak(training, phase.global_batch_size),
        )
        for phase in training.batch_schedule
    ]
    own = training.global_batch_size
    while phases and (phases[-1].global_batch_size, phases[-1].peak_lr) == (
        own,
        _peak(training, own),
    ):
        phases.pop()
    return tuple(phases)


def _peak(training: TrainingConfig, global_batch_size: int) -> float:
    if training.lr_scaling != "none" and training.lr_reference_batch_size is None:
        raise ValueError(
            f"lr_scaling {training.lr_scaling}: needs lr_reference_batch_size, the batch at which "
            f"base_lr {training.base_lr} was tuned, e.g. 32"
        )
    return peak_rate(
        training.base_lr,
        training.lr_scaling,
        global_batch_size,
        training.lr_reference_batch_size,
    )


def _check_batches(training: TrainingConfig, num_train_examples: int) -> None:
    sizes = [*(p.global_batch_size for p in training.batch_schedule), training.global_batch_size]
    for size in sizes:
        if size > num_train_examples:
            raise ValueError(
                f"global_batch_size {size}: larger than the training set of {num_train_examples} "
                f"examples; at most {num_train_examples}"
            )
        ghost = training.ghost_batch_size
        if ghost and size % ghost:
            near = _nearest_divisors(size, ghost)
            raise ValueError(
                f"ghost_batch_size {ghost}: must divide global_batch_size {size}; "
                + (
                    f"nearest that do: {near}"
                    if near
                    else "a batch of 1 has no groups, leave it out"
                )
            )
        dropped = math.floor(as_written(training.discard_ratio) * size)
        if training.discard_ratio and not 0 < dropped < size:
            raise ValueError(
                f"discard_ratio {training.discard_ratio}: drops {dropped} of a batch of {size}; "
                + (f"at least {_rounded_up(1, size)} and below 1 there" if size > 1 else "use 0")
            )
    untils = [phase.until_epoch for phase in training.batch_schedule]
    if untils != sorted(set(untils)):
        raise ValueError(f"batch_schedule: until_epoch must ascend, got {untils}")


def _nearest_divisors(number: int, target: int) -> str:
    above_one = [d for d in divisors(number) if d > 1]
    return ", ".join(map(str, sorted(sorted(above_one, key=lambda d: abs(d - target))[:3])))


def _budget(training: TrainingConfig, num_train_examples: int) -> tuple[int, Fraction]:
    """Steps, and the factor that stretches every epoch-valued setting."""
    given = {
        name
        for name in ("epochs", "optimizer_steps", "steps_of_batch_size", "target_train_loss")
        if getattr(training, name) is not None
    } | ({"max_epochs"} if training.max_epochs is not None else set())
    size, schedule = training.global_batch_size, training.batch_schedule
    if given == {"optimizer_steps"}:
        assert training.optimizer_steps is not None
        return training.optimizer_steps, Fraction(1)
    if given == {"epochs"} or given == {"target_train_loss", "max_epochs"}:
        epochs = as_written(training.epochs or training.max_epochs or 0.0)
        return steps_for_epochs(epochs, schedule, size, num_train_examples), Fraction(1)
    if given == {"epochs", "steps_of_batch_size"}:
        if schedule:
            raise ValueError(
                "steps_of_batch_size: cannot be combined with batch_schedule, whose epochs it "
                "would stretch; give optimizer_steps instead"
            )
        assert training.epochs is not None
        assert training.steps_of_batch_size is not None
        reference = training.steps_of_batch_size
        steps = steps_for_epochs(as_written(training.epochs), (), reference, num_train_examples)
        return steps, Fraction(size, reference)
    raise ValueError(
        f"budget: got {', '.join(sorted(given)) or 'none'}; give one of: epochs; optimizer_steps; "
        "epochs with steps_of_batch_size; target_train_loss with max_epochs"
    )


def _warmup(training: TrainingConfig, stretch: Fraction) -> dict[str, Any]:
    if training.warmup_epochs == 0:
        return _off("warmup_shape", "warmup_start_lr")
    epochs = as_written(training.warmup_epochs) * stretch
    if training.warmup_scaling == "linear":
        if training.lr_reference_batch_size is None:
            raise ValueError(
                "warmup_scaling linear: needs lr_reference_batch_size, the batch that "
                f"warmup_epochs {training.warmup_epochs} belongs to, e.g. 32"
            )
        epochs *= Fraction(training.global_batch_size, training.lr_reference_batch_size)
    if training.warmup_shape == "constant" and training.warmup_start_lr == 0:
        raise ValueError(
            "warmup_start_lr 0: a constant warmup at rate 0 takes no step; give a positive rate, "
            f"e.g. {training.base_lr}"
        )
    return {"scaled_warmup_epochs": float(epochs)}


def _decay(training: TrainingConfig, stretch: Fraction) -> dict[str, Any]:
    if training.decay != "step":
        return _off("decay_epochs", "decay_factor")
    if not training.decay_epochs or training.decay_factor is None:
        raise ValueError(
            "decay step: needs decay_epochs and decay_factor, e.g. decay_epochs: [30, 60], "
            "decay_factor: 0.1"
        )
    epochs = tuple(float(as_written(epoch) * stretch) for epoch in training.decay_epochs)
    return {"decay_epochs": epochs}


def _discard(training: TrainingConfig, stretch: Fraction) -> dict[str, Any]:
    if training.discard_ratio == 0:
        return _off("discard_epochs", "discard_rule")
    until = training.discard_epochs
    return {"discard_epochs": None if until is None else float(as_written(until) * stretch)}


def _off(*names: str) -> dict[str, Any]:
    """Settings that another switches off, at their defaults."""
    return {name: getattr(SharedConfig, name) for name in names}


def _check_loss(training: TrainingConfig, data: DataConfig) -> None:
    known = TASKS[data.task].losses
    if training.loss not in known:
        raise ValueError(f"loss {training.loss}: a {data.task} has none; use {' or '.join(known)}")
    changed = [name for name in ("label_smoothing", "focal_gamma") if getattr(training, name)]
    if changed and training.loss != DEFAULT_LOSS:
        raise ValueError(
            f"{changed[0]} {getattr(training, changed[0])}: is a change of {DEFAULT_LOSS}, not of "
            f"loss {training.loss}; use 0, or the other loss"
        )
    if training.label_smoothing and training.focal_gamma:
        raise ValueError(
            f"focal_gamma {training.focal_gamma}: not defined for the spread targets of "
            f"label_smoothing {training.label_smoothing}; set one of them to 0"
        )


def _check_within(config: TrialConfig, training: TrainingConfig, num_train_examples: int) -> None:
    """Refuses epoch-valued settings that outlast the run."""
    examples = batch_plan(config, num_train_examples).examples
    epochs = examples / num_train_examples
    run = f"the run of {epochs:.6g} epochs at global_batch_size {config.global_batch_size}"
    for phase in config.batch_schedule:
        if phase.until_epoch >= epochs:
            raise ValueError(
                f"batch_schedule: until_epoch {phase.until_epoch} leaves nothing of {run} for that "
                f"batch size; below {_rounded_down(epochs)}"
            )
    for name, written, resolved in (
        ("warmup_epochs", training.warmup_epochs, config.scaled_warmup_epochs),
        ("discard_epochs", training.discard_epochs, config.discard_epochs),
        (
            "decay_epochs",
            max(training.decay_epochs, default=0.0),
            max(config.decay_epochs, default=0.0),
        ),
    ):
        # Both are correctly rounded quotients, so that equal lengths are equal here.
        if written and resolved and resolved > epochs:
            scaled = "" if resolved == written else f" (as scaled {resolved:.6g})"
            raise ValueError(
                f"{name} {written}{scaled}: longer than {run}; "
                f"at most {_rounded_down(written * epochs / resolved)}"
            )


def _rounded_down(value: float) -> str:
    """To six digits or fewer, so that the number shown keeps within the limit."""
    limit = Context(prec=6, rounding=ROUND_FLOOR).create_decimal_from_float(value)
    return f"{limit.normalize():f}"


def _rounded_up(numerator: int, denominator: int) -> str:
    return str(Context(prec=4, rounding=ROUND_CEILING).divide(numerator, denominator))
