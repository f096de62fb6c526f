"""Evaluation against the whole split at once, and recalibration against explicit means."""

from __future__ import annotations

import copy
from itertools import pairwise
from typing import get_args

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trainables.collective import Collective
from trainables.datasets.tensors import Split, Tensors
from trainables.draws import fixed_sample
from trainables.measures.evaluation import Normalization, evaluate, prepared_copy
from trainables.methods.losses import accuracy, cross_entropy
from trainables.methods.normalization import NormalizationState, replace_batch_norm

Examples = tuple[Tensor, Tensor]


def examples(count: int, seed: int) -> Examples:
    generator = torch.Generator().manual_seed(seed)
    inputs = 2 + 3 * torch.randn(count, 6, generator=generator, dtype=torch.float64)
    return inputs, torch.randint(3, (count,), generator=generator)


def tensors(train: int, test: int = 10) -> Tensors:
    return Tensors(
        train=examples(train, 0),
        validation=examples(0, 1),
        test=examples(test, 2),
        dtype=torch.float64,
        memory_format=torch.contiguous_format,
        mean=None,
        std=None,
    )


def network() -> tuple[nn.Module, NormalizationState]:
    """Two normalized layers and dropout, running statistics far from what they should be."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(
            nn.Linear(6, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Dropout(0.5),
            nn.Linear(5, 4), nn.BatchNorm1d(4), nn.Linear(4, 3),
        )  # fmt: skip
        model.double().train()(torch.randn(20, 6, dtype=torch.float64))
    state = replace_batch_norm(model)
    assert state is not None
    return model, state


def evaluated(
    ready: nn.Module,
    data: Tensors,
    split: Split,
    normalization: Normalization,
    collective: Collective,
    examples: int | None = None,
) -> tuple[float, ...]:
    functions = {"loss": cross_entropy, "accuracy": accuracy}
    found = evaluate(ready, data, split, normalization, collective, functions, examples)
    assert [*found] == [f"{split}_loss", f"{split}_accuracy"]
    return tuple(found.values())


def by_hand(model: nn.Module, inputs: Tensor, labels: Tensor) -> tuple[float, float]:
    with torch.no_grad():
        logits = model(inputs)
    loss = F.cross_entropy(logits, labels).item()
    return loss, (logits.argmax(1) == labels).double().mean().item()


@pytest.mark.parametrize("count", [10, 999, 1000, 1001, 2500])
@pytest.mark.parametrize("normalization", ["recalibrated", "running"])
def test_it_is_that_of_the_whole_split_at_once(count, normalization):
    data = tensors(3000, test=count)
    ready = prepared_copy(network()[0], data, normalization)
    found = evaluated(ready, data, "test", normalization, Collective())
    assert found == pytest.approx(by_hand(ready, *data.test), rel=1e-12)


def test_only_some_training_examples_are_the_fixed_sample():
    data = tensors(3000)
    ready = prepared_copy(network()[0], data, "running")
    chosen = torch.from_numpy(fixed_sample(3000, 1200).copy())
    expected = by_hand(ready, data.train[0][chosen], data.train[1][chosen])
    found = evaluated(ready, data, "train", "running", Collective(), 1200)
    assert found == pytest.approx(expected, rel=1e-12)
    every = evaluated(ready, data, "train", "running", Collective(), 3000)
    assert every == evaluated(ready, data, "train", "running", Collective(), 9999)
    assert every == pytest.approx(by_hand(ready, *data.train), rel=1e-12)


def layer_inputs(model: nn.Module, inputs: Tensor) -> dict[str, Tensor]:
    """What each normalization layer receives when every one uses the chunk's own statistics."""
    received: dict[str, Tensor] = {}
    x = inputs
    for name, layer in model.named_children():
        if isinstance(layer, nn.modules.batchnorm._BatchNorm):
            received[name] = x
            mean, var = x.mean(0), x.var(0, unbiased=False)
            x = (x - mean) / (var + layer.eps).sqrt() * layer.weight + layer.bias
        elif not isinstance(layer, nn.Dropout):
            x = layer(x)
    return received


