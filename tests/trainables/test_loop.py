"""The loop against a plain one written by hand, and itself in other layouts."""

from __future__ import annotations

import copy
import math
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trainables import loop
from trainables.collective import Collective
from trainables.config.data import DataConfig, NetworkConfig
from trainables.config.execution import ExecutionConfig
from trainables.config.identity import trial_id
from trainables.config.optimizers.adam import Adam
from trainables.config.optimizers.cblr import CBLR
from trainables.config.optimizers.conservative import Conservative
from trainables.config.optimizers.sam import SAM
from trainables.config.optimizers.sgd import SGD
from trainables.config.training import BatchPhase, TrainingConfig
from trainables.config.trial import Trial
from trainables.datasets.cache import open_data
from trainables.draws import stream
from trainables.loop import TrainState, train
from trainables.networks.build import build
from trainables.prepare import prepare
from trainables.rules.batching import batch_plan
from trainables.rules.resolve import resolve

MOMENTUM = SGD(momentum=0.9, weight_decay=5e-4)
DROPOUT = NetworkConfig(name="mlp", options={"hidden": [16, 8], "dropout": 0.3})
NO_DROPOUT = NetworkConfig(name="mlp", options={"hidden": [16, 8]})
SMOOTH = NetworkConfig(name="mlp", options={"hidden": [16, 8], "activation": "tanh"})
PLAIN = NetworkConfig(name="mlp", options={"hidden": [16, 8], "batch_norm": False})

Trained = tuple[TrainState, list[float]]
Weights = dict[str, Tensor]


@pytest.fixture
def make(make_trial, tmp_path) -> Callable[..., Trial]:
    """Trials in float64 whose folder does not matter."""

    def made(*args: Any, **settings: Any) -> Trial:
        trial: Trial = make_trial(tmp_path, *args, **{"precision": "float64"} | settings)
        return trial

    return made


def trained(
    trial: Trial,
    prepare_state: Callable[[TrainState], Any] = lambda state: None,
    collective: Collective | None = None,
) -> Trained:
    """The state after training, and (this worker's share of) the loss of every step."""
    collective = collective or Collective()
    prepared, state = prepare(trial, collective)
    prepare_state(state)
    losses: list[float] = []
    step = state.optimizer.step

    def recorded(closure: Callable[[], Tensor]) -> Tensor:
        loss = step(closure)
        losses.append(loss.item())
        return loss

    state.optimizer.step = recorded  # type: ignore[method-assign,assignment]
    for _ in train(state, trial.config, trial.execution, prepared.data, collective):
        pass
    state.optimizer.step = step  # type: ignore[method-assign]
    return state, losses


def assert_close(one: nn.Module | Weights, other: nn.Module, tolerance: float) -> None:
    """Weights and running statistics, to a tolerance relative to the largest of each tensor."""
    weights, expected = one.state_dict() if isinstance(one, nn.Module) else one, other.state_dict()
    assert weights.keys() == expected.keys()
    for name, value in weights.items():
        scale = max(expected[name].abs().max().item(), 1.0)
        torch.testing.assert_close(value, expected[name], rtol=0, atol=tolerance * scale, msg=name)


def identical(one: nn.Module, other: nn.Module) -> bool:
    return all(torch.equal(a, other.state_dict()[k]) for k, a in one.state_dict().items())


# ----------------------------------------------------------------------------- by hand, and golden


