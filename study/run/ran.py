"""What a run did, and what to tell the person of it. Light."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Ran:
    """What a run did, and left."""

    trials: int
    """Handed to the runner."""
    failed: int
    """Of these, the ones that are not done after it."""
    needing_training_again: Sequence[str]
    """How many complete trials of the study lack what, that only `--retrain` gives."""
    failed_measures: int = 0
    """Measures on record with an error, which could be taken again."""
    took: str = ""
    """How long it took, beside what had been estimated."""

    def lines(self, study: str, *, verb: str, again: str, stopped: bool) -> list[str]:
        """What to tell the person at the end, and what to do next.

        Args:
            study: how it is named to another verb.
            verb: run or measure.
            again: what was typed, to go on with.
            stopped: whether it was.
        """
        is_done = verb == "run" and not (self.needing_training_again or self.failed_measures)
        done = f"nothing to {verb}" + (": everything asked for is done" if is_done else "")
        lines = [] if self.trials else [done]
        retrain = f"batchgap run {study} --retrain"
        lines += [f"{what}: {retrain}" for what in self.needing_training_again]
        if self.failed_measures:
            count, retry = self.failed_measures, f"batchgap measure {study} --retry"
            lines.append(f"{count} measures are on record with an error; to try again: {retry}")
        if stopped:
            return [*lines, f"stopped; go on with: batchgap {verb} {again}"]
        if self.took:
            lines.append(self.took)
        if self.failed:
            lines.append(f"{self.failed} trials did not end well; run again to try them again")
            lines.append(f"why: batchgap status {study} --failed")
        return [*lines, f"report: batchgap report {study}"]
