"""The embedded set: the first 5,000 training and all 10,000 test images of MNIST.

It ships beside this module as `mnist5k.npz` (terms: `ATTRIBUTION.md`) and needs neither a
download nor torch. It was made from the four original IDX files, bit for bit, so that it can be
made again:

    def read(name):
        raw = gzip.open(f"MNIST/raw/{name}-ubyte.gz").read()
        shape = np.frombuffer(raw, ">u4", count=raw[3], offset=4)
        return np.frombuffer(raw, np.uint8, offset=4 + 4 * raw[3]).reshape(shape)

    np.savez_compressed(
        "mnist5k.npz",
        train_inputs=read("train-images-idx3")[:5000, None],
        train_labels=read("train-labels-idx1")[:5000],
        test_inputs=read("t10k-images-idx3")[:, None],
        test_labels=read("t10k-labels-idx1"),
    )
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from trainables.config.data import DataConfig
from trainables.datasets.splits import Splits

FILE = Path(__file__).with_name("mnist5k.npz")


def files(config: DataConfig) -> list[Path]:
    """The one file that is read."""
    return [FILE]


def load(config: DataConfig, import_folder: str | None) -> Splits:
    """Images uint8 [N, 1, 28, 28] and labels 0..9."""
    with np.load(FILE, allow_pickle=False) as arrays:
        return Splits(
            train=(arrays["train_inputs"], arrays["train_labels"]),
            test=(arrays["test_inputs"], arrays["test_labels"]),
        )
