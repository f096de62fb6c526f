"""The search in a box: its starts, its counts, and landscapes whose largest value is known."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from trainables.config.measures import box_search
from trainables.measures import maximum
from trainables.measures.maximum import Box, Climb, Found, best_row, climb, kick, search
from trainables.measures.objective import Objective


class Function(Objective):
    """f given as a function of x, differentiated by torch; the label of a start shifts it."""

    def __init__(self, f, n: int, classes: int = 3) -> None:
        self.f, self.start, self.evaluations = f, torch.zeros(n).double(), 0
        self._examples = (torch.zeros(classes), torch.arange(classes))
        self.num_examples = classes

    def over(self, indices: Tensor) -> Objective:
        """The same function."""
        return Function(self.f, len(self.start), len(indices))

    def value_and_gradient(self, x: Tensor, label: int | None = None) -> tuple[float, Tensor]:
        """f(x), or the distance to a corner of its own for each label."""
        self.evaluations += 1
        x = x.clone().requires_grad_()
        corner = torch.tensor([1.0 if label == i else -1.0 for i in range(len(x))])
        value = self.f(x) if label is None else (x - corner).square().sum()
        (gradient,) = torch.autograd.grad(value, x)
        return value.item(), gradient


def box_of(f, n: int, half_width: float = 1.0, classes: int = 3) -> Box:
    half_widths = torch.full((n,), half_width).double()
    return Box(objective=Function(f, n, classes), half_widths=half_widths, not_finite="{loss}")


def middle(box: Box) -> Climb:
    z = torch.zeros_like(box.half_widths)
    loss, gradient = box.value_and_gradient(z)
    return Climb(start="zero", largest=loss, z=z, ascent=gradient)


def largest(box: Box) -> float:
    start = middle(box)
    return max(one.largest for one in search(box, (start.largest, start.ascent)))


def test_the_vertex_iteration_finds_the_far_corner_from_a_bad_start() -> None:
    """f(z) = (z + 0.1)^2 on [-1, 1]: from zero to the right, where it stays."""
    box = box_of(lambda x: (x + 0.1).square().sum(), 1)
    found = climb(box, middle(box), steps=16)
    assert found.largest == pytest.approx(1.21)
    assert found.steps == 1  # the corner maps to itself: no more passes
    left = climb(box, Climb(start="left", largest=0, z=found.z, ascent=-found.z), steps=16)
    assert left.largest == pytest.approx(0.81)


def test_a_basin_that_only_a_class_points_to_is_found() -> None:
    """A high corner that neither zero nor the loss's slope leads to: (1, -1, -1, ...), class 0."""
    n = 12
    target = torch.tensor([1.0] + [-1.0] * (n - 1)).double()

    def f(x: Tensor) -> Tensor:
        return 0.1 * x.sum() + 10 * torch.relu(x @ target - (n - 1))

    box = box_of(f, n)
    assert climb(box, middle(box), steps=100).largest == pytest.approx(0.1 * n)
    assert largest(box) == pytest.approx(0.1 * (2 - n) + 10)


def test_a_kick_leaves_a_corner_that_maps_to_itself() -> None:
    """A convex quadratic has many corners at rest; kicks come to higher ones."""
    draw = torch.Generator().manual_seed(1)
    n = 10
    root = torch.randn(n, n, generator=draw).double()
    box = box_of(lambda x: (root @ x).square().sum() + 0.1 * x.sum(), n)
    corners = [torch.tensor(c).double() for c in itertools.product([-1.0, 1.0], repeat=n)]
    exact = max(((root @ c).square().sum() + 0.1 * c.sum()).item() for c in corners)
    resting = kicked = climb(box, middle(box), steps=100)
    for share in (0.5, 0.3, 0.2, 0.1):
        kicked = kick(box, kicked, share)
    assert resting.largest < (1 - 1e-4) * exact
    assert kicked.largest == pytest.approx(exact, rel=1e-12)
    assert 0.97 * exact <= largest(box) <= exact * (1 + 1e-12)


def test_a_kick_flips_the_signs_that_matter_least() -> None:
    """By half-width times gradient: of sides 1 to 6 and slopes 6, 1, 1, 1, 1, 1 the 2nd and 3rd."""
    slopes = torch.tensor([6.0, 1, 1, 1, 1, 1]).double()
    seen: list[Tensor] = []

    def f(x: Tensor) -> Tensor:
        seen.append(x.detach().clone())
        return slopes @ x

    box = box_of(f, 6)
    box = replace(box, half_widths=torch.arange(1, 7).double())
    corner = climb(box, middle(box), steps=2)
    seen.clear()
    kick(box, corner, 2 / 6)
    assert (seen[0] / box.half_widths).tolist() == [1, -1, -1, 1, 1, 1]


def test_the_highest_corners_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    box = waves(classes=10)
    first = middle(box)
    short = {s.start: climb(box, s, maximum.STEPS).largest for s in starts_of(box, first)}
    order = sorted(short, key=short.__getitem__, reverse=True)
    kicked: list[tuple[str, float]] = []
    monkeypatch.setattr(maximum, "kick", lambda _, b, share: kicked.append((b.start, share)) or b)
    search(box, (first.largest, first.ascent))
    shares = [(name, share) for count, share in maximum.ROUNDS for name in order[:count]]
    assert kicked == shares
    assert {count for count, _ in maximum.ROUNDS} == {6, 3, 1}


