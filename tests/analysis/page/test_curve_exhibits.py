"""The loss around the solutions as the report draws it: which rows, which numbers, when at all."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

from analysis.figures import curves as drawn
from analysis.figures.drawing import WIDTH
from analysis.load import Study, load_study
from analysis.page.curve_exhibits import curve_exhibits
from analysis.page.report import write_report
from tests.analysis.synthetic import WriteStudy
from trainables.config.identity import parameters_text
from trainables.config.measures.random_directions import RandomDirections
from trainables.task import LOSSES, Metric

NATS = LOSSES["cross-entropy"]
SIZES, SEEDS = (32, 1000), 3
PHONE = 344
"""CSS pixels that the report leaves a figure on a 390 pixel wide screen."""


def _id(size: int, seed: int) -> str:
    return f"{size:06d}{seed:06d}"


def _points(**more: Any) -> list[dict[str, Any]]:
    return [
        {"global_batch_size": size, "seed": seed, "trial_id": _id(size, seed)} | more
        for size in SIZES
        for seed in range(SEEDS)
    ]


def _curves(**changes: Any) -> list[dict[str, Any]]:
    """Points of all three kinds; the large batch's values are ten times as large."""
    rows = []
    for size in SIZES:
        for seed in range(SEEDS):
            shared = {"trial_id": _id(size, seed), "at_end": True, "parameters": "{}"} | changes
            scale = (1 + 0.1 * seed) * (10 if size == 1000 else 1)
            rows += [
                shared
                | {"measure": "spectrum", "quantity": "spectral_density"}
                | {"x": scale * x, "value": np.exp(-x * x) / scale}
                for x in np.linspace(-3, 3, 13)
            ]
            rows += [
                shared
                | {"measure": "random-directions", "quantity": "rise"}
                | {"parameters": changes.get("parameters", parameters_text(RandomDirections()))}
                | {"x": x, "value": scale * x / 100}
                for x in (0.25, 0.5, 0.75, 1.0)
            ]
            rows += [
                shared
                | {"measure": "landscape", "quantity": "train_loss"}
                | {"x": x, "y": y, "value": scale * (0.01 + x * x + y * y)}
                for x in (-1.0, 0.0, 1.0)
                for y in (-1.0, 0.0, 1.0)
            ]
    return rows


@pytest.fixture
def loaded(study: WriteStudy) -> Callable[..., Study]:
    def written(points: list[dict[str, Any]] | None = None, **more: Any) -> Study:
        return load_study(study(points or _points(), **more))

    return written


def _frame(rows: list[dict[str, Any]], quantity: str) -> pd.DataFrame:
    frame = pd.DataFrame([row for row in rows if row["quantity"] == quantity])
    return frame.assign(
        global_batch_size=frame["trial_id"].str[:6].astype(int),
        seed=frame["trial_id"].str[6:].astype(int),
    )


def _all_figures(loss: Metric = NATS) -> dict[str, Figure]:
    curves = _curves()
    return {
        "spectrum": drawn.spectra(_frame(curves, "spectral_density")),
        "rises": drawn.random_rises(_frame(curves, "rise"), 0.1, loss),
        "landscape": drawn.landscapes(_frame(curves, "train_loss").query("seed == 0"), loss),
    }


# -------------------------------------------------------------------------------------- figures


def test_the_mean_density_is_that_over_seeds_and_still_a_density() -> None:
    points = pd.DataFrame(
        {
            "seed": [0] * 3 + [1] * 4,
            "x": [0.0, 1, 2, -1, 0, 3, 4],
            "value": [0.0, 1, 0, 0, 0.25, 0.25, 0],
        }
    )
    grid, density = drawn.mean_density(points)
    assert grid.tolist() == [-1, 0, 1, 2, 3, 4]
    assert density.tolist() == pytest.approx([0, 0.125, 0.625, 0.125, 0.125, 0])
    assert np.trapezoid(density, grid) == pytest.approx(1)


def test_spectra_have_a_line_per_batch_size_on_a_log_scale() -> None:
    (axes,) = _all_figures()["spectrum"].axes
    assert (axes.get_xscale(), axes.get_yscale()) == ("symlog", "log")
    ends = [max(line.get_xdata()) for line in axes.lines[: len(SIZES)]]
    assert ends == pytest.approx([3.6, 36])


def test_landscapes_share_their_levels_and_show_the_solution() -> None:
    figure = _all_figures()["landscape"]
    panels = figure.axes[: len(SIZES)]
    assert [axes.get_title(loc="left") for axes in panels] == ["batch size 32", "batch size 1000"]
    levels = [axes.collections[0].levels for axes in panels]
    assert (levels[0] == levels[1]).all()
    assert (levels[0].min(), levels[0].max()) == pytest.approx((0.01, 20.1))


def test_rises_are_geometric_means_and_leave_out_ranks_with_a_fall() -> None:
    rows = _frame(_curves(), "rise")
    rows.loc[(rows["x"] == 0.25) & (rows["seed"] == 1), "value"] = -1e-3
    line = drawn.random_rises(rows, 0.1, NATS).axes[0].lines[0]
    assert list(line.get_xdata()) == [50, 75, 100]
    expected = 0.005 * (1.0 * 1.1 * 1.2) ** (1 / 3)
    assert line.get_ydata()[0] == pytest.approx(expected)


@pytest.mark.parametrize("name", ["rises", "landscape"])
def test_a_loss_without_a_unit_is_drawn_without_one(name: str) -> None:
    def texts(loss: Metric) -> str:
        return " ".join(text.get_text() for text in _all_figures(loss)[name].findobj(Text))

    assert "(nats)" in texts(NATS)
    assert "nats" not in texts(LOSSES["squared-error"])


@pytest.mark.parametrize("name", ["spectrum", "rises", "landscape"])
def test_text_is_legible_on_a_phone(name: str) -> None:
    figure = _all_figures()[name]
    FigureCanvasAgg(figure).draw()
    shown = [t for t in figure.findobj(Text) if t.get_visible() and t.get_text()]
    assert min(t.get_fontsize() for t in shown) * PHONE / (72 * WIDTH) > 9


# -------------------------------------------------------------------------------------- exhibits


def test_a_study_without_such_measures_has_no_such_figures(loaded: Callable[..., Study]) -> None:
    study = loaded()
    assert curve_exhibits(study) == []
    assert "Around the solutions" not in write_report(study).read_text()


def test_every_curve_that_was_measured_has_its_figure(loaded: Callable[..., Study]) -> None:
    study = loaded(curves=_curves())
    assert [e.name for e in curve_exhibits(study)] == ["spectrum", "rises", "landscape"]
    for exhibit in curve_exhibits(study):
        assert f"n = {1 if exhibit.name == 'landscape' else SEEDS}." in exhibit.caption
    page = write_report(study).read_text()
    for name in ("spectrum", "rises", "landscape"):
        assert page.count(f'id="figure-{name}"') == 1
    assert page == write_report(study).read_text()


def test_curves_along_training_and_of_other_settings_are_left_to_the_table(
    loaded: Callable[..., Study],
) -> None:
    along = _curves(at_end=False)
    asked = RandomDirections(relative_radius=0.2, steep_rise=3.0)
    first, second = (
        _curves(parameters=parameters_text(m)) for m in (asked, RandomDirections(steep_rise=9))
    )
    (rises,) = (
        e for e in curve_exhibits(loaded(curves=[*along, *first, *second])) if e.name == "rises"
    )
    assert "Steps of 0.2 |x|" in rises.caption
    assert not curve_exhibits(loaded(curves=along))
