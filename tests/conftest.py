"""What tests share: a data cache of their own, and trials small enough to take milliseconds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from trainables.config.data import DataConfig, NetworkConfig
from trainables.config.execution import ExecutionConfig
from trainables.config.identity import trial_id
from trainables.config.measures.evaluation import Evaluation
from trainables.config.measures.kinds import MeasureConfig
from trainables.config.training import TrainingConfig
from trainables.config.trial import Trial
from trainables.datasets.cache import open_data
from trainables.rules.resolve import resolve

# The same examples every time, and no limit on a busy machine's milliseconds.
settings.register_profile("batchgap", derandomize=True, deadline=None)
settings.load_profile("batchgap")

MakeTrial = Callable[..., Trial]
BUDGETS = {"epochs", "optimizer_steps", "target_train_loss"}


@pytest.fixture(scope="session", autouse=True)
def batchgap_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The data cache of the test session, so that a person's own is neither used nor filled."""
    folder = tmp_path_factory.mktemp("batchgap-cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BATCHGAP_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="session")
def local_ray(batchgap_cache: object) -> Iterator[None]:
    """One Ray for the whole session: its start costs more than all that the tests do with it."""
    from study.run import tune

    tune.connect(multi_worker=False, num_cpus=4)
    yield
    tune.ray.shutdown()


@pytest.fixture(scope="session")
def small_data() -> DataConfig:
    """The first 500 training images of the embedded set, and its 10,000 test images."""
    return DataConfig(source="mnist-5k", train_examples=500)


@pytest.fixture(scope="session")
def small_network() -> NetworkConfig:
    """A perceptron with batch normalization and 12,854 parameters."""
    return NetworkConfig(name="mlp", options={"hidden": [16, 8]})


@pytest.fixture
def make_trial(small_data: DataConfig, small_network: NetworkConfig) -> MakeTrial:
    """`make_trial(folder, global_batch_size=50, **training)`: a resolved trial, 1 epoch by default.

    Sections may be given as `data`, `network`, `seed`, `measures`, `import_folder`, and
    `execution` as a mapping; all else are fields of the `training` section.
    """

    def make(
        folder: Path,
        global_batch_size: int = 50,
        *,
        data: DataConfig = small_data,
        network: NetworkConfig = small_network,
        seed: int = 0,
        execution: dict[str, Any] | None = None,
        measures: tuple[MeasureConfig, ...] = (Evaluation(),),
        import_folder: Path | None = None,
        **training: Any,
    ) -> Trial:
        budget = {} if BUDGETS & training.keys() else {"epochs": 1.0}
        place = None if import_folder is None else str(import_folder)
        config = resolve(
            TrainingConfig(
                **{"global_batch_size": global_batch_size, "base_lr": 0.1} | budget | training
            ),
            data=data,
            network=network,
            seed=seed,
            num_train_examples=open_data(data, place).facts.num_train_examples,
        )
        return Trial(
            trial_id=trial_id(config),
            config=config,
            execution=ExecutionConfig(**{"device": "cpu"} | (execution or {})),
            measures=measures,
            folder=str(folder),
            import_folder=place,
        )

    return make
