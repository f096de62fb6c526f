"""Whether a results folder may be gone on with: same study, same data, same code. Light."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from study.file.document import StudyError
from study.plan.plan import Plan
from trainables.config.data import DataConfig
from trainables.config.trial import Trial
from trainables.imports import source_hash
from trainables.results import files, head, layout, provenance
from trainables.results.head import Head
from trainables.results.ledger import Ledger
from trainables.results.storage import FolderError, Storage

FINDS_MORE = ("search.points", "search.fields", "measures")
"""Settings that leave it to a search's results which finals there are."""


class Fingerprinted(Protocol):
    """What must be known of a data set (`datasets.cache.DataFacts`)."""

    @property
    def fingerprint(self) -> str:
        """SHA-256 over the arrays."""

    @property
    def source_hash(self) -> str | None:
        """SHA-256 of the user's loader."""

    @property
    def chance(self) -> Mapping[str, float]:
        """What a network reaches that learned nothing, by metric."""


def check_same_study(storage: Storage, trials: Sequence[Trial]) -> None:
    """Refuses an export, and a folder of another study: no trial, data or network in common.

    Raises:
        FolderError: naming both, and the way out.
    """
    if layout.is_export(storage):
        raise FolderError(f"{storage}: is an export, which nothing is run in; run its study file")
    try:
        old = files.read_rows(storage, layout.PLAN, ["trial_id", "data", "network"])
    except FileNotFoundError:
        return
    if {row["trial_id"] for row in old} & {t.trial_id for t in trials}:
        return
    before = {(row["data"], row["network"]) for row in old}
    now = {(t.config.data.label, t.config.network.label) for t in trials}
    if before and not before & now:
        (data, network), (new_data, new_network) = min(before), min(now)
        raise FolderError(
            f"{storage}: holds another study, of {network} on {data}, not {new_network} on "
            f"{new_data}; give this one another name"
        )


def make_way(
    storage: Storage,
    plan: Plan,
    new: Head,
    without_set: Callable[[], Plan] | None = None,
    *,
    may_replace: bool,
) -> str | None:
    """Keeps the version that a study takes the place of, if it drops any of its trials.

    A version that has them all (more seeds, sizes, measures, another layout) goes on in place. One
    that `--set` made may not take another's place unless that is asked for.

    Args:
        storage: the results folder, held.
        plan: the study's as it is now.
        new: the same as a head.
        without_set: makes the plan of the file that `--set` changed.
        may_replace: whether it may drop trials: a file that `--set` changed may only those that the
            file itself drops, unless `--replace` says so.

    Returns:
        What to say of it, if anything.

    Raises:
        StudyError: with both ways out.
    """
    if (said := left_behind(storage, plan, new)) is None:
        return None
    if not may_replace and _set_drops(storage, plan, without_set):
        differ = "; ".join(head.differences(new, head.read(storage))[:3])
        raise StudyError(
            [
                f"this is another study than {storage} was last run as ({differ}): {said}. Give it "
                "a folder of its own with run --results DIR, or take the former's place with run "
                "--replace"
            ]
        )
    head.keep_version(storage)
    return f"{said}, and the former version below {layout.VERSIONS}"


def _set_drops(storage: Storage, plan: Plan, without_set: Callable[[], Plan] | None) -> bool:
    """Whether trials are dropped that the file would keep without what `--set` changes of it."""
    if without_set is None:
        return True
    try:
        written = set(without_set().configs)
    except StudyError:  # it is a study only with what was set
        return True
    former = set(head.read(storage).plan["trial_id"].to_pylist())
    return bool((former & written) - set(plan.configs))


def left_behind(storage: Storage, plan: Plan, new: Head) -> str | None:
    """What to say of a folder whose plan has trials that a new plan drops.

    Of a study that searches those that it tried, and finals where other settings than what is found
    leave them out: winners, and what they are crossed with, change by what is found.

    Args:
        storage: the results folder.
        plan: the study's as it is now.
        new: the same as a head.
    """
    try:
        former = head.read(storage)
    except FileNotFoundError:
        return None
    old = former.plan.select(["trial_id", "stage"]).to_pylist()
    searched = {row["trial_id"] for row in old if row["stage"] == "search"}
    if not searched or plan.spec.search is None:
        before = {row["trial_id"] for row in old}
        gone = before - set(plan.configs)
        lost = f"{len(gone)} of the {len(before)} trials of {plan.spec.name} are no part of it now"
        return f"{lost}; what they left stays in the folder" if gone else None
    now = {i for cell in plan.searches for tried in cell.tried for i in tried.configs}
    gone = searched - now
    may_come_again = now <= searched and any(cell.to_ask for cell in plan.searches)
    if not gone or may_come_again:  # an adaptive search asks again for what it hears of later
        return _finals_left_out(former, new)
    anew = "begins anew" if gone == searched else "goes on without them"
    return (
        f"{len(gone)} of the {len(searched)} search trials of {plan.spec.name} are no part of "
        f"the search now, which {anew}; what they left stays in the folder"
    )


def _finals_left_out(former: Head, new: Head) -> str | None:
    named = [name.partition(" ")[0] for name in head.differences(new, former)]
    if all(name.startswith(FINDS_MORE) for name in named):
        return None
    rows = former.plan.select(["trial_id", "stage"]).to_pylist()
    finals = {row["trial_id"] for row in rows if row["stage"] == "final"}
    gone = finals - set(new.plan["trial_id"].to_pylist())
    lost = f"{len(gone)} of its {len(finals)} finals are no part of it now"
    return f"{lost}; what they left stays in the folder" if gone else None


def check_unchanged(
    trials: Sequence[Trial],
    ledger: Ledger,
    facts: Callable[[DataConfig], Fingerprinted],
    shapes: Mapping[str, str],
) -> None:
    """Refuses to add trials on data or code that differ from what done trials saw.

    Args:
        trials: the study's.
        ledger: what is done.
        facts: what is known of a data set now.
        shapes: hash of the parameters' shapes now, by trial, where the network was built.

    Raises:
        FolderError: naming what changed, and the way out.
    """
    done = ledger.finished
    for trial in trials:
        if (row := done.get(trial.trial_id)) is None:
            continue
        data, network = trial.config.data, trial.config.network
        known = facts(data)
        code = network.build and source_hash(network.build, trial.import_folder)
        for what, recorded, current in (
            (f"data {data.label!r}", row["data_fingerprint"], known.fingerprint),
            (f"the code of data {data.load!r}", row["data_source_hash"], known.source_hash),
            (f"the code of network {network.build!r}", row["network_source_hash"], code),
            (
                f"the parameters of network {network.label!r}",
                row["parameter_shapes_hash"] if trial.trial_id in shapes else None,
                shapes.get(trial.trial_id),
            ),
        ):
            if recorded is not None and recorded != current:
                raise FolderError(
                    f"{what} changed since trial {trial.trial_id} was done ({recorded[:12]} then, "
                    f"{(current or 'none')[:12]} now); restore it, or give the study another name"
                )


def write_head(storage: Storage, new: Head, data: Mapping[str, Fingerprinted]) -> None:
    """Writes what describes the study: its head, and `provenance.json`.

    Args:
        storage: the results folder, locked.
        new: the study as it is now.
        data: what is known of the data, by label.
    """
    head.write(storage, new)
    facts = {
        label: {
            "fingerprint": known.fingerprint,
            "source_hash": known.source_hash,
            "chance": dict(known.chance),
        }
        for label, known in data.items()
    }
    provenance.write(storage, facts)
