"""Networks: published counts, cost without building, seeded weights, users' modules and errors."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from trainables.config.data import NetworkConfig
from trainables.installation import SOURCE_TREE
from trainables.networks.build import build, parameter_shapes_hash
from trainables.networks.cards import (
    ACTIVATIONS,
    CARDS,
    check_input_shape,
    checked_options,
    cost,
    has_batch_norm,
    without_defaults,
)
from trainables.networks.layers import Conv, MaxPool
from trainables.networks.stack import Block, ZeroPadded, stack

PUBLISHED = {
    **{"f1": 1_462_794, "f2": 2_780_085, "c1": 1_757_834, "c2": 14_991_946},
    # Of the public code that each card names; the papers round (.66 M, 2.7 M, 25.6 M).
    **{"alexnet-cifar": 23_272_266, "resnet18-cifar": 11_173_962, "resnet44": 658_586},
    **{"wrn16-4": 2_748_890, "resnet50-goyal": 25_557_032},
}
# 90 classes more than C1 and C2; 4096 - 256 inputs fewer in C1's first hidden layer.
DERIVED = {"c3": 1_757_834 + 90 * 193, "c4": 14_991_946 + 90 * 513, "c1-stride2": 283_274}


def count_parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def count_multiply_adds(model: nn.Module, input_shape: tuple[int, ...]) -> int:
    """Oracle: what each convolution and linear layer did on one example, seen by forward hooks."""
    total = 0

    def add(module: Any, _: Any, output: torch.Tensor) -> None:
        nonlocal total
        total += output.numel() * math.prod(module.weight.shape[1:])

    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.register_forward_hook(add)
    model.eval()(torch.zeros(1, *input_shape))
    return total


def same_windows(
    image: torch.Tensor, kernel: int, stride: int, fill: float
) -> list[list[torch.Tensor]]:
    """Oracle: the windows [C, kernel, kernel] that TensorFlow's `same` takes of a [C, H, W]."""
    _, height, width = image.shape

    def start(size: int) -> int:
        out = -(-size // stride)
        return -(max((out - 1) * stride + kernel - size, 0) // 2)

    def value(row: int, column: int) -> torch.Tensor:
        inside = 0 <= row < height and 0 <= column < width
        return image[:, row, column] if inside else torch.full_like(image[:, 0, 0], fill)

    def window(top: int, left: int) -> torch.Tensor:
        rows = [[value(top + i, left + j) for j in range(kernel)] for i in range(kernel)]
        return torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2)

    tops = range(start(height), start(height) + height, stride)
    lefts = range(start(width), start(width) + width, stride)
    return [[window(top, left) for left in lefts] for top in tops]


# ---------------------------------------------------------------------------- published networks


@pytest.mark.parametrize(("name", "parameters"), (PUBLISHED | DERIVED).items())
def test_published_parameter_counts(name: str, parameters: int) -> None:
    card = CARDS[name]
    assert card.input_shape is not None and card.num_classes is not None
    model = build(NetworkConfig(name=name), card.input_shape, card.num_classes, seed=0)
    assert count_parameters(model) == parameters


def test_quickstart_network_has_135k_parameters() -> None:
    assert cost(NetworkConfig(name="mlp"), (1, 28, 28), 10) == (135_562, 134_400)


@pytest.mark.parametrize(("name", "like"), [("c3", "c1"), ("c4", "c2")])
def test_cifar100_networks_differ_in_classes_only(name: str, like: str) -> None:
    assert CARDS[name].num_classes == 100
    assert CARDS[name].layers(CARDS[name].options) == CARDS[like].layers(CARDS[like].options)


def test_published_dropout_rates() -> None:
    def rates(name: str, **options: Any) -> list[float]:
        model = build(NetworkConfig(name=name, options=options), (3, 32, 32), 10, seed=0)
        return [module.p for module in model.modules() if isinstance(module, nn.Dropout)]

    assert rates("c1") == [0.5, 0.5]
    assert rates("c2") == [0.3, *[0.4] * 7, 0.5, 0.5]
    assert rates("c1", dropout=0.0) == []
    assert rates("c1", dropout=0.1) == [0.1, 0.1]
    assert rates("f1") == []
    assert rates("f1", dropout=0.1) == [0.1] * 5


def test_keskar_weights_are_glorot_uniform_and_biases_zero() -> None:
    model = build(NetworkConfig(name="c1"), (3, 32, 32), 10, seed=0)
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            fan_in, fan_out = (math.prod(module.weight[0].shape), module.weight.shape[0])
            fan_out *= math.prod(module.weight.shape[2:])
            bound = math.sqrt(6 / (fan_in + fan_out))
            assert module.weight.abs().max() <= bound
            assert module.weight.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.05)
            assert module.bias is not None and not module.bias.any()