def starts_of(box: Box, first: Climb) -> list[Climb]:
    return [*maximum.starts(box, (first.largest, first.ascent))]


def waves(classes: int) -> Box:
    """A landscape in which no corner maps to itself: nothing ends early."""
    turn = torch.randn(30, 30, generator=torch.Generator().manual_seed(0)).double()
    return box_of(lambda x: torch.sin(40 * (turn @ x)).sum() + x.sum(), 30, classes=classes)


def test_a_maximum_inside_the_box_is_approached_by_small_steps() -> None:
    """f falls towards every corner; its top is at .3 in each coordinate."""
    box = box_of(lambda x: -(x - 0.3).square().sum(), 4)
    corners = climb(box, middle(box), steps=maximum.STEPS)
    assert corners.largest == pytest.approx(-4 * 0.09)  # the middle itself
    assert largest(box) > -4 * 0.01


@pytest.mark.parametrize("classes", [2, 10, 20, 21, 100])
def test_every_network_has_as_many_starts_and_passes(classes: int) -> None:
    """143 passes with ten classes, as is said."""
    box, directed = waves(classes), min(classes, box_search.MAX_CLASSES)
    start = middle(box)
    box.objective.evaluations = 0
    found = search(box, (start.largest, start.ascent))
    assert len(found) == 1 + directed
    assert found[0].start == "zero"
    corners = sum(min(count, len(found)) for count, _ in maximum.ROUNDS)
    look = classes * (1 + maximum.LOOK_STEPS) if classes > box_search.MAX_CLASSES else 0
    assert box.objective.evaluations == (
        maximum.STEPS * len(found)
        + directed
        + maximum.ROUND_STEPS * corners
        + maximum.SMALL_STEPS
        + look
    )
    assert classes != 10 or box.objective.evaluations == 143


def test_a_plan_s_estimate_counts_the_passes_that_are_taken() -> None:
    """It loads no torch, and so has numbers of its own."""
    corners = sum(count for count, _ in maximum.ROUNDS)
    taken = maximum.STEPS + maximum.ROUND_STEPS * corners + maximum.SMALL_STEPS
    assert taken == box_search.SEARCH_GRADIENTS
    assert maximum.STEPS + 1 == box_search.GRADIENTS_PER_CLASS
    assert maximum.LOOK_STEPS + 1 == box_search.LOOK_GRADIENTS


def test_of_many_classes_those_that_come_highest_have_a_start() -> None:
    """Five of 25 classes hold 60 % of the examples, which are sorted by class.

    To answer always with a frequent class costs least, so that its corners are the lowest. A look
    at the first examples would see two classes only.
    """
    sizes = torch.tensor([120] * 5 + [20] * 20)
    targets = torch.arange(25).repeat_interleave(sizes)
    inputs = torch.randn(1000, 8, generator=torch.Generator().manual_seed(0)).double()
    model = nn.Linear(8, 25).double().eval()
    with torch.no_grad():
        model.weight.zero_()
        model.bias.zero_()
    objective = Objective(model, inputs, targets)
    widths = torch.full_like(objective.start, 8.0)
    box = Box(objective=objective, half_widths=widths, not_finite="")
    assert maximum.answers(box) == [*range(5, 25)]
    assert objective.evaluations == 25 * 3 * 200 // 1000


def test_the_row_says_what_every_start_came_to() -> None:
    found = [
        Found(start=name, largest=value, steps=i)
        for i, (name, value) in enumerate([("zero", 2.0), ("class 0", 3.0), ("class 1", 2.99)])
    ]
    row = best_row("sharpness", found, 1.0, lambda loss: 100 * (loss - 1) / 2, 77)
    assert (row.value, row.starts) == (
        100,
        {"zero": 50, "class 0": 100, "class 1": pytest.approx(99.5)},
    )
    assert row.starts_near_largest == 2  # within .5 %
    assert (row.stop_reason, row.iterations, row.evaluations) == ("class 0: 1 steps", 1, 77)


def test_a_loss_that_is_not_finite_is_told_by_the_measure_s_own_words() -> None:
    box = Box(
        objective=Function(lambda x: x.sum() * math.inf, 2),
        half_widths=torch.ones(2).double(),
        not_finite="the loss is {loss}: take less",
    )
    with pytest.raises(ValueError, match="the loss is nan: take less"):
        box.value_and_gradient(torch.zeros(2).double())


def test_a_network_s_class_starts_lower_the_loss_of_that_class() -> None:
    """The first step from class c's start goes where the network answers c more often."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3)).double().eval()
    inputs, targets = torch.randn(50, 4).double(), torch.randint(3, (50,))
    objective = Objective(model, inputs, targets)
    half_widths = torch.full_like(objective.start, 0.02)
    box = Box(objective=objective, half_widths=half_widths, not_finite="")
    first = box.value_and_gradient(torch.zeros_like(half_widths))
    by_name = {start.start: start for start in maximum.starts(box, first)}
    for label in range(3):
        corner = half_widths * by_name[f"class {label}"].ascent.sign()
        before, after = (
            objective.value_and_gradient(x, label)[0]
            for x in (objective.start, objective.start + corner)
        )
        assert after < before
