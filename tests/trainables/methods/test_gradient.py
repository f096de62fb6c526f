"""Changes of the gradient, against sorting by hand and norms in NumPy."""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from trainables.collective import Collective
from trainables.loop import train
from trainables.methods.gradient import discard_small, gradient_changes
from trainables.prepare import prepare


def with_gradient(gradient: Tensor) -> nn.Parameter:
    parameter = nn.Parameter(torch.zeros_like(gradient))
    parameter.grad = gradient.clone(memory_format=torch.preserve_format)
    return parameter


def gradient_of(parameter: nn.Parameter) -> Tensor:
    assert parameter.grad is not None
    return parameter.grad


# ------------------------------------------------------------------------------------ small values


@given(
    values=st.lists(st.integers(-3, 3).map(float) | st.floats(-9, 9), min_size=1, max_size=40),
    thousandths=st.integers(1, 999),
)
def test_the_smallest_in_size_are_set_to_0_and_of_equal_ones_the_first(values, thousandths):
    parameter = with_gradient(torch.tensor(values, dtype=torch.float64))
    discard_small([parameter], thousandths / 1000)
    dropped = math.floor(Fraction(thousandths, 1000) * len(values))
    order = sorted(range(len(values)), key=lambda i: (abs(values[i]), i))
    expected = [0.0 if i in order[:dropped] else v for i, v in enumerate(values)]
    assert gradient_of(parameter).tolist() == expected


def test_each_tensor_is_ranked_by_itself_whatever_its_shape_and_memory_format():
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(3, 4, 2, 2, generator=generator).to(memory_format=torch.channels_last)
    tiny = 1e-6 * torch.randn(5, 2, generator=generator)
    parameters = [with_gradient(images), with_gradient(tiny), nn.Parameter(torch.zeros(3))]
    discard_small(parameters, 0.25)
    assert parameters[2].grad is None
    for before, parameter, kept in ((images, parameters[0], 36), (tiny, parameters[1], 8)):
        after = gradient_of(parameter)
        assert after.stride() == before.stride()
        assert torch.count_nonzero(after) == kept
        assert torch.equal(after, before * (after != 0))
        assert before.abs()[after == 0].max() < before.abs()[after != 0].min()


# -------------------------------------------------------------------------------------------- norm


def test_a_norm_is_cut_over_all_parameters_and_a_smaller_one_left_alone(make_trial, tmp_path):
    (clip,) = gradient_changes(make_trial(tmp_path, max_gradient_norm=5.0).config)
    long = [with_gradient(torch.tensor([6.0, 0.0])), with_gradient(torch.tensor([[8.0]]))]
    clip(long)
    assert gradient_of(long[0]).tolist() == pytest.approx([3.0, 0.0], rel=1e-6)
    assert gradient_of(long[1]).item() == pytest.approx(4.0, rel=1e-6)
    short = with_gradient(torch.tensor([3.0, 3.9]))
    before = gradient_of(short).clone()
    clip([short])
    assert torch.equal(gradient_of(short), before)


def test_small_values_go_before_the_norm_is_cut(make_trial, tmp_path):
    config = make_trial(tmp_path, max_gradient_norm=1.0, discard_gradient_ratio=0.5).config
    parameter = with_gradient(torch.tensor([3.0, 4.0]))
    for change in gradient_changes(config):
        change([parameter])
    assert gradient_of(parameter).tolist() == pytest.approx([0.0, 1.0], rel=1e-5)


def test_by_default_nothing_changes_a_gradient(make_trial, tmp_path):
    assert gradient_changes(make_trial(tmp_path).config) == ()


# ---------------------------------------------------------------------------------------- the loop


@pytest.mark.parametrize("micro", [50, 10])
def test_a_step_is_along_the_changed_gradient_of_the_whole_global_batch(
    make_trial, tmp_path, micro
):
    settings = {
        "ghost_batch_size": 10,
        "precision": "float64",
        "optimizer_steps": 1,
        "base_lr": 0.25,
        "execution": {"max_micro_batch_size": micro},
    }
    plain = make_trial(tmp_path, **settings)
    gradients = -step_of(plain) / 0.25
    limit = gradients.norm().item() / 3
    changed = replace(plain.config, max_gradient_norm=limit, discard_gradient_ratio=0.4)
    step = -step_of(replace(plain, config=changed)) / 0.25
    assert step.norm().item() == pytest.approx(limit, rel=1e-5)
    kept = step != 0
    assert 0.55 < kept.double().mean() < 0.65
    scale = limit / gradients[kept].norm()
    torch.testing.assert_close(step[kept], gradients[kept] * scale, rtol=1e-5, atol=1e-12)


def step_of(trial) -> Tensor:
    """What one step of plain SGD adds to the weights, as one vector."""
    prepared, state = prepare(trial, Collective())
    before = nn.utils.parameters_to_vector(state.model.parameters()).detach()
    for _ in train(state, trial.config, trial.execution, prepared.data, Collective()):
        pass
    return nn.utils.parameters_to_vector(state.model.parameters()).detach() - before
