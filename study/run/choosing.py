"""Which trials `run --only` means."""

from __future__ import annotations

from study.file.document import StudyError, suggestion
from study.run.opening import Opened
from trainables.config.trial import Trial


def chosen(opened: Opened, only: str) -> list[Trial]:
    """The trials of an arm, of a batch size, or of one id, and the trunks that they begin from.

    Args:
        opened: the study.
        only: what a person named.

    Raises:
        StudyError: if nothing bears that name; it says what could be meant.
    """
    points, configs = opened.plan.points, opened.plan.configs
    named = [(p.trial_id, p.arm, str(p.training.global_batch_size)) for p in points]
    named += [(i, "trunk", str(configs[i].global_batch_size)) for i in opened.plan.trunks()]
    wanted = {names[0] for names in named if only in names}
    if not wanted:
        known = [name for _, *names in named for name in names]
        raise StudyError([f"--only {only}: no arm, batch size or trial; {suggestion(only, known)}"])
    starts = {i: configs[i].start for i in wanted}
    wanted |= {start.trial_id for start in starts.values() if start is not None}
    return [trial for trial in opened.trials if trial.trial_id in wanted]
