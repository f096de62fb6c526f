"""Adaptive search: Optuna's tree-structured Parzen estimator, asked and told from the results.

Bergstra, Bardenet, Bengio, Kegl 2011, *Algorithms for hyper-parameter optimization*, as Optuna has
it. It is first told the candidates that all cells share, and goes its own way from there. Each time
a sampler is built anew, seeded by the cell's name and the number of points told, and told all of
them: nothing is kept beside the results folder, and the same results give the same points. The only
module that imports optuna.
"""

from __future__ import annotations

from collections.abc import Sequence

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import TrialState, create_trial

from analysis.search.finals import rounded
from study.file.candidates import Range, Values, is_whole, within
from study.file.search_config import SearchConfig
from study.plan.cells import Tried
from trainables.draws import derive_seed


def ask(search: SearchConfig, cell: str, told: Sequence[Tried], count: int) -> list[Values]:
    """The next points of a cell.

    Args:
        search: the study's.
        cell: the cell's name in draws.
        told: its points so far, all ended, those that all cells share among them. One that did not
            complete is told as pruned: the sampler then ranks it behind all that did, and no value
            is made up for it.
        count: how many; the first of them do not depend on it.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    seed = derive_seed(0, "search", cell, "optuna", len(told)) % 2**32
    study = optuna.create_study(
        # What is shared takes the place of its random points at the start.
        sampler=optuna.samplers.TPESampler(seed=seed, n_startup_trials=len(search.candidates)),
        direction="maximize" if search.maximizes else "minimize",
    )
    space = {name: _distribution(name, values) for name, values in search.fields.items()}
    for tried in told:
        died = tried.objective is None
        study.add_trial(
            create_trial(
                params=dict(tried.values),
                distributions=space,
                value=tried.objective,
                state=TrialState.PRUNED if died else TrialState.COMPLETE,
            )
        )
    return [_written(search, study.ask(space).params) for _ in range(count)]


def _distribution(name: str, values: tuple[float, ...] | Range) -> BaseDistribution:
    if not isinstance(values, Range):
        return CategoricalDistribution(values)
    if is_whole(name):
        return IntDistribution(int(values.low), int(values.high), log=values.log)
    return FloatDistribution(values.low, values.high, log=values.log)


def _written(search: SearchConfig, drawn: Values) -> Values:
    """Drawn values as a study file would have them, in the order of the section."""
    return {
        name: within(rounded(drawn[name]), values)
        if isinstance(values, Range) and not is_whole(name)
        else drawn[name]
        for name, values in search.fields.items()
    }