def by_hand(trial: Trial) -> tuple[nn.Module, list[float]]:
    """The same training as anyone would write it: torch's own layers and optimizer, no layouts."""
    config, data = trial.config, open_data(trial.config.data)
    inputs = torch.from_numpy(data.train_inputs).double() / 255
    labels = torch.from_numpy(data.train_labels)
    n = len(labels)
    model = build(config.network, tuple(inputs.shape[1:]), 10, config.seed).double()
    assert isinstance(config.optimizer, SGD)
    optimizer = torch.optim.SGD(
        model.parameters(),
        lr=0.0,
        momentum=config.optimizer.momentum,
        weight_decay=config.optimizer.weight_decay,
        foreach=False,
    )
    budget = batch_plan(config, n).examples
    losses, seen = [], 0
    for _ in range(config.optimizer_steps):
        phases = (p for p in config.batch_schedule if seen < p.until_epoch * n)
        size, lr = next(
            ((p.global_batch_size, p.peak_lr) for p in phases),
            (config.global_batch_size, config.peak_lr),
        )
        assert lr is not None
        if config.scaled_warmup_epochs:
            lr *= min(1.0, (seen + size) / (config.scaled_warmup_epochs * n))
        if config.decay == "cosine":
            lr *= 0.5 * (1 + math.cos(math.pi * seen / budget))
        optimizer.param_groups[0]["lr"] = lr
        indices = torch.from_numpy(stream(config.seed, n, seen, seen + size))
        each = F.cross_entropy(model(inputs[indices]), labels[indices], reduction="none")
        dropped = 0
        if config.discard_ratio and (
            config.discard_epochs is None or seen < config.discard_epochs * n
        ):
            dropped = math.floor(config.discard_ratio * size + 1e-9)
        ranked = sorted(range(size), key=lambda i: (each[i].item(), i))
        loss = torch.stack([each[i] for i in ranked[dropped:]]).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        seen += size
    return model, losses


SCHEDULE = (BatchPhase(until_epoch=0.25, global_batch_size=20, peak_lr=0.04),)
SETTINGS = {
    "plain SGD": {},
    "momentum, warmup, cosine": {
        "optimizer": MOMENTUM,
        "warmup_epochs": 0.45,
        "decay": "cosine",
        "epochs": 1.7,
    },
    "discarding within a window": {"discard_ratio": 0.3, "discard_epochs": 0.5},
    "batch schedule": {"batch_schedule": SCHEDULE, "optimizer": MOMENTUM, "epochs": 1.3},
    "all at once": {
        "optimizer": MOMENTUM,
        "warmup_epochs": 0.45,
        "decay": "cosine",
        "discard_ratio": 0.3,
        "batch_schedule": SCHEDULE,
        "epochs": 1.3,
    },
}


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_it_is_the_loop_anyone_would_write(make, settings):
    trial = make(40, **settings)
    state, losses = trained(trial)
    model, expected = by_hand(trial)
    assert losses == pytest.approx(expected, rel=1e-12)
    assert_close(state.model, model, 1e-12)
    assert state.optimizer_step == trial.config.optimizer_steps
    assert state.diverged_at_step is None


GOLDEN = [
    2.6268251737458366,
    2.4283026528035343,
    2.5172058319097315,
    2.5960488024235686,
    2.505532811908712,
    2.452982819531721,
    2.426268318575645,
    2.4643759792025555,
    2.444669400214097,
    2.3553474191849566,
    2.4100671511866283,
    2.4391770992009953,
    2.3693716295433784,
    2.238463006217497,
    2.303264085618143,
    2.38696327538232,
    2.2483269332726725,
    2.16404043202778,
    2.2317487950412658,
    2.2136597795023576,
]


def test_golden_losses_of_twenty_steps(make):
    """Guards refactors: a change of these numbers is a change of every result."""
    trial = make(
        40,
        optimizer=MOMENTUM,
        warmup_epochs=0.3,
        decay="cosine",
        optimizer_steps=20,
        batch_schedule=SCHEDULE,
        discard_ratio=0.3,
        discard_epochs=1.0,
        ghost_batch_size=10,
        horizontal_flip=True,
        max_shift=0.1,
    )
    _, losses = trained(trial)
    assert losses == pytest.approx(GOLDEN, rel=1e-9)


ACTING = {
    "horizontal_flip": True,
    "max_shift": 0.1,
    "max_rotation": 10.0,
    "loss": "squared-error",
    "label_smoothing": 0.1,
    "focal_gamma": 2.0,
    "adversarial_epsilon": 0.1,
    "max_gradient_norm": 0.1,
    "discard_gradient_ratio": 0.3,
    "discard_ratio": 0.3,
}


