"""What is drawn: functions of (seed, name, position), and the stream of training examples.

An index stream, not an epoch loop: seeded permutations of the training set follow one another. It
depends on the seed alone, never on batch size or layout. Loads neither torch nor ray.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache

import numpy as np
import numpy.typing as npt


def derive_seed(seed: int, *names: str | int) -> int:
    """A 63-bit seed that is a function of the trial's seed and of what is drawn, nothing else."""
    text = "/".join(map(str, (seed, *names)))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


@lru_cache(maxsize=4)
def permutation(seed: int, number: int, num_examples: int) -> npt.NDArray[np.int64]:
    """The `number`-th permutation of the index stream, read-only."""
    key = derive_seed(seed, "stream", number)
    drawn = np.random.Generator(np.random.Philox(key)).permutation(num_examples)
    drawn.flags.writeable = False
    return drawn


def fixed_sample(num_examples: int, count: int | None) -> npt.NDArray[np.int64]:
    """The examples that recalibration and measures look at: the same ones for every trial.

    The first `count` of one fixed shuffled order, so that data sorted by class is sampled too.
    """
    return permutation(0, -1, num_examples)[:count]


def stream(seed: int, num_examples: int, start: int, stop: int) -> npt.NDArray[np.int64]:
    """Training indices at stream positions start to stop (exclusive)."""
    parts = []
    while start < stop:
        number, offset = divmod(start, num_examples)
        taken = min(stop - start, num_examples - offset)
        parts.append(permutation(seed, number, num_examples)[offset : offset + taken])
        start += taken
    return np.concatenate(parts)
