from __future__ import annotations

import time
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session")
def local_ray(batchgap_cache: object) -> Iterator[None]:
    """As runs of several workers start it: the dashboard's server takes back what trials held."""
    from study.run import tune

    tune.connect(multi_worker=True, num_cpus=4)
    yield
    tune.ray.shutdown()


@pytest.fixture
def nothing_stays_placed(local_ray: None) -> Iterator[None]:
    """What a trial's workers held is free again soon after; or the next would wait for ever."""
    from ray.util import placement_group_table

    yield
    deadline = time.monotonic() + 60
    while placed := [g for g in placement_group_table().values() if g["state"] != "REMOVED"]:
        assert time.monotonic() < deadline, placed
        time.sleep(0.5)
