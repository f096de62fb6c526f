"""Line searches: the step that they take, where they end, and what they do with a bad loss."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from trainables.config.optimizers.gradient_descent import GradientDescent
from trainables.config.optimizers.lbfgs import LBFGS
from trainables.optimizers.build import build

Loss = Callable[[Tensor], Tensor]


def rosenbrock(w: Tensor) -> Tensor:
    return 100 * (w[1] - w[0] ** 2) ** 2 + (1 - w[0]) ** 2 + w[2:].square().sum()


class Problem:
    """A loss over one vector, with what was asked of it."""

    def __init__(self, config: GradientDescent | LBFGS, loss: Loss, lr: float = 1.0) -> None:
        self.model = nn.ParameterList([torch.tensor([-1.2, 1.0, 0.5], dtype=torch.float64)])
        self.loss, self.optimizer = loss, build(config, self.model)
        self.optimizer.param_groups[0]["lr"] = lr
        self.asked: list[Tensor] = []

    @property
    def weights(self) -> Tensor:
        return self.model[0].detach().clone()

    def closure(self) -> Tensor:
        self.optimizer.zero_grad()
        self.asked.append(self.weights)
        loss = self.loss(self.model[0])
        loss.backward()
        return loss.detach()

    def step(self) -> float:
        self.asked.clear()
        return float(self.optimizer.step(self.closure))  # type: ignore[arg-type]

    def at(self, w: Tensor) -> tuple[float, Tensor]:
        w = w.clone().requires_grad_()
        loss = self.loss(w)
        return loss.item(), torch.autograd.grad(loss, w)[0]


# ------------------------------------------------------------------------------ gradient descent


@pytest.mark.parametrize(
    "config",
    [GradientDescent(), GradientDescent(sufficient_decrease=0.3, backtracking=0.7)],
    ids=str,
)
def test_gradient_descent_takes_the_first_length_with_a_sufficient_decrease(config):
    problem = Problem(config, rosenbrock)
    backtracked = set()
    for _ in range(20):
        before = problem.weights
        value, g = problem.at(before)
        assert problem.step() == value  # the loss that the loop sees is the one before
        tries = [config.backtracking**k for k in range(1 + config.max_backtracks)]
        enough = [
            problem.at(before - t * g)[0] <= value - config.sufficient_decrease * t * float(g @ g)
            for t in tries
        ]
        accepted = enough.index(True)
        np.testing.assert_allclose(problem.weights, before - tries[accepted] * g, rtol=1e-12)
        assert len(problem.asked) == 2 + accepted
        backtracked.add(accepted)
    assert len(backtracked) > 1 and 0 not in backtracked


def test_a_rate_that_decreases_enough_is_taken_at_once():
    problem = Problem(GradientDescent(), lambda w: w.square().sum() / 2, lr=0.5)
    before = problem.weights
    problem.step()
    assert torch.equal(problem.weights, before / 2) and len(problem.asked) == 2


def test_where_no_length_will_do_it_stays():
    problem = Problem(GradientDescent(max_backtracks=3), rosenbrock, lr=100.0)
    before = problem.weights
    value, _ = problem.at(before)
    assert problem.step() == value
    assert torch.equal(problem.weights, before) and len(problem.asked) == 1 + 4


@pytest.mark.parametrize("config", [GradientDescent(), LBFGS()], ids=["gradient-descent", "lbfgs"])
def test_a_loss_that_is_no_number_is_no_decrease(config):
    problem = Problem(config, lambda w: w.square().sum() - (3 - w.norm()).sqrt(), lr=8.0)
    value, _ = problem.at(problem.weights)
    problem.step()
    assert any(np.isnan(problem.at(w)[0]) for w in problem.asked)
    assert problem.at(problem.weights)[0] < value


@pytest.mark.parametrize("config", [GradientDescent(), LBFGS()], ids=["gradient-descent", "lbfgs"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_is_handed_to_the_loop(config, value):
    problem = Problem(config, lambda w: w.sum() * value)
    before = problem.weights
    assert not np.isfinite(problem.step())
    assert torch.equal(problem.weights, before) and len(problem.asked) == 1


# ----------------------------------------------------------------------------------------- L-BFGS


def test_lbfgs_ends_every_step_where_the_strong_wolfe_conditions_hold():
    problem = Problem(LBFGS(), rosenbrock)
    for _ in range(15):
        before = problem.weights
        value, g = problem.at(before)
        assert problem.step() == value
        move = problem.weights - before
        after, slope = problem.at(problem.weights)
        assert after <= value + 1e-4 * float(g @ move)
        assert abs(float(slope @ move)) <= 0.9 * abs(float(g @ move))
        assert any(torch.equal(problem.weights, w) for w in problem.asked)


def test_steps_of_one_iteration_are_torchs_iterations():
    problem = Problem(LBFGS(history_size=2), rosenbrock)
    for _ in range(8):
        problem.step()
    w = torch.tensor([-1.2, 1.0, 0.5], dtype=torch.float64, requires_grad=True)
    whole = torch.optim.LBFGS(
        [w], max_iter=8, max_eval=1000, history_size=2, line_search_fn="strong_wolfe"
    )

    def closure() -> Tensor:
        whole.zero_grad()
        loss = rosenbrock(w)
        loss.backward()
        return loss.detach()

    whole.step(closure)
    np.testing.assert_allclose(problem.weights, w.detach(), rtol=1e-9)


def test_lbfgs_reaches_a_minimum_that_gradient_descent_does_not():
    found = {}
    for config in (LBFGS(), GradientDescent()):
        problem = Problem(config, rosenbrock)
        for _ in range(40):
            problem.step()
        found[config.name] = problem.at(problem.weights)[0]
    assert found["lbfgs"] < 1e-15 < 1e-3 < found["gradient-descent"]