@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 28, 28), (3, 17, 23)])
@pytest.mark.parametrize("name", [name for name, card in CARDS.items() if card.images])
def test_cost_of_convolutional_networks_is_that_of_the_module(
    name: str, shape: tuple[int, int, int]
) -> None:
    options: dict[str, Any] = {"width": 4, "hidden": [5], "zero_init_residual": False}
    options = {key: value for key, value in options.items() if key in CARDS[name].options}
    config = NetworkConfig(name=name, options={**options, "batch_norm": shape[0] == 3})
    model = build(config, shape, 7, seed=0)
    assert cost(config, shape, 7) == (count_parameters(model), count_multiply_adds(model, shape))


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    hidden=st.lists(st.integers(1, 40), max_size=4),
    batch_norm=st.booleans(),
    dropout=st.sampled_from([0, 0.5]),
    activation=st.sampled_from(ACTIVATIONS),
    shape=st.lists(st.integers(1, 5), min_size=1, max_size=3).map(tuple),
    num_classes=st.integers(2, 11),
)
def test_cost_of_mlp_is_that_of_the_module(
    hidden: list[int],
    batch_norm: bool,
    dropout: float,
    activation: str,
    shape: tuple[int, ...],
    num_classes: int,
) -> None:
    options: dict[str, Any] = {"hidden": hidden, "batch_norm": batch_norm, "dropout": dropout}
    config = NetworkConfig(name="mlp", options=options | {"activation": activation})
    model = build(config, shape, num_classes, seed=0)
    measured = (count_parameters(model), count_multiply_adds(model, shape))
    assert cost(config, shape, num_classes) == measured
    kinds = {type(module) for module in model.modules()}
    assert (nn.BatchNorm1d in kinds) == (batch_norm and bool(hidden))
    assert has_batch_norm(config) is batch_norm
    assert (nn.Dropout in kinds) == (dropout > 0 and bool(hidden))
    chosen = {"relu": nn.ReLU, "tanh": nn.Tanh, "gelu": nn.GELU}[activation]
    assert (chosen in kinds) == bool(hidden)


@pytest.mark.parametrize("name", CARDS)
def test_cards_tell_of_dropout_and_normalization(name: str) -> None:
    model = build(NetworkConfig(name=name), (3, 32, 32), 10, seed=0)
    kinds = {type(module) for module in model.modules()}
    assert CARDS[name].dropout == (nn.Dropout in kinds)
    assert CARDS[name].batch_norm == bool(kinds & {nn.BatchNorm1d, nn.BatchNorm2d})
    assert CARDS[name].images == (nn.Conv2d in kinds)


# ---------------------------------------------------------- against others' code and by hand


def test_resnet50_is_torchvisions_function() -> None:
    ours = build(NetworkConfig(name="resnet50-goyal"), (3, 48, 40), 7, seed=0).eval()
    for module in ours.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
    with torch.device("meta"):  # its own weights need not be drawn
        theirs = torchvision.models.resnet50(num_classes=7).eval()
    weights = zip(theirs.state_dict(), ours.state_dict().values(), strict=True)
    theirs.load_state_dict(dict(weights), assign=True)
    images = torch.randn(2, 3, 48, 40)
    with torch.no_grad():
        torch.testing.assert_close(ours(images), theirs(images))


