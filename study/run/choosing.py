"""Which trials `run --only` means."""

from __future__ import annotations

from collections.abc import Sequence

from study.file.document import StudyError, suggestion
from study.run.opening import Opened
from trainables.config.trial import Trial


def chosen(opened: Opened, only: Sequence[str]) -> list[Trial]:
    """The trials of an arm, a batch size, or of one id, and the trunks that they begin from.

    Args:
        opened: the study.
        only: what a person named, each of which is among them.

    Raises:
        StudyError: if nothing bears one of the names; it says what could be meant.
    """
    points, configs = opened.plan.points, opened.plan.configs
    named = [(p.trial_id, p.arm, str(p.training.global_batch_size)) for p in points]
    named += [(i, "trunk", str(configs[i].global_batch_size)) for i in opened.plan.trunks()]
    known = [name for _, *names in named for name in names]
    bearers = {name for names in named for name in names}
    if unknown := [name for name in only if name not in bearers]:
        raise StudyError(
            [f"--only {n}: no arm, batch size or trial; {suggestion(n, known)}" for n in unknown]
        )
    wanted = {names[0] for names in named if set(only) & set(names)}
    starts = {i: configs[i].start for i in wanted}
    wanted |= {start.trial_id for start in starts.values() if start is not None}
    return [trial for trial in opened.trials if trial.trial_id in wanted]
