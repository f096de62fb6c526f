"""Curvature beside 2 / lr, as it is drawn."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

from analysis.figures import edge as drawn
from analysis.figures.drawing import WIDTH, looks_of

SIZES, SEEDS, EPOCHS = (32, 1000), 3, (1.0, 2.0)
PHONE = 344
"""CSS pixels that the report leaves a figure on a 390 pixel wide screen."""
GEOMETRIC = (1.0 * 1.1 * 1.2) ** (1 / 3)
"""Mean over the seeds' factors."""


def _values(quantity: str, value: float, sizes: tuple[int, ...] = SIZES) -> pd.DataFrame:
    rows: list[dict[str, Any]] = [
        {"global_batch_size": size, "seed": seed, "quantity": quantity}
        | {"epoch": epoch, "optimizer_step": 10 * epoch, "value": value * epoch * (1 + 0.1 * seed)}
        for size in sizes
        for seed in range(SEEDS)
        for epoch in EPOCHS
    ]
    return pd.DataFrame(rows)


def _edge(sizes: tuple[int, ...] = SIZES, clock: str = "epoch") -> Figure:
    batch, top = _values(drawn.BATCH, 5.0, sizes), _values(drawn.TOP, 2.0, sizes)
    levels = batch.assign(plain=100.0, low=10.0, high=190.0)
    return drawn.edge_of_stability(pd.concat([batch, top]), levels, clock)


def _distances() -> Figure:
    rows = pd.DataFrame(
        {"arm": arm, "settings": "", "global_batch_size": size, "seed": seed, "distance": distance}
        for arm in ("baseline", "other")
        for size, distance in ((2, 0.5), (4, 0.25), (8, 0.125), (64, 0.01))
        for seed in range(SEEDS)
    )
    sizes = [2.0, 4.0, 8.0]
    line = pd.DataFrame({"arm": "baseline", "settings": "", "global_batch_size": sizes})
    return drawn.edge_distances(rows, [line.assign(distance=[0.5, 0.25, 0.125])], looks_of(rows))


def _variance() -> Figure:
    return drawn.gradient_variance(_values("top_gradient_variance", 1.0), "optimizer_step")


def test_the_edge_shows_both_curvatures_against_the_levels_of_the_rate() -> None:
    figure = _edge()
    assert len(figure.axes) == len(SIZES)
    for axes in figure.axes:
        lines = [sorted(line.get_ydata()) for line in axes.lines]
        assert lines[:3] == [pytest.approx([level] * 2) for level in (100, 10, 190)]
        assert lines[3] == pytest.approx([5 * GEOMETRIC, 10 * GEOMETRIC])
        assert lines[4] == pytest.approx([2 * GEOMETRIC, 4 * GEOMETRIC])
        assert axes.get_yscale() == "log"


def test_many_batch_sizes_stand_in_two_columns_by_the_clock_that_they_share() -> None:
    figure = _edge((2, 4, 8, 16, 32), "optimizer_step")
    shown = [axes for axes in figure.axes if axes.get_visible()]
    assert len(shown) == 5 and len(figure.axes) == 6
    assert [axes.get_xlabel() for axes in shown] == ["", "", "", *["optimizer_step"] * 2]
    assert sorted(shown[0].lines[-1].get_xdata()) == [10, 20]


def test_distances_are_drawn_on_logarithmic_axes_with_their_fit() -> None:
    (axes,) = _distances().axes
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    assert axes.get_xticks().tolist() == [2, 4, 8, 64]
    assert [0.5, 0.25, 0.125] in [list(line.get_ydata()) for line in axes.lines]


def test_the_variance_has_a_line_per_batch_size() -> None:
    (axes,) = _variance().axes
    assert [list(line.get_ydata()) for line in axes.lines] == [
        pytest.approx([GEOMETRIC, 2 * GEOMETRIC])
    ] * 2


@pytest.mark.parametrize("figure", [_edge, _distances, _variance])
def test_text_is_legible_on_a_phone(figure: Any) -> None:
    FigureCanvasAgg(made := figure()).draw()
    shown = [t for t in made.findobj(Text) if t.get_visible() and t.get_text()]
    assert min(t.get_fontsize() for t in shown) * PHONE / (72 * WIDTH) > 9