def by_hand(model: nn.Module, images: torch.Tensor, preactivated: bool) -> torch.Tensor:
    """Oracle: a CIFAR residual network in evaluation, from its weights, by functionals alone."""
    weights = model.state_dict()

    def norm(x: torch.Tensor, name: str) -> torch.Tensor:
        order = ("running_mean", "running_var", "weight", "bias")
        mean, variance, scale, shift = (weights[f"{name}.{part}"] for part in order)
        return F.batch_norm(x, mean, variance, scale, shift)

    def conv(x: torch.Tensor, name: str, stride: int = 1) -> torch.Tensor:
        weight = weights[f"{name}.weight"]
        return F.conv2d(x, weight, stride=stride, padding=weight.shape[-1] // 2)

    def shortcut(x: torch.Tensor, name: str, channels: int, stride: int) -> torch.Tensor:
        if f"{name}.shortcut.conv1.weight" in weights:
            x = conv(x, f"{name}.shortcut.conv1", stride)
            return x if preactivated else norm(x, f"{name}.shortcut.conv1_norm")
        x = x[:, :, ::stride, ::stride]
        return torch.cat([x, x.new_zeros(len(x), channels - x.shape[1], *x.shape[2:])], dim=1)

    x = conv(images, "conv1")
    x = x if preactivated else F.relu(norm(x, "conv1_norm"))
    channels = weights["residual1.branch.conv2.weight"].shape[0]
    for name in [n for n, module in model.named_children() if isinstance(module, Block)]:
        after = weights[f"{name}.branch.conv2.weight"].shape[0]
        stride = after // channels
        channels = after
        inner = F.relu(norm(x, f"{name}.before.activated1_norm")) if preactivated else x
        carried = x if preactivated and x.shape[1] == after else inner
        carried = shortcut(carried, name, after, stride)
        inner = F.relu(
            norm(conv(inner, f"{name}.branch.conv1", stride), f"{name}.branch.conv1_norm")
        )
        inner = conv(inner, f"{name}.branch.conv2")
        x = inner + carried if preactivated else norm(inner, f"{name}.branch.conv2_norm") + carried
        x = x if preactivated else F.relu(x)
    x = F.relu(norm(x, "activated1_norm")) if preactivated else x
    return F.linear(x.mean(dim=(2, 3)), weights["output.weight"], weights["output.bias"])


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("resnet18-cifar", {"width": 3}),
        ("resnet44", {"width": 2}),  # zeros in the new channels
        ("resnet44", {"width": 2, "shortcut": "projection"}),
        ("wrn16-4", {"width": 2}),
    ],
)
def test_residual_networks_by_hand(name: str, options: dict[str, Any]) -> None:
    model = build(NetworkConfig(name=name, options=options), (3, 16, 11), 5, seed=0).double()
    generator = torch.Generator().manual_seed(0)
    for module in model.modules():  # so that a norm in the wrong place would be seen
        if isinstance(module, nn.BatchNorm2d):
            for part in (module.weight, module.bias, module.running_mean, module.running_var):
                assert part is not None
                nn.init.uniform_(part, 0.5, 1.5, generator=generator)
    images = torch.randn(2, 3, 16, 11, generator=generator, dtype=torch.float64)
    with torch.no_grad():
        expected = by_hand(model, images, preactivated=name == "wrn16-4")
        torch.testing.assert_close(model.eval()(images), expected, rtol=1e-9, atol=1e-9)


def test_residual_networks_have_the_depth_of_their_name() -> None:
    def depth(name: str) -> int:
        model = build(NetworkConfig(name=name, options={"width": 2}), (3, 32, 32), 10, seed=0)
        names = [n for n, module in model.named_modules() if isinstance(module, nn.Conv2d)]
        if name == "wrn16-4":  # 6 n + 4 counts the three projections, and not the output layer
            return len(names)
        return sum("shortcut" not in n for n in names) + 1

    depths = {"resnet18-cifar": 18, "resnet44": 44, "resnet50-goyal": 50, "wrn16-4": 16}
    assert {name: depth(name) for name in depths} == depths


