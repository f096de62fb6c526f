"""Rates against torch's schedulers and against counting in fractions."""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.optim.lr_scheduler import CosineAnnealingLR, LRScheduler, MultiStepLR

from trainables.config.data import DataConfig, NetworkConfig
from trainables.config.training import BatchPhase, TrainingConfig
from trainables.rules.batching import batch_plan
from trainables.rules.learning_rate import peak_rate, rate
from trainables.rules.resolve import resolve


def rates(global_batch_size: int = 10, num_train_examples: int = 100, **training) -> list[float]:
    """The rate of every step."""
    config = resolve(
        TrainingConfig(
            **{"global_batch_size": global_batch_size, "base_lr": 0.8, "epochs": 4.0} | training
        ),
        data=DataConfig(),
        network=NetworkConfig(name="mlp"),
        seed=0,
        num_train_examples=num_train_examples,
    )
    plan = batch_plan(config, num_train_examples)
    return [rate(config, plan, step) for step in range(plan.optimizer_steps)]


def scheduled(kind: type[LRScheduler], steps: int, **options) -> list[float]:
    """The rate of every step as torch's scheduler has it."""
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=0.8)
    scheduler = kind(optimizer, **options)
    found = []
    for _ in range(steps):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return found


# ------------------------------------------------------------------------------------------- decay


def test_constant_rate_is_the_peak_at_every_step():
    assert rates() == [0.8] * 40


def test_cosine_is_torchs():
    expected = scheduled(CosineAnnealingLR, 40, T_max=40)
    assert rates(decay="cosine") == pytest.approx(expected, rel=1e-12)


def test_cosine_begins_at_the_peak_and_would_end_at_zero_after_the_budget():
    found = rates(decay="cosine", optimizer_steps=7, epochs=None)
    assert found[0] == 0.8
    assert found[-1] == pytest.approx(0.4 * (1 + math.cos(math.pi * 6 / 7)))


def test_step_decay_is_torchs():
    found = rates(decay="step", decay_epochs=(1.5, 3.0), decay_factor=0.1)
    assert found == pytest.approx(scheduled(MultiStepLR, 40, milestones=[15, 30], gamma=0.1))


def test_step_decay_falls_at_the_first_step_boundary_at_or_after_its_epoch():
    found = rates(30, decay="step", decay_epochs=(1.0, 1.5), decay_factor=0.5)
    assert found == [0.8] * 4 + [0.4] + [0.2] * 9  # 100 examples are passed in step 4, 150 at 5


def test_step_decay_stretches_with_the_budget():
    same = {"decay": "step", "decay_epochs": (1.0, 2.0), "decay_factor": 0.1}
    assert rates(20, steps_of_batch_size=10, **same) == rates(10, **same)


# ------------------------------------------------------------------------------------------ warmup


def test_linear_warmup_counts_the_examples_after_the_step():
    assert rates(warmup_epochs=1.0)[:12] == pytest.approx(
        [0.08 * i for i in range(1, 11)] + [0.8] * 2
    )


def test_linear_warmup_from_a_start_rate():
    found = rates(warmup_epochs=0.5, warmup_start_lr=0.3)
    assert found[:6] == pytest.approx([0.4, 0.5, 0.6, 0.7, 0.8, 0.8])


def test_linear_warmup_may_end_within_a_step():
    found = rates(40, warmup_epochs=1.0)
    assert found[:4] == pytest.approx([0.8 * 0.4, 0.8 * 0.8, 0.8, 0.8])


def test_constant_warmup_holds_its_rate_and_jumps():
    found = rates(warmup_epochs=0.35, warmup_shape="constant", warmup_start_lr=0.1)
    assert found[:6] == pytest.approx([0.1] * 4 + [0.8] * 2)


def test_without_warmup_the_first_step_is_at_the_peak():
    assert rates(warmup_start_lr=0.1, warmup_shape="constant")[0] == 0.8


