"""Saving a training state and restoring it, exactly.

Everything random is a function of (seed, name, position), so weights, the optimizer's averages and
the counters are the whole state: a trial stopped anywhere goes on bit for bit as if it had not
been. That holds for one layout, thread count, kind of device and torch version. A state holds
nothing of its layout: other workers, or other parts of a batch, go on from it, equal up to rounding
(and to the draws of dropout, which are made part by part). A checkpoint of another thread count,
device or torch is not used.
"""

from __future__ import annotations

import hashlib
import io
import pickle
import zipfile
from contextlib import suppress
from typing import Any

import torch

from trainables.config.identity import science
from trainables.config.trial import Trial
from trainables.imports import source_hash
from trainables.loop import TrainState
from trainables.prepare import Prepared
from trainables.results.layout import checkpoint_file, checkpoints_of
from trainables.results.storage import storage_at

_COUNTERS = (
    "optimizer_step",
    "kept_examples",
    "latest_kept",
    "extra_forward_examples",
    "gradient_evaluations",
    "training_seconds",
    "evaluation_seconds",
    "rows",
)


def conditions(prepared: Prepared) -> dict[str, Any]:
    """What must be equal for a trial to go on from a state.

    How often it is evaluated too, since the rows so far are kept, and its record of the layers,
    where one is asked for: it begins at the first step.
    """
    trial = prepared.trial
    build, execution = trial.config.network.build, trial.execution
    return {
        "threads_per_worker": execution.threads_per_worker,
        "channels_last": execution.channels_last,
        "trial_id": trial.trial_id,
        "data": prepared.facts.fingerprint,
        "network code": build and source_hash(build, trial.import_folder),
        "device": prepared.device.type,
        "torch": str(torch.__version__),  # of a class that weights_only would refuse
        "evaluation": science(prepared.evaluation),
        **({"record of layers": science(prepared.layers)} if prepared.layers else {}),
    }


def save(trial: Trial, state: TrainState, under: dict[str, Any]) -> None:
    """Writes the state atomically, behind its SHA-256: torch.load would not see a flipped bit."""
    saved = {name: getattr(state, name) for name in _COUNTERS} | {
        "model": state.model.state_dict(),
        "optimizer": state.optimizer.state_dict(),
        "conditions": under,
    }
    buffer = io.BytesIO()
    torch.save(saved, buffer)
    written = buffer.getvalue()
    content = hashlib.sha256(written).digest() + written
    storage_at(trial.folder).replace(checkpoint_file(trial.trial_id), content)


def restore(
    trial: Trial, state: TrainState, under: dict[str, Any], not_after: int | None = None
) -> str | None:
    """Puts a saved state into a freshly started one.

    Args:
        trial: whose.
        state: freshly started.
        under: the conditions now.
        not_after: a step whose weights are still to be kept: a state behind it cannot give them.

    Returns:
        None if it was restored or there was none; otherwise why it was not used, which leaves the
        state as it was, at step 0.
    """
    try:
        stored = storage_at(trial.folder).read(checkpoint_file(trial.trial_id))
    except FileNotFoundError:
        return None
    digest, written = stored[:32], stored[32:]
    if hashlib.sha256(written).digest() != digest or _is_packed(written):
        return "checkpoint is damaged; started again"
    device = next(state.model.parameters()).device
    try:
        content = torch.load(io.BytesIO(written), map_location=device, weights_only=True)
    except (RuntimeError, pickle.UnpicklingError) as error:  # another torch wrote it
        return f"checkpoint cannot be read ({error}); started again"
    if not content.keys() >= set(_COUNTERS):
        return "checkpoint was written by another version of batchgap; started again"
    if differing := sorted(k for k in under if content["conditions"].get(k) != under[k]):
        return f"checkpoint was made under another {', '.join(differing)}; started again"
    if not_after is not None and content["optimizer_step"] >= not_after:
        return f"checkpoint is past step {not_after}, whose weights are to be kept; started again"
    state.model.load_state_dict(content["model"])
    state.optimizer.load_state_dict(content["optimizer"])
    for name in _COUNTERS:
        setattr(state, name, content[name])
    return None


def _is_packed(written: bytes) -> bool:
    """Whether it unpacks to more than it is, as nothing does that torch.save wrote."""
    with suppress(zipfile.BadZipFile), zipfile.ZipFile(io.BytesIO(written)) as file:
        return sum(part.file_size for part in file.infolist()) > len(written)
    return False


def drop(trial: Trial) -> None:
    """Removes what is kept of a trial while it is not complete; what cannot be does no harm."""
    storage = storage_at(trial.folder)
    for name in storage.list(checkpoints_of(trial.trial_id)):
        with suppress(OSError):
            storage.delete(name)
