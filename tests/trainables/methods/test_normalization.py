"""Explicit batch statistics, against torch's own layer called on one group after the other."""

from __future__ import annotations

import copy
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from trainables.collective import Collective
from trainables.installation import SOURCE_TREE
from trainables.methods.normalization import (
    BatchNorm,
    NormalizationState,
    no_update,
    recalibrate,
    replace_batch_norm,
    state_of,
    use_batch_statistics,
)

WORLD_SIZE = 4
LAYERS = {1: nn.BatchNorm1d, 2: nn.BatchNorm1d, 3: nn.BatchNorm2d, 4: nn.BatchNorm3d}
SHAPES = [(16, 5), (16, 5, 7), (16, 5, 4, 3), (16, 5, 2, 3, 2)]


def draw(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 3 + 2 * torch.randn(*shape, generator=generator, dtype=torch.float64)


def torch_layer(shape: tuple[int, ...], **options: Any) -> nn.Module:
    """One of torch's layers for inputs of this shape, its parameters and buffers not trivial."""
    layer = LAYERS[len(shape) - 1](shape[1], dtype=torch.float64, **options)
    with torch.no_grad():
        for i, tensor in enumerate([*layer.parameters(), *layer.buffers()]):
            if tensor.is_floating_point():
                tensor.copy_(draw(*tensor.shape, seed=i + 1).abs())
    return layer


def ours(layer: nn.Module, ghost: int | None = None) -> tuple[nn.Module, NormalizationState]:
    """A copy of a model with its batch normalization replaced."""
    replaced = copy.deepcopy(layer)
    state = replace_batch_norm(replaced)
    assert state is not None
    state.ghost_batch_size = ghost
    return replaced, state


def one_after_the_other(layer: nn.Module, x: Tensor, ghost: int) -> Tensor:
    """The oracle: torch's layer, called once per group."""
    return torch.cat([layer(group) for group in x.split(ghost)])


def step(model: nn.Module, forward: Callable[[Tensor], Tensor], x: Tensor) -> dict[str, Tensor]:
    """One forward and backward pass: output, gradients and buffers by name."""
    x = x.detach().clone(memory_format=torch.preserve_format).requires_grad_()
    model.zero_grad()
    y = forward(x)
    y.backward(draw(*y.shape, seed=99).to(y.dtype))
    assert x.grad is not None
    found = {"y": y.detach(), "dx": x.grad}
    found |= {f"d{name}": p.grad for name, p in model.named_parameters() if p.grad is not None}
    return found | {name: buffer.clone() for name, buffer in model.named_buffers()}


def assert_equal(found: dict[str, Tensor], expected: dict[str, Tensor], tol: float = 1e-12) -> None:
    assert found.keys() == expected.keys()
    for name in expected:
        torch.testing.assert_close(
            found[name], expected[name], rtol=tol, atol=tol, msg=lambda m, n=name: f"{n}: {m}"
        )


OPTIONS: list[dict[str, Any]] = [
    {},
    {"affine": False},
    {"track_running_stats": False},
    {"momentum": 1.0},
    {"momentum": 0.3, "eps": 0.1},
]


# --------------------------------------------------------------------------------- one worker


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_whole_batch_is_torchs_own_layer(shape: tuple[int, ...], options: dict[str, Any]) -> None:
    reference = torch_layer(shape, **options)
    model, _ = ours(reference)
    for seed in range(2):
        x = draw(*shape, seed=seed)
        assert_equal(step(model, model, x), step(reference, reference, x), tol=0)
    model.eval(), reference.eval()
    x = draw(*shape, seed=7)
    assert_equal(step(model, model, x), step(reference, reference, x), tol=0)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("ghost", [2, 4, 8])
def test_ghost_groups_are_torchs_layer_called_on_each(
    shape: tuple[int, ...], options: dict[str, Any], ghost: int
) -> None:
    reference = torch_layer(shape, **options)
    model, _ = ours(reference, ghost)
    for seed in range(2):
        x = draw(*shape, seed=seed)
        found = step(model, model, x)
        assert_equal(found, step(reference, lambda x: one_after_the_other(reference, x, ghost), x))
    if "track_running_stats" not in options:
        assert found["num_batches_tracked"] == 2 * 16 // ghost


def test_ghost_size_of_the_whole_batch_is_the_whole_batch() -> None:
    reference = torch_layer((16, 5))
    (named, _), (unnamed, _) = ours(reference, 16), ours(reference)
    assert_equal(step(named, named, draw(16, 5)), step(unnamed, unnamed, draw(16, 5)), tol=0)


def test_single_examples_are_groups_where_they_have_several_positions() -> None:
    reference = torch_layer((16, 5, 4, 3))
    model, _ = ours(reference, 1)
    x = draw(16, 5, 4, 3)
    expected = step(reference, lambda x: one_after_the_other(reference, x, 1), x)
    assert_equal(step(model, model, x), expected)


@pytest.mark.parametrize(("shape", "ghost"), [((16, 5), 1), ((16, 5, 1, 1), 1), ((1, 5), None)])
def test_a_single_value_per_channel_is_refused(shape: tuple[int, ...], ghost: int | None) -> None:
    model, _ = ours(torch_layer(shape), ghost)
    with pytest.raises(ValueError, match=r"ghost_batch_size.*use 2"):
        model(draw(*shape))


def test_groups_that_do_not_fit_are_a_programming_error() -> None:
    model, _ = ours(torch_layer((16, 5)), 6)
    with pytest.raises(AssertionError, match="groups of 6"):
        model(draw(16, 5))


@pytest.mark.parametrize("ghost", [None, 4])
@pytest.mark.parametrize("shape", [(16, 5), (16, 5, 4, 3)])
def test_without_update_buffers_stay_and_outputs_do_not_change(
    shape: tuple[int, ...], ghost: int | None
) -> None:
    model, state = ours(torch_layer(shape), ghost)
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    with no_update(state):
        quiet = step(model, model, draw(*shape))
    assert_equal({name: quiet.pop(name) for name in before}, before, tol=0)
    moved = step(model, model, draw(*shape))
    assert not moved["running_var"].equal(before["running_var"])
    assert_equal(quiet, {name: moved[name] for name in quiet}, tol=0)


def test_contexts_nest_and_end_with_an_exception() -> None:
    _, state = ours(torch_layer((16, 5)))
    with pytest.raises(KeyError), no_update(state), use_batch_statistics(state):
        with no_update(state):
            pass
        assert not state.update_statistics
        assert state.evaluation_statistics == "batch"
        raise KeyError
    assert state == NormalizationState()
    with no_update(None), use_batch_statistics(None):
        pass  # a model without batch normalization


def test_large_means_do_not_spoil_float32() -> None:
    reference = torch_layer((16, 5, 4, 3))
    x = draw(16, 5, 4, 3) + 1000
    expected = step(reference, lambda x: one_after_the_other(reference, x, 4), x)
    model, _ = ours(reference, 4)
    found = step(model.float(), model, x.float())
    torch.testing.assert_close(found["y"].double(), expected["y"], rtol=0, atol=2e-3)


@pytest.mark.parametrize("ghost", [None, 4])
@pytest.mark.parametrize("shape", [(16, 5), (16, 5, 4, 3)])
def test_bf16_autocast_keeps_statistics_in_float32(
    shape: tuple[int, ...], ghost: int | None
) -> None:
    reference = torch_layer(shape).float()
    model, _ = ours(reference, ghost)
    x = draw(*shape).bfloat16()
    expected = step(reference, lambda x: one_after_the_other(reference, x, ghost or 16), x.float())
    with torch.autocast("cpu", torch.bfloat16):
        found = step(model, model, x)
    assert found["y"].dtype == found["dx"].dtype == torch.bfloat16
    assert found["running_mean"].dtype == torch.float32
    for name in ("running_mean", "running_var"):
        torch.testing.assert_close(found[name], expected[name], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(found["y"].float(), expected["y"], rtol=1e-2, atol=5e-2)


@pytest.mark.parametrize("ghost", [None, 4])
def test_channels_last_is_kept(ghost: int | None) -> None:
    model, _ = ours(torch_layer((16, 5, 4, 3)), ghost)
    x = draw(16, 5, 4, 3).to(memory_format=torch.channels_last)
    found = step(model, model, x)
    assert found["y"].is_contiguous(memory_format=torch.channels_last)
    assert found["dx"].is_contiguous(memory_format=torch.channels_last)


# --------------------------------------------------------------------------------- evaluation


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_batch_statistics_in_evaluation_ignore_groups_and_buffers(options: dict[str, Any]) -> None:
    reference = torch_layer((16, 5), **options)
    model, state = ours(reference, 4)
    model.eval()
    before = copy.deepcopy(model.state_dict())
    with use_batch_statistics(state):
        found = model(draw(12, 5))
    torch.testing.assert_close(found, reference.train()(draw(12, 5)), rtol=0, atol=0)
    assert_equal(dict(model.state_dict()), dict(before), tol=0)


class TwoLayers(nn.Module):
    """Statistics of the second layer depend on how the first normalizes; dropout between."""

    def __init__(self) -> None:
        super().__init__()
        self.first = torch_layer((16, 5))
        self.second = torch_layer((16, 5))
        self.free = nn.BatchNorm1d(5, track_running_stats=False, dtype=torch.float64)
        self.dropout = nn.Dropout(0.5)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.free(self.second(self.dropout(self.first(x).tanh())))
        return y


def test_recalibration_gives_the_plain_mean_over_chunks() -> None:
    model, state = ours(TwoLayers(), 4)
    model.train()
    model.first.eval()  # a mixture of modes must come back as it was
    with torch.no_grad():
        model.second.running_mean.fill_(float("nan"))  # as a diverged training leaves it
    modes = [m.training for m in model.modules()]
    chunks = [draw(n, 5, seed=n) for n in (10, 10, 7)]
    recalibrate(model, state, chunks)
    assert [m.training for m in model.modules()] == modes
    assert state.evaluation_statistics == "running"

    alone, _ = ours(TwoLayers())
    hidden = []
    for chunk in chunks:
        var, mean = torch.var_mean(chunk, 0, correction=0)
        first = alone.first
        u = (chunk - mean) / (var + first.eps).sqrt() * first.weight + first.bias
        hidden.append(u.tanh().detach())
    for layer, inputs in ((model.first, chunks), (model.second, hidden)):
        means = torch.stack([x.mean(0) for x in inputs]).mean(0)
        variances = torch.stack([x.var(0) for x in inputs]).mean(0)
        torch.testing.assert_close(layer.running_mean, means, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(layer.running_var, variances, rtol=1e-12, atol=1e-12)
        assert layer.num_batches_tracked == 3


def test_recalibration_twice_is_recalibration_once() -> None:
    model, state = ours(TwoLayers())
    chunks = [draw(10, 5, seed=n) for n in range(3)]
    recalibrate(model, state, chunks)
    once = copy.deepcopy(model.state_dict())
    recalibrate(model, state, iter(chunks))
    assert_equal(dict(model.state_dict()), dict(once), tol=0)


def test_recalibrating_a_copy_leaves_the_model_alone() -> None:
    model, state = ours(TwoLayers())
    before = copy.deepcopy(model.state_dict())
    twin = copy.deepcopy(model)
    with pytest.raises(AssertionError, match="copied"):
        recalibrate(twin, state, [draw(10, 5)])
    recalibrate(twin, state_of(twin), [draw(10, 5)])
    assert_equal(dict(model.state_dict()), dict(before), tol=0)
    assert not twin.first.running_mean.equal(model.first.running_mean)


# -------------------------------------------------------------------------------- replacement


def test_replacement_in_a_resnet_changes_only_the_classes() -> None:
    torchvision = pytest.importorskip("torchvision")
    model = torchvision.models.resnet18(num_classes=10)
    reference = copy.deepcopy(model)
    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    state = replace_batch_norm(model)
    assert not any(type(m) is nn.BatchNorm2d for m in model.modules())
    layers = [m for m in model.modules() if isinstance(m, BatchNorm)]
    assert len(layers) == 20
    assert all(layer.state is state for layer in layers)
    assert list(model.state_dict()) == list(reference.state_dict())
    after = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    assert all(after[name] is tensors[name] for name in tensors)

    x = draw(4, 3, 32, 32).float()
    assert_equal(step(model, model, x), step(reference, reference, x), tol=0)
    reference.load_state_dict(model.state_dict())
    model.load_state_dict(reference.state_dict())


def test_a_copy_has_one_state_of_its_own() -> None:
    model, state = ours(TwoLayers())
    twin = copy.deepcopy(model)
    own = state_of(twin)
    assert own == state and own is not state
    assert all(m.state is own for m in twin.modules() if isinstance(m, BatchNorm))
    own.ghost_batch_size = 4
    assert state.ghost_batch_size is None


def test_a_model_without_batch_normalization_has_no_state() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.LayerNorm(3), nn.InstanceNorm1d(3))
    assert replace_batch_norm(model) is None
    assert state_of(model) is None


def test_synchronized_layers_and_layers_used_twice_are_replaced() -> None:
    shared = nn.SyncBatchNorm(5)
    model = nn.Sequential(shared, nn.Sequential(shared))
    state = replace_batch_norm(model)
    assert model[0] is model[1][0] is shared
    assert state_of(copy.deepcopy(model)) == state
    expected = step(nn.BatchNorm1d(5), nn.BatchNorm1d(5), draw(16, 5).float())["y"]
    torch.testing.assert_close(shared(draw(16, 5).float()).detach(), expected, rtol=0, atol=0)


class WithActivation(nn.BatchNorm1d):
    """As in timm: more than batch normalization, so not ours to replace."""

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input).relu()


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (nn.BatchNorm1d(5, momentum=None), r"1 has momentum=None.*0\.1"),
        (WithActivation(5), "1 is a WithActivation.*after it"),
        (nn.LazyBatchNorm1d(), "1 is a LazyBatchNorm1d.*BatchNorm1d"),
    ],
    ids=["momentum", "subclass", "lazy"],
)
@pytest.mark.filterwarnings("ignore:Lazy modules")
def test_layers_that_cannot_be_replaced_are_refused_untouched(
    layer: nn.Module, message: str
) -> None:
    model = nn.Sequential(nn.BatchNorm1d(5), layer)
    kinds = [type(m) for m in model.modules()]
    with pytest.raises(ValueError, match=message):
        replace_batch_norm(model)
    assert [type(m) for m in model.modules()] == kinds


