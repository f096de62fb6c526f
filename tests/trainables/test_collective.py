"""Collectives of one worker are the identity; those of two are checked over gloo."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn

from trainables.collective import Collective
from trainables.installation import SOURCE_TREE

WORLD_SIZE = 2
SENT = [0.1 + 0.2, math.inf, -5, 2**70, True, None, "stöp", ""]


def summand(rank: int) -> Tensor:
    return torch.arange(6.0, dtype=torch.float64).view(2, 3).add(1).mul(rank + 1)


def small_model() -> nn.Module:
    model = nn.Linear(3, 1).double()
    with torch.no_grad():
        model.weight.fill_(0.5)
        model.bias.fill_(0.25)
    return model


def run_worker(rank: int, folder: Path) -> None:
    """What one of the two processes does; it leaves what it saw in the folder."""
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=WORLD_SIZE
    )
    collective = Collective(rank=rank, world_size=WORLD_SIZE)
    seen: dict[str, Any] = {}
    for dtype in (torch.float32, torch.float64, torch.int64):
        mine = summand(rank).to(dtype)
        seen[f"sum {dtype}"] = collective.sum(mine)
        seen[f"gather {dtype}"] = collective.gather(mine)
        assert mine.equal(summand(rank).to(dtype)), "the argument was overwritten"
    seen["sum transposed"] = collective.sum(summand(rank).T)
    seen["gather transposed"] = collective.gather(summand(rank).T)
    seen["gather bool"] = collective.gather(torch.tensor([rank == 0, True]))

    leaf = summand(rank).requires_grad_()
    assert not collective.sum(leaf).requires_grad
    assert not collective.gather(leaf).requires_grad

    assert collective.gather_text(f"node {rank}") == ["node 0", "node 1"]

    received = [collective.broadcast(v if rank == 0 else f"rank {rank}") for v in SENT]
    assert received == SENT
    assert [type(v) for v in received] == [type(v) for v in SENT]

    model = small_model()
    model.register_buffer("mine", torch.zeros(1))
    wrapped = collective.wrap(model)
    model.mine.fill_(rank)
    (wrapped(summand(rank)).square().mean() * WORLD_SIZE).backward()
    seen["wrapped"] = [p.grad for p in wrapped.parameters()]
    assert model.mine.item() == rank, "a forward pass broadcast the buffers"

    torch.save(seen, folder / f"{rank}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What each of two worker processes saw, in rank order."""
    folder = tmp_path_factory.mktemp("workers")
    env = os.environ | {"PYTHONPATH": str(SOURCE_TREE), "OMP_NUM_THREADS": "1"}
    workers = [
        subprocess.Popen(
            [sys.executable, "-W", "error", __file__, str(rank), str(folder)],
            env=env,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(WORLD_SIZE)
    ]
    try:
        errors = [worker.communicate(timeout=120)[1] for worker in workers]
    finally:
        for worker in workers:
            worker.kill()
    assert all(worker.returncode == 0 for worker in workers), "\n".join(errors)
    return [torch.load(folder / f"{r}.pt", weights_only=True) for r in range(WORLD_SIZE)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.int64])
def test_sum_and_gather_of_two_workers(seen: list[dict[str, Any]], dtype: torch.dtype) -> None:
    parts = [summand(rank).to(dtype) for rank in range(WORLD_SIZE)]
    for worker in seen:
        assert worker[f"sum {dtype}"].equal(parts[0] + parts[1])
        assert worker[f"gather {dtype}"].equal(torch.cat(parts))


def test_memory_layout_does_not_matter(seen: list[dict[str, Any]]) -> None:
    parts = [summand(rank).T for rank in range(WORLD_SIZE)]
    for worker in seen:
        assert worker["sum transposed"].equal(parts[0] + parts[1])
        assert worker["gather transposed"].equal(torch.cat(parts))


def test_masks_are_gathered_in_rank_order(seen: list[dict[str, Any]]) -> None:
    for worker in seen:
        assert worker["gather bool"].tolist() == [True, True, False, True]


def test_wrapped_model_averages_gradients(seen: list[dict[str, Any]]) -> None:
    model = small_model()
    losses = [model(summand(rank)).square().mean() for rank in range(WORLD_SIZE)]
    sum(losses, start=torch.zeros(())).backward()
    for worker in seen:
        for gradient, parameter in zip(worker["wrapped"], model.parameters(), strict=True):
            torch.testing.assert_close(gradient, parameter.grad, rtol=1e-14, atol=0)


def test_one_worker_is_the_identity() -> None:
    alone = Collective()
    leaf = summand(0).requires_grad_()
    assert alone.sum(leaf).equal(leaf)
    assert alone.gather(leaf).equal(leaf)
    assert alone.broadcast("x") == "x"
    model = small_model()
    assert alone.wrap(model) is model


def test_one_worker_cuts_the_graph_as_several_do() -> None:
    leaf = summand(0).requires_grad_()
    assert not Collective().sum(leaf).requires_grad
    assert not Collective().gather(leaf).requires_grad


if __name__ == "__main__":
    run_worker(int(sys.argv[1]), Path(sys.argv[2]))