@pytest.mark.parametrize("setting", ACTING)
def test_no_setting_is_ignored(make, setting):
    without, _ = trained(make(40, optimizer_steps=2))
    state, _ = trained(make(40, optimizer_steps=2, **{setting: ACTING[setting]}))
    assert not identical(state.model, without.model)


# ---------------------------------------------------------------------------------------- layouts


LAYOUT_CASES = {
    "ghost groups": {"ghost_batch_size": 10},
    "groups of part of a micro-batch": {"ghost_batch_size": 5},
    "with selection": {"ghost_batch_size": 10, "discard_ratio": 0.3, "discard_epochs": 1.0},
    "no normalization": {"network": PLAIN},
    "no normalization, selection": {"network": PLAIN, "discard_ratio": 0.5},
    "augmented": {
        "ghost_batch_size": 10,
        "horizontal_flip": True,
        "max_shift": 0.1,
        "max_rotation": 10.0,
    },
    "batch schedule": {"ghost_batch_size": 10, "batch_schedule": SCHEDULE},
    "random selection": {
        "ghost_batch_size": 10,
        "discard_ratio": 0.3,
        "discard_rule": "random",
        "batch_schedule": SCHEDULE,
    },
    "adversarial, selection": {
        "ghost_batch_size": 10,
        "adversarial_epsilon": 0.1,
        "discard_ratio": 0.3,
    },
    "squared error, selection": {
        "ghost_batch_size": 10,
        "loss": "squared-error",
        "discard_ratio": 0.3,
    },
    "sharper loss, changed gradient": {
        "ghost_batch_size": 10,
        "focal_gamma": 2.0,
        "discard_gradient_ratio": 0.3,
        "max_gradient_norm": 0.5,
    },
}


@pytest.mark.parametrize("settings", LAYOUT_CASES.values(), ids=LAYOUT_CASES)
def test_accumulated_is_the_same_as_in_one_piece(make, settings):
    settings = settings | {"optimizer": MOMENTUM, "epochs": 1.5}
    whole, losses = trained(make(40, **settings))
    parts, accumulated = trained(make(40, execution={"max_micro_batch_size": 10}, **settings))
    assert accumulated == pytest.approx(losses, rel=1e-10)
    assert_close(parts.model, whole.model, 1e-10)
    assert parts.kept_examples == whole.kept_examples


def test_what_is_kept_and_passed_again_is_counted(make):
    settings = {"discard_ratio": 0.3, "discard_epochs": 0.5, "ghost_batch_size": 10, "epochs": 1.0}
    whole, _ = trained(make(50, **settings))
    assert whole.kept_examples == 5 * 35 + 5 * 50
    assert whole.latest_kept == 50
    assert whole.extra_forward_examples == 0
    parts, _ = trained(make(50, execution={"max_micro_batch_size": 10}, **settings))
    assert parts.extra_forward_examples == 5 * 50
    by_chance = settings | {"discard_rule": "random"}
    parts, _ = trained(make(50, execution={"max_micro_batch_size": 10}, **by_chance))
    assert parts.kept_examples == whole.kept_examples
    assert parts.extra_forward_examples == 0


def test_statistics_move_once_per_group_of_every_step(make):
    execution = {"max_micro_batch_size": 10}
    settings = {"ghost_batch_size": 5, "discard_ratio": 0.3, "optimizer_steps": 3}
    state, _ = trained(make(40, execution=execution, **settings))
    counts = {k: v for k, v in state.model.state_dict().items() if k.endswith("tracked")}
    assert counts and all(count == 3 * 8 for count in counts.values())


