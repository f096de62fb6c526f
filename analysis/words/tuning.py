"""On what a study was tuned, and what that leaves open."""

from __future__ import annotations

from collections.abc import Iterator

from analysis.gaps import by_cell
from analysis.load import Study
from analysis.search.cells import next_candidates, too_few, tried_values
from analysis.search.outcomes import search_outcomes
from analysis.uncertainty import MIN_CANDIDATES
from analysis.wording import MAX_NAMES, counted, listed, words


def tuned_text(study: Study) -> str:
    """On what the study was tuned, and what that leaves open; or that it was not."""
    if not study.search:
        return f"Untuned: {_rates(study)}."
    outcomes = search_outcomes(study)
    optimize = study.search["optimize"]
    names = listed([words(name) for name in study.searched])
    said = f"Tuned apart at every batch size: {names}, by {words(optimize)}"
    if optimize.startswith("test"):
        said += f", that is on the test set, which flatters every {words(study.metric.name)} here"
    edge = int(outcomes["edge"].map(bool).sum())
    if edge:
        said += f"; in {edge} of {counted(len(outcomes), 'cell')} the best lies at the edge of "
        said += "what was searched, or near it"
    lacking = outcomes[outcomes["remark"] != ""]
    if len(lacking):
        named = [
            f"{row['arm']} at {row['global_batch_size']} ({row['remark']})"
            for row in by_cell.records(lacking)[:MAX_NAMES]
        ]
        said += f"; {len(lacking)} of {counted(len(outcomes), 'cell')} have no winner: "
        said += ", ".join([*named, *(["..."] if len(lacking) > MAX_NAMES else [])])
    return " ".join([f"{said}.", *_reservations(study)])


def _rates(study: Study) -> str:
    """What the baseline arm's rates do as the batch grows."""
    points = by_cell.labelled_points(study)
    own = points[points["arm"] == by_cell.BASELINE_ARM]
    if own["lr_scaling"].ne("none").any():
        return "rates scaled by the file's rule"
    if own["base_lr"].nunique() > 1:
        return "the same rates at every batch"
    return "one rate at every batch"


def _reservations(study: Study) -> Iterator[str]:
    """What of a search takes its comparisons their words, or qualifies them."""
    search, tried = study.search, list(tried_values(study).values())
    if more := next_candidates(study):
        yield f"To go on: search with method: grid and fields: {{{more}}}."
    if search.get("method") == "optuna":
        yield (
            "Beyond the shared candidates Optuna tried values of its own in each cell: they were "
            "searched unequally, an exploratory search."
        )
    elif len(set(tried)) > 1 and len({*map(len, tried)}) == 1:
        yield "Unequal draws: each cell tried values of its own, and no arm gets a word."
    if search.get("finals") != "crossed":
        yield "Finals were not crossed with the baseline's best values: no arm gets a word."
    if search.get("scheduler") == "asha":
        yield "Trials that fell behind were stopped early: an exploratory search."
    if (fewest := too_few(study)) is not None:
        yield (
            f"An exploratory search: {counted(fewest, 'candidate')} in "
            f"{counted(len(study.searched), 'field')}, where {MIN_CANDIDATES} a field are asked."
        )
