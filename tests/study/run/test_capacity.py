"""What fits on a cluster, node by node; what is refused rather than waited for."""

from __future__ import annotations

from typing import Any

import pytest

from study.run import capacity
from study.run.ray_environment import ClusterError
from trainables.config.execution import ExecutionConfig

HEAD = {"CPU": 0.0, "memory": 1e9}
SMALL = {"CPU": 3.0, "memory": 1e9}
GPU = {"CPU": 8.0, "GPU": 2.0}


def execution(**settings: Any) -> ExecutionConfig:
    return ExecutionConfig(**settings)


@pytest.mark.parametrize(
    ("settings", "nodes", "fits"),
    [
        ({}, [HEAD], 0),
        ({}, [HEAD, SMALL, GPU], 11),
        ({"threads_per_worker": 2}, [HEAD, SMALL, SMALL], 2),  # and not 6 / 2 cores
        ({"threads_per_worker": 4}, [SMALL, SMALL], 0),
        ({"num_workers": 2}, [SMALL, SMALL], 3),  # a trial may span nodes
        ({"num_workers": 4}, [SMALL], 0),
    ],
)
def test_what_fits_on_cores(
    settings: dict[str, Any], nodes: list[dict[str, float]], fits: int
) -> None:
    assert capacity.fitting(nodes, execution(**settings), on_cuda=False) == fits


@pytest.mark.parametrize(
    ("settings", "fits"),
    [
        ({}, 2),
        ({"gpus_per_worker": 0.25}, 8),
        ({"gpus_per_worker": 0.1}, 8),
        ({"num_workers": 2}, 1),
    ],
)
def test_what_fits_on_gpus(settings: dict[str, Any], fits: int) -> None:
    assert capacity.fitting([HEAD, SMALL, GPU], execution(**settings), on_cuda=True) == fits


@pytest.mark.parametrize(
    ("device", "nodes", "joined", "answer"),
    [
        ("cpu", [GPU], True, False),
        ("auto", [GPU], True, True),
        ("auto", [SMALL], False, False),
        ("auto", [SMALL], True, "no GPU of the cluster is up"),
        ("cuda", [HEAD], True, True),  # which waits for one
        ("cuda", [SMALL], False, "this machine has no GPU"),
    ],
)
def test_a_gpu_that_may_only_be_late_is_not_done_without(
    device: Any, nodes: list[dict[str, float]], joined: bool, answer: bool | str
) -> None:
    asked = execution(device=device)
    if isinstance(answer, bool):
        assert capacity.on_cuda(nodes, asked, joined=joined) is answer
    else:
        with pytest.raises(ClusterError, match=answer):
            capacity.on_cuda(nodes, asked, joined=joined)


def test_only_trials_of_several_workers_have_a_limit_of_ours() -> None:
    nodes = [HEAD, SMALL, SMALL]
    assert capacity.limit(nodes, execution(), False) is None
    assert capacity.limit(nodes, execution(max_concurrent_trials=5), False) == 5
    assert capacity.limit(nodes, execution(num_workers=2), False) == 3
    assert capacity.limit([HEAD], execution(num_workers=2), False) == 1  # what asks for nodes
    assert capacity.limit(nodes, execution(num_workers=2, max_concurrent_trials=9), False) == 9


def test_what_a_machine_will_never_hold_is_refused() -> None:
    with pytest.raises(ClusterError, match=r"num_workers 2 x threads_per_worker 2: more than"):
        capacity.check([SMALL], execution(num_workers=2, threads_per_worker=2), False)
    capacity.check([SMALL], execution(num_workers=3), False)


def test_a_person_is_told_what_a_trial_waits_for() -> None:
    asked = execution(threads_per_worker=4, num_workers=2)
    assert capacity.outlook([HEAD, SMALL], asked, False) == (
        "2 nodes up with CPU 3, GPU 0; a trial asks for 2 x CPU 4, and waits until nodes with that "
        "join"
    )
    assert capacity.outlook([SMALL], execution(), False) == "1 node up with CPU 3, GPU 0"
    assert "1 at a time, also where nodes join" in capacity.outlook(
        [SMALL], execution(num_workers=2), False
    )
