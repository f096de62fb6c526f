"""Small-loss discarding against sorting by hand, and its control by chance."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from trainables.config.data import DataConfig, NetworkConfig
from trainables.config.optimizers.sgd import SGD
from trainables.config.trial import TrialConfig
from trainables.methods.selection import keep_largest, keep_random, kept_examples, selection

LOSSES = st.integers(0, 3).map(float) | st.floats(0, 10) | st.sampled_from([math.inf, math.nan])


def config(**fields: Any) -> TrialConfig:
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


@given(size=st.integers(1, 200), data=st.data())
def test_as_many_are_dropped_at_random(size, data):
    kept = data.draw(st.integers(1, size))
    mask = keep_random(3, 5, size, kept)
    assert mask.shape == (size,) and mask.sum() == kept
    assert torch.equal(mask, keep_random(3, 5, size, kept))


def test_chance_depends_on_seed_and_step_and_favours_no_position():
    masks = torch.stack([keep_random(0, step, 10, 7) for step in range(2000)]).double()
    counts = (1 - masks).sum(dim=0)  # dropped 600 times each, expected
    assert ((counts - 600) ** 2 / 600).sum() < 27.9  # chi2(9): p = .001, and more for such draws
    together = (1 - masks).T @ (1 - masks)
    pairs = together[~torch.eye(10, dtype=torch.bool)] / 2000
    assert (pairs - 0.3 * 2 / 9).abs().max() < 0.03
    assert not torch.equal(keep_random(0, 1, 50, 25), keep_random(1, 1, 50, 25))


def test_only_the_rule_by_loss_asks_for_losses():
    losses, asked = torch.arange(8.0).flip(0), []

    def given_losses() -> torch.Tensor:
        asked.append(1)
        return losses

    device = torch.device("cpu")
    mask = selection(config(discard_ratio=0.5, discard_rule="random"), device)(
        given_losses, 4, 8, 4
    )
    assert not asked and torch.equal(mask, keep_random(0, 4, 8, 4))
    assert mask.dtype == torch.bool  # it leaves the losses' type alone
    by_loss = selection(config(discard_ratio=0.5), device)(given_losses, 4, 8, 4)
    assert asked and torch.equal(by_loss, keep_largest(losses, 4))