# ---------------------------------------------------------------------------- several workers


@dataclass(frozen=True, kw_only=True)
class Case:
    """A model, the global batch of one pass, and how it is normalized."""

    shape: tuple[int, ...]
    ghost: int | None
    options: tuple[tuple[str, Any], ...] = ()
    update: bool = True

    def model(self) -> nn.Module:
        return torch_layer(self.shape, **dict(self.options))


CASES = {
    "whole batch": Case(shape=(16, 5), ghost=None),
    "whole batch, sequences": Case(shape=(16, 5, 7), ghost=16),
    "whole batch, images": Case(shape=(16, 5, 4, 3), ghost=None),
    "whole batch, volumes": Case(shape=(16, 5, 2, 3, 2), ghost=None),
    "a group on two of four": Case(shape=(16, 5), ghost=8),
    "a group on two of four, images": Case(shape=(16, 5, 4, 3), ghost=8),
    "a group per worker": Case(shape=(16, 5, 4, 3), ghost=4),
    "two groups per worker": Case(shape=(16, 5), ghost=2),
    "two groups per worker, images": Case(shape=(16, 5, 4, 3), ghost=2),
    "one example per worker": Case(shape=(4, 5), ghost=None),
    "no weights": Case(shape=(16, 5), ghost=8, options=(("affine", False),)),
    "weights without bias": Case(shape=(16, 5), ghost=8, options=(("bias", False),)),
    "no buffers": Case(shape=(16, 5), ghost=8, options=(("track_running_stats", False),)),
    "no buffers, local": Case(shape=(16, 5), ghost=2, options=(("track_running_stats", False),)),
    "no update": Case(shape=(16, 5), ghost=8, update=False),
    "no update, local": Case(shape=(16, 5), ghost=2, update=False),
}


