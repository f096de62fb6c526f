"""Which measure of which trial a file holds: the `ID-HASH` in its name."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

from trainables.config.identity import science
from trainables.config.measures.kinds import MeasureConfig
from trainables.config.measures.measure import WHEN
from trainables.config.trial import Trial


def measure_key(
    trial_id: str,
    measure: MeasureConfig,
    optimizer_step: int | None = None,
    other_trial_ids: Sequence[str] = (),
    *,
    by: int | None = None,
) -> str:
    """`ID-HASH`: which measure of which trial, taken at a step along training or (None) at the end.

    How often a measure is recorded is not part of what is measured, and left out of the hash. Its
    algorithm is, from the second on, and the trials that it compares with: a study that gains them
    lacks the comparison.

    Args:
        trial_id: whose.
        measure: which.
        optimizer_step: after which step; None = at the end.
        other_trial_ids: those it is compared with.
        by: the algorithm; default: today's.
    """
    asked = {name: value for name, value in science(measure).items() if name not in WHEN}
    if (number := by or measure.algorithm) > 1:
        asked["algorithm"] = number
    others = [sorted(other_trial_ids)] if other_trial_ids else []
    identity = [asked, optimizer_step, *others]
    return f"{trial_id}-{hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:12]}"


def end_measures(trial: Trial) -> dict[str, MeasureConfig]:
    """The measures that a trial is to have when it has ended, by key.

    The trial at the baseline batch size has no interpolation: there is nothing to compare it with.
    """
    asked = (
        measure
        for measure in trial.measures
        if not measure.is_recorded and (trial.other_trial_ids or not measure.needs_others)
    )
    return {key_at_end(trial, measure): measure for measure in asked}


def key_at_end(trial: Trial, measure: MeasureConfig) -> str:
    """The key of a measure at the trial's end; one between two trials is one of those two."""
    others = trial.other_trial_ids if measure.compares else ()
    return measure_key(trial.trial_id, measure, other_trial_ids=others)
