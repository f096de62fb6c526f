"""The tables of the page: in which section each stands, what it holds, what is said above it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import pandas as pd

from analysis.choice import target_share
from analysis.gaps.measured import definitions
from analysis.judged.edge import BELOW
from analysis.judged.published import beside_paper
from analysis.load import Study
from analysis.page import arm_table, edge_exhibits, search_tables, tables
from analysis.page.grid import Grid, grid
from analysis.wording import title, words
from analysis.words.glossary import gap_words
from analysis.words.scorecard import scorecard_note

Text = str | Callable[[Study], str]


@dataclass(frozen=True, kw_only=True)
class PageTable:
    """One table of the page."""

    section: str
    """Where it stands, behind those that come before it here."""
    label: Text
    """What a screen reader calls it."""
    frame: Callable[[Study], pd.DataFrame]
    """Empty where there is nothing to show."""
    title: str = ""
    """Of its own, below the section's."""
    figure: str = ""
    """Drawn between title and lead."""
    leads: tuple[Text, ...] = ()
    """Paragraphs above it."""
    absent: Text = ""
    """Said in its place where it is empty; "" leaves all of it out."""


@dataclass(frozen=True, kw_only=True)
class Shown:
    """A table as the page sets it."""

    label: str
    title: str
    figure: str
    leads: tuple[str, ...]
    grid: Grid


def page_tables(study: Study) -> Mapping[str, list[Shown]]:
    """The tables of a study's page, by section."""
    # One network or arm throughout names no row.
    same = [name for name in ("network", "arm") if study.points[name].nunique() == 1]
    found: dict[str, list[Shown]] = {table.section: [] for table in TABLES}
    for table in TABLES:
        frame = table.frame(study).drop(columns=same, errors="ignore")
        absent = _text(table.absent, study)
        if frame.empty and not absent:
            continue
        shown = Shown(
            label=_text(table.label, study),
            title=table.title,
            figure=table.figure,
            leads=tuple(_text(lead, study) for lead in table.leads),
            grid=grid(frame, absent),
        )
        found[table.section].append(shown)
    return found


def _text(text: Text, study: Study) -> str:
    return text if isinstance(text, str) else text(study)


# ------------------------------------------------------------------------------------------ leads


def _about_gap(study: Study) -> str:
    unit = ", in percentage points" if study.metric.unit_of_difference == "points" else ""
    return (
        f"The gap is {gap_words(study.metric)}{unit}. Square brackets hold 95 % intervals (1 − .05 "
        "/ looks, where seeds were added), ± the standard deviation over seeds. Where enough seeds "
        "allow it, the permutation p flips the signs of the paired differences."
    )


def _about_choice(study: Study) -> str:
    metric = study.metric
    return (
        "What each batch size gives and what it costs. “Loses at most” is the one-sided 95 % upper "
        "limit of the gap. The time is the median over seeds to reach "
        f"{100 * target_share(metric):.0f} % of the baseline’s final {words(metric.name)}; in "
        "brackets how many trials did. Seconds taken on a shared machine are not a measure of "
        "speed."
    )


def _about_keskar(study: Study) -> str:
    method = (
        "by the paper’s own method (10 iterations of L-BFGS-B), which falls short of the maximum, "
        "most at flat minima"
        if beside_paper(study)
        else "is the largest value found"
    )
    return (
        "Small batch (SB) beside large batch (LB), mean ± standard deviation over seeds; sharpness "
        f"{method}."
    )


def _about_arms(study: Study) -> str:
    lifts = "lifts" if study.metric.is_larger_better else "lowers"
    tuned = (
        " Where a search chose the values, gain and share are lower limits against the best that "
        "the baseline could be tuned to; “at its best” and “at the baseline’s” set arm against "
        "baseline at both best values, as a description."
    )
    return (
        "Share = mean(arm − large batch) / mean(baseline batch − large batch), paired by seed, "
        "with Fieller’s interval; not shown where the gap’s own interval includes 0. Arms that "
        "ran beside each other share one level, 1 − .05 / (comparisons × looks). An arm that "
        f"also gains at the baseline batch size {lifts} {words(study.metric.name)} everywhere and "
        f"closes less than its share says.{tuned if is_tuned(study) else ''}"
    )


def _about_steps(study: Study) -> str:
    return (
        "The least number of optimizer steps at which any trial of the cell, of the search or "
        f"final, first had the target {words(study.test_metric)} at a record (Shallue et al. "
        "2019); in brackets the record before. The target is seen on the test set. The slope is "
        "that of log steps over log batch from the next smaller batch size: −1 is perfect "
        "scaling, 0 maximal parallelism; the regimes part at −0.75 and −0.25."
    )


def is_tuned(study: Study) -> bool:
    """Whether the page has a section on tuning."""
    return bool(study.search) or study.target is not None


# ----------------------------------------------------------------------------------------- tables


def _of(is_there: bool, frame: Callable[[Study], pd.DataFrame], study: Study) -> pd.DataFrame:
    return frame(study) if is_there else pd.DataFrame()


NONE_ENDED = "No trial has ended."