def run_case(case: Case, collective: Collective) -> list[dict[str, Tensor]]:
    """Two accumulated passes of this worker through one layer."""
    model, state = ours(case.model(), case.ghost)
    state.collective, state.update_statistics = collective, case.update
    local = case.shape[0] // collective.world_size
    part = slice(collective.rank * local, (collective.rank + 1) * local)
    passes = []
    for seed in range(2):
        x = draw(*case.shape, seed=seed)[part].requires_grad_()
        model.zero_grad()
        y = model(x)
        y.backward(draw(*case.shape, seed=99)[part])
        assert x.grad is not None
        found = {"y": y.detach(), "dx": x.grad}
        found |= {f"d{name}": p.grad.clone() for name, p in model.named_parameters()}
        passes.append(found | {name: b.clone() for name, b in model.named_buffers()})
    return passes


def network() -> nn.Module:
    """Convolutions and a dense layer, each normalized, with a fixed start."""
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3, bias=False),
        nn.BatchNorm2d(4),
        nn.Tanh(),
        nn.Conv2d(4, 4, 3, stride=2),
        nn.BatchNorm2d(4),
        nn.Flatten(),
        nn.Linear(16, 6),
        nn.BatchNorm1d(6),
        nn.Linear(6, 2),
    ).double()
    with torch.no_grad():
        for i, p in enumerate(model.parameters()):
            p.copy_((draw(*p.shape, seed=i) - 3) / 4)
    return model


