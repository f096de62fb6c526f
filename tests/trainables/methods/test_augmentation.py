"""Flips, rotations, shifts: functions of seed and stream position, against loops and SciPy."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import affine_transform
from scipy.stats import kstest
from torch import Tensor

from trainables.draws import derive_seed
from trainables.methods import augmentation
from trainables.methods.augmentation import BLOCK, _rotated, augment


def images(count: int, height: int = 6, width: int = 5) -> Tensor:
    """No pixel of any image is zero, so that what enters can be told apart."""
    generator = torch.Generator().manual_seed(3)
    return torch.rand(count, 2, height, width, generator=generator) + 1


def by_pixel(image: Tensor, flip: bool, down: int, right: int) -> Tensor:
    """The oracle: every pixel of the result, looked up or zero."""
    _, height, width = image.shape
    result = torch.zeros_like(image)
    for y in range(height):
        for x in range(width):
            from_y, from_x = y - down, x - right
            if 0 <= from_y < height and 0 <= from_x < width:
                source = width - 1 - from_x if flip else from_x
                result[:, y, x] = image[:, from_y, source]
    return result


@given(
    st.integers(0, 3 * BLOCK),
    st.lists(st.integers(0, 24), max_size=4),
    st.integers(0, 5),
    st.sampled_from([(True, 0.0), (False, 0.4), (True, 0.4), (True, 0.4, 30.0)]),
)
@settings(deadline=None, max_examples=40)
def test_independent_of_how_the_stream_is_cut(
    first: int, cuts: list[int], seed: int, what: tuple[bool, float, float]
) -> None:
    inputs = images(24)
    whole = augment(inputs, first, seed, *what)
    edges = [0, *sorted(cuts), 24]
    parts = [augment(inputs[a:b], first + a, seed, *what) for a, b in pairwise(edges) if a < b]
    assert torch.equal(torch.cat(parts), whole)


def test_across_a_block_border_equal_to_one_position_at_a_time() -> None:
    inputs, first = images(6), BLOCK - 3
    single = [augment(inputs[k : k + 1], first + k, 1, True, 0.5, 20.0) for k in range(6)]
    assert torch.equal(augment(inputs, first, 1, True, 0.5, 20.0), torch.cat(single))


def test_every_result_is_a_flip_and_shift_and_all_occur() -> None:
    image, count = images(1), 2000
    results = augment(image.expand(count, -1, -1, -1), 0, 0, True, 0.34)  # 2 rows, 2 columns
    cases = {
        (flip, down, right): by_pixel(image[0], flip, down, right)
        for flip in (False, True)
        for down in range(-2, 3)
        for right in range(-2, 3)
    }
    seen = [sum(torch.equal(result, case) for result in results) for case in cases.values()]
    assert sum(seen) == count  # each result is exactly one of the 50 cases
    expected = count / len(cases)
    assert sum((n - expected) ** 2 / expected for n in seen) < 86  # chi2(49): p = .001


def test_each_draw_does_what_its_definition_says() -> None:
    inputs = images(32)
    draws = np.random.Generator(np.random.Philox(derive_seed(9, "augmentation", 1))).random(
        (BLOCK, 3)
    )
    results = augment(inputs, BLOCK, 9, True, 0.34)
    for image, result, (flip, vertical, horizontal) in zip(inputs, results, draws, strict=False):
        # A cut that begins further down shows what lies further down: the image moves up.
        down, right = 2 - int(vertical * 5), 2 - int(horizontal * 5)
        assert torch.equal(result, by_pixel(image, flip < 0.5, down, right))


def test_flips_are_the_same_with_and_without_shifts() -> None:
    row = torch.arange(1.0, 6.0).expand(64, 1, 1, 5)
    tall = row.repeat(1, 1, 40, 1)
    flipped = augment(tall, 0, 4, True, 0.0)[:, 0, 20, 0] == 5
    both = augment(tall, 0, 4, True, 0.2)[:, 0, 20]  # at most one column
    falling = both[:, 1] > both[:, 2]
    assert torch.equal(flipped, falling) and 0 < flipped.sum() < 64


def test_leaves_its_input_alone_and_keeps_type_and_memory_format() -> None:
    inputs = (images(8) * 100).to(torch.uint8).contiguous(memory_format=torch.channels_last)
    before = inputs.clone()
    for what in ((True, 0.0), (True, 0.3)):
        result = augment(inputs, 0, 0, *what)
        assert result.dtype == torch.uint8
        assert result.is_contiguous(memory_format=torch.channels_last)
        assert torch.equal(result, augment(inputs.contiguous(), 0, 0, *what))
    assert torch.equal(inputs, before)


# ----------------------------------------------------------------------------------- rotations


def turned(inputs: Tensor, degrees: float) -> Tensor:
    return _rotated(inputs, np.full(len(inputs), np.deg2rad(degrees)))


@pytest.mark.parametrize(("height", "width"), [(6, 6), (5, 5), (1, 1)])
def test_a_quarter_turn_is_rot90(height: int, width: int) -> None:
    inputs = images(4, height, width).double()
    expected = torch.rot90(inputs, 1, (2, 3))
    torch.testing.assert_close(turned(inputs, 90), expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(
        turned(inputs, -90), torch.rot90(inputs, -1, (2, 3)), rtol=0, atol=1e-12
    )


@pytest.mark.parametrize(("height", "width"), [(6, 5), (4, 9)])
def test_a_half_turn_of_an_oblong_is_both_flips(height: int, width: int) -> None:
    inputs = images(4, height, width).double()
    torch.testing.assert_close(turned(inputs, 180), inputs.flip(2, 3), rtol=0, atol=1e-12)


@pytest.mark.parametrize("degrees", [-37.0, 3.0, 10.0, 120.0])
def test_it_is_what_scipy_makes_of_it(degrees: float) -> None:
    """Bilinear about the centre, with zeros around the image, in pixels and not in fractions."""
    inputs = images(3, 7, 10).double()
    cos, sin = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    matrix = np.array([[cos, sin], [-sin, cos]])
    centre = np.array([3.0, 4.5])
    for image, result in zip(inputs, turned(inputs, degrees), strict=True):
        for channel, seen in zip(image, result, strict=True):
            expected = affine_transform(
                channel.numpy(),
                matrix,
                centre - matrix @ centre,
                order=1,
                mode="grid-constant",
            )
            np.testing.assert_allclose(seen, expected, atol=1e-12)


def test_angles_are_uniform_and_of_a_stream_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    angles: list[float] = []

    def noted(inputs: Tensor, drawn: npt.NDArray[np.float64]) -> Tensor:
        angles.extend(drawn)
        return inputs

    monkeypatch.setattr(augmentation, "_rotated", noted)
    inputs = images(5000)
    both = augment(inputs, BLOCK, 9, True, 0.34, 10.0)
    assert torch.equal(both, augment(inputs, BLOCK, 9, True, 0.34))
    share = (np.array(angles) / np.deg2rad(10) + 1) / 2
    generator = np.random.Generator(np.random.Philox(derive_seed(9, "rotation", 1)))
    np.testing.assert_allclose(share[:BLOCK], generator.random(BLOCK), atol=1e-12)
    assert share.min() >= 0 and share.max() <= 1
    assert kstest(share, "uniform").pvalue > 0.001


def test_it_rotates_the_flipped_and_shifts_the_rotated() -> None:
    inputs = images(16).double()
    flipped = augment(inputs, 0, 5, True, 0.0)
    rotated = torch.cat(
        [augment(flipped[k : k + 1], k, 5, False, 0.0, 45.0) for k in range(len(inputs))]
    )
    assert torch.equal(augment(inputs, 0, 5, True, 0.4, 45.0), augment(rotated, 0, 5, False, 0.4))
    assert not torch.equal(rotated, flipped)


def test_a_rotation_keeps_type_and_memory_format() -> None:
    inputs = images(4).contiguous(memory_format=torch.channels_last)
    result = augment(inputs, 0, 0, True, 0.3, 10.0)
    assert result.dtype == torch.float32
    assert result.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(result, augment(inputs.contiguous(), 0, 0, True, 0.3, 10.0))


def test_seeds_and_positions_differ_and_global_state_is_untouched() -> None:
    inputs, state = images(64), torch.random.get_rng_state()
    result = augment(inputs, 0, 0, True, 0.4)
    assert not torch.equal(result, augment(inputs, 0, 1, True, 0.4))
    assert not torch.equal(result, augment(inputs, 64, 0, True, 0.4))
    assert torch.equal(state, torch.random.get_rng_state())


def test_refuses_what_is_no_image_and_shifts_that_are_none() -> None:
    with pytest.raises(ValueError, match=r"need images .* shape \(360,\)"):
        augment(torch.zeros(4, 360), 0, 0, True, 0.0)
    with pytest.raises(ValueError, match="max_rotation need images"):
        augment(torch.zeros(4, 360), 0, 0, False, 0.0, 10.0)
    for shift in (0.01, 1.0, -0.5, float("nan")):
        with pytest.raises(ValueError, match=f"training.max_shift is {shift}"):
            augment(images(4), 0, 0, False, shift)
