"""When the trials of a search stop that fall behind: the rungs of `scheduler: asha`, checked.

At a rung the first trials to come go on whatever they are, and those still warming up or at a rate
that is yet to decay are judged by what they are not going to be. So no rung lies before that is
over in every cell. Loads neither torch nor ray.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction

from study.file.document import StudyError
from study.file.search_config import GRACE_EPOCHS, REDUCTION_FACTOR, SearchConfig
from study.grid.spec import StudySpec
from study.plan.cells import CellSearch
from trainables.config.data import DataConfig
from trainables.config.trial import Halving, TrialConfig
from trainables.rules.batching import BatchPlan, as_written, batch_plan
from trainables.rules.record_steps import step_at

SHORTEST = 1e-4
"""Epochs: the least that is suggested."""
Sizes = Callable[[DataConfig], int]


def halvings(
    spec: StudySpec, searches: Sequence[CellSearch], num_train_examples: Sizes
) -> dict[str, Halving]:
    """When each trial of a search is to stop, by id; none without a scheduler.

    Raises:
        StudyError: for a first rung that lies too early in some cell, or after its end.
    """
    search, found = spec.search, {}
    if search is None or search.scheduler != "asha":
        return {}
    if wrong := _wrong_grace(search, searches, num_train_examples):
        named = ("search", "scheduler" if search.grace_epochs is None else "grace_epochs")
        raise StudyError([spec.document.problem(named, wrong)])
    for cell in searches:
        for ids in zip(*(tried.configs for tried in cell.tried), strict=True):  # a seed's each
            for own in ids:
                found[own] = Halving(
                    grace_epochs=search.grace_epochs or GRACE_EPOCHS,
                    reduction_factor=search.reduction_factor or REDUCTION_FACTOR,
                    objective=search.optimize,
                    sibling_ids=tuple(other for other in ids if other != own),
                )
    return found


def _wrong_grace(
    search: SearchConfig, searches: Sequence[CellSearch], num_train_examples: Sizes
) -> str | None:
    """What is wrong with where the first rung lies, and a `grace_epochs` that is right."""
    grace = search.grace_epochs or GRACE_EPOCHS
    runs = [
        (cell, config, batch_plan(config, num_train_examples(cell.setting.data)))
        for cell in searches
        for config in cell.configs
    ]
    ends = min(_epochs(plan) for *_, plan in runs)
    early = [(*_needed(config, plan), cell) for cell, config, plan in runs]
    least, why, cell = max(early, key=lambda found: found[0])

    def suits(epochs: float) -> bool:
        return all(_is_before_end(epochs, p) and _is_late(epochs, c, p) for _, c, p in runs)

    where = f"arm {cell.setting.arm} at batch size {cell.setting.training.global_batch_size}"
    works = next((e for e in _round(least) if e >= SHORTEST and suits(e)), None)
    if works is None:
        return (
            f"asha: no grace_epochs suits all cells: {where} needs {least:.6g}, {why}, and a run "
            f"ends at {ends:.6g}; use scheduler: none"
        )
    written = "" if search.grace_epochs else " (the default)"
    if not all(_is_before_end(grace, plan) for *_, plan in runs):
        return f"{grace:g}{written}: a run ends at {ends:.6g}; take less, e.g. {works:g}"
    if not suits(grace):
        return f"grace_epochs {grace:g}{written}: in {where} {why}; write grace_epochs: {works:g}"
    return None


def _epochs(plan: BatchPlan) -> float:
    return plan.examples / plan.num_train_examples


def _needed(config: TrialConfig, plan: BatchPlan) -> tuple[float, str]:
    """The first epoch that a rung may lie at, and why."""
    warmup, half = config.scaled_warmup_epochs, plan.examples_before(_half(plan))
    decayed = half / plan.num_train_examples if config.decay != "constant" else 0.0
    if decayed > warmup:
        return decayed, f"half of the budget, after which the rate has decayed, is {decayed:.6g}"
    return warmup, f"warmup ends at epoch {warmup:.6g}"


def _half(plan: BatchPlan) -> int:
    """The first step at which half of the budget's examples were seen."""
    return plan.step_at_examples(Fraction(plan.examples, 2))


def _is_before_end(grace: float, plan: BatchPlan) -> bool:
    return step_at(plan, as_written(grace)) < plan.optimizer_steps


def _is_late(grace: float, config: TrialConfig, plan: BatchPlan) -> bool:
    """Whether a rung after so many epochs lies where it may: steps are whole."""
    is_decayed = config.decay == "constant" or step_at(plan, as_written(grace)) >= _half(plan)
    return is_decayed and grace >= config.scaled_warmup_epochs


def _round(epochs: float) -> Iterator[float]:
    """Numbers near this one, those first that a person would write."""
    for digits in range(5):
        yield round(epochs, digits)
        yield round(epochs + 0.5 * 10**-digits, digits)
