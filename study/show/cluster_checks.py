"""Whether every node of a cluster is fit to run a study: alike, with its results and its data."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from study.run import node, runners
from study.run.node import NodeFacts
from study.run.opening import Opened
from study.run.room import size_text
from study.show.doctor import FREE_BYTES, Check


def examine_cluster(address: str, results_root: Path, opened: Opened | None) -> Iterator[Check]:
    """Asks every node, and compares it with this one.

    Args:
        address: of the cluster.
        results_root: the folder that holds results folders.
        opened: the study whose data is to be there, if one was named.

    Raises:
        ClusterError: if the cluster cannot be joined.
    """
    data = [] if opened is None else opened.data
    place = None if opened is None else opened.spec.import_folder
    root = results_root.absolute()
    root.mkdir(parents=True, exist_ok=True)
    probe = root / f".seen-by-all-{os.getpid()}"
    probe.write_bytes(b"")
    try:
        answers = runners.ask_nodes(node.look, str(probe), data, place and str(place))
    finally:
        probe.unlink()
    here = node.look(str(probe), data, place and str(place))
    yield Check(name="cluster", state="ok", detail=f"{address}, {len(answers)} nodes up")
    for name, answer in answers.items():
        yield from node_checks(name, answer, here, root)


def node_checks(
    name: str, found: NodeFacts | Exception, here: NodeFacts, root: Path
) -> Iterator[Check]:
    """One line for a node that is fit, else one for each thing that is not, with what to do."""
    if isinstance(found, Exception):
        said = str(found).strip().splitlines()[-1]
        detail = f"could not look there: {said}; install the same batchgap on every node"
        yield Check(name=name, state="problem", detail=detail)
        return
    problems, warnings = list(_problems(found, here, root)), list(_warnings(found))
    yield from (Check(name=name, state="problem", detail=detail) for detail in problems)
    yield from (Check(name=name, state="warning", detail=detail) for detail in warnings)
    if not problems:
        gpus = ", ".join(found.gpus) + f" (driver {found.driver})" if found.gpus else "no GPU"
        data = ", data alike" * bool(found.fingerprints)
        detail = (
            f"{found.host}: {gpus}, {size_text(found.memory_bytes)}, versions as here, results "
            f"seen and written{data}"
        )
        yield Check(name=name, state="ok", detail=detail)


def _problems(found: NodeFacts, here: NodeFacts, root: Path) -> Iterator[str]:
    for package, version in here.versions.items():
        if (there := found.versions.get(package)) != version:
            yield f"{package} {there or 'is missing'}, here {version}: install {package} {version}"
    if not found.sees_results:
        yield f"{root} is another folder there: mount one that all nodes share, or --results DIR"
    yield from (f"cannot write {what}" for what in found.cannot_write)
    yield from _other_data(found.fingerprints, here.fingerprints)


def _other_data(there: Mapping[str, str], here: Mapping[str, str]) -> Iterator[str]:
    for label, fingerprint in here.items():
        if there[label] != fingerprint:
            yield (
                f"data {label}: {there[label]}, here {fingerprint}; copy the same files to the "
                "same path there, and empty its BATCHGAP_CACHE"
            )


def _warnings(found: NodeFacts) -> Sequence[str]:
    said = []
    if found.free_bytes < FREE_BYTES:
        said.append(f"{size_text(found.free_bytes)} free where the results go")
    if not found.asks_for_token:
        said.append("Ray asks for no token there: set RAY_AUTH_MODE=token where it is started")
    return said
