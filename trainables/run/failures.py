"""What is kept of a failure: one line that says it, and where in whose code it came from. Light."""

from __future__ import annotations

import os
import traceback
from pathlib import Path

from trainables.redaction import redacted

LIMIT = 8192
"""Characters of a traceback that are kept: its end, which says what happened."""
OUT_OF_MEMORY = "out of memory at step"
"""What the error of an attempt begins with whose step did not fit."""
GOES_ON = "goes on with micro-batches of"
"""In the error of an attempt that the next one, with smaller micro-batches, goes on from."""
LOST = "lost the other workers"
"""What the error of a worker begins with that waited for one which had failed."""


def in_words(error: BaseException) -> str:
    """One error as `Type: text`, fit to be shown."""
    return redacted(f"{type(error).__name__}: {error}")


def is_echo(error: BaseException) -> bool:
    """Whether it only says that another worker is gone.

    Gloo raises a plain RuntimeError, from wherever gradients are reduced; NCCL one of its own.
    """
    frames = traceback.extract_tb(error.__traceback__)
    in_a_call = bool(frames) and "/torch/distributed/" in frames[-1].filename
    return in_a_call or "/gloo/" in str(error) or type(error).__name__ == "DistBackendError"


def traceback_text(error: BaseException, folder: str | None) -> str:
    """An error's traceback, the frames of the user's own files first.

    Args:
        error: as caught.
        folder: where the user's files lie.
    """
    frames = traceback.extract_tb(error.__traceback__)
    own = traceback.format_list([f for f in frames if _is_below(f.filename, folder)])
    first = f"In your code:\n{''.join(own)}\n" if own else ""
    first = first[: LIMIT // 2]
    whole = "".join(traceback.format_exception(error))
    return first + whole[-(LIMIT - len(first)) :]


def log_file() -> str | None:
    """Where this process's stderr goes, if that is a file: a Ray worker's log."""
    try:
        path = os.readlink("/proc/self/fd/2")
    except OSError:
        return None
    return path if os.path.isfile(path) else None


def _is_below(path: str, folder: str | None) -> bool:
    return folder is not None and Path(path).is_relative_to(folder)
