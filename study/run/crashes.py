"""How often the processes of each trial died in a run: what Tune would take up for ever. Light.

An attempt that ended without a word on a node that lives is a crash; on a node that is gone it
costs nothing. Ray's own mark, `preempted`, is set for nodes alone that were drained.
"""

from __future__ import annotations

from collections import defaultdict
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
class _Ends:
    """Of one trial's processes, each without a word."""

    gone: frozenset[str]
    """Nodes that were gone when it was last looked at."""
    attempts: set[int] = field(default_factory=set)
    """Those that are among the ends."""
    nodes: list[frozenset[str]] = field(default_factory=list)
    """Where each was."""


class Crashes:
    """Those of one run; every end without a word is told to `count`, once."""

    def __init__(self, scratch: str, node_lives: Callable[[], Mapping[str, bool]]) -> None:
        """Begins to count.

        Args:
            scratch: the run's own folder.
            node_lives: every node that was ever up, and whether it still answers.
        """
        self._scratch, self._node_lives = scratch, node_lives
        at_start = self._gone()
        self._ends: defaultdict[str, _Ends] = defaultdict(lambda: _Ends(gone=at_start))

    def count(self, trial: Trial) -> int:
        """Puts the end of a trial's attempt on record; how many there were on nodes that live.

        Ray may be late to miss a node, so all of a trial's ends are looked at each time.
        """
        ends, gone = self._ends[trial.trial_id], self._gone()
        begun = set(hangs.unsaid(self._scratch, trial.trial_id)) - ends.attempts
        if begun:
            ends.nodes += [self._closed(trial, number, gone) for number in sorted(begun)]
        else:  # its process was to run on a node that went since, or died by itself
            ends.nodes.append(gone - ends.gone)
        ends.attempts |= begun
        ends.gone = gone
        return sum(not nodes & gone for nodes in ends.nodes)

    def _closed(self, trial: Trial, number: int, gone: frozenset[str]) -> frozenset[str]:
        """Writes how an attempt ended; the nodes that it ran on."""
        try:
            (row,) = files.read_rows(storage_at(trial.folder), attempt_file(trial.trial_id, number))
        except (FileNotFoundError, DamagedFileError):
            return frozenset()
        nodes = frozenset(row["node_ids"] or ())
        hung = hangs.hangs(self._scratch, trial.trial_id, trial.import_folder)
        stuck = next((hang for hang in hung if hang.number == number), None)
        if stuck is not None:
            close_earlier(trial, number, stuck.error, stuck.stack)
        else:
            close_earlier(trial, number, GONE if nodes & gone else DIED, None)
        return nodes

    def _gone(self) -> frozenset[str]:
        return frozenset(node for node, lives in self._node_lives().items() if not lives)