def test_padded_shortcut_keeps_what_is_there() -> None:
    images = torch.arange(2 * 3 * 5 * 4.0).reshape(2, 3, 5, 4)
    padded = ZeroPadded(stride=2, channels=3)(images)
    assert padded.shape == (2, 6, 3, 2)
    assert torch.equal(padded[:, :3], images[:, :, ::2, ::2]) and not padded[:, 3:].any()


def test_alexnet_is_the_variant_that_its_card_names() -> None:
    def conv(inputs: int, outputs: int, stride: int = 1) -> list[nn.Module]:
        return [nn.Conv2d(inputs, outputs, 3, stride, padding=1), nn.ReLU()]

    published = nn.Sequential(
        *[*conv(3, 64, 2), nn.MaxPool2d(2), *conv(64, 192), nn.MaxPool2d(2), *conv(192, 384)],
        *[*conv(384, 256), *conv(256, 256), nn.MaxPool2d(2), nn.Flatten(), nn.Dropout()],
        *[nn.Linear(1024, 40), nn.ReLU(), nn.Dropout(), nn.Linear(40, 30), nn.ReLU()],
        nn.Linear(30, 10),
    )
    config = NetworkConfig(name="alexnet-cifar", options={"hidden": [40, 30]})
    ours = build(config, (3, 32, 32), 10, seed=0)
    assert [n for n, m in ours.named_children() if isinstance(m, nn.Linear)] == [
        *("hidden1", "hidden2", "output")  # the first and second fully connected layer, by name
    ]
    weights = zip(published.state_dict(), ours.state_dict().values(), strict=True)
    published.load_state_dict(dict(weights))
    images = torch.randn(2, 3, 32, 32)
    assert torch.equal(ours.eval()(images), published.eval()(images))
    torch.manual_seed(0)
    dropped = published.train()(images)
    torch.manual_seed(0)
    assert torch.equal(ours.train()(images), dropped)  # dropout lies at the same places


def test_vgg_is_configuration_d() -> None:
    ours = build(NetworkConfig(name="vgg-cifar", options={"hidden": []}), (3, 32, 32), 10, seed=1)
    convolutions = nn.Sequential(*list(ours.eval().children())[:-2])  # no flattening, no output
    with torch.device("meta"):
        features = torchvision.models.vgg16_bn().features.eval()
    weights = zip(features.state_dict(), convolutions.state_dict().values(), strict=True)
    features.load_state_dict(dict(weights), assign=True)
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(convolutions(images), features(images))
    assert cost(NetworkConfig(name="vgg-cifar"), (3, 32, 32), 10) == (33_646_666, 332_111_872)
    assert count_parameters(ours) == 14_728_266
    config = NetworkConfig(name="vgg-cifar", options={"hidden": [6, 7]})
    kinds = [type(m) for m in build(config, (3, 32, 32), 10, seed=1).children()][-8:]
    hidden = [nn.Linear, nn.ReLU, nn.Dropout]
    assert kinds == [nn.Flatten, *hidden, *hidden, nn.Linear]


# ---------------------------------------------------------------------------------- same padding


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    kernel=st.sampled_from([2, 3]),
    seed=st.integers(0, 100),
)
def test_max_pool_is_tensorflows_same(height: int, width: int, kernel: int, seed: int) -> None:
    image = torch.randn(2, height, width, generator=torch.Generator().manual_seed(seed)) - 3
    pool = stack([MaxPool(kernel=kernel)], (2, height, width), 2, batch_norm=False, activation="")
    windows = same_windows(image, kernel, 2, -math.inf)
    expected = torch.stack(
        [torch.stack([w.amax((1, 2)) for w in row], dim=-1) for row in windows], dim=-2
    )
    assert torch.equal(pool[0](image[None])[0], expected)


