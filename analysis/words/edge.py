"""The verdict at length: how far the top eigenvalue stays below 2 / lr as the batch grows."""

from __future__ import annotations

from analysis.judged.edge import HALF, EdgeSlope, edge_slopes
from analysis.load import Study
from analysis.wording import number, under


def edge_paragraphs(study: Study) -> list[str]:
    """One for each series that has a word: `analysis.judged.edge` has the rule."""
    return [text for slope in edge_slopes(study) if (text := _text(slope))]


def _text(slope: EdgeSlope) -> str:
    if slope.reason:
        return ""
    arm = f"Top eigenvalue and 2 / lr, arm {slope.arm}{under(slope.settings)}"
    few = f" ({slope.exploratory})" if slope.exploratory else ""
    if slope.largest_share < HALF:
        share = number(slope.largest_share, 2)
        late = f"late in training the mean over seeds is at most {share} of 2 / lr"
        return f"{arm}: {late} at any batch size{few}."
    sizes = f"batch sizes {slope.sizes[0]} to {slope.sizes[-1]}"
    bounds = f"{number(slope.low)} to {number(slope.high)}"
    if slope.low <= 0 <= slope.high:
        return (
            f"{arm}: that its distance below 2 / lr changes with the batch size is not shown "
            f"(slope {bounds}, {sizes}){few}."
        )
    way = "falls" if slope.high < 0 else "rises"
    line = "" if slope.r_squared >= HALF else ", though not along a line"
    fit = f"{bounds}; {sizes}, R\N{SUPERSCRIPT TWO} {number(slope.r_squared, 2)}"
    return (
        f"{arm}: its distance below 2 / lr {way} as the batch grows, slope "
        f"{number(slope.estimate)} on logarithmic axes ({fit}){line}{few}."
    )
