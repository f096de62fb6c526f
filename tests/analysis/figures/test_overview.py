from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from scipy import stats

from analysis.figures import overview as figures
from analysis.figures.drawing import WIDTH, looks_of, neighbours
from trainables.task import ABSOLUTE_ERROR, ACCURACY, LOSSES

LOSS = LOSSES["cross-entropy"]
PHONE = 344
"""CSS pixels that the report leaves a figure on a 390 pixel wide screen."""


def _points(cells: Mapping[tuple[str, int], float], seeds: int = 5) -> pd.DataFrame:
    draw = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "arm": arm,
            "settings": "",
            "global_batch_size": size,
            "seed": seed,
            "status": "complete",
            "test_accuracy": accuracy + draw.normal(0, 0.002),
        }
        for (arm, size), accuracy in cells.items()
        for seed in range(seeds)
    )


POINTS = _points(
    {
        ("baseline", 32): 0.957,
        ("baseline", 128): 0.951,
        ("baseline", 1000): 0.938,
        ("sqrt, warmup", 32): 0.956,
        ("sqrt, warmup", 1000): 0.942,
    }
)
LOOKS = looks_of(POINTS)


def _values(points: pd.DataFrame = POINTS) -> pd.DataFrame:
    """A sharpness."""
    values = points["global_batch_size"] * (1 + 0.1 * points["seed"])
    return points.assign(quantity="sharpness", value=values)


def _cells(points: pd.DataFrame = POINTS) -> pd.DataFrame:
    means = points.groupby(["arm", "settings", "global_batch_size"], sort=False)["test_accuracy"]
    table = means.mean().rename("mean").reset_index()
    return table.assign(low=table["mean"] - 0.001, high=table["mean"] + 0.001)


def _against(points: pd.DataFrame = POINTS) -> pd.DataFrame:
    cells = _cells(points).query("global_batch_size != 32")
    gap, ratio = 0.957 - cells["mean"], cells["global_batch_size"] / 32
    cells = cells.assign(gap=gap, gap_low=gap - 0.001, gap_high=gap + 0.001)
    return cells.assign(ratio=ratio, ratio_low=ratio / 2, ratio_high=ratio * 2)


def _shares(points: pd.DataFrame = POINTS, share: float = 0.2) -> pd.DataFrame:
    cells = _cells(points).query("global_batch_size == 1000 and arm != 'baseline'")
    return cells.assign(share=share, share_low=share - 0.1, share_high=share + 0.1)


def _records(points: pd.DataFrame = POINTS) -> pd.DataFrame:
    rows = points[points["arm"] == points["arm"].iloc[0]].merge(
        pd.DataFrame({"epoch": np.arange(1.0, 11)}), how="cross"
    )
    rise = 1 - np.exp(-rows["epoch"])
    rows = rows.assign(line=rows["global_batch_size"].astype(str), train_loss=1 / rows["epoch"])
    return rows.assign(test_accuracy=rows["test_accuracy"] * rise)


def _all_figures(points: pd.DataFrame) -> dict[str, Figure]:
    looks = looks_of(points)
    drawn = {
        "accuracy": figures.metric_by_batch(points, looks, ACCURACY),
        "measures": figures.measures_by_batch(_values(points), looks),
        "against": figures.sharpness_against_gap(_against(points), looks, ACCURACY),
        "curves": figures.learning_curves(_records(points), ACCURACY, LOSS),
    }
    if len(shares := _shares(points)):
        drawn["arms"] = figures.arms_side_by_side(shares, _cells(points), looks, 32, ACCURACY)
    return drawn


def _drawn(figure: Figure) -> FigureCanvasAgg:
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return canvas


def _texts(figure: Figure) -> list[str]:
    _drawn(figure)
    return [text.get_text() for text in figure.findobj(Text) if text.get_visible()]


def _interval_bars(axes: Any) -> dict[float, tuple[float, float, float]]:
    """What is drawn at each x: mean, lower and upper end."""
    bars = {}
    for container in axes.containers:
        point, _, (line,) = container.lines
        (((_, low), (_, high)),) = line.get_segments()
        bars[float(point.get_xdata()[0])] = (float(point.get_ydata()[0]), low, high)
    return bars


# ----------------------------------------------------------------------------------- the numbers


def test_accuracy_shows_the_mean_its_t_interval_and_every_seed() -> None:
    axes = figures.metric_by_batch(POINTS, LOOKS, ACCURACY).axes[0]
    cell = 100 * POINTS.query("arm == 'baseline' and global_batch_size == 1000")["test_accuracy"]
    low, high = stats.t.interval(0.95, 4, loc=cell.mean(), scale=stats.sem(cell))
    assert _interval_bars(axes)[1000.0] == pytest.approx((cell.mean(), low, high))
    drawn = np.concatenate([line.get_ydata() for line in axes.lines if line.get_alpha() == 0.3])
    assert sorted(drawn) == pytest.approx(sorted(100 * POINTS["test_accuracy"]))


