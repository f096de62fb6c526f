"""How many trials the nodes of a cluster hold, and on which device. Light.

What a cluster holds is Ray's business: with one worker per trial nothing here limits anything. Tune
does not know what the workers of a trial take, so there the number that fits is its limit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from analysis.wording import counted
from study.run.ray_environment import ClusterError
from trainables.config.execution import ExecutionConfig

Node = Mapping[str, float]
"""What one node has, by kind of resource: CPU, GPU, ..."""


def on_cuda(nodes: Sequence[Node], execution: ExecutionConfig, *, joined: bool) -> bool:
    """Whether trials run on GPUs: `auto` takes them where there are any.

    Args:
        nodes: that are up.
        execution: the study's.
        joined: whether the cluster was there before the run, and may grow.

    Raises:
        ClusterError: without a GPU up, for `cuda` on a Ray that will never have one, and for `auto`
            on a cluster: its GPUs may only be late, and a CPU would be taken without a word.
    """
    available = any(node.get("GPU", 0) > 0 for node in nodes)
    if joined and execution.device == "auto" and not available:
        raise ClusterError(
            "execution.device auto: no GPU of the cluster is up; say --set execution.device=cuda, "
            "which waits for one, or cpu"
        )
    if execution.device == "cuda" and not available and not joined:
        raise ClusterError("execution.device cuda: this machine has no GPU; use auto or cpu")
    return execution.device == "cuda" or (available and execution.device == "auto")


def of_worker(execution: ExecutionConfig, on_cuda: bool) -> dict[str, float]:
    """What one worker asks for."""
    asked = {"CPU": float(execution.threads_per_worker)}
    return asked | ({"GPU": execution.gpus_per_worker} if on_cuda else {})


def fitting(nodes: Sequence[Node], execution: ExecutionConfig, on_cuda: bool) -> int:
    """Trials that fit at a time: workers are placed node by node, wherever they fit."""
    asked = of_worker(execution, on_cuda)
    workers = sum(
        min(int(node.get(kind, 0) / amount) for kind, amount in asked.items()) for node in nodes
    )
    return workers // execution.num_workers


def check(nodes: Sequence[Node], execution: ExecutionConfig, on_cuda: bool) -> None:
    """Refuses trials that a Ray which never grows will never hold.

    Raises:
        ClusterError: naming what they ask for.
    """
    if fitting(nodes, execution, on_cuda) < 1:
        raise ClusterError(
            f"execution.num_workers {execution.num_workers} x threads_per_worker "
            f"{execution.threads_per_worker}: more than this machine has ({in_all(nodes)})"
        )


def limit(nodes: Sequence[Node], execution: ExecutionConfig, on_cuda: bool) -> int | None:
    """Trials that Tune may start at a time; None: as many as Ray finds room for."""
    if execution.num_workers == 1 or execution.max_concurrent_trials is not None:
        return execution.max_concurrent_trials
    return max(fitting(nodes, execution, on_cuda), 1)


def sharing(nodes: Sequence[Node], execution: ExecutionConfig, on_cuda: bool) -> int:
    """Trials that run at a time on the nodes that are up, for the record."""
    fits = max(fitting(nodes, execution, on_cuda), 1)
    return min(fits, execution.max_concurrent_trials or fits)


def in_all(nodes: Sequence[Node]) -> str:
    """`CPU 16, GPU 2`."""
    return ", ".join(
        f"{kind} {sum(node.get(kind, 0) for node in nodes):g}" for kind in ("CPU", "GPU")
    )


def outlook(nodes: Sequence[Node], execution: ExecutionConfig, on_cuda: bool) -> str:
    """What a person should know of a cluster that was joined, on one line."""
    up = f"{counted(len(nodes), 'node')} up with {in_all(nodes)}"
    asked = ", ".join(
        f"{kind} {amount:g}" for kind, amount in of_worker(execution, on_cuda).items()
    )
    workers = f"{execution.num_workers} x " if execution.num_workers > 1 else ""
    fits = fitting(nodes, execution, on_cuda)
    if not fits:
        return f"{up}; a trial asks for {workers}{asked}, and waits until nodes with that join"
    if execution.num_workers > 1 and execution.max_concurrent_trials is None:
        return (
            f"{up}; {fits} at a time, also where nodes join, unless max_concurrent_trials says more"
        )
    return up
