"""What an optimizer's settings resolve to: constants that follow the batch, refusals, what is moot.

With k = global_batch_size / lr_reference_batch_size, the constants m of averages (momentum, beta1,
beta2) become

    half-life   m^k                                 the same half-life in examples
    sqrt        1 - k (1 - m), epsilon / sqrt(k)    Malladi et al. 2022

Loads neither torch nor ray.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction

from trainables.config.optimizers.kinds import OptimizerConfig
from trainables.config.training import TrainingConfig
from trainables.rules.batching import as_written

AVERAGES = ("momentum", "beta1", "beta2")
"""Constants m of averages a <- m a + ...; 0 is no average, under every rule."""

AVERAGING: dict[str, Callable[[float, Fraction], float]] = {
    "half-life": lambda m, k: m ** float(k),
    "sqrt": lambda m, k: float(1 - k * (1 - as_written(m))) if m else m,
}
"""The constant in force from the one written and k.

half-life: Marek et al. 2025, who change beta2 alone; here every average keeps its half-life.
sqrt: Malladi et al. 2022, for the betas of Adam and RMSprop; to first order in 1 - m it is
half-life, and momentum is treated alike, which is ours.
"""


def resolve_optimizer(training: TrainingConfig) -> OptimizerConfig:
    """The optimizer in force for the trial's batch.

    Raises:
        ValueError: for a setting that cannot be, with the rule and a value that works.
    """
    _check_correction(training)
    _check_differences(training)
    return _averaged(training.optimizer.without_moot(), training)


def _check_correction(training: TrainingConfig) -> None:
    """Momentum correction needs a previous rate above 0, where there is momentum to correct."""
    from_zero = training.warmup_epochs > 0 and training.warmup_start_lr == 0
    if training.optimizer.divides_by_previous_rate and from_zero:
        raise ValueError(
            "warmup_start_lr 0: momentum_correction divides by the previous rate, which a warmup "
            f"must not start at 0; give a positive rate, e.g. {training.base_lr / 10:.6g}"
        )


def _check_differences(training: TrainingConfig) -> None:
    """Curvature from differences of gradients is that of the loss only where they are its own."""
    optimizer = training.optimizer
    if not optimizer.takes_differences:
        return
    drops = training.discard_rule == "small-loss" and training.discard_ratio > 0
    harmful = {
        "precision": (training.precision == "bf16", "use float32 or float64"),
        "discard_ratio": (drops, "use 0, or discard_rule random"),
        "discard_gradient_ratio": (training.discard_gradient_ratio > 0, "leave it out"),
        "max_gradient_norm": (training.max_gradient_norm is not None, "leave it out"),
        "adversarial_epsilon": (training.adversarial_epsilon > 0, "leave it out"),
    }
    for name, (given, instead) in harmful.items():
        if given:
            raise ValueError(
                f"{name} {getattr(training, name)}: optimizer {optimizer.name} takes the loss's "
                "curvature from differences of gradients, which must be exact and of one smooth "
                f"loss; {instead}"
            )


def _averaged(optimizer: OptimizerConfig, training: TrainingConfig) -> OptimizerConfig:
    """The constants of averages for the trial's batch."""
    rule = training.averaging_scaling
    if rule == "none":
        return optimizer
    k = _batches_of_reference(optimizer, training)
    names = [name for name in AVERAGES if hasattr(optimizer, name)]
    constants = {name: AVERAGING[rule](getattr(optimizer, name), k) for name in names}
    for name, value in constants.items():
        if getattr(optimizer, name) and value <= 0:
            reference = training.lr_reference_batch_size
            most = math.ceil(Fraction(reference or 0) / (1 - as_written(getattr(optimizer, name))))
            raise ValueError(
                f"averaging_scaling {rule}: gives {name} {value:.6g} at global_batch_size "
                f"{training.global_batch_size}, which must be above 0; a global_batch_size of at "
                f"most {most - 1}, or averaging_scaling half-life"
            )
    if rule == "sqrt" and hasattr(optimizer, "epsilon"):
        constants["epsilon"] = optimizer.epsilon / math.sqrt(k)
    return replace(optimizer, **constants)  # type: ignore[arg-type]


def _batches_of_reference(optimizer: OptimizerConfig, training: TrainingConfig) -> Fraction:
    """k; refused where there is none, several, or nothing that it could change."""
    rule = f"averaging_scaling {training.averaging_scaling}"
    if not any(hasattr(optimizer, name) for name in AVERAGES):
        raise ValueError(
            f"{rule}: optimizer {optimizer.name} has no averages ({', '.join(AVERAGES)}) that "
            "could follow the batch; use none"
        )
    if training.lr_reference_batch_size is None:
        raise ValueError(
            f"{rule}: needs lr_reference_batch_size, the batch that the optimizer's constants "
            "belong to, e.g. 32"
        )
    if training.batch_schedule:
        raise ValueError(
            f"{rule}: cannot be combined with batch_schedule, whose batch sizes would each ask "
            "for constants of their own; use none"
        )
    return Fraction(training.global_batch_size, training.lr_reference_batch_size)
