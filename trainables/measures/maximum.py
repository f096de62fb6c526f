"""The largest loss in a box around the weights, from starts that are directed at answers.

The corners of such a box fall into basins by the class towards which the network's output
collapses, and random corners miss most of them (docs/methods/sharpness.md has the measurements). So
a start is a direction in which to leave the middle of the box: that in which the loss itself rises,
and for each class that in which the loss of always answering so falls; in a regression the answers
are the least and the largest of all numbers to predict. From each the vertex
iteration

    z <- half_widths * sign(gradient of f at z)

goes to the corner that maximizes f linearized at z. The highest corners are left by those of their
signs that matter least, and climbed from again; at the end small steps lead into the box. Nothing
is drawn, and all networks have as many starts and steps: ratios between them are not those of luck.
What is found is a lower bound.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from trainables.config.measures.box_search import LOOK_EXAMPLES, MAX_CLASSES
from trainables.measures.objective import MeasureValue, Objective

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
LOOK_STEPS = 2
"""Of a first look at more than `MAX_CLASSES`: over so few steps and `LOOK_EXAMPLES` it found the
best of 100 classes (measured)."""
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

    def value_and_gradient(self, z: Tensor, label: float | None = None) -> tuple[float, Tensor]:
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


def search(box: Box, first: tuple[float, Tensor]) -> list[Found]:
    """What was found from each start.

    Passes: STEPS for each start and one more for each class, ROUND_STEPS for each corner of a
    round, SMALL_STEPS: 143 with ten classes, fewer only where a corner maps to itself, so that
    nothing could change any more.

    Args:
        box: Where to search.
        first: f and its gradient in the middle.
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

    for start in starts(box, first):
        keep(climb(box, start, STEPS), ROUNDS[0][0])
    for count, share in ROUNDS:
        for begun in highest[:count]:
            keep(kick(box, begun, share), count)
    keep(small_steps(box, highest[0]), 1)
    return list(found.values())


def best_row(
    quantity: str,
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


def starts(box: Box, first: tuple[float, Tensor]) -> Iterator[Climb]:
    """Directions from the middle of the box: in which f rises, and towards each answer."""
    loss, gradient = first
    yield Climb(start="zero", largest=loss, z=torch.zeros_like(gradient), ascent=gradient)
    for label in answers(box):
        yield towards(box, label, loss)


def towards(box: Box, label: float, loss: float = -math.inf) -> Climb:
    """From the middle in the direction in which the loss of always answering so falls.

    Args:
        box: Where to search.
        label: The answer.
        loss: f in the middle, if known.
    """
    z = torch.zeros_like(box.half_widths)
    descent = box.value_and_gradient(z, label)[1]
    kind = "class" if isinstance(label, int) else "number"
    return Climb(start=f"{kind} {label:g}", largest=loss, z=z, ascent=-descent)


def answers(box: Box) -> Sequence[float]:
    """The labels that have a start: those that occur, or the MAX_CLASSES highest after a look.

    The look is over few examples, spread over all in case that these are sorted. Of numbers to
    predict the least and the largest.
    """
    objective = box.objective
    if objective.targets.is_floating_point():
        ends = objective.targets.min().item(), objective.targets.max().item()
        return list(dict.fromkeys(ends))
    labels: list[int] = objective.targets.unique().tolist()
    if len(labels) <= MAX_CLASSES:
        return labels
    size = objective.num_examples
    few = objective.over(torch.linspace(0, size - 1, min(LOOK_EXAMPLES, size)).long())
    look = replace(box, objective=few)
    heights = {label: climb(look, towards(look, label), LOOK_STEPS).largest for label in labels}
    objective.evaluations += math.ceil(few.evaluations * few.num_examples / size)
    return sorted(sorted(labels, key=heights.__getitem__, reverse=True)[:MAX_CLASSES])


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
    Where that is 0, at constant inputs and dead units, z_i is 0 and f does not depend on it: these
    are counted among the smallest, and the flipped signs are fewer by them.
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