def test_the_batch_axis_is_logarithmic_with_the_study_s_sizes_as_ticks() -> None:
    axes = figures.metric_by_batch(POINTS, LOOKS, ACCURACY).axes[0]
    labels = [label.get_text() for label in axes.get_xticklabels()]
    assert (axes.get_xscale(), labels) == ("log", ["32", "128", "1000"])


def test_no_series_is_cut_off() -> None:
    points = _points({(f"arm {i}", size): 0.9 for i in range(20) for size in (32, 1000)})
    axes = figures.metric_by_batch(points, looks_of(points), ACCURACY).axes[0]
    low, high = axes.get_xlim()
    assert len(_interval_bars(axes)) == 40
    assert all(low < x < high for x in _interval_bars(axes))


def test_diverged_trials_enter_no_mean_and_are_counted_on_the_axis() -> None:
    points = POINTS.copy()
    lost = (points["arm"] == "baseline") & (points["global_batch_size"] == 1000)
    lost &= points["seed"] < 2
    points.loc[lost, ["status", "test_accuracy"]] = ["diverged", np.nan]
    figure = figures.metric_by_batch(points, LOOKS, ACCURACY)
    rest = points[~lost].query("arm == 'baseline' and global_batch_size == 1000")
    mean, _, _ = _interval_bars(figure.axes[0])[1000.0]
    assert mean == pytest.approx(100 * rest["test_accuracy"].mean())
    assert {"2", "diverged (how many)"} <= set(_texts(figure))


def test_a_study_in_which_all_diverged_still_has_a_figure() -> None:
    points = POINTS.assign(status="diverged", test_accuracy=np.nan)
    assert _texts(figures.metric_by_batch(points, LOOKS, ACCURACY)).count("5") == 5


@given(st.sets(st.integers(1, 50), min_size=1), st.data())
def test_a_line_joins_neighbours_only(study: set[int], data: st.DataObject) -> None:
    sizes = sorted(data.draw(st.sets(st.sampled_from(sorted(study)), min_size=1)))
    runs = neighbours(sizes, study)
    assert [size for run in runs for size in run] == sizes
    for run in runs:
        for left, right in pairwise(run):
            assert not [size for size in study if left < size < right]
    for left, right in pairwise(runs):
        assert [size for size in study if left[-1] < size < right[0]]


def test_measures_are_geometric_means_on_a_log_axis() -> None:
    figure = figures.measures_by_batch(_values(), LOOKS, "sharpness: largest of 12 starts")
    (axes,) = figure.axes
    value = _values().query("arm == 'baseline' and global_batch_size == 128")
    means = [bar[0] for x, bar in _all_bars(axes) if x == 128]
    assert axes.get_yscale() == "log"
    assert max(means) == pytest.approx(stats.gmean(value["value"]))
    assert "sharpness: largest of 12 starts" in _texts(figure)


def test_a_line_joins_the_sizes_of_a_block_whatever_ran_in_others() -> None:
    """Sizes 32 and 1000 in one block, 32 and 128 in another: each has its line."""
    first = _points({("baseline", 32): 0.95, ("baseline", 1000): 0.93}).assign(block=0)
    second = _points({("other", 32): 0.95, ("other", 128): 0.93}).assign(block=1)
    points = pd.concat([first, second], ignore_index=True)
    assert _spans(points) == [4, 1000 / 32]
    assert _spans(points.drop(columns="block")) == [4]  # 128 lies between


def _spans(points: pd.DataFrame) -> list[float]:
    """How many times as large the last batch size of each line is as its first."""
    (axes,) = figures.measures_by_batch(_values(points), looks_of(points)).axes
    lines = [line.get_xdata() for line in axes.lines]
    ends = [x[-1] / x[0] for x in lines if len(set(x)) == len(x) > 1]
    return sorted(round(float(ratio), 3) for ratio in ends)


def _all_bars(axes: Any) -> list[tuple[float, tuple[float]]]:
    points = [container.lines[0] for container in axes.containers]
    return [(float(p.get_xdata()[0]), (float(p.get_ydata()[0]),)) for p in points]


def test_a_sharpness_of_zero_enters_no_mean_and_is_marked_on_the_axis() -> None:
    values = _values().query("arm == 'baseline'").copy()
    values.loc[values["global_batch_size"] == 32, "value"] = 0.0
    (axes,) = figures.measures_by_batch(values, LOOKS).axes
    assert sorted(x for x, _ in _all_bars(axes)) == [128, 1000]
    marks = [line for line in axes.lines if line.get_marker() == "v"]
    assert [float(mark.get_xdata()[0]) for mark in marks] == [32.0] * 5