@pytest.mark.parametrize(("count", "chunks"), [(700, 1), (1999, 1), (2000, 2), (12_000, 10)])
def test_recalibrated_statistics_are_means_over_chunks_of_a_thousand(count, chunks):
    data = tensors(count)
    model, _ = network()
    with torch.no_grad():
        order = torch.from_numpy(fixed_sample(count, None).copy())
        size = min(count, 1000)  # what is left of a chunk is not used
        pieces = [order[i * size : (i + 1) * size] for i in range(chunks)]
        received = [layer_inputs(model, data.train[0][piece]) for piece in pieces]
    ready = prepared_copy(model, data, "recalibrated")
    for name in ("1", "5"):
        layer = ready.get_submodule(name)
        means = torch.stack([each[name].mean(0) for each in received]).mean(0)
        variances = torch.stack([each[name].var(0) for each in received]).mean(0)
        torch.testing.assert_close(layer.running_mean, means, rtol=1e-11, atol=1e-13)
        torch.testing.assert_close(layer.running_var, variances, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("count", [10, 1000, 1001, 2300])
def test_batch_normalization_uses_the_chunks_own_statistics(count):
    """Chunks of 1000, none smaller but where there are fewer: one example has no statistics."""
    data = tensors(1500, test=count)
    model, _ = network()
    ready = prepared_copy(model, data, "batch")
    found = evaluated(ready, data, "test", "batch", Collective())
    plain = copy.deepcopy(model)
    bounds = [1000 * i for i in range(max(count // 1000, 1))] + [count]
    totals = torch.zeros(2, dtype=torch.float64)
    for start, stop in pairwise(bounds):
        inputs, labels = data.test[0][start:stop], data.test[1][start:stop]
        received = layer_inputs(plain, inputs)
        last = plain.get_submodule("5")
        x = received["5"]
        x = (x - x.mean(0)) / (x.var(0, unbiased=False) + last.eps).sqrt() * last.weight + last.bias
        logits = plain.get_submodule("6")(x).detach()
        totals[0] += F.cross_entropy(logits, labels, reduction="sum")
        totals[1] += (logits.argmax(1) == labels).sum()
    assert found == pytest.approx((totals / count).tolist(), rel=1e-11)


@pytest.mark.parametrize("normalization", get_args(Normalization))
def test_the_model_in_training_and_the_random_draws_are_left_alone(normalization):
    data, (model, state) = tensors(1500), network()
    model(data.train[0][:8]).sum().backward()
    before = copy.deepcopy((model.state_dict(), [p.grad for p in model.parameters()]))
    drawn = torch.get_rng_state()
    ready = prepared_copy(model, data, normalization)
    evaluated(ready, data, "test", normalization, Collective())
    assert torch.equal(torch.get_rng_state(), drawn)
    after = (model.state_dict(), [p.grad for p in model.parameters()])
    assert all(torch.equal(a, before[0][k]) for k, a in after[0].items())
    assert all(torch.equal(a, b) for a, b in zip(after[1], before[1], strict=True))
    assert all(module.training for module in model.modules())
    assert state.evaluation_statistics == "running"
    assert all(p.grad is None for p in ready.parameters())


def test_workers_together_are_one(monkeypatch):
    """The sum over ranks of what each evaluates is what one evaluates."""
    data = tensors(100, test=3500)
    ready = prepared_copy(network()[0], data, "batch")
    shares: list[Tensor] = []

    def keep(self: Collective, tensor: Tensor) -> Tensor:
        shares.append(tensor)
        return tensor

    alone = evaluated(ready, data, "test", "batch", Collective())
    monkeypatch.setattr(Collective, "sum", keep)
    for rank in range(2):
        evaluated(ready, data, "test", "batch", Collective(rank=rank, world_size=2))
    assert (sum(shares) / 3500).tolist() == pytest.approx(list(alone), rel=1e-12)


def test_a_network_without_normalization():
    data, model = tensors(20), nn.Linear(6, 3).double()
    for normalization in get_args(Normalization):
        ready = prepared_copy(model, data, normalization)
        found = evaluated(ready, data, "test", normalization, Collective())
        assert found == pytest.approx(by_hand(model, *data.test), rel=1e-12)
