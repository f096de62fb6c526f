"""A data set as tensors on a device, and batches of it, normalized as they are drawn.

On a CPU the tensors are the cache's memory maps, shared by all processes of the machine; on a GPU
they are one copy. They stay uint8 where the data is: normalizing a batch is cheaper than reading a
batch four times as large. Streamed inputs (`config.sources`) stay on the disk: a batch is read,
in one piece per example, when it is drawn, and then goes to the device. On a GPU that is while it
computes the steps before, since no step waits for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from trainables.config.data import DataConfig
from trainables.config.sources import SOURCES
from trainables.datasets.cache import Data
from trainables.datasets.splits import Array

Split = Literal["train", "validation", "test"]


@dataclass(frozen=True, kw_only=True)
class Tensors:
    """Splits on a device, each (inputs [N, ...], labels [N]), and how batches are normalized.

    Streamed inputs are arrays mapped from the disk instead.
    """

    train: tuple[Tensor | Array, Tensor]
    validation: tuple[Tensor | Array, Tensor]
    test: tuple[Tensor | Array, Tensor]
    dtype: torch.dtype
    memory_format: torch.memory_format
    mean: Tensor | None
    """[C, 1, ...], of inputs in 0..1 where they are uint8; None: not standardized."""
    std: Tensor | None

    def batch(self, split: Split, indices: Tensor | slice) -> tuple[Tensor, Tensor]:
        """Draw examples: x / 255 where uint8, then (x - mean) / std per channel if standardized.

        Args:
            split: Where from.
            indices: Positions in the split, int64 [B] on any device, or a slice.

        Returns:
            Inputs [B, ...] in `dtype` and labels [B], both copies that may be changed.
        """
        all_inputs, all_labels = self._splits(split)
        labels = _picked(all_labels, indices)
        if isinstance(all_inputs, Tensor):
            inputs = _picked(all_inputs, indices)
        else:
            inputs = _read(all_inputs, indices, labels.device)
        scaled = inputs.dtype == torch.uint8
        inputs = inputs.to(self.dtype, memory_format=self.memory_format)
        if scaled:
            inputs.div_(255)
        if self.mean is not None and self.std is not None:
            inputs.sub_(self.mean).div_(self.std)
        return inputs, labels

    def _splits(self, split: Split) -> tuple[Tensor | Array, Tensor]:
        return {"train": self.train, "validation": self.validation, "test": self.test}[split]


def to_tensors(
    data: Data,
    config: DataConfig,
    device: torch.device,
    dtype: torch.dtype,
    channels_last: bool,
) -> Tensors:
    """Put the data on a device.

    Args:
        data: From `open_data`.
        config: The same config; its `standardize` decides on the second step of normalization.
        device: CPU: the memory maps themselves; otherwise one copy, or none of streamed inputs.
        dtype: Of the batches' inputs.
        channels_last: Memory format of the batches; images only.

    Raises:
        ValueError: `channels_last` is asked of examples that are not images.
    """
    if channels_last and data.train_inputs.ndim != 4:
        raise ValueError(
            f"execution.channels_last is true, but examples have shape {data.facts.input_shape}, "
            "not [channels, height, width]; use false"
        )

    def pair(inputs: Array, labels: Array) -> tuple[Tensor | Array, Tensor]:
        kept = inputs if SOURCES[config.source].is_streamed else torch.from_numpy(inputs).to(device)
        return kept, torch.from_numpy(labels).to(device)

    mean, std = _statistics(data, device, dtype) if config.standardize else (None, None)
    return Tensors(
        train=pair(data.train_inputs, data.train_labels),
        validation=pair(data.validation_inputs, data.validation_labels),
        test=pair(data.test_inputs, data.test_labels),
        dtype=dtype,
        memory_format=torch.channels_last if channels_last else torch.contiguous_format,
        mean=mean,
        std=std,
    )


def _picked(part: Tensor, indices: Tensor | slice) -> Tensor:
    """A copy, never a view: a network may change its input in place."""
    if isinstance(indices, slice):
        return part[indices].clone()
    return part.index_select(0, indices.to(part.device, non_blocking=True))


def _read(rows: Array, indices: Tensor | slice, device: torch.device) -> Tensor:
    """Examples from the disk, by way of fresh memory, to the device."""
    if isinstance(indices, slice):
        indices = torch.arange(len(rows))[indices]
    batch = torch.from_numpy(rows[indices.cpu().numpy()])
    if device.type == "cuda":
        batch = batch.pin_memory()  # from there the copy does not wait for the device
    return batch.to(device, non_blocking=True)


def _statistics(data: Data, device: torch.device, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Mean and deviation, shaped to meet [B, C, ...]; a constant channel is only centred."""
    shape = (-1, *[1] * (data.train_inputs.ndim - 2))
    mean = torch.tensor(data.facts.channel_mean, dtype=dtype, device=device).reshape(shape)
    std = torch.tensor(data.facts.channel_std, dtype=dtype, device=device).reshape(shape)
    return mean, torch.where(std == 0, 1, std)