TABLES = (
    PageTable(
        section="papers",
        label="Beside the papers",
        frame=tables.scorecard_table,
        leads=(
            "What the sources report, and the same comparison here: the first batch or arm against "
            "the second, paired by seed, as a difference in points for accuracies and as a ratio "
            "for all else, with 95 % intervals. “Not shown” means that the interval holds both "
            "signs; a claim about equally good training is not judged where train accuracy is "
            "lower. “Size” says whether the paper’s own difference or ratio, with its error, "
            "agrees with ours.",
            scorecard_note,
        ),
    ),
    PageTable(
        section="metric",
        label=lambda study: f"{title(study.metric.name)} and generalization gap",
        frame=tables.gap_table,
        leads=(_about_gap,),
        absent=NONE_ENDED,
    ),
    PageTable(
        section="choice",
        label="Choosing a batch size",
        frame=tables.choice_table,
        leads=(_about_choice,),
        absent=NONE_ENDED,
    ),
    PageTable(
        section="sharpness",
        title="Measured at the end of training",
        label="Measured at the end of training",
        frame=lambda study: _of(bool(definitions(study)), tables.measure_table, study),
        leads=(
            "Geometric means over seeds, and the ratio to the baseline batch size. “Best” "
            "sharpness is the largest value found, from so many starts as the figure says; it is "
            "a lower bound of the true maximum. An estimate of the noise scale can be negative, "
            "and so can a curvature; a barrier or a share can be 0. Where a value is not "
            "positive the plain mean stands instead, marked so, and no ratio is given.",
        ),
        absent="Nothing has been measured at the end of training.",
    ),
    PageTable(
        section="sharpness",
        title="In the form of Keskar et al. 2017",
        label="Table in the form of Keskar et al. 2017",
        frame=lambda study: tables.keskar_table(study, "paper" if beside_paper(study) else "best"),
        leads=(_about_keskar,),
        absent="That form takes a baseline_batch_size and a larger one.",
    ),
    PageTable(
        section="together",
        label=lambda study: f"Correlation of measures with {words(study.metric.name)} and gap",
        frame=tables.correlation_table,
        leads=(
            "Kendall’s τ-b: 1 where the two always rise together, −1 where one falls as the other "
            "rises. Over all trials it has no p: they are seeds of a few cells, and it may be that "
            "of a setting that moves both. Two questions have one: whether trials of one cell that "
            "differ in the seed alone rise together, and whether the cells’ means do. “Within” "
            "columns hold all other settings equal.",
        ),
        absent="Nothing was measured on enough trials.",
    ),
    PageTable(
        section="arms",
        label="Share of the gap closed",
        frame=arm_table.closing_table,
        leads=(_about_arms,),
        absent="The study has no arms beside the baseline.",
    ),
    PageTable(
        section="tuning",
        label="What the search found",
        frame=lambda study: _of(bool(study.search), search_tables.search_table, study),
        leads=(
            "Per cell the points that were tried, those of them that died, and the values that "
            "won, which the final trials were trained with. A best value at the edge of what was "
            "searched says that a better one may lie beyond.",
        ),
    ),
    PageTable(
        section="tuning",
        title="Steps to the target",
        figure="steps",
        label="Steps to the target",
        frame=lambda study: _of(study.target is not None, search_tables.steps_table, study),
        leads=(_about_steps,),
    ),
    PageTable(
        section="tuning",
        label="Critical batch size",
        frame=lambda study: _of(study.target is not None, search_tables.critical_table, study),
        leads=(
            "S(B) = S_min (1 + B_crit / B), fitted to the least steps on the log scale (McCandlish "
            "et al. 2018); B_simple is the noise scale measured at the end of training.",
        ),
        absent=lambda study: (
            ""
            if study.target is None
            else "No fit: that takes three batch sizes of a series that reached the target."
        ),
    ),
    PageTable(
        section="training",
        title="The top eigenvalue beside 2 / lr",
        label="The top eigenvalue beside 2 / lr",
        frame=edge_exhibits.distance_table,
        leads=(
            "Under plain SGD at a constant rate: the mean over the last fifth of a trial’s "
            "records, and its share of 2 / lr, mean over seeds.",
        ),
    ),
    PageTable(
        section="training",
        title="Its distance against the batch size",
        label="Slope of the distance below 2 / lr",
        frame=edge_exhibits.slope_table,
        leads=(
            "The slope of log(1 − eigenvalue × lr / 2) on log B, one per seed, over the batch "
            f"sizes whose mean lies below {BELOW} of 2 / lr; −1 is 1 / B. R² is of the means.",
        ),
    ),
    PageTable(
        section="conditions",
        label="Conditions",
        frame=tables.conditions_table,
        leads=(
            "What follows from the batch size by other ways than the batch itself, resolved, mean "
            "over the trials of a cell.",
        ),
        absent=NONE_ENDED,
    ),
    PageTable(
        section="failures",
        label="Trials that did not complete",
        frame=tables.failures_table,
    ),
)
"""All of them, in the order of the page: a new one takes a function and an entry here."""
