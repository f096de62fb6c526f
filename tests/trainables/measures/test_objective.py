"""f, its gradient and its Hessian against whole-batch autograd on tiny networks, in float64."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from trainables.config.measures.adaptive_sharpness import AdaptiveSharpness
from trainables.config.measures.batch_sharpness import BatchSharpness
from trainables.config.measures.gradient_probe import GradientProbe
from trainables.config.measures.hessian import Hessian
from trainables.config.measures.kinds import KINDS, MeasureConfig
from trainables.config.measures.landscape import Landscape
from trainables.config.measures.noise_scale import NoiseScale
from trainables.config.measures.random_directions import RandomDirections
from trainables.config.measures.sharpness import Sharpness
from trainables.config.measures.spectrum import Spectrum
from trainables.measures.objective import MeasureInterrupted, Objective, default_chunk_size
from trainables.measures.take import OF_OBJECTIVE
from trainables.methods.losses import LOSSES

NUM_CLASSES = 3
NUM_EXAMPLES = 11


def mlp() -> nn.Module:
    """Normalization with statistics that are neither zero nor one, and ReLU."""
    return nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Linear(5, NUM_CLASSES))


def convolution() -> nn.Module:
    """Four-dimensional weights, pooling."""
    return nn.Sequential(
        nn.Unflatten(1, (1, 2, 2)),
        nn.Conv2d(1, 3, 2, padding=1),
        nn.BatchNorm2d(3),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(3, NUM_CLASSES),
    )


class Attention(nn.Module):
    """Fused attention kernels have no second derivative."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(2, 1, batch_first=True)
        self.head = nn.Linear(4, NUM_CLASSES)

    def forward(self, inputs: Tensor) -> Tensor:
        tokens = inputs.view(-1, 2, 2)
        return self.head(self.attention(tokens, tokens, tokens, need_weights=False)[0].flatten(1))


class Tied(nn.Module):
    """One weight used twice is one entry of x; a frozen and an unused parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 4, bias=False)
        self.second = nn.Linear(4, 4, bias=False)
        self.second.weight = self.first.weight
        self.head = nn.Linear(4, NUM_CLASSES)
        self.head.bias.requires_grad_(False)
        self.unused = nn.Parameter(torch.ones(2))

    def forward(self, inputs: Tensor) -> Tensor:
        return self.head(self.second(self.first(inputs).tanh()))


class Shared(nn.Module):
    """One module under several names, as in networks that repeat a block."""

    def __init__(self, times: int = 3) -> None:
        super().__init__()
        block = nn.Linear(4, 4)
        self.blocks = nn.ModuleList([block] * times)
        self.head = nn.Linear(4, NUM_CLASSES)

    def forward(self, inputs: Tensor) -> Tensor:
        for block in self.blocks:
            inputs = block(inputs).tanh()
        return self.head(inputs)


class Repeated(nn.Module):
    """The same function with the block under one name."""

    def __init__(self) -> None:
        super().__init__()
        self.block = nn.Linear(4, 4)
        self.head = nn.Linear(4, NUM_CLASSES)

    def forward(self, inputs: Tensor) -> Tensor:
        for _ in range(3):
            inputs = self.block(inputs).tanh()
        return self.head(inputs)


ZOO = [mlp, convolution, Attention, Tied, Shared]


def build(network: Callable[[], nn.Module]) -> tuple[nn.Module, Tensor, Tensor]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = network().double()
        inputs = torch.randn(NUM_EXAMPLES, 4, dtype=torch.float64)
        targets = torch.randint(NUM_CLASSES, (NUM_EXAMPLES,))
        with torch.no_grad():
            for _ in range(3):
                model(inputs + torch.randn_like(inputs))  # normalization statistics
    return model.eval(), inputs, targets


def half_square(outputs: Tensor, targets: Tensor) -> Tensor:
    """Half the mean squared distance from the one-hot targets, by torch's own losses."""
    one_hot = torch.eye(NUM_CLASSES, dtype=outputs.dtype)[targets]
    return NUM_CLASSES * F.mse_loss(outputs, one_hot) / 2


MEANS = {"cross-entropy": F.cross_entropy, "squared-error": half_square}


def loss_of_flat(
    model: nn.Module, inputs: Tensor, targets: Tensor, loss_name: str = "cross-entropy"
) -> Callable[[Tensor], Tensor]:
    """The oracle: one forward pass over everything, x cut by hand."""

    def loss(x: Tensor) -> Tensor:
        weights, position = {}, 0
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                end = position + parameter.numel()
                weights[name] = x[position:end].reshape(parameter.shape)
                position = end
        # Torch's tying of names would leave a module that has several with these weights.
        tie = not isinstance(model, Shared)
        outputs = functional_call(model, weights, (inputs,), tie_weights=tie)
        return MEANS[loss_name](outputs, targets)

    return loss


@pytest.mark.parametrize("network", ZOO)
@pytest.mark.parametrize("chunk_size", [1, 4, None])
@pytest.mark.parametrize("name", MEANS)
def test_value_gradient_and_hessian_agree_with_autograd(network, chunk_size, name):
    model, inputs, targets = build(network)
    objective = Objective(model, inputs, targets, chunk_size, loss=LOSSES[name])
    loss = loss_of_flat(model, inputs, targets, name)
    x = objective.start + 0.1 * torch.linspace(-1, 1, len(objective.start), dtype=torch.float64)
    value, gradient = objective.value_and_gradient(x)
    assert value == pytest.approx(loss(x).item(), abs=1e-13)
    assert objective.value(x) == pytest.approx(value, abs=1e-13)
    torch.testing.assert_close(gradient, torch.func.grad(loss)(x))
    identity = torch.eye(len(x), dtype=torch.float64)
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        hessian = torch.autograd.functional.hessian(loss, x)
    torch.testing.assert_close(objective.hessian_vector_products(x)(identity), hessian)


