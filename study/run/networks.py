"""Networks that are not ours, built once before a run, so that what fails does so then."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from study.file.document import StudyError
from study.run.opening import Opened
from trainables.config.trial import Trial
from trainables.networks.cards import CARDS
from trainables.rules.batching import layouts


def own_parameter_shapes(opened: Opened) -> dict[str, str]:
    """Builds each network that is not one of ours once, so that what fails does so before the run.

    Returns:
        Hash of the parameters' shapes, by trial.

    Raises:
        StudyError: a network cannot be built, its outputs are not logits of the data's classes, or
            its normalization does not fit the layout.
    """
    built: dict[tuple[str, str], tuple[str, bool]] = {}
    shapes: dict[str, str] = {}
    for trial in opened.trials:
        config = trial.config
        if config.network.name in CARDS:
            continue
        facts = opened.facts(config.data)
        key = repr(config.network), repr((facts.input_shape, facts.num_classes))
        if key not in built:
            built[key] = _built(opened, trial)
        shapes[trial.trial_id], normalizes = built[key]
        with _as_study_error(opened, "execution"):
            layouts(config, trial.execution, normalizes)
    return shapes


@contextmanager
def _as_study_error(opened: Opened, section: str) -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        raise StudyError([opened.spec.document.problem((section,), str(error))]) from error


def _built(opened: Opened, trial: Trial) -> tuple[str, bool]:
    """Hash of the parameters' shapes, and whether the network has batch normalization."""
    from trainables.methods.normalization import replace_batch_norm
    from trainables.networks.build import build, parameter_shapes_hash  # loads torch

    config, facts = trial.config, opened.facts(trial.config.data)
    shape, classes = facts.input_shape, facts.num_classes
    with _as_study_error(opened, "network"):
        model = build(config.network, shape, classes, config.seed, trial.import_folder)
        return parameter_shapes_hash(model), replace_batch_norm(model) is not None
