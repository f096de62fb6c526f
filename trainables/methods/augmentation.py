"""Random flips, rotations and shifts of images, as functions of seed and stream position.

What happens to the example at a stream position does not depend on the batch it falls into: every
batch size, layout and resumed run sees the same augmented stream.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from trainables.draws import derive_seed

BLOCK = 4096
"""Stream positions drawn together. Part of the definition: another value is another stream."""


def augment(
    inputs: Tensor,
    first_position: int,
    seed: int,
    horizontal_flip: bool,
    max_shift: float,
    max_rotation: float = 0.0,
) -> Tensor:
    """Flip each image left to right with probability 1/2, then rotate, then shift; zeros enter.

    The rotation is uniform over -max_rotation to max_rotation degrees, about the centre, with
    bilinear interpolation. The shift along each axis is uniform over the whole pixels -s, ..., s
    with s = round(max_shift * side). Whatever is switched on, three numbers are drawn per position
    for flips and shifts, and one from a stream of its own for rotations, so that each of them is
    the same with and without the others.

    Args:
        inputs: Images [B, C, H, W] at consecutive stream positions, any device, and any type
            (floating point to rotate).
        first_position: Position of the first one in the stream of training examples.
        seed: The trial's.
        horizontal_flip: Whether to flip.
        max_shift: Largest shift as a fraction of the side, below 1; 0 shifts nothing.
        max_rotation: Largest rotation in degrees; 0 rotates nothing.

    Returns:
        [B, C, H, W] in the memory format of `inputs`.

    Raises:
        ValueError: Inputs are not images, or `max_shift` is not a fraction or less than a pixel.
    """
    if inputs.ndim != 4:
        raise ValueError(
            f"training.horizontal_flip, training.max_shift and training.max_rotation need images "
            f"[channels, height, width]; examples have shape {tuple(inputs.shape[1:])}: switch "
            f"them off"
        )
    draws = _numbers(_flips_and_shifts, seed, first_position, len(inputs))
    if horizontal_flip:
        flip = _on_device(draws[:, 0] < 0.5, inputs)
        inputs = torch.where(flip[:, None, None, None], inputs.flip(3), inputs)
    if max_rotation:
        turns = 2 * _numbers(_rotations, seed, first_position, len(inputs)) - 1
        inputs = _rotated(inputs, turns * np.deg2rad(max_rotation))
    if max_shift:
        reach = _pixels(max_shift, inputs)
        starts = np.floor(draws[:, 1:] * (2 * reach + 1)).astype(np.int64)
        inputs = _shifted(inputs, reach, _on_device(starts, inputs))
    return inputs


def _numbers(
    block_of: Callable[[int, int], npt.NDArray[np.float64]],
    seed: int,
    first_position: int,
    count: int,
) -> npt.NDArray[np.float64]:
    """The uniform numbers [count, ...] of consecutive positions of one stream of draws."""
    first, last = first_position // BLOCK, (first_position + count - 1) // BLOCK
    blocks = [block_of(seed, block) for block in range(first, last + 1)]
    start = first_position - first * BLOCK
    return np.concatenate(blocks)[start : start + count]


@lru_cache(maxsize=16)
def _flips_and_shifts(seed: int, block: int) -> npt.NDArray[np.float64]:
    """[BLOCK, 3]: flip, vertical, horizontal shift."""
    generator = np.random.Generator(np.random.Philox(derive_seed(seed, "augmentation", block)))
    return generator.random((BLOCK, 3))


@lru_cache(maxsize=16)
def _rotations(seed: int, block: int) -> npt.NDArray[np.float64]:
    """[BLOCK]."""
    generator = np.random.Generator(np.random.Philox(derive_seed(seed, "rotation", block)))
    return generator.random(BLOCK)


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


def _rotated(inputs: Tensor, angles: npt.NDArray[np.float64]) -> Tensor:
    """Turn each image counterclockwise about its centre by its angle [B], in radians."""
    height, width = inputs.shape[2:]
    cos, sin = (_on_device(f(angles), inputs).to(inputs.dtype) for f in (np.cos, np.sin))
    cos, sin = cos[:, None, None], sin[:, None, None]
    down = torch.arange(height, device=inputs.device, dtype=inputs.dtype) - (height - 1) / 2
    right = torch.arange(width, device=inputs.device, dtype=inputs.dtype) - (width - 1) / 2
    # Where each pixel comes from. Not torch's affine_grid, whose matrix product rounds differently
    # from batch to batch: what becomes of an image must not depend on its neighbours.
    from_right = cos * right - sin * down[:, None]
    from_down = sin * right + cos * down[:, None]
    grid = torch.stack((from_right * (2 / width), from_down * (2 / height)), dim=3)
    turned = functional.grid_sample(inputs, grid, padding_mode="zeros", align_corners=False)
    return torch.empty_like(inputs).copy_(turned)


def _on_device(array: npt.NDArray[Any], inputs: Tensor) -> Tensor:
    return torch.from_numpy(array).to(inputs.device, non_blocking=True)