def test_start_is_the_parameters_that_require_a_gradient():
    model, inputs, targets = build(Tied)
    objective = Objective(model, inputs, targets)
    expected = [p.flatten() for p in model.parameters() if p.requires_grad]
    assert torch.equal(objective.start, torch.cat(expected))
    assert objective.value(objective.start) == pytest.approx(
        F.cross_entropy(model(inputs), targets).item(), abs=1e-13
    )
    objective.start.zero_()
    assert model.first.weight.abs().sum() > 0


@pytest.mark.parametrize("network", ZOO)
def test_the_model_is_never_written(network):
    model, inputs, targets = build(network)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    calls = iter([False, False, False, True])
    objective = Objective(model, inputs, targets, 4, should_stop=lambda: next(calls))
    objective.value_and_gradient(objective.start + 1)
    with pytest.raises(MeasureInterrupted):
        objective.hessian_vector_products(objective.start + 1)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())


SMALL: dict[str, MeasureConfig] = {
    "sharpness": Sharpness(sharpness_epsilon=0.01),
    "adaptive-sharpness": AdaptiveSharpness(),
    "hessian": Hessian(trace_samples=2),
    "spectrum": Spectrum(lanczos_steps=5, vectors=2),
    "noise-scale": NoiseScale(small_batch_size=2, large_batch_size=5, pairs=3),
    "batch-sharpness": BatchSharpness(batches=3, batch_size=4),
    "random-directions": RandomDirections(directions=3),
    "landscape": Landscape(points=3),
    "gradient-probe": GradientProbe(batch_sizes=(2, 5), draws=3),
}


@pytest.mark.parametrize("name", list(OF_OBJECTIVE))
def test_every_measure_takes_a_shared_module_for_one(name):
    """The same numbers as under one name, and no weight is written."""
    found = {}
    for network in (Shared, Repeated):
        model, inputs, targets = build(network)
        before = [parameter.detach().clone() for parameter in model.parameters()]
        rows = OF_OBJECTIVE[name](
            Objective(model, inputs, targets), SMALL.get(name) or KINDS[name](), 0
        )
        found[network] = [(row.quantity, row.value) for row in rows]
        assert all(map(torch.equal, before, model.parameters()))
    assert found[Shared] == found[Repeated]


@pytest.mark.parametrize("chunk_size", [4, None])
def test_a_label_takes_the_place_of_every_target(chunk_size):
    model, inputs, targets = build(mlp)
    objective = Objective(model, inputs, targets, chunk_size)
    value, gradient = objective.value_and_gradient(objective.start, label=2)
    always = Objective(model, inputs, torch.full_like(targets, 2), chunk_size)
    expected, expected_gradient = always.value_and_gradient(always.start)
    assert value == expected
    assert torch.equal(gradient, expected_gradient)
    assert objective.evaluations == 1


@pytest.mark.parametrize("use", ["value", "value_and_gradient", "hessian_vector_products"])
def test_a_stop_is_noticed_after_every_chunk(use):
    model, inputs, targets = build(mlp)
    stopping = False
    objective = Objective(
        model, inputs, targets, 4, should_stop=lambda: stopping, graph_budget_bytes=0
    )
    argument = objective.start
    function = getattr(objective, use)
    if use == "hessian_vector_products":
        function, argument = function(objective.start), argument[None]
    seen: list[int] = []

    def stop_in_second_chunk(*_: object) -> None:
        nonlocal stopping
        seen.append(1)
        stopping = len(seen) == 2

    model.register_forward_hook(stop_in_second_chunk)
    with pytest.raises(MeasureInterrupted):
        function(argument)
    assert len(seen) == 2
    assert objective.evaluations == 0


@pytest.mark.parametrize("graph_budget_bytes, forward_passes", [(0, 3), (10**9, 0)])
def test_graphs_are_kept_within_the_budget_and_change_nothing(graph_budget_bytes, forward_passes):
    model, inputs, targets = build(mlp)
    objective = Objective(model, inputs, targets, 4, graph_budget_bytes=graph_budget_bytes)
    products = objective.hessian_vector_products(objective.start)
    seen: list[int] = []
    model.register_forward_hook(lambda *_: seen.append(1))
    vectors = torch.eye(len(objective.start), dtype=torch.float64)[:5]
    result = products(vectors)
    assert len(seen) == forward_passes
    whole = Objective(model, inputs, targets).hessian_vector_products(objective.start)(vectors)
    torch.testing.assert_close(result, whole)


def test_evaluations_count_passes_over_the_examples():
    model, inputs, targets = build(mlp)
    objective = Objective(model, inputs, targets, 4)
    objective.value(objective.start)
    objective.value_and_gradient(objective.start)
    objective.hessian_vector_products(objective.start)(objective.start.expand(3, -1))
    assert objective.evaluations == 5


def test_many_examples_lose_no_digits_to_float32_sums():
    model, inputs, targets = build(mlp)
    exact = F.cross_entropy(model(inputs), targets).item()
    repeated = Objective(model.float(), inputs.float().repeat(2000, 1), targets.repeat(2000), 7)
    assert repeated.value(repeated.start) == pytest.approx(exact, rel=1e-7)


def test_chunk_size_follows_the_kind_of_network():
    assert default_chunk_size(mlp()) == 1024
    assert default_chunk_size(convolution()) == 64


def test_training_mode_is_refused():
    model, inputs, targets = build(mlp)
    with pytest.raises(AssertionError, match="eval mode"):
        Objective(model.train(), inputs, targets)