@given(
    batch=st.integers(1, 60),
    reference=st.integers(1, 60),
    n=st.integers(60, 130),
    tenths=st.integers(1, 10),
)
def test_a_stretched_constant_warmup_lasts_exactly_its_length(batch, reference, n, tenths):
    length = Fraction(tenths, 10) * Fraction(batch, reference) * n  # in examples
    found = rates(
        batch,
        n,
        epochs=2.0,
        steps_of_batch_size=reference,
        warmup_epochs=tenths / 10,
        warmup_shape="constant",
        warmup_start_lr=0.1,
    )
    assert sum(r < 0.5 for r in found) == math.ceil(length / batch)


@given(
    batch=st.integers(1, 100),
    epochs=st.integers(20, 60).map(lambda tenths: tenths / 10),
    warmup=st.integers(1, 20).map(lambda tenths: tenths / 10),
    start=st.floats(0, 0.8),
    decay=st.sampled_from(["constant", "cosine"]),
)
def test_rates_rise_to_the_peak_and_never_above(batch, epochs, warmup, start, decay):
    found = rates(batch, epochs=epochs, warmup_epochs=warmup, warmup_start_lr=start, decay=decay)
    assert all(0 < r <= 0.8 * (1 + 1e-12) for r in found)
    warming = math.ceil(Fraction(str(warmup)) * 100 / batch)
    if decay == "constant":
        assert found == sorted(found)
        assert found[warming:] == [0.8] * (len(found) - warming)
    else:
        assert found[warming:] == sorted(found[warming:], reverse=True)


def test_warmup_times_decay():
    plain, warm = rates(decay="cosine"), rates(decay="cosine", warmup_epochs=2.0)
    expected = [r * min(1, (step + 1) / 20) for step, r in enumerate(plain)]
    assert warm == pytest.approx(expected)


# ----------------------------------------------------------------------------------------- scaling


@given(base=st.floats(1e-4, 10), batch=st.integers(1, 10**5), reference=st.integers(1, 10**5))
def test_scaling_rules(base, batch, reference):
    k = batch / reference
    assert peak_rate(base, "none", batch, None) == base
    assert peak_rate(base, "linear", batch, reference) == pytest.approx(base * k)
    assert peak_rate(base, "sqrt", batch, reference) ** 2 == pytest.approx(base**2 * k)
    for rule in ("linear", "sqrt"):
        assert peak_rate(base, rule, reference, reference) == base


def test_legw_takes_as_many_warmup_steps_to_a_rate_that_grows_with_the_root():
    """LEGW (You et al. 2019): batch x k, peak rate x sqrt(k), warmup epochs x k."""
    legw = {"lr_scaling": "sqrt", "warmup_scaling": "linear", "lr_reference_batch_size": 10}
    small, large = (rates(batch, 1000, epochs=4.0, warmup_epochs=0.5, **legw) for batch in (10, 40))
    assert small[:50] == pytest.approx([0.8 * i / 50 for i in range(1, 51)])
    assert large[:50] == pytest.approx([2 * r for r in small[:50]])
    assert small[50:] == [0.8] * 350 and large[50:] == [1.6] * 50


# ---------------------------------------------------------------------------------- batch schedule


def test_the_peak_is_that_of_the_batch_size_in_force():
    schedule = (
        BatchPhase(until_epoch=0.5, global_batch_size=10),
        BatchPhase(until_epoch=1.0, global_batch_size=25, peak_lr=0.5),
    )
    found = rates(
        50, epochs=2.0, lr_scaling="linear", lr_reference_batch_size=50, batch_schedule=schedule
    )
    assert found == pytest.approx([0.16] * 5 + [0.5] * 2 + [0.8] * 2)


@pytest.mark.parametrize("start", [0.0, 0.1])
def test_warmup_and_decay_of_a_batch_schedule_go_by_examples(start):
    found = rates(
        40,
        epochs=2.0,
        warmup_epochs=0.8,
        warmup_start_lr=start,
        decay="cosine",
        batch_schedule=(BatchPhase(until_epoch=0.4, global_batch_size=10, peak_lr=0.4),),
    )
    seen = [0, 10, 20, 30, 40, 80, 120, 160, 200]  # before each step, and at the end
    expected = [
        (start + ((0.4 if before < 40 else 0.8) - start) * min(1, after / 80))
        * (1 + math.cos(math.pi * before / 200))
        / 2
        for before, after in pairwise(seen)
    ]
    assert found == pytest.approx(expected)
