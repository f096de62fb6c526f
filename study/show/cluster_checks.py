"""Whether every node of a cluster is fit to run a study: alike, with its results and its data."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from analysis.wording import counted
from study.run import node, ray_environment, runners
from study.run.node import NodeFacts
from study.run.opening import Opened
from study.run.room import nearest, size_text
from study.show.doctor import FREE_BYTES, Check


def examine_cluster(results_root: Path, opened: Opened | None) -> Iterator[Check]:
    """Asks every node of the cluster that a person names, if any, and compares it with this one.

    Args:
        results_root: the folder that holds results folders.
        opened: the study whose data is to be there, if one was named.

    Raises:
        ClusterError: if the cluster cannot be joined.
    """
    if (address := ray_environment.cluster()) is None:
        return
    told = ([], None) if opened is None else (opened.data, opened.spec.import_folder)
    root = nearest(results_root)
    probe = root / f".seen-by-all-{os.getpid()}"
    probe.write_bytes(b"")
    try:
        here = node.look(str(probe), *told)
        answers = runners.ask_nodes(node.look, str(probe), *told)
    finally:
        probe.unlink()
    yield Check(name="cluster", state="ok", detail=f"{address}, {counted(len(answers), 'node')} up")
    for name, answer in answers.items():
        yield from node_checks(name, answer, here, root)


def node_checks(
    name: str, found: NodeFacts | Exception, here: NodeFacts, root: Path
) -> Iterator[Check]:
    """One line for a node that is fit, else one for each thing that is not, with what to do."""
    if isinstance(found, Exception):
        yield Check(name=name, state="problem", detail=f"could not look there: {_why(found)}")
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


def _why(error: Exception) -> str:
    """The last line of what was raised there, and the way out where it is known."""
    said = (str(error).strip().splitlines() or [type(error).__name__])[-1]
    is_missing = "No module named" in said
    return said + "; install the same batchgap on every node" * is_missing


def _warnings(found: NodeFacts) -> Iterator[str]:
    if found.free_bytes < FREE_BYTES:
        yield f"{size_text(found.free_bytes)} free where the results go"
    if not found.asks_for_token:
        yield "Ray asks for no token there: set RAY_AUTH_MODE=token where it is started"