@settings(max_examples=20, deadline=None, derandomize=True)
@given(height=st.integers(1, 9), width=st.integers(1, 9), stride=st.sampled_from([1, 2]))
def test_convolution_is_tensorflows_same(height: int, width: int, stride: int) -> None:
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(2, height, width, generator=generator, dtype=torch.float64)
    layers = [Conv(channels=3, kernel=5, stride=stride)]
    model = stack(layers, (2, height, width), 2, batch_norm=False, activation="relu").double()
    conv = model.get_submodule("conv1")
    assert isinstance(conv, nn.Conv2d) and conv.bias is not None
    with torch.no_grad():
        convolved = model[: list(model).index(conv) + 1](image[None])[0]
        expected = torch.stack(
            [
                torch.stack(
                    [torch.einsum("ockl,ckl->o", conv.weight, w) + conv.bias for w in row], dim=-1
                )
                for row in same_windows(image, 5, stride, 0.0)
            ],
            dim=-2,
        )
    torch.testing.assert_close(convolved, expected)


# --------------------------------------------------------------------------------- initial weights


@pytest.mark.parametrize(
    "name", ["mlp", "f1", "c1", "resnet44", "resnet50-goyal", "torchvision/resnet18"]
)
def test_weights_follow_from_the_seed_alone(name: str) -> None:
    def weights(seed: int, drawn_before: int) -> torch.Tensor:
        torch.manual_seed(drawn_before)
        options = {"width": 4} if name.startswith("resnet") else {}
        model = build(NetworkConfig(name=name, options=options), (3, 32, 32), 10, seed)
        assert model.training
        assert {p.dtype for p in model.parameters()} == {torch.float32}
        return nn.utils.parameters_to_vector(model.parameters())

    assert torch.equal(weights(3, drawn_before=1), weights(3, drawn_before=2))
    assert not torch.equal(weights(3, drawn_before=1), weights(4, drawn_before=1))


def test_normalization_and_dropout_leave_names_and_initial_weights() -> None:
    def weights(**options: Any) -> dict[str, torch.Tensor]:
        model = build(NetworkConfig(name="c1", options=options), (3, 32, 32), 10, seed=0)
        return {k: v for k, v in model.state_dict().items() if "_norm" not in k}

    plain, changed = weights(), weights(batch_norm=False, dropout=0.0, activation="tanh")
    assert plain.keys() == changed.keys()
    assert all(torch.equal(plain[name], changed[name]) for name in plain)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("resnet44", {"width": 4}),
        ("wrn16-4", {"width": 4}),
        ("alexnet-cifar", {"width": 8, "hidden": [9]}),
        ("vgg-cifar", {"width": 8, "hidden": [9]}),
    ],
)
def test_axes_of_a_network_leave_names_and_initial_weights(
    name: str, options: dict[str, Any]
) -> None:
    def weights(**axes: Any) -> dict[str, torch.Tensor]:
        config = NetworkConfig(name=name, options=options | axes)
        state = build(config, (3, 32, 32), 10, seed=0).state_dict()
        return {k: v for k, v in state.items() if "_norm" not in k and k.endswith("weight")}

    plain = weights(batch_norm=True)
    changed = weights(batch_norm=False, dropout=0.3, activation="gelu")
    assert plain.keys() == changed.keys()
    assert all(torch.equal(plain[key], changed[key]) for key in plain)


def test_he_weights_and_torchs_linear_layers() -> None:
    config = NetworkConfig(name="vgg-cifar", options={"hidden": [512], "batch_norm": False})
    for module in build(config, (3, 32, 32), 10, seed=0).modules():
        if isinstance(module, nn.Conv2d):
            assert module.weight.std().item() == pytest.approx(
                math.sqrt(2 / (9 * module.out_channels)), rel=0.05
            )
            assert module.bias is not None and not module.bias.any()
        elif isinstance(module, nn.Linear):
            bound = 1 / math.sqrt(module.in_features)
            assert bound > module.weight.abs().max() > 0.98 * bound
            assert bound > module.bias.abs().max() > 0.5 * bound


