"""Any data set as arrays mapped from a cache on disk, shared by all processes of a machine.

The first process that needs a set loads, checks and selects it and writes one folder: an .npy file
per array and `meta.json`. It is written beside, fsynced and renamed under a lock, so that a folder
is whole or absent; every later open maps it and takes milliseconds. The cache lies in
`$BATCHGAP_CACHE`, else `$XDG_CACHE_HOME/batchgap`, else `~/.cache/batchgap`, and may be deleted at
any time when nothing runs. Examples of a streamed source (`config.sources`) pass through memory
one by one on their way there, and stay on the disk until a batch is drawn.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
from filelock import FileLock, Timeout

from trainables import alive
from trainables.config.data import DataConfig
from trainables.config.sources import SOURCES
from trainables.datasets import image_folder
from trainables.datasets.facts import DataFacts
from trainables.datasets.image_folder import Counts, Images
from trainables.datasets.sources import LOADERS
from trainables.datasets.splits import Array, checked, select
from trainables.imports import source_hash
from trainables.installation import cache_folder
from trainables.task import TASKS, Task

CACHE_VERSION = 1
"""Raised when what is stored, or how examples are selected, changes: old entries are not read."""

ROWS_AT_ONCE = 4096
"""Rows converted to float64 at a time for the channel statistics."""
WAIT_SECONDS = 10.0
"""For another process's work, between two signs of life."""
BYTES_AT_ONCE = 2**28
"""Bytes hashed at a time."""


@dataclass(frozen=True)
class Data:
    """A data set in memory maps: inputs [N, ...] uint8 or float32, labels as its task has them.

    The maps are copy-on-write: a stray write stays in this process and never reaches the file.
    Streamed inputs are read-only, because Linux refuses a writable map larger than the memory.
    Validation arrays have length 0 when none were asked for.
    """

    train_inputs: Array
    train_labels: Array
    validation_inputs: Array
    validation_labels: Array
    test_inputs: Array
    test_labels: Array
    facts: DataFacts


ARRAYS = tuple(f.name for f in fields(Data) if f.name != "facts")


def open_data(
    config: DataConfig, import_folder: str | None = None, *, runs_code: bool = True
) -> Data:
    """Open the data set from the cache, making its entry first where there is none (or a bad one).

    Args:
        config: Which examples; relative paths are taken from the working directory.
        import_folder: Where the module of an import string is looked up last.
        runs_code: Whether the user's loader is called where there is no entry.

    Raises:
        ValueError: A setting, the data or the user's loader is at fault, or may not be called.
        FileNotFoundError: Files of the source are missing.
        OSError: The cache cannot be written, or a download failed.
    """
    code = config.load if config.source == "load" else None
    code_hash = source_hash(code, import_folder) if code is not None else None
    entry = cache_folder() / _key(config, code_hash)
    streamed = SOURCES[config.source].is_streamed
    if (data := _opened(entry, streamed)) is not None:
        return data
    if code is not None and not runs_code:
        raise ValueError(
            f"{code} was not called for this data yet, and this verb runs no code of yours; "
            "`batchgap plan` does, after which it is known"
        )
    with _locked(entry):
        if (data := _opened(entry, streamed)) is not None:
            return data  # another process made it meanwhile
        arrays, num_classes = _selected(config, import_folder)
        _write(entry, arrays, num_classes, code_hash, TASKS[config.task])
    data = _opened(entry, streamed)
    assert data is not None, f"{entry} was just written and cannot be opened"
    return data


# ------------------------------------------------------------------------------------------ entries


def _key(config: DataConfig, code_hash: str | None) -> str:
    """What the arrays depend on: settings, code, and size and time of the files read."""
    # These change what results call the data, or batches drawn from it, but none of the arrays.
    settings = vars(config) | {"name": None, "standardize": False, "download": False}
    files = LOADERS[config.source].stamp(config)
    text = json.dumps([CACHE_VERSION, settings, code_hash, files], sort_keys=True, default=dict)
    return f"{config.source}-{hashlib.sha256(text.encode()).hexdigest()[:24]}"


def _opened(entry: Path, streamed: bool) -> Data | None:
    """The entry's maps; None where it is absent, damaged or of another form."""
    try:
        meta: dict[str, Any] = json.loads((entry / "meta.json").read_text())
        if meta.keys() != {f.name for f in fields(DataFacts)}:
            return None  # of before something was counted: made again in its place
        lists = {key: tuple(value) for key, value in meta.items() if isinstance(value, list)}
        facts = DataFacts(**(meta | lists))
        arrays = _maps(entry, streamed)
    except (OSError, ValueError, TypeError, EOFError, AttributeError):
        return None
    return Data(**arrays, facts=facts)


def _maps(folder: Path, streamed: bool) -> dict[str, Array]:
    """The arrays by their name in `Data`, mapped."""

    def mode(name: str) -> Literal["r", "c"]:
        return "r" if streamed and name.endswith("_inputs") else "c"

    return {
        name: np.load(folder / f"{name}.npy", mmap_mode=mode(name), allow_pickle=False)
        for name in ARRAYS
    }


@contextmanager
def _locked(entry: Path) -> Iterator[None]:
    with _explained(entry.parent):
        entry.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(entry.with_suffix(".lock"))
        while True:
            with suppress(Timeout):  # who waits for another process's work is alive
                lock.acquire(timeout=WAIT_SECONDS)
                break
            alive.sign()
    try:
        yield
    finally:
        lock.release()


