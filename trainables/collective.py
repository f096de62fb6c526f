"""Rank, world size, reduce, gather: how the workers of one trial speak; the identity for one.

`Collective` only names this process's place. The process group itself (gloo on CPU, nccl on CUDA)
is torch's default one, and whoever starts the workers, Ray Train or a test, initialises it. With
one worker nothing here touches torch.distributed.

Every method but `wrap` is collective: all ranks must call it, in the same order.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

Scalar = TypeVar("Scalar", bound=float | int | bool | str | None)


@dataclass(frozen=True, kw_only=True)
class Collective:
    """This worker's place among the workers that share one trial's global batch."""

    rank: int = 0
    world_size: int = 1

    def sum(self, tensor: Tensor) -> Tensor:
        """Sum over all workers, equal to the last bit on each of them.

        Args:
            tensor: any shape, the same on every worker.

        Returns:
            The sum, cut from the graph; with one worker it shares the argument's memory.
        """
        if self.world_size == 1:
            return tensor.detach()
        total = tensor.detach().clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total

    def gather(self, tensor: Tensor) -> Tensor:
        """All workers' tensors, concatenated along dimension 0 in rank order.

        Args:
            tensor: [n, ...], the same shape on every worker.

        Returns:
            [world_size n, ...], cut from the graph, the same on every worker; with one worker
            it shares the argument's memory.
        """
        assert tensor.dim() > 0, "gather concatenates along dimension 0; give a scalar as [1]"
        if self.world_size == 1:
            return tensor.detach()
        rows, *rest = tensor.shape
        gathered = tensor.new_empty(self.world_size * rows, *rest)
        dist.all_gather_into_tensor(gathered, tensor.detach().contiguous())
        return gathered

    def gather_text(self, text: str) -> list[str]:
        """All workers' texts in rank order.

        Args:
            text: ASCII, as long on every worker.

        Returns:
            `world_size` texts, the same list on every worker.
        """
        if self.world_size == 1:
            return [text]
        own = torch.tensor(list(text.encode("ascii")), dtype=torch.uint8, device=_device())
        gathered = bytes(self.gather(own).tolist()).decode("ascii")
        return [gathered[i : i + len(text)] for i in range(0, len(gathered), len(text))]

    def broadcast(self, value: Scalar) -> Scalar:
        """Rank 0's value on every worker; it travels as JSON, so floats arrive exactly."""
        if self.world_size == 1:
            return value
        text = json.dumps(value).encode()
        size = torch.tensor([len(text)], device=_device())
        dist.broadcast(size, src=0)
        payload = torch.zeros(int(size), dtype=torch.uint8)
        if self.rank == 0:
            payload = torch.frombuffer(bytearray(text), dtype=torch.uint8)
        payload = payload.to(_device())
        dist.broadcast(payload, src=0)
        received: Scalar = json.loads(bytes(payload.tolist()))
        return received

    def wrap(self, model: nn.Module) -> nn.Module:
        """The model whose backward pass averages gradients over the workers.

        Forward passes broadcast no buffers: `trainables.methods.normalization` keeps them equal.

        Returns:
            The model itself for one worker, else DistributedDataParallel around it.
        """
        if self.world_size == 1:
            return model
        device = next(model.parameters()).device
        device_ids = [device] if device.type == "cuda" else None
        wrapped = DistributedDataParallel(model, device_ids=device_ids)
        # Set here because the constructor's argument has two names between torch 2.11 and 2.15.
        wrapped.broadcast_buffers = False
        return wrapped


def _device() -> torch.device:
    """Where the process group's own small tensors must lie."""
    if dist.get_backend() == "nccl":
        return torch.device("cuda", torch.cuda.current_device())
    return torch.device("cpu")