def test_goyals_initial_weights() -> None:
    options = {"width": 16}
    model = build(NetworkConfig(name="resnet50-goyal", options=options), (3, 32, 32), 100, seed=0)
    scales = {n: m.weight for n, m in model.named_modules() if isinstance(m, nn.BatchNorm2d)}
    zeros = {name for name, scale in scales.items() if not scale.any()}
    assert zeros == {name for name in scales if name.endswith("branch.conv3_norm")}
    assert len(zeros) == 16
    assert all(scale.eq(1).all() for name, scale in scales.items() if name not in zeros)
    output = model.get_submodule("output")
    assert isinstance(output, nn.Linear) and not output.bias.any()
    assert output.weight.std().item() == pytest.approx(0.01, rel=0.02)
    assert output.weight.abs().max() > 0.03  # a Gaussian's tail; uniform ends at .017
    # A block starts as its shortcut: the normalized inputs of the branch do not matter.
    block = model.get_submodule("residual2")
    images = torch.randn(2, 64, 4, 4)
    torch.testing.assert_close(block(images), images.relu())


def test_zero_scales_are_an_option_of_small_residual_networks() -> None:
    config = NetworkConfig(name="resnet44", options={"width": 2, "zero_init_residual": True})
    model = build(config, (3, 32, 32), 10, seed=0)
    blocks = [module for module in model.modules() if isinstance(module, Block)]
    assert len(blocks) == 21
    for block in blocks:
        first, last = (block.branch.get_submodule(f"conv{k}_norm").weight for k in (1, 2))
        assert first.all() and not last.any()  # type: ignore[operator]


def test_the_global_generator_is_left_alone() -> None:
    before = torch.get_rng_state()
    build(NetworkConfig(name="mlp"), (1, 28, 28), 10, seed=0)
    assert torch.equal(torch.get_rng_state(), before)


def test_parameter_shapes_hash_sees_names_order_and_shapes() -> None:
    def network(**widths: int) -> nn.Module:
        model = nn.Sequential()
        for name, width in widths.items():
            model.add_module(name, nn.Linear(2, width))
        return model

    reference = parameter_shapes_hash(network(a=3, b=4))
    assert reference == parameter_shapes_hash(network(a=3, b=4).double())
    others = [network(a=3, c=4), network(b=4, a=3), network(a=3, b=5), network(a=3)]
    assert reference not in {parameter_shapes_hash(other) for other in others}


# ---------------------------------------------------------------------------------- bad requests


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (NetworkConfig(), ["network", "mlp", "neither"]),
        (NetworkConfig(name="mlp", build="a:b"), ["both 'mlp' and 'a:b'"]),
        (NetworkConfig(name="mpl"), ["network.name", "'mpl'", "mlp"]),
        (NetworkConfig(name="qqqq"), ["qqqq", "c1-stride2", "torchvision/resnet18"]),
        (NetworkConfig(name="torchvison/resnet18"), ["torchvision/resnet18"]),
        (NetworkConfig(name="mlp", options={"hiden": [8]}), ["network.options.hiden", "hidden?"]),
        (NetworkConfig(name="c1", options={"hidden": [8]}), ["network.options.hidden", "c1"]),
        (NetworkConfig(name="mlp", options={"hidden": 8}), ["hidden", "[128, 128]", "not 8"]),
        (NetworkConfig(name="mlp", options={"hidden": [0]}), ["hidden", "1 or more", "[0]"]),
        (NetworkConfig(name="mlp", options={"hidden": [True]}), ["hidden", "[True]"]),
        (NetworkConfig(name="mlp", options={"batch_norm": 1}), ["batch_norm", "true or false"]),
        (NetworkConfig(name="mlp", options={"dropout": 1}), ["dropout", "below 1", "not 1"]),
        (NetworkConfig(name="mlp", options={"dropout": math.nan}), ["dropout", "nan"]),
        (NetworkConfig(name="mlp", options={"dropout": None}), ["dropout", "None"]),
        (NetworkConfig(name="c1", options={"dropout": "0.5"}), ["dropout", "'0.5'"]),
        (NetworkConfig(name="f1", options={"activation": "rely"}), ["activation", "relu", "rely"]),
        (NetworkConfig(name="resnet44", options={"width": 0}), ["width", "1 or more", "not 0"]),
        (NetworkConfig(name="resnet44", options={"width": 1.5}), ["width", "such as 16"]),
        (NetworkConfig(name="resnet44", options={"shortcut": "a"}), ["zeros, projection", "'a'"]),
        (NetworkConfig(name="wrn16-4", options={"shortcut": "zeros"}), ["shortcut", "wrn16-4"]),
        (
            NetworkConfig(name="resnet50-goyal", options={"batch_norm": False}),
            ["zero_init_residual", "batch_norm is false", "set zero_init_residual: false"],
        ),
        (NetworkConfig(name="f1", options={"activation": ["relu"]}), ["activation", "['relu']"]),
    ],
)
def test_bad_names_and_options_are_refused(config: NetworkConfig, words: list[str]) -> None:
    for refuse in (lambda: checked_options(config), lambda: build(config, (3, 8, 8), 10, seed=0)):
        with pytest.raises(ValueError, match="network") as error:
            refuse()
        assert all(word in str(error.value) for word in words), str(error.value)