def train_network(collective: Collective, ghost: int) -> dict[str, Tensor]:
    """Three steps of gradient descent under DistributedDataParallel; the final state."""
    model, state = ours(network(), ghost)
    state.collective, state.ghost_batch_size = collective, ghost
    wrapped = collective.wrap(model)
    local = 16 // collective.world_size
    part = slice(collective.rank * local, (collective.rank + 1) * local)
    for seed in range(3):
        x, target = draw(16, 3, 7, 7, seed=seed)[part], draw(16, 2, seed=50 + seed)[part]
        loss = (wrapped(x) - target).square().sum() / 16 * collective.world_size
        model.zero_grad()
        loss.backward()
        with torch.no_grad():
            for p in model.parameters():
                p -= 0.1 * p.grad
    return dict(model.state_dict())


def run_bf16(collective: Collective) -> dict[str, Tensor]:
    """One pass of a bf16 micro-batch whose group all workers share."""
    model, state = ours(torch_layer((16, 5, 4, 3)).float())
    state.collective = collective
    local = 16 // collective.world_size
    part = slice(collective.rank * local, (collective.rank + 1) * local)
    x = draw(16, 5, 4, 3).bfloat16()[part].contiguous(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16):
        y = model(x.requires_grad_())
    y.backward(draw(16, 5, 4, 3, seed=99).bfloat16()[part])
    assert y.dtype == x.grad.dtype == torch.bfloat16
    assert y.is_contiguous(memory_format=torch.channels_last)
    return {"y": y.detach(), "dx": x.grad, "running_var": model.running_var.clone()}