def _write(
    entry: Path,
    arrays: Mapping[str, Array | Images],
    num_classes: int,
    code_hash: str | None,
    task: Task,
) -> None:
    """Write beside, fsync, rename; the caller holds the lock."""
    beside = entry.with_suffix(".partial")
    shutil.rmtree(beside, ignore_errors=True)  # of a process that was killed
    with _explained(entry.parent):
        _check_room(entry.parent, arrays)
        try:
            beside.mkdir()
            counts: dict[str, Counts] = {}
            for name, array in arrays.items():
                with _synced(beside / f"{name}.npy") as file:
                    if isinstance(array, Images):
                        counts[name] = array.save(file)
                    else:
                        np.save(file, array, allow_pickle=False)
            facts = _facts(beside, counts.get("train_inputs"), num_classes, code_hash, task)
            with _synced(beside / "meta.json") as file:
                file.write(json.dumps(asdict(facts), indent=1).encode())
            shutil.rmtree(entry, ignore_errors=True)  # a damaged entry
            beside.rename(entry)
        except BaseException:  # also an interruption of what may take hours
            shutil.rmtree(beside, ignore_errors=True)
            raise


def _check_room(folder: Path, arrays: Mapping[str, Array | Images]) -> None:
    """Refuse at once what would fail after hours: more decoded images than the disk can hold."""
    needed = sum(array.nbytes for array in arrays.values() if isinstance(array, Images))
    if needed > (free := shutil.disk_usage(folder).free):
        raise OSError(f"the decoded images take {needed:,} bytes, and {free:,} are free")


@contextmanager
def _synced(path: Path) -> Iterator[BinaryIO]:
    with open(path, "wb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def _explained(folder: Path) -> Iterator[None]:
    """Say of a failure to write what was to be written and what the user can do."""
    try:
        yield
    except OSError as error:
        raise OSError(
            f"the data cache {folder} cannot be written ({error}); set BATCHGAP_CACHE to a folder "
            "that can be, with room for the data"
        ) from error


# --------------------------------------------------------------------------------------- making one


def _selected(
    config: DataConfig, import_folder: str | None
) -> tuple[dict[str, Array | Images], int]:
    """Load, check, select: the arrays by their name in `Data`, and the number of outputs."""
    what = f"data.load {config.load!r}" if config.source == "load" else f"data {config.label!r}"
    whole, task = LOADERS[config.source].load(config, import_folder), TASKS[config.task]
    if not SOURCES[config.source].is_streamed:
        whole = checked(whole, what, task)
    splits = select(whole, config.train_examples, config.validation_examples)
    train_inputs, train_labels = splits.train
    validation = splits.validation or (train_inputs[:0], train_labels[:0])
    arrays = dict(zip(ARRAYS, (*splits.train, *validation, *splits.test), strict=True))
    return arrays, task.num_outputs(whole.train[1])


def _facts(
    folder: Path, counts: Counts | None, num_classes: int, code_hash: str | None, task: Task
) -> DataFacts:
    """What is known of the arrays in a folder; `counts` of the training inputs, where streamed."""
    arrays = _maps(folder, streamed=counts is not None)
    if counts is None:
        mean, std = channel_statistics(arrays["train_inputs"])
    else:
        mean, std = image_folder.channel_statistics(counts)
    return DataFacts(
        num_train_examples=len(arrays["train_labels"]),
        num_validation_examples=len(arrays["validation_labels"]),
        num_test_examples=len(arrays["test_labels"]),
        input_shape=arrays["train_inputs"].shape[1:],
        num_classes=num_classes,
        fingerprint=_fingerprint(arrays),
        source_hash=code_hash,
        channel_mean=mean,
        channel_std=std,
        chance={
            **task.levels("validation", arrays["validation_labels"]),
            **task.levels("test", arrays["test_labels"]),
        },
    )


def _fingerprint(arrays: Mapping[str, Array]) -> str:
    digest = hashlib.sha256()
    for name in ARRAYS:
        array = np.ascontiguousarray(arrays[name])
        array = array.astype(array.dtype.newbyteorder("<"), copy=False)  # equal on every machine
        digest.update(f"{name} {array.shape} {array.dtype.str} ".encode())
        content = array.reshape(-1).view(np.uint8)
        for start in range(0, content.size, BYTES_AT_ONCE):  # in parts, to hear an interruption
            digest.update(content[start : start + BYTES_AT_ONCE].data)
    return digest.hexdigest()


def channel_statistics(inputs: Array) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and population standard deviation per channel (axis 1), in float64, in two passes.

    Args:
        inputs: [N, C, ...]; uint8 counts as x / 255.

    Returns:
        C means and C standard deviations.
    """
    scale = 255.0 if inputs.dtype == np.uint8 else 1.0
    others = (0, *range(2, inputs.ndim))

    def blocks() -> Iterator[Array]:
        for start in range(0, len(inputs), ROWS_AT_ONCE):
            yield inputs[start : start + ROWS_AT_ONCE].astype(np.float64) / scale

    count = inputs.size / inputs.shape[1]
    mean = sum(block.sum(axis=others) for block in blocks()) / count
    centre = mean.reshape(-1, *[1] * (inputs.ndim - 2))
    variance = sum(((block - centre) ** 2).sum(axis=others) for block in blocks()) / count
    return tuple(mean.tolist()), tuple(np.sqrt(variance).tolist())
