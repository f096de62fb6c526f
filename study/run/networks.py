"""Networks that are not ours, built once before a run, so that what fails does so then."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from study.file.document import StudyError
from study.run.opening import Opened
from trainables.config.trial import Trial
from trainables.networks import own
from trainables.networks.own import Seen
from trainables.rules.batching import layouts


def own_parameter_shapes(
    opened: Opened, say: Callable[[str], None], *, anew: bool
) -> dict[str, str]:
    """Builds each network that is not one of ours, in a process of its own.

    Args:
        opened: the study.
        say: prints a line for the person.
        anew: also those that were built before with the same code: what that imports may differ.

    Returns:
        Hash of the parameters' shapes, by trial.

    Raises:
        StudyError: a network cannot be built, its outputs are not logits of the data's classes, or
            its normalization does not fit the layout.
    """
    built: dict[tuple[str, str], Seen] = {}
    shapes: dict[str, str] = {}
    for trial in opened.trials:
        config = trial.config
        if not own.is_own(config.network):
            continue
        facts = opened.facts(config.data)
        key = repr(config.network), repr((facts.input_shape, facts.num_classes))
        if key not in built:
            built[key] = _built(opened, trial, say, anew)
        shapes[trial.trial_id] = built[key].shapes_hash
        with _as_study_error(opened, "execution"):
            layouts(config, trial.execution, built[key].has_batch_norm)
    return shapes


@contextmanager
def _as_study_error(opened: Opened, section: str) -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        raise StudyError([opened.spec.document.problem((section,), str(error))]) from error


def _built(opened: Opened, trial: Trial, say: Callable[[str], None], anew: bool) -> Seen:
    network, facts = trial.config.network, opened.facts(trial.config.data)
    shape, classes, folder = facts.input_shape, facts.num_classes, trial.import_folder
    seen = None if anew else own.known(network, shape, classes, folder)
    if seen is None:
        say(f"building network {network.label}")
        with _as_study_error(opened, "network"):
            seen = own.examine(network, shape, classes, trial.config.seed, folder)
    return seen
