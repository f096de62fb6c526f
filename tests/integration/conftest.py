from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session")
def local_ray(batchgap_cache: object) -> Iterator[None]:
    """One Ray for the whole session: its start costs more than all that the tests do with it."""
    from study.run import tune

    tune.connect(multi_worker=False, num_cpus=4)
    yield
    tune.ray.shutdown()