def test_options_are_completed_and_foreign_ones_pass() -> None:
    assert checked_options(NetworkConfig(name="c1", options={"dropout": 0})) == {
        "batch_norm": True,
        "dropout": 0,
        "activation": "relu",
    }
    foreign = {"width": 3, "anything": None}
    for config in (
        NetworkConfig(build="my_module:build", options=foreign),
        NetworkConfig(name="torchvision/resnet18", options=foreign),
    ):
        assert checked_options(config) == foreign
        assert has_batch_norm(config) is None
        assert cost(config, (3, 32, 32), 10) is None


def test_dropout_without_a_place_does_not_tell_networks_apart() -> None:
    def resolved(**options: Any) -> NetworkConfig:
        return without_defaults(NetworkConfig(name="vgg-cifar", options=options))

    assert resolved(hidden=[], dropout=0.3) == resolved(hidden=[])
    assert resolved(hidden=[9], dropout=0.3) != resolved(hidden=[9])


@pytest.mark.parametrize(
    ("name", "shape"),
    [("c1", (784,)), ("torchvision/resnet18", (1, 28, 28)), ("torchvision/resnet18", (3, 784))],
)
def test_data_that_a_network_cannot_take_is_refused(name: str, shape: tuple[int, ...]) -> None:
    config = NetworkConfig(name=name)
    for refuse in (check_input_shape, lambda c, s: build(c, s, 10, seed=0)):
        with pytest.raises(ValueError, match=rf"network.name: {name} takes images") as error:
            refuse(config, shape)
        assert str(list(shape)) in str(error.value)


# ----------------------------------------------------------------------------------- torchvision


def test_torchvision_resnet18() -> None:
    model = build(NetworkConfig(name="torchvision/resnet18"), (3, 32, 32), 10, seed=0)
    assert count_parameters(model) == 11_181_642  # 11,689,512 with ImageNet's 1000 classes
    assert model(torch.zeros(2, 3, 32, 32)).shape == (2, 10)


def test_torchvision_options_pass() -> None:
    config = NetworkConfig(name="torchvision/mnasnet0_5", options={"dropout": 0.9})
    model = build(config, (3, 32, 32), 10, seed=0)
    assert [module.p for module in model.modules() if isinstance(module, nn.Dropout)] == [0.9]


def test_torchvision_auxiliary_outputs_are_off() -> None:
    model = build(NetworkConfig(name="torchvision/googlenet"), (3, 64, 64), 10, seed=0)
    assert model(torch.zeros(2, 3, 64, 64)).shape == (2, 10)


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("resnet19", {}, ["network.name", "'resnet19'", "resnet18"]),
        ("fcn_resnet50", {}, ["network.name", "resnet50"]),
        ("resnet18", {"wdth": 3}, ["network.options", "wdth"]),
        ("resnet18", {"weights": "DEFAULT"}, ["network.options.weights", "the seed"]),
        ("resnet18", {"num_classes": 7}, ["network.options.num_classes"]),
        ("googlenet", {"aux_logits": True}, ["network.options.aux_logits", "false"]),
        ("inception_v3", {}, ["torchvision/inception_v3", "[3, 32, 32]", "Kernel size"]),
    ],
)
def test_bad_torchvision_models_are_refused(
    name: str, options: dict[str, Any], words: list[str]
) -> None:
    config = NetworkConfig(name=f"torchvision/{name}", options=options)
    with pytest.raises(ValueError, match="network") as error:
        build(config, (3, 32, 32), 10, seed=0)
    assert all(word in str(error.value) for word in words), str(error.value)