@pytest.mark.parametrize("ratio", [0.0, 0.3])
def test_dropout_is_the_same_whatever_was_drawn_before(make, ratio):
    trial = make(
        40,
        network=DROPOUT,
        discard_ratio=ratio,
        ghost_batch_size=10,
        execution={"max_micro_batch_size": 10},
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        one, _ = trained(trial)
        torch.manual_seed(2)
        other, losses = trained(trial)
    assert identical(one.model, other.model)
    _, without = trained(replace(trial, config=replace(trial.config, network=NO_DROPOUT)))
    assert losses[0] != without[0]


def test_the_threshold_is_found_on_the_losses_that_are_then_differentiated(make, monkeypatch):
    """The same dropout masks and statistics in the pass without gradient, and running ones kept."""
    ahead: list[Tensor] = []
    losses_of = loop._Batch._losses

    def compared(batch: Any, part: int) -> Tensor:
        losses = losses_of(batch, part)
        if not torch.is_grad_enabled():
            ahead.append(losses)
        else:
            assert torch.equal(losses, ahead.pop(0))
        return losses

    monkeypatch.setattr(loop._Batch, "_losses", compared)
    settings = {"network": DROPOUT, "ghost_batch_size": 5, "discard_ratio": 0.3}
    state, _ = trained(make(40, execution={"max_micro_batch_size": 10}, **settings))
    assert state.optimizer_step == 13 and not ahead


def test_dropout_masks_differ_between_steps_micro_batches_and_seeds(make, monkeypatch):
    seeds: list[int] = []
    monkeypatch.setattr(loop, "_seed_dropout", lambda seed, device: seeds.append(seed))
    for seed in (0, 1):
        settings = {"network": DROPOUT, "ghost_batch_size": 10, "seed": seed}
        trained(make(40, execution={"max_micro_batch_size": 10}, **settings))
    assert len(seeds) == len(set(seeds)) == 2 * 13 * 4


# ---------------------------------------------------------------------------------- several workers


WORKER_CASES: dict[str, dict[str, Any]] = {
    "whole-batch normalization, selection": {"discard_ratio": 0.3},
    "groups across workers, selection ahead": {
        "ghost_batch_size": 20,
        "discard_ratio": 0.3,
        "execution": {"max_micro_batch_size": 10},
    },
    "groups within workers, schedule": {"ghost_batch_size": 5, "batch_schedule": SCHEDULE},
    "no normalization, accumulated": {"network": PLAIN, "execution": {"max_micro_batch_size": 5}},
    "adversarial, whole-batch normalization, changed gradient": {
        "adversarial_epsilon": 0.1,
        "label_smoothing": 0.1,
        "discard_gradient_ratio": 0.3,
        "max_gradient_norm": 0.5,
    },
    "adversarial, groups across workers, selection ahead": {
        "adversarial_epsilon": 0.1,
        "ghost_batch_size": 20,
        "discard_ratio": 0.3,
        "execution": {"max_micro_batch_size": 10},
    },
    "selection by chance, accumulated": {
        "network": PLAIN,
        "discard_ratio": 0.3,
        "discard_rule": "random",
        "execution": {"max_micro_batch_size": 10},
    },
    "SAM": {"optimizer": SAM()},
    "conservative": {"optimizer": Conservative(), "base_lr": 1e-3, "network": PLAIN},
    "curvature rates": {"optimizer": CBLR(weight_decay=5e-4), "network": SMOOTH},
}


def worker_case(name: str, num_workers: int) -> Trial:
    """A trial that needs no fixture, for the workers' processes to make it too; alone, whole."""
    case = {"network": NO_DROPOUT, "execution": {}} | WORKER_CASES[name]
    network, execution = case.pop("network"), case.pop("execution")
    if num_workers == 1:
        execution = {}
    training = TrainingConfig(
        **{"base_lr": 0.1, "optimizer": MOMENTUM} | case,
        global_batch_size=40,
        epochs=1.5,
        horizontal_flip=True,
        precision="float64",
    )
    config = resolve(
        training,
        data=DataConfig(source="mnist-5k", train_examples=500),
        network=network,
        seed=0,
        num_train_examples=500,
    )
    return Trial(
        trial_id=trial_id(config),
        config=config,
        execution=ExecutionConfig(device="cpu", num_workers=num_workers, **execution),
        measures=(),
        folder="",
    )


def worker(rank: int, folder: Path) -> None:
    """What one of two processes does: every case, its end saved."""
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2
    )
    ends = {}
    for name in WORKER_CASES:
        state, losses = trained(
            worker_case(name, 2), collective=Collective(rank=rank, world_size=2)
        )
        ends[name] = (state.model.state_dict(), losses, state.kept_examples)
    torch.save(ends, folder / f"{rank}.pt")
    torch.distributed.destroy_process_group()


