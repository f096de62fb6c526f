"""What a study lacks of what its file asks for, and what it takes to get it.

A measure that is missing is taken from kept weights. Those do not give records along training, nor
what was taken from weights that are gone; measures between trials wait for one of their ends; and
some are on record with an error. Loads neither torch nor ray.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from trainables.config.measures.evaluation import Evaluation
from trainables.config.measures.kinds import MeasureConfig, evaluations, layer_statistics
from trainables.config.measures.layers import LayerStatistics
from trainables.config.measures.measure import WHEN
from trainables.config.trial import Trial
from trainables.results import files
from trainables.results.files import DamagedFileError, Row
from trainables.results.layout import parts
from trainables.results.ledger import Ledger
from trainables.results.measure_keys import end_measures, measure_key
from trainables.results.storage import Storage
from trainables.rules.batching import as_written, batch_plan
from trainables.rules.record_steps import recorded_steps, step_at

_OF_FAILED = ("trial_id", "error", "at_end", "optimizer_step")


@dataclass(frozen=True, kw_only=True)
class Missing:
    """What trials lack, as the results folder stands; each part is looked for once."""

    storage: Storage
    """The results folder."""
    trials: Sequence[Trial]
    """The study's, or some of them."""
    ledger: Ledger
    """What has ended, and what is measured."""

    @cached_property
    def train(self) -> list[Trial]:
        """Not done: to train, from their checkpoints if they have any."""
        return [trial for trial in self.trials if trial.trial_id not in self.ledger.finished]

    @cached_property
    def measure(self) -> list[Trial]:
        """Complete, with a measure missing that their kept weights give now."""
        return [
            trial
            for trial in self.trials
            if missing_measures(trial, self.ledger) and self.keeps_end(trial)
        ]

    @property
    def to_run(self) -> list[Trial]:
        """To hand to a runner, in the study's order."""
        wanted = {id(trial) for trial in (*self.train, *self.measure)}
        return [trial for trial in self.trials if id(trial) in wanted]

    @cached_property
    def train_again(self) -> dict[str, list[Trial]]:
        """Complete, but lacking what only training again gives: by what they lack."""
        found: dict[str, list[Trial]] = {}
        for trial in self.trials:
            if lacking := _lacking(self, trial):
                found.setdefault(lacking, []).append(trial)
        return found

    @cached_property
    def waiting(self) -> list[Trial]:
        """With a measure between trials that cannot be taken yet: one of the ends is missing."""
        return [
            trial
            for trial in self.trials
            if trial.other_trial_ids
            and not self.ledger.are_complete((trial.trial_id, *trial.other_trial_ids))
            and any(
                measure.compares and key not in self.ledger.measured
                for key, measure in end_measures(trial).items()
            )
        ]

    @cached_property
    def failed(self) -> list[str]:
        """Files of measures on record with an error, where the weights are there to try again."""
        return list(_failed(self))

    @cached_property
    def kept(self) -> frozenset[tuple[str, int | None]]:
        """Trial and step of the weights that are kept."""
        return frozenset((p.trial_id, p.number) for p in parts(self.storage, "weights"))

    @cached_property
    def layers(self) -> Mapping[str, Sequence[str]]:
        """The files of a trial's record of layers, by trial id."""
        found: dict[str, list[str]] = {}
        for part in parts(self.storage, "layers"):
            found.setdefault(part.trial_id, []).append(part.name)
        return found

    def keeps_end(self, trial: Trial) -> bool:
        """Whether the final weights of a trial that has ended are kept."""
        return (trial.trial_id, self.ledger.rows[trial.trial_id]["optimizer_step"]) in self.kept

    @property
    def lines(self) -> list[str]:
        """How many trials lack what only training again gives; the way out is the caller's."""
        what = "complete trials lack what only training again gives"
        return [f"{len(trials)} {what}, {lacking}" for lacking, trials in self.train_again.items()]


def missing_measures(trial: Trial, ledger: Ledger) -> list[MeasureConfig]:
    """The measures at the end that a complete trial lacks (a diverged one can have none).

    Those between trials are lacking only once all the trials that they compare with are complete.
    """
    if not ledger.are_complete([trial.trial_id]):
        return []
    comparable = ledger.are_complete(trial.other_trial_ids)
    return [
        measure
        for key, measure in end_measures(trial).items()
        if key not in ledger.measured and (comparable or not measure.compares)
    ]