# ------------------------------------------------------------------------------- users' networks

USERS = """
import torch
from torch import nn

def good(input_shape, num_classes, width=4):
    return nn.Sequential(nn.Flatten(), nn.LazyLinear(width), nn.Linear(width, num_classes))

def double(input_shape, num_classes):
    return good(input_shape, num_classes).double()

def no_module(input_shape, num_classes):
    return [1]

def raises(input_shape, num_classes):
    raise RuntimeError("no such file as weights.bin")

def wrong_classes(input_shape, num_classes):
    return good(input_shape, num_classes + 1)

def wrong_input(input_shape, num_classes):
    return nn.Linear(999, num_classes)

def pair(input_shape, num_classes):
    class Pair(nn.Linear):
        def forward(self, inputs):
            return inputs, inputs
    return Pair(2, 3)

def frozen(input_shape, num_classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(6, num_classes)).requires_grad_(False)

def elsewhere(input_shape, num_classes):
    return nn.Linear(2, 3, device="meta")

constant = 3
"""


@pytest.fixture
def users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Folder with a module of networks; forgotten afterwards."""
    (tmp_path / "users_networks.py").write_text(USERS)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "users_networks", raising=False)
    return str(tmp_path)


def test_a_users_network_is_seeded_completely(users: str) -> None:
    def weights(seed: int) -> torch.Tensor:
        config = NetworkConfig(build="users_networks:good", options={"width": 5})
        model = build(config, (2, 3), 4, seed, users)
        assert count_parameters(model) == 6 * 5 + 5 + 5 * 4 + 4
        return nn.utils.parameters_to_vector(model.parameters())

    before = torch.get_rng_state()
    assert torch.equal(weights(0), weights(0))
    assert not torch.equal(weights(0), weights(1))
    assert torch.equal(torch.get_rng_state(), before)


def test_a_users_network_becomes_float32(users: str) -> None:
    model = build(NetworkConfig(build="users_networks:double"), (2, 3), 4, 0, users)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


@pytest.mark.parametrize(
    ("function", "options", "words"),
    [
        ("good", {"wdth": 5}, ["unexpected keyword argument 'wdth'", "width=4"]),
        ("good", {"num_classes": 5}, ["multiple values", "num_classes"]),
        ("no_module", {}, ["gave list", "torch.nn.Module"]),
        ("raises", {}, ["raised RuntimeError: no such file as weights.bin"]),
        ("wrong_classes", {}, ["gives [2, 5]", "expected [2, 4]"]),
        ("wrong_input", {}, ["fails on two examples of shape [2, 3]", "mat1 and mat2"]),
        ("pair", {}, ["gives tuple", "expected [2, 4]"]),
        ("frozen", {}, ["no parameter that requires a gradient"]),
        ("elsewhere", {}, ["parameters on meta", "CPU"]),
        ("constant", {}, ["int cannot be called", "build(input_shape"]),
        ("absent", {}, ["absent"]),
    ],
)
def test_bad_users_networks_are_refused(
    users: str, function: str, options: dict[str, Any], words: list[str]
) -> None:
    config = NetworkConfig(build=f"users_networks:{function}", options=options)
    with pytest.raises(ValueError, match=f"users_networks:{function}") as error:
        build(config, (2, 3), 4, 0, users)
    assert all(word in str(error.value) for word in words), str(error.value)


def test_cards_load_neither_torch_nor_ray() -> None:
    program = "import sys, trainables.networks.cards; print({'torch', 'ray'} & set(sys.modules))"
    root = SOURCE_TREE
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=root
    )
    assert done.stdout.strip() == "set()"