@pytest.fixture(scope="module")
def two_workers(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    folder = tmp_path_factory.mktemp("workers")
    processes = [
        subprocess.Popen(
            [sys.executable, "-W", "error", __file__, str(rank), str(folder)],
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        errors = [process.communicate(timeout=120)[1] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert all(process.returncode == 0 for process in processes), "\n".join(errors)
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(2)]


@pytest.mark.parametrize("name", WORKER_CASES)
def test_two_workers_train_what_one_does(two_workers, name):
    alone, losses = trained(worker_case(name, 1))
    (weights, mine, kept), (others, theirs, _) = (ends[name] for ends in two_workers)
    assert_close(weights, alone.model, 1e-10)
    assert all(torch.equal(value, others[key]) for key, value in weights.items())
    assert [a + b for a, b in zip(mine, theirs, strict=True)] == pytest.approx(losses, rel=1e-10)
    assert kept == alone.kept_examples


@pytest.mark.parametrize(
    ("optimizer", "gradients"),
    [(MOMENTUM, 1), (SAM(), 2), (Conservative(inner_steps=4), 4), (CBLR(curvature_samples=2), 5)],
    ids=lambda value: getattr(value, "name", ""),
)
def test_gradients_are_counted(make, optimizer, gradients):
    execution = {"max_micro_batch_size": 10}  # a gradient in four parts is one gradient
    settings = {"optimizer": optimizer, "ghost_batch_size": 10, "execution": execution}
    state, _ = trained(make(40, **settings))
    assert state.gradient_evaluations == 13 * gradients


def test_statistics_move_with_the_first_gradient_of_a_step_only(make):
    state, _ = trained(make(40, optimizer=SAM(), ghost_batch_size=10, optimizer_steps=3))
    counts = {k: v for k, v in state.model.state_dict().items() if k.endswith("tracked")}
    assert counts and all(count == 3 * 4 for count in counts.values())


# ----------------------------------------------------------------------------- seeds and precision


def test_initial_weights_depend_on_network_and_seed_alone(make):
    start = prepare(make(40), Collective())[1].model
    others = [
        make(200),
        make(40, base_lr=1.0, optimizer=Adam()),
        make(40, discard_ratio=0.3, ghost_batch_size=10, batch_schedule=SCHEDULE),
        make(40, execution={"max_micro_batch_size": 40}, epochs=3.0),
    ]
    assert all(identical(start, prepare(trial, Collective())[1].model) for trial in others)
    assert not identical(start, prepare(make(40, seed=1), Collective())[1].model)


def test_equal_trials_end_equal_to_the_bit(make):
    trial = make(40, network=DROPOUT, precision="float32", optimizer=Adam())
    assert identical(trained(trial)[0].model, trained(trial)[0].model)


def test_bf16_computes_in_bf16_and_keeps_float32_weights(make):
    half, losses = trained(make(50, precision="bf16"))
    _, expected = trained(make(50, precision="float32"))
    assert losses != expected
    assert losses == pytest.approx(expected, rel=0.1)
    assert all(p.dtype == torch.float32 for p in half.model.parameters())


# ------------------------------------------------------------------------------------ the closure


class Twice(torch.optim.SGD):
    """Calls its closure twice a step, as SAM will, without moving between the calls."""

    pairs: list[tuple[list[Tensor], list[Tensor]]]

    def step(self, closure: Callable[[], Tensor]) -> Tensor:  # type: ignore[override]
        gradients = []
        for _ in range(2):
            loss = closure()
            gradients.append([p.grad.clone() for p in self.param_groups[0]["params"]])
        self.pairs.append((gradients[0], gradients[1]))
        super().step()
        return loss


@pytest.mark.parametrize("micro", [40, 10])
def test_the_closure_called_again_is_the_same_gradient_and_moves_no_statistics(make, micro):
    trial = make(
        40,
        network=DROPOUT,
        ghost_batch_size=10,
        discard_ratio=0.3,
        horizontal_flip=True,
        execution={"max_micro_batch_size": micro},
    )

    def twice(state: TrainState) -> None:
        state.optimizer = Twice(state.model.parameters())
        state.optimizer.pairs = []

    state, _ = trained(trial, twice)
    assert isinstance(state.optimizer, Twice)
    assert len(state.optimizer.pairs) == 13
    for first, second in state.optimizer.pairs:
        assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    once, _ = trained(trial)
    assert_close(state.model, once.model, 1e-12)
    assert state.extra_forward_examples == 2 * once.extra_forward_examples


# -------------------------------------------------------------------------- divergence and yields


class NotFinite(nn.Module):
    """Gives nothing finite in its k-th training forward, and only there."""

    def __init__(self, model: nn.Module, at: int) -> None:
        super().__init__()
        self.model, self.at, self.calls = model, at, 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += self.training
        logits: Tensor = self.model(x)
        return logits * (math.nan if self.training and self.calls == self.at else 1.0)


@pytest.mark.parametrize("heartbeat_seconds", [1e-9, 1e9])
@pytest.mark.parametrize("at", [1, 2, 7, 10])
def test_the_first_step_that_is_not_finite_is_noted(make, at, heartbeat_seconds):
    trial = make(50, execution={"heartbeat_seconds": heartbeat_seconds})
    prepared, state = prepare(trial, Collective())
    state.model = NotFinite(state.model, at)
    for _ in train(state, trial.config, trial.execution, prepared.data, Collective()):
        assert state.optimizer_step < at
    assert state.diverged_at_step == at


def test_a_rate_too_large_diverges_at_the_first_loss_that_is_not_finite(make):
    state, losses = trained(make(50, base_lr=1e38, precision="float32", network=PLAIN))
    step = state.diverged_at_step
    assert step is not None and not math.isfinite(losses[step - 1])
    assert all(map(math.isfinite, losses[: step - 1]))


def steps_at_yields(trial: Trial, record_at: set[int]) -> Iterator[int]:
    prepared, state = prepare(trial, Collective())
    for _ in train(state, trial.config, trial.execution, prepared.data, Collective(), record_at):
        yield state.optimizer_step


def test_it_yields_at_record_points_heartbeats_and_the_end(make):
    rare = make(50, execution={"heartbeat_seconds": 1e9})
    assert list(steps_at_yields(rare, {3, 7, 99})) == [1, 3, 7, 10]
    often = make(50, execution={"heartbeat_seconds": 1e-9})
    assert list(steps_at_yields(often, set())) == list(range(1, 11))


def test_only_steps_are_on_the_clock(make, monkeypatch):
    """What whoever drives the loop does at a yield is not training."""
    now = [0.0]
    monkeypatch.setattr(loop, "time", SimpleNamespace(perf_counter=lambda: now[0]))
    trial = make(50, execution={"heartbeat_seconds": 1e-9})
    prepared, state = prepare(trial, Collective())
    step = state.optimizer.step

    def slow(closure: Callable[[], Tensor]) -> Tensor:
        now[0] += 1.0
        return step(closure)

    state.optimizer.step = slow  # type: ignore[method-assign,assignment]
    for _ in train(state, trial.config, trial.execution, prepared.data, Collective()):
        now[0] += 100.0
    assert state.training_seconds == 10.0


def test_a_state_goes_on_from_where_it_is(make):
    trial = make(40, network=DROPOUT, optimizer=Adam(), discard_ratio=0.3, decay="cosine")
    whole, _ = trained(trial)
    prepared, state = prepare(trial, Collective())
    steps = train(state, trial.config, trial.execution, prepared.data, Collective(), {5})
    while state.optimizer_step < 5:
        next(steps)
    steps.close()  # type: ignore[attr-defined]
    later = copy.deepcopy(state)
    for _ in train(later, trial.config, trial.execution, prepared.data, Collective()):
        pass
    assert identical(later.model, whole.model)


if __name__ == "__main__":
    worker(int(sys.argv[1]), Path(sys.argv[2]))
