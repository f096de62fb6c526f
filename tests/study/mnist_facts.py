"""What is known of mnist-5k, for plans that never open it."""

from __future__ import annotations

import numpy as np

from trainables.config.data import DataConfig
from trainables.datasets.facts import DataFacts
from trainables.task import CLASSIFICATION

N = 5000
"""Training examples, held-out ones among them."""


def facts(data: DataConfig) -> DataFacts:
    held_out = data.validation_examples
    return DataFacts(
        num_train_examples=N - held_out,
        num_validation_examples=held_out,
        num_test_examples=10000,
        input_shape=(1, 28, 28),
        num_classes=10,
        fingerprint="f",
        source_hash=None,
        channel_mean=(0.0,),
        channel_std=(1.0,),
        chance={
            **CLASSIFICATION.levels("validation", np.arange(held_out) % 10),
            **CLASSIFICATION.levels("test", np.arange(10000) % 10),
        },
    )