def _lacking(missing: Missing, trial: Trial) -> str | None:
    """What only training a complete trial again gives."""
    ledger = missing.ledger
    row = ledger.rows.get(trial.trial_id)
    if row is None or row["status"] != "complete":
        return None
    if _lacks_record(missing, trial, row):
        return "a record along training"
    lacking = [m for m in missing_measures(trial, ledger) if not _is_old(trial, m, None, ledger)]
    if lacking and not missing.keeps_end(trial):
        return "the weights that a measure is taken from"
    kept = trial.execution.keep_weights
    steps = [_step(trial, epoch, row) for epoch in kept] if isinstance(kept, tuple) else []
    if not all((trial.trial_id, step) in missing.kept for step in steps):
        return "the weights of an epoch asked for now"
    return None


def _step(trial: Trial, epoch: float, row: Row) -> int:
    """The first step at or after an epoch."""
    plan = batch_plan(trial.config, row["num_train_examples"])
    return step_at(plan, as_written(epoch))


def _lacks_record(missing: Missing, trial: Trial, row: Row) -> bool:
    """Whether something was not recorded along training, or not as often as it is asked for."""
    layers = layer_statistics(trial.measures)
    return (
        _lacks_evaluations(trial, row)
        or (layers is not None and _lacks_layers(missing, trial, layers, row))
        or any(
            _lacks_step(trial, measure, row, missing.ledger)
            for measure in trial.measures
            if not measure.is_recorded
        )
    )


def _lacks_evaluations(trial: Trial, row: Row) -> bool:
    """Whether it was not evaluated at steps that are asked for or, by epochs, less often."""
    (asked,) = evaluations(trial.measures)
    had = Evaluation(**{name: row[name] for name in WHEN if row[name] is not None})
    if asked.every_steps is None and had.every_steps is None:
        return bool(asked.every_epochs < had.every_epochs)
    plan = batch_plan(trial.config, row["num_train_examples"])
    wanted = recorded_steps(asked, plan) - {plan.optimizer_steps}  # the end is there anyway
    return bool(wanted - recorded_steps(had, plan))


def _lacks_step(trial: Trial, measure: MeasureConfig, row: Row, ledger: Ledger) -> bool:
    """Whether a record along training was never made: asked for later, or left out for a while."""
    steps = recorded_steps(measure, batch_plan(trial.config, row["num_train_examples"]))
    return any(
        measure_key(trial.trial_id, measure, step) not in ledger.measured
        and not _is_old(trial, measure, step, ledger)
        for step in steps
        if step < row["optimizer_step"]
    )


def _is_old(trial: Trial, measure: MeasureConfig, step: int | None, ledger: Ledger) -> bool:
    """Whether an older algorithm measured it: no reason to train again."""
    older = range(1, measure.algorithm)
    keys = {measure_key(trial.trial_id, measure, step, by=number) for number in older}
    return bool(keys & ledger.measured)


def _lacks_layers(missing: Missing, trial: Trial, measure: LayerStatistics, row: Row) -> bool:
    """Whether a step is missing that is to be recorded, or the curvature asked for there."""
    plan = batch_plan(trial.config, row["num_train_examples"])
    wanted = {step for step in recorded_steps(measure, plan) if step <= row["optimizer_step"]}
    columns = ["optimizer_step", "curvature_samples", "examples"]
    recorded = set()
    for name in missing.layers.get(trial.trial_id, ()):
        try:
            rows = files.read_table(missing.storage, name, columns).group_by(columns).aggregate([])
        except (DamagedFileError, FileNotFoundError):
            continue  # `verify` names it
        recorded |= {tuple(found[name] for name in columns) for found in rows.to_pylist()}
    if measure.curvature_samples == 0:
        return bool(wanted - {step for step, *_ in recorded})
    asked = (measure.curvature_samples, measure.examples)
    return bool({(step, *asked) for step in wanted} - recorded)


def _failed(missing: Missing) -> Iterator[str]:
    trial_ids = {trial.trial_id for trial in missing.trials}
    for part in parts(missing.storage, "measures"):
        if part.trial_id not in trial_ids:
            continue
        try:
            rows = files.read_rows(missing.storage, part.name, _OF_FAILED)
        except (DamagedFileError, FileNotFoundError):
            continue  # counts as not taken already; `verify` names it
        # What was taken at step 0 is of the start, which is made again from the seed.
        if any(row["error"] is not None and _is_taken_once(row) for row in rows) and all(
            row["optimizer_step"] == 0 or (row["trial_id"], row["optimizer_step"]) in missing.kept
            for row in rows
        ):
            yield part.name


def _is_taken_once(row: Mapping[str, Any]) -> bool:
    return bool(row["at_end"] or row["optimizer_step"] == 0)
