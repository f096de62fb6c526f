"""Random flips and shifts of images, as functions of seed and stream position.

What happens to the example at a stream position does not depend on the batch it falls into: every
batch size, layout and resumed run sees the same augmented stream.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from trainables.batching import derive_seed

BLOCK = 4096
"""Stream positions drawn together. Part of the definition: another value is another stream."""


def augment(
    inputs: Tensor, first_position: int, seed: int, horizontal_flip: bool, max_shift: float
) -> Tensor:
    """Flip each image left to right with probability 1/2, then shift it; zeros enter.

    The shift along each axis is uniform over the whole pixels -s, ..., s with
    s = round(max_shift * side). Three numbers are drawn per position whatever is switched on, so
    flips are the same with and without shifts.

    Args:
        inputs: Images [B, C, H, W] at consecutive stream positions, any type and device.
        first_position: Position of the first one in the stream of training examples.
        seed: The trial's.
        horizontal_flip: Whether to flip.
        max_shift: Largest shift as a fraction of the side, below 1; 0 shifts nothing.

    Returns:
        [B, C, H, W] in the memory format of `inputs`.

    Raises:
        ValueError: Inputs are not images, or `max_shift` is not a fraction or less than a pixel.
    """
    if inputs.ndim != 4:
        raise ValueError(
            f"training.horizontal_flip and training.max_shift need images [channels, height, "
            f"width]; examples have shape {tuple(inputs.shape[1:])}: switch them off"
        )
    draws = _draws(seed, first_position, len(inputs))
    if horizontal_flip:
        flip = _on_device(draws[:, 0] < 0.5, inputs)
        inputs = torch.where(flip[:, None, None, None], inputs.flip(3), inputs)
    if max_shift:
        reach = _pixels(max_shift, inputs)
        starts = np.floor(draws[:, 1:] * (2 * reach + 1)).astype(np.int64)
        inputs = _shifted(inputs, reach, _on_device(starts, inputs))
    return inputs


def _draws(seed: int, first_position: int, count: int) -> npt.NDArray[np.float64]:
    """Uniform numbers [count, 3] of consecutive positions: flip, vertical, horizontal shift."""
    first, last = first_position // BLOCK, (first_position + count - 1) // BLOCK
    blocks = [_block(seed, block) for block in range(first, last + 1)]
    start = first_position - first * BLOCK
    return np.concatenate(blocks)[start : start + count]


@lru_cache(maxsize=16)
def _block(seed: int, block: int) -> npt.NDArray[np.float64]:
    generator = np.random.Generator(np.random.Philox(derive_seed(seed, "augmentation", block)))
    return generator.random((BLOCK, 3))


def _pixels(max_shift: float, inputs: Tensor) -> npt.NDArray[np.int64]:
    """The largest shift [2] in pixels, vertical and horizontal."""
    sides = np.array(inputs.shape[2:])
    reach = np.round(max_shift * sides) if 0 < max_shift < 1 else np.zeros(2)
    if not reach.all():
        raise ValueError(
            f"training.max_shift is {max_shift}, which on images of {sides[0]} x {sides[1]} pixels "
            f"is not a shift of one pixel or more and less than a side; use 0, or "
            f"{1 / sides.min():.3f} to 0.9"
        )
    return reach.astype(np.int64)


def _shifted(inputs: Tensor, reach: npt.NDArray[np.int64], starts: Tensor) -> Tensor:
    """Cut [H, W] out of each padded image; where the cut begins, [B, 2], is 0 to 2 `reach`."""
    vertical, horizontal = reach.tolist()
    padded = functional.pad(inputs, (horizontal, horizontal, vertical, vertical))
    windows = padded.unfold(2, inputs.shape[2], 1).unfold(3, inputs.shape[3], 1)
    image = torch.arange(len(inputs), device=inputs.device)
    return torch.empty_like(inputs).copy_(windows[image, :, starts[:, 0], starts[:, 1]])


def _on_device(array: npt.NDArray[Any], inputs: Tensor) -> Tensor:
    return torch.from_numpy(array).to(inputs.device, non_blocking=True)
