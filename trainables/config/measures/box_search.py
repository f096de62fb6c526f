"""What the search of a box costs, which sharpness and adaptive sharpness have in common."""

from __future__ import annotations

from trainables.config.measures.measure import Passes

SEARCH_GRADIENTS = 93
"""Gradients per search of a box, besides those of its classes (`measures.maximum.search`)."""
GRADIENTS_PER_CLASS, MAX_CLASSES = 5, 20
"""A class's direction, and four steps from there; of more classes so many have a start, those that
come highest in a first look."""
LOOK_GRADIENTS, LOOK_EXAMPLES = 3, 200
"""For each of more classes than that besides, over so few examples."""


def search(num_answers: int, examples: int, besides: int = 0) -> Passes:
    """One search of a box over so many examples, and so many gradients of them besides."""
    gradients = besides + SEARCH_GRADIENTS + GRADIENTS_PER_CLASS * min(num_answers, MAX_CLASSES)
    looked_at = num_answers if num_answers > MAX_CLASSES else 0
    look = LOOK_GRADIENTS * looked_at * min(LOOK_EXAMPLES, examples)
    return Passes(gradient=gradients * examples + look)
