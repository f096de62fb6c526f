"""Frames of speech in Parquet, with the frames around each spliced to it.

Columns `utterance`, `features` (a list of F floats) and `label`, one row per frame, utterance after
utterance, in time order: the shape of hybrid acoustic models, as in the F2 of Keskar et al. 2017.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from trainables import limits
from trainables.config.data import DataConfig
from trainables.datasets.parquet_files import read_columns, split_files
from trainables.datasets.splits import Pair, Splits

COPIES = 4
"""Of the spliced frames, counted in their own size: places of 8 bytes, frames, those held out."""


def load(config: DataConfig, import_folder: str | None) -> Splits:
    """Spliced frames float32 [N, (2 context + 1) F] and labels.

    Raises:
        ValueError: A file is damaged or lacks a column, features differ in length, or the rows of
            an utterance do not lie together.
        FileNotFoundError: Nothing is at `train` or `test`.
    """
    if config.context < 0:
        raise ValueError(f"data.context is {config.context}; use 0 or more frames on each side")
    return Splits(
        train=_split(split_files(config.train, "train"), config.context),
        test=_split(split_files(config.test, "test"), config.context),
    )


def splice(
    features: npt.NDArray[Any], utterance: npt.NDArray[Any], context: int
) -> npt.NDArray[Any]:
    """x_t becomes [x_{t-c}, ..., x_t, ..., x_{t+c}], its utterance's edge frames repeated.

    Args:
        features: [N, F], utterances one after the other.
        utterance: [N] numbers that change where an utterance ends.
        context: c, frames on each side.

    Returns:
        [N, (2 c + 1) F].

    Raises:
        ValueError: they do not fit into the memory.
    """
    width = (2 * context + 1) * features.shape[1]
    said = f"for {len(features):,} rows of {width:,} numbers"
    limits.check_memory(COPIES * features.itemsize * len(features) * width, said)
    rows = np.arange(len(features))
    starts = np.flatnonzero(np.diff(utterance, prepend=utterance[0] - 1))
    lengths = np.diff(starts, append=len(rows))
    first = np.repeat(starts, lengths)
    last = first + np.repeat(lengths, lengths) - 1
    around = rows[:, None] + np.arange(-context, context + 1)
    around = np.clip(around, first[:, None], last[:, None])
    spliced: npt.NDArray[Any] = features[around].reshape(len(rows), -1)
    return spliced


def _split(paths: list[Path], context: int) -> Pair:
    columns = (("utterance",), ("features",), ("label",))
    utterances, features, labels = read_columns(paths, columns)
    if len(labels) == 0:
        raise ValueError(f"{paths[0]}: holds no rows")
    utterance = _numbered(utterances, paths[0])
    return splice(_matrix(features, paths[0]), utterance, context), labels.to_numpy()


def _numbered(utterances: pa.ChunkedArray, path: Path) -> npt.NDArray[Any]:
    """Utterances as numbers [N], each one run of rows."""
    if pa.types.is_dictionary(utterances.type):
        utterances = utterances.cast(utterances.type.value_type)
    if utterances.null_count:
        raise ValueError(f"{path}: {utterances.null_count} rows have no `utterance`; name them")
    try:
        numbers = np.asarray(pc.dictionary_encode(utterances).combine_chunks().indices)
    except pa.ArrowException as error:
        said = f"{path}: `utterance` is {utterances.type}, not names or numbers"
        raise ValueError(said) from error
    runs = np.count_nonzero(np.diff(numbers)) + 1
    if runs != len(np.unique(numbers)):
        raise ValueError(
            f"{path}: the rows of an utterance must lie together, in time order, but "
            f"{len(np.unique(numbers))} utterances lie in {runs} pieces; sort the rows"
        )
    return numbers


def _matrix(features: pa.ChunkedArray, path: Path) -> npt.NDArray[np.float32]:
    """Lists of equal length as float32 [N, F]."""
    try:
        lengths = pc.unique(pc.list_value_length(features)).to_pylist()
        flat = pc.list_flatten(features).cast(pa.float32())
    except pa.ArrowException as error:
        raise ValueError(f"{path}: `features` is {features.type}, not lists of floats") from error
    if len(lengths) != 1 or lengths[0] in (None, 0) or flat.null_count:
        raise ValueError(
            f"{path}: `features` must have one length above 0 and nothing missing; found lengths "
            f"{sorted(lengths, key=str)[:5]} and {flat.null_count} missing values"
        )
    matrix: npt.NDArray[np.float32] = flat.to_numpy().reshape(len(features), lengths[0])
    return matrix
