"""The largest loss in a box around the weights, from starts that are directed at classes.

The corners of such a box fall into basins by the class towards which the network's output
collapses, and random corners miss most of them (docs/methods/sharpness.md has the measurements). So
a start is a direction in which to leave the middle of the box: that in which the loss itself rises,
and for each class that in which the loss of always answering so falls. From each the vertex
iteration

    z <- half_widths * sign(gradient of f at z)

goes to the corner that maximizes f linearized at z. The highest corners are left by those of their
signs that matter least, and climbed from again; at the end small steps lead into the box. Up to 20
classes nothing is drawn, and all networks have as many starts and steps: ratios between them are
not those of luck. What is found is a lower bound.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from trainables.batching import derive_seed
from trainables.measures.objective import MeasureValue, Objective, Quantity

STEPS = 4
"""Of the vertex iteration from every start."""
ROUNDS = ((6, 0.5), (3, 0.25), (1, 0.1), (1, 0.05))
"""How many of the highest corners go on in each round, and the share of their signs to flip."""
ROUND_STEPS = 7
"""Of the vertex iteration in a round; the first goes to the corner with flipped signs."""
SMALL_STEPS = 12
"""Steps into the box from the highest corner at the end: where f bends, no corner is the best."""
MOMENTUM = 0.75
"""Of these steps, as in Auto-PGD (Croce & Hein 2020, arXiv 2003.01690)."""
MAX_CLASSES = 20
"""So many classes have a start each; of more the most frequent ones."""
RANDOM_STARTS = 4
"""Starts in random directions besides, where there are more classes than that."""
NEAR = 0.995
"""A start that found this share of the largest rise is said to have come near it."""


@dataclass(frozen=True, kw_only=True)
class Box:
    """The points x + A z with |z_i| <= half_widths_i, and f on them."""

    objective: Objective
    half_widths: Tensor
    """[p]."""
    not_finite: str
    """What to tell where f is not finite: the measure, and the setting that is too large."""
    push: Callable[[Tensor], Tensor] = lambda z: z
    """A z, [p] -> [n]."""
    pull: Callable[[Tensor], Tensor] = lambda gradient: gradient
    """A^T g, [n] -> [p]."""

    def value_and_gradient(self, z: Tensor, label: int | None = None) -> tuple[float, Tensor]:
        """f at x + A z, and its gradient in z.

        Args:
            z: [p], of any floating type.
            label: Takes the place of every example's target.

        Raises:
            ValueError: f is not finite.
        """
        x = self.objective.start
        point = x + self.push(z.to(x))
        loss, gradient = self.objective.value_and_gradient(point, label)
        if not math.isfinite(loss):
            raise ValueError(self.not_finite.format(loss=loss))
        return loss, self.pull(gradient)


@dataclass(frozen=True, kw_only=True)
class Climb:
    """How far was come from one start."""

    start: str
    largest: float
    """The largest loss on the way."""
    z: Tensor
    """Where it stands, [p]."""
    ascent: Tensor
    """In which direction it goes on, [p]: the gradient at z, or a start's own."""
    steps: int = 0


@dataclass(frozen=True, kw_only=True)
class Found:
    """What a maximizer came to from one start."""

    start: str
    largest: float
    """The largest loss it evaluated."""
    steps: int


def search(box: Box, first: tuple[float, Tensor], seed: int) -> list[Found]:
    """What was found from each start.

    Passes: STEPS for each start and one more for each class, ROUND_STEPS for each corner of a
    round, SMALL_STEPS: 143 with ten classes, fewer only where a corner maps to itself, so that
    nothing could change any more.

    Args:
        box: Where to search.
        first: f and its gradient in the middle.
        seed: The trial's, for random directions where there are many classes.
    """
    found: dict[str, Found] = {}
    highest: list[Climb] = []

    def keep(climbed: Climb, at_most: int) -> None:
        nonlocal highest
        found[climbed.start] = Found(
            start=climbed.start, largest=climbed.largest, steps=climbed.steps
        )
        others = [other for other in highest if other.start != climbed.start]
        # No more corners are held in memory than go on.
        highest = sorted([*others, climbed], key=_height, reverse=True)[:at_most]

    for start in starts(box, first, seed):
        keep(climb(box, start, STEPS), ROUNDS[0][0])
    for count, share in ROUNDS:
        for begun in highest[:count]:
            keep(kick(box, begun, share), count)
    keep(small_steps(box, highest[0]), 1)
    return list(found.values())


