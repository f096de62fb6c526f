"""Which examples make up each optimizer step, and how a global batch is cut for the hardware.

An index stream, not an epoch loop: seeded permutations of the training set follow one another and
are cut into batches of exactly `global_batch_size`; a batch may span two permutations, nothing is
ragged and nothing dropped. The stream depends on the seed alone, never on batch size or layout.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from trainables.config import BatchPhase, TrialConfig


def derive_seed(seed: int, *names: str | int) -> int:
    """A 63-bit seed that is a function of the trial's seed and of what is drawn, nothing else."""
    text = "/".join(map(str, (seed, *names)))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1