def run_worker(rank: int, folder: Path) -> None:
    """What one of the processes does; it leaves what it computed in the folder."""
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=WORLD_SIZE
    )
    collective = Collective(rank=rank, world_size=WORLD_SIZE)
    found: dict[str, Any] = {name: run_case(case, collective) for name, case in CASES.items()}
    found |= {f"network {ghost}": train_network(collective, ghost) for ghost in (4, 8, 16)}
    found["bf16"] = run_bf16(collective)
    torch.save(found, folder / f"{rank}.pt")
    torch.distributed.destroy_process_group()


@pytest.fixture(scope="module")
def workers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[dict[str, Any]]]:
    """What each of four worker processes computed, in rank order."""
    folder = tmp_path_factory.mktemp("workers")
    env = os.environ | {"PYTHONPATH": str(SOURCE_TREE), "OMP_NUM_THREADS": "1"}
    processes = [
        subprocess.Popen(
            [sys.executable, "-W", "error", __file__, str(rank), str(folder)],
            env=env,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(WORLD_SIZE)
    ]
    try:
        errors = [process.communicate(timeout=120)[1] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert all(process.returncode == 0 for process in processes), "\n".join(errors)
    yield [torch.load(folder / f"{r}.pt", weights_only=True) for r in range(WORLD_SIZE)]


@pytest.mark.parametrize("name", CASES)
def test_workers_compute_what_one_computes(workers: list[dict[str, Any]], name: str) -> None:
    expected = run_case(CASES[name], Collective())
    for i, alone in enumerate(expected):
        parts = [worker[name][i] for worker in workers]
        together = {key: torch.cat([part[key] for part in parts]) for key in ("y", "dx")}
        for key in alone.keys() - {"y", "dx"}:
            if key.startswith("d"):
                together[key] = torch.stack([part[key] for part in parts]).sum(0)
            else:
                together[key] = parts[0][key]
                assert all(part[key].equal(parts[0][key]) for part in parts), f"{key} differs"
        assert_equal(together, alone)


@pytest.mark.parametrize("ghost", [4, 8, 16])
def test_a_network_trained_by_workers_is_the_one_trained_by_one(
    workers: list[dict[str, Any]], ghost: int
) -> None:
    expected = train_network(Collective(), ghost)
    for worker in workers:
        assert_equal(worker[f"network {ghost}"], expected, tol=1e-11)


def test_a_shared_group_in_bf16_is_exact_up_to_the_last_rounding(
    workers: list[dict[str, Any]],
) -> None:
    exact = torch_layer((16, 5, 4, 3))
    x = draw(16, 5, 4, 3).bfloat16().double().requires_grad_()
    y = exact(x)
    y.backward(draw(16, 5, 4, 3, seed=99).bfloat16().double())
    for key, expected in (("y", y.detach()), ("dx", x.grad)):
        found = torch.cat([worker["bf16"][key] for worker in workers]).double()
        torch.testing.assert_close(found, expected, rtol=2**-8, atol=1e-4)
    for worker in workers:
        variance = worker["bf16"]["running_var"].double()
        torch.testing.assert_close(variance, exact.running_var, rtol=1e-6, atol=0)


if __name__ == "__main__":
    run_worker(int(sys.argv[1]), Path(sys.argv[2]))