def best_row(
    quantity: Quantity,
    found: Sequence[Found],
    start_loss: float,
    rise: Callable[[float], float],
    evaluations: int,
) -> MeasureValue:
    """The row of the largest loss found, which also says what each start came to.

    Args:
        quantity: Its name.
        found: From each start.
        start_loss: f in the middle of the box.
        rise: The measure's value, if a loss is the largest.
        evaluations: All passes.
    """
    highest = max(found, key=lambda one: one.largest)
    values = {one.start: rise(one.largest) for one in found}
    value = values[highest.start]
    return MeasureValue(
        quantity=quantity,
        method="best",
        value=value,
        evaluations=evaluations,
        iterations=highest.steps,
        stop_reason=f"{highest.start}: {highest.steps} steps",
        start_loss=start_loss,
        starts=values,
        starts_near_largest=sum(one >= NEAR * value for one in values.values()),
    )


def starts(box: Box, first: tuple[float, Tensor], seed: int) -> Iterator[Climb]:
    """Directions from the middle of the box: of the loss, of each class, and random ones.

    Of more than MAX_CLASSES classes the most frequent ones have a start, and RANDOM_STARTS are
    drawn besides.
    """
    loss, gradient = first
    middle = Climb(start="zero", largest=loss, z=torch.zeros_like(gradient), ascent=gradient)
    yield middle
    counts = torch.bincount(box.objective.targets)
    order = counts.argsort(descending=True, stable=True)[: int((counts > 0).sum())]
    for label in sorted(order[:MAX_CLASSES].tolist()):
        descent = box.value_and_gradient(middle.z, label)[1]
        yield replace(middle, start=f"class {label}", ascent=-descent)
    for number in range(RANDOM_STARTS if len(order) > MAX_CLASSES else 0):
        generator = torch.Generator().manual_seed(derive_seed(seed, "random vertex", number))
        signs = torch.randint(2, gradient.shape, generator=generator) * 2 - 1
        yield replace(middle, start=f"random {number + 1}", ascent=signs.to(gradient))


def climb(box: Box, begun: Climb, steps: int) -> Climb:
    """So many more steps of the vertex iteration; fewer where a corner maps to itself.

    No stopping on small changes: the values rest and rise again.
    """
    for _ in range(steps):
        corner = box.half_widths * begun.ascent.sign()
        if torch.equal(corner, begun.z):
            break
        begun = _stepped(begun, corner, *box.value_and_gradient(corner))
    return begun


def kick(box: Box, begun: Climb, share: float) -> Climb:
    """A corner left by flipping some of its signs; itself where that leads no higher.

    Flipped is the share of z that matters least: with the smallest half_widths_i |gradient_i|.
    """
    weight = box.half_widths * begun.ascent.abs()
    bound = weight.kthvalue(max(1, round(share * len(weight)))).values
    flipped = begun.z.sign() * torch.where(weight <= bound, -1, 1)
    kicked = climb(box, replace(begun, ascent=flipped), ROUND_STEPS)
    return max(begun, kicked, key=_height)


def small_steps(box: Box, begun: Climb) -> Climb:
    """Steps of shrinking length along the gradient's signs, with momentum, inside the box.

    y = clip(z + r half_widths sign(gradient)), z <- clip(z + m (y - z) + (1 - m) (z - z before))
    with r = 1 in the first half of the steps, 1/2 in the next quarter and 1/4 in the last.
    """
    half, before = box.half_widths, begun.z
    for step in range(SMALL_STEPS):
        length = 0.5 ** ((step >= SMALL_STEPS // 2) + (step >= 3 * SMALL_STEPS // 4))
        towards = (begun.z + length * half * begun.ascent.sign()).clamp(-half, half)
        moved = MOMENTUM * (towards - begun.z) + (1 - MOMENTUM) * (begun.z - before)
        before, z = begun.z, (begun.z + moved).clamp(-half, half)
        begun = _stepped(begun, z, *box.value_and_gradient(z))
    return begun


def _stepped(begun: Climb, z: Tensor, loss: float, gradient: Tensor) -> Climb:
    largest = max(begun.largest, loss)
    return replace(begun, largest=largest, z=z, ascent=gradient, steps=begun.steps + 1)


def _height(climbed: Climb) -> float:
    return climbed.largest
