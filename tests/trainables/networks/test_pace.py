"""How fast a network trains here: what is kept and for what it holds, and two steps made a pace."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from trainables.config.data import DataConfig, NetworkConfig
from trainables.config.execution import ExecutionConfig
from trainables.config.optimizers.sgd import SGD
from trainables.config.trial import Trial, TrialConfig
from trainables.networks import pace
from trainables.networks.pace import Pace

TRIAL = Trial(
    trial_id="a" * 12,
    config=TrialConfig(
        data=DataConfig(),
        network=NetworkConfig(name="mlp"),
        seed=0,
        optimizer=SGD(),
        global_batch_size=10,
        peak_lr=0.1,
        optimizer_steps=60,
    ),
    execution=ExecutionConfig(),
    measures=(),
    folder="/nowhere",
    import_folder="/nowhere",
)
FAST = Pace(step_seconds=1e-4, example_seconds=1e-6)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BATCHGAP_CACHE", str(tmp_path / "cache"))


def key(trial: Trial = TRIAL, shape: tuple[int, ...] = (1, 28, 28), classes: int = 10) -> str:
    return pace.key_of(trial, shape, classes)


def test_a_pace_is_kept_and_replaced_and_others_stay() -> None:
    assert pace.known("a") is None
    pace.keep("a", FAST)
    pace.keep("b", FAST)
    assert pace.known("a") == FAST
    slow = replace(FAST, step_seconds=1.0)
    pace.keep("a", slow)
    assert (pace.known("a"), pace.known("b")) == (slow, FAST)


def test_a_file_that_cannot_be_read_is_as_none(tmp_path: Path) -> None:
    pace.keep("a", FAST)
    for text in ("{", "[]", '{"a": {"step": 1}}'):
        (tmp_path / "cache" / pace.FILE).write_text(text)
        assert pace.known("a") is None


def test_it_holds_for_one_network_on_one_shape_with_so_many_threads() -> None:
    config, execution = TRIAL.config, TRIAL.execution
    others = [
        key(replace(TRIAL, config=replace(config, network=NetworkConfig(name="f1")))),
        key(shape=(3, 32, 32)),
        key(classes=100),
        key(replace(TRIAL, execution=replace(execution, threads_per_worker=2))),
        key(replace(TRIAL, config=replace(config, precision="float64"))),
    ]
    assert len({key(), *others}) == 6
    alike = replace(config, seed=3, global_batch_size=500, peak_lr=1.0)
    assert key(replace(TRIAL, config=alike)) == key()


def test_two_steps_give_overhead_and_slope() -> None:
    found = pace.fitted((10, 0.3), (110, 0.5), 1)
    assert (found.step_seconds, found.example_seconds) == pytest.approx((0.28, 0.002))
    assert pace.fitted((10, 0.3), (110, 0.5), 2).example_seconds == pytest.approx(0.001)


@pytest.mark.parametrize("small", [(10, 0.6), (110, 0.5), (10, 0.001)])
def test_neither_is_ever_negative(small: tuple[int, float]) -> None:
    """Of one batch size, or where a busy machine makes the smaller batch the slower one."""
    found = pace.fitted(small, (110, 0.5), 1)
    assert found.step_seconds >= 0 and found.example_seconds >= 0
    at_large = found.step_seconds + 110 * found.example_seconds
    assert at_large == pytest.approx(0.5)
