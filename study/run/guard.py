"""Whether a results folder may be gone on with: same study, same data, same code. Light."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import pyarrow as pa

from study.plan.plan import Plan
from trainables.config.data import DataConfig
from trainables.config.trial import Trial
from trainables.imports import source_hash
from trainables.results import files, layout, provenance
from trainables.results.ledger import Ledger
from trainables.results.storage import FolderError, Storage


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
    """Refuses a folder that holds another study: no trial in common, other data and network.

    Raises:
        FolderError: naming both, and the way out.
    """
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


def former_search(storage: Storage, plan: Plan) -> str | None:
    """What to say of a folder whose search tried other points than this one does."""
    if plan.spec.search is None:
        return None
    try:
        planned = files.read_rows(storage, layout.PLAN, ["trial_id", "stage"])
    except FileNotFoundError:
        return None
    before = {row["trial_id"] for row in planned if row["stage"] == "search"}
    now = {i for cell in plan.searches for tried in cell.tried for i in tried.configs}
    gone = before - now
    may_come_again = now <= before and any(cell.to_ask for cell in plan.searches)
    if not gone or may_come_again:  # an adaptive search asks again for what it hears of later
        return None
    anew = "begins anew" if gone == before else "goes on without them"
    return (
        f"{len(gone)} of the {len(before)} search trials of {plan.spec.name} are no part of "
        f"the search now, which {anew}; what they left stays in the folder"
    )


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


def write_head(
    storage: Storage, study_yaml: str, plan: pa.Table, data: Mapping[str, Fingerprinted]
) -> None:
    """Writes what describes the study: `study.yaml`, `plan.parquet`, `provenance.json`.

    Args:
        storage: the results folder, locked.
        study_yaml: the study as resolved.
        plan: the plan's table.
        data: what is known of the data, by label.
    """
    storage.replace(layout.STUDY, study_yaml.encode())
    files.write_table(storage, layout.PLAN, plan)
    facts = {
        label: {
            "fingerprint": known.fingerprint,
            "source_hash": known.source_hash,
            "chance": dict(known.chance),
        }
        for label, known in data.items()
    }
    provenance.write(storage, facts)