def test_sharpness_against_gap_draws_every_cell_and_names_its_batch_size() -> None:
    figure = figures.sharpness_against_gap(_against(), LOOKS, ACCURACY)
    drawn = {(x, *y) for x, y in _all_bars(figure.axes[0])}
    cells = _against()
    expected = set(zip(100 * cells["gap"], cells["ratio"], strict=True))
    assert np.array(sorted(drawn)) == pytest.approx(np.array(sorted(expected)))
    assert {"128", "1000", "baseline batch"} <= set(_texts(figure))


def test_a_gap_in_errors_is_drawn_in_their_own_unit() -> None:
    (axes,) = figures.sharpness_against_gap(_against(), LOOKS, ABSOLUTE_ERROR).axes
    assert axes.get_xlabel() == "generalization_gap"
    drawn = sorted(x for x, _ in _all_bars(axes))
    assert drawn == pytest.approx(sorted(_against()["gap"]))


def test_learning_curves_end_within_the_axis_and_leave_out_the_first_rise() -> None:
    records = _records()
    above, below = figures.learning_curves(records, ACCURACY, LOSS).axes
    low, high = above.get_ylim()
    final = 100 * records[records["epoch"] == 10].groupby("line")["test_accuracy"].mean()
    first = 100 * records[records["epoch"] == 1].groupby("line")["test_accuracy"].mean()
    assert low < final.min() and final.max() < high and first.max() < low
    assert [len(axes.lines) for axes in (above, below)] == [3, 3]


def test_one_seed_has_a_line_and_no_band() -> None:
    above, _ = figures.learning_curves(
        _records(_points({("baseline", 32): 0.9}, seeds=1)), ACCURACY, LOSS
    ).axes
    (line,) = above.lines
    (band,) = above.collections
    assert np.isfinite(line.get_ydata()).all()
    assert all(len(path.vertices) == 0 for path in band.get_paths())


def test_a_share_that_is_not_shown_says_so() -> None:
    shares = _shares().assign(share=np.nan, share_low=np.nan, share_high=np.nan)
    figure = figures.arms_side_by_side(shares, _cells(), LOOKS, 32, ACCURACY)
    assert "not shown: see the table" in _texts(figure)


def test_one_wide_share_does_not_hide_the_others() -> None:
    shares = _shares().assign(share_low=-90.0, share_high=90.0)
    low, high = figures.arms_side_by_side(shares, _cells(), LOOKS, 32, ACCURACY).axes[0].get_xlim()
    assert low > -200 and high < 300


# -------------------------------------------------------------------------------------- the look


def test_series_can_be_told_apart() -> None:
    many = _points({(f"arm {i}", size): 0.9 for i in range(60) for size in (32, 64)}, seeds=1)
    looks = looks_of(many)
    assert len({(look.colour, look.marker, look.line) for look in looks.values()}) == 60
    assert all(1 <= look.shift < 2**0.7 for look in looks.values())  # the next size is 2
    assert len({look.colour for look in list(looks.values())[:7]}) == 7


HARD = {
    "one series": _points({("baseline", 32): 0.9, ("baseline", 1000): 0.8}),
    "long names": _points(
        {
            (f"an arm with a long name {i}", size): 0.9 - i / 99
            for i in range(9)
            for size in (32, 1000)
        }
    ),
    "names that could be markup": _points(
        {
            (name, size): 0.9
            for name in ("$x_", "_hidden", r"$\frac", "<b>&amp;")
            for size in (32, 1000)
        }
    ),
}


@pytest.mark.parametrize("case", HARD)
def test_text_is_legible_on_a_phone_and_no_legend_covers_data(case: str) -> None:
    for name, figure in _all_figures(HARD[case]).items():
        canvas = _drawn(figure)
        renderer = canvas.get_renderer()
        visible = [t for t in figure.findobj(Text) if t.get_visible() and t.get_text()]
        assert min(t.get_fontsize() for t in visible) * PHONE / (72 * WIDTH) > 9, name
        for legend in figure.legends:
            box = legend.get_window_extent(renderer)
            assert box.width <= figure.bbox.width, name
            for axes in figure.axes:
                assert not box.overlaps(axes.get_window_extent(renderer)), name


def test_names_are_shown_as_they_were_written() -> None:
    for name, figure in _all_figures(HARD["names that could be markup"]).items():
        if name not in ("curves", "arms"):  # one line; rows instead of a legend
            assert {"$x_", "_hidden", r"$\frac", "<b>&amp;"} <= set(_texts(figure)), name


def test_nothing_global_is_touched() -> None:
    before = dict(mpl.rcParams)
    _all_figures(POINTS)
    assert dict(mpl.rcParams) == before


def test_importing_them_is_light() -> None:
    code = (
        "import sys, analysis.figures;"
        "print([m for m in ('torch', 'ray', 'matplotlib.pyplot', 'study') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
