"""Small-loss discarding against sorting by hand."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from trainables.config import SGD, DataConfig, NetworkConfig, TrialConfig
from trainables.selection import keep_largest, kept_examples

LOSSES = st.integers(0, 3).map(float) | st.floats(0, 10) | st.sampled_from([math.inf, math.nan])


def config(**fields: float) -> TrialConfig:
    return TrialConfig(
        data=DataConfig(),
        network=NetworkConfig(name="mlp"),
        seed=0,
        optimizer=SGD(),
        global_batch_size=8,
        peak_lr=0.1,
        optimizer_steps=1,
        **fields,
    )


@given(losses=st.lists(LOSSES, min_size=1, max_size=30), data=st.data())
def test_the_smallest_are_dropped_and_of_equal_ones_the_first(losses, data):
    kept = data.draw(st.integers(1, len(losses)))
    large = [math.inf if math.isnan(loss) else loss for loss in losses]
    order = sorted(range(len(losses)), key=lambda i: (large[i], math.isnan(losses[i]), i))
    expected = [float(i not in order[: len(losses) - kept]) for i in range(len(losses))]
    mask = keep_largest(torch.tensor(losses, dtype=torch.float64), kept)
    assert mask.tolist() == expected
    assert mask.sum() == kept


def test_a_large_batch_of_equal_losses_keeps_the_last_positions():
    """The stable sort is asked for: torch's default is not, beyond a few elements."""
    mask = keep_largest(torch.zeros(5000), 2000)
    assert mask.tolist() == [0.0] * 3000 + [1.0] * 2000


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_mask_has_the_losses_type(dtype):
    assert keep_largest(torch.arange(4, dtype=dtype), 2).dtype == dtype


@given(thousandths=st.integers(0, 999), size=st.integers(1, 5000))
def test_dropped_is_the_floor_of_the_decimal_share(thousandths, size):
    dropped = math.floor(Fraction(thousandths, 1000) * size)
    assert kept_examples(config(discard_ratio=thousandths / 1000), size, 0.0) == size - dropped


def test_selection_ends_with_its_window():
    windowed = config(discard_ratio=0.3, discard_epochs=1.5)
    assert [kept_examples(windowed, 10, epoch) for epoch in (0.0, 1.49, 1.5, 2.0)] == [7, 7, 10, 10]
    assert kept_examples(config(discard_ratio=0.3), 10, 1e6) == 7
