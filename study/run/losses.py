"""How often the processes of each trial died in a run: what Tune would take up for ever. Light.

An attempt that ended without a word on a node that lives is a crash; on a node that is gone it
costs nothing. Ray's own mark, `preempted`, is set for nodes alone that were drained.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from trainables.config.trial import Trial
from trainables.results import files
from trainables.results.files import DamagedFileError
from trainables.results.layout import attempt_file
from trainables.results.storage import storage_at
from trainables.run import hangs
from trainables.run.endings import close_earlier

DIED, GONE = "its process died", "its node is gone"


@dataclass(kw_only=True)
class Losses:
    """Of one run; every end without a word is told to `crashes`, once."""

    scratch: str
    """The run's own folder."""
    node_lives: Callable[[], Mapping[str, bool]]
    """Every node that was ever up, and whether it still answers."""
    _nodes: dict[str, dict[int, frozenset[str]]] = field(default_factory=dict)
    """By trial and attempt, where it ran; under negative numbers where no attempt had begun."""
    _gone_before: dict[str, frozenset[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._gone_at_start = self._gone()

    def crashes(self, trial: Trial) -> int:
        """Puts the end of a trial's attempt on record; how many there were on nodes that live.

        Ray may be late to miss a node, so all of a trial's ends are looked at each time.
        """
        gone, ends = self._gone(), self._nodes.setdefault(trial.trial_id, {})
        before = self._gone_before.get(trial.trial_id, self._gone_at_start)
        self._gone_before[trial.trial_id] = gone
        begun = [n for n in hangs.unsaid(self.scratch, trial.trial_id) if n not in ends]
        for number in begun:
            ends[number] = self._closed(trial, number, gone)
        if not begun:  # its process was to run on a node that went since, or died by itself
            ends[-len(ends) - 1] = gone - before
        return sum(not nodes & gone for nodes in ends.values())

    def _closed(self, trial: Trial, number: int, gone: frozenset[str]) -> frozenset[str]:
        """Writes how an attempt ended; the nodes that it ran on."""
        storage, name = storage_at(trial.folder), attempt_file(trial.trial_id, number)
        try:
            (row,) = files.read_rows(storage, name)
        except (FileNotFoundError, DamagedFileError):
            return frozenset()
        nodes = frozenset(row["node_ids"] or ())
        hung = hangs.hangs(self.scratch, trial.trial_id, trial.import_folder)
        stuck = next((hang for hang in hung if hang.number == number), None)
        if stuck is not None:
            close_earlier(trial, number, stuck.error, stuck.stack)
        else:
            close_earlier(trial, number, GONE if nodes & gone else DIED, None)
        return nodes

    def _gone(self) -> frozenset[str]:
        return frozenset(node for node, lives in self.node_lives().items() if not lives)
