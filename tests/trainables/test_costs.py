"""What kinds say that they cost, against what they are seen to take."""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction

import pytest
import torch
from torch import Tensor, nn

from trainables.config.data import DataConfig, NetworkConfig
from trainables.config.measures.batch_sharpness import BatchSharpness
from trainables.config.measures.gradient_probe import GradientProbe
from trainables.config.measures.kinds import KINDS, MeasureConfig
from trainables.config.measures.landscape import Landscape
from trainables.config.measures.layers import LayerStatistics
from trainables.config.measures.measure import TrialFacts
from trainables.config.measures.noise_scale import NoiseScale
from trainables.config.measures.random_directions import RandomDirections
from trainables.config.measures.spectrum import Spectrum
from trainables.config.optimizers.cblr import CBLR
from trainables.config.optimizers.conservative import Conservative
from trainables.config.optimizers.kinds import OPTIMIZERS, OptimizerConfig
from trainables.config.optimizers.sgd import SGD
from trainables.config.trial import TrialConfig
from trainables.measures import take
from trainables.measures.objective import Objective
from trainables.optimizers import build
from trainables.rules.batching import batch_plan
from trainables.rules.record_steps import trial_facts

N, CLASSES = 60, 10
SMALL: dict[str, MeasureConfig] = {
    "spectrum": Spectrum(lanczos_steps=8, vectors=2),
    "noise-scale": NoiseScale(small_batch_size=5, large_batch_size=20, pairs=4),
    "gradient-probe": GradientProbe(batch_sizes=(5, 20), draws=3),
    "batch-sharpness": BatchSharpness(batches=5, batch_size=10),
    "random-directions": RandomDirections(directions=10),
    "landscape": Landscape(points=5),
}
RECORDED = {name for name, kind in KINDS.items() if kind.is_recorded}
FACTS = TrialFacts(
    num_train_examples=N,
    num_test_examples=40,
    num_answers=CLASSES,
    global_batch_size=10,
    scheduled_batch_sizes=(),
    epochs=2.0,
    optimizer_steps=12,
    steps_every=lambda epochs: {int(6 * epochs * (i + 1)) for i in range(int(2 / epochs))},
)


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(30, 20), nn.Tanh(), nn.Linear(20, CLASSES))


def test_every_kind_is_known_to_what_does_its_work() -> None:
    """A kind that is in the list and not among the functions would fail in a user's run."""
    assert {*take.OF_OBJECTIVE, *take.OF_SOLUTION} == set(KINDS) - RECORDED
    assert not take.OF_OBJECTIVE.keys() & take.OF_SOLUTION.keys()
    assert {*build.BUILDERS, *build.DRAWING} == set(OPTIMIZERS)


@pytest.mark.parametrize("name", take.OF_OBJECTIVE)
def test_a_measure_takes_about_what_it_says(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Within a factor of two, in gradients: a loss is a third, a product with the Hessian two.

    The search of a box has fewer starts where those of several classes are one.
    """
    taken = 0.0
    loss, second = Objective._loss, Objective._second_backward

    def counted_loss(self: Objective, pieces: list[Tensor], chunk: tuple[Tensor, Tensor]) -> Tensor:
        nonlocal taken
        taken += len(chunk[1]) / (1 if torch.is_grad_enabled() else 3)
        return loss(self, pieces, chunk)

    def counted_product(self: Objective, *args: object) -> tuple[Tensor, ...]:
        nonlocal taken
        taken += 2 * self.num_examples
        return second(self, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(Objective, "_loss", counted_loss)
    monkeypatch.setattr(Objective, "_second_backward", counted_product)
    torch.manual_seed(1)
    inputs, targets = torch.randn(N, 30), torch.randint(CLASSES, (N,))
    measure = SMALL.get(name) or KINDS[name]()
    take.OF_OBJECTIVE[name](Objective(network().eval(), inputs, targets), measure, 0)
    said = measure.cost(FACTS)
    assert taken / 2 < said.gradient + said.forward / 3 < 2 * taken


@pytest.mark.parametrize("name", sorted(set(KINDS) - RECORDED - {"interpolation", "landscape"}))
def test_what_is_taken_along_training_costs_as_often(name: str) -> None:
    kind = KINDS[name]
    often = kind(every_epochs=0.5).cost(FACTS)  # type: ignore[call-arg]
    once = kind().cost(FACTS)
    assert (often.forward, often.gradient) == (4 * once.forward, 4 * once.gradient)


CONFIG = TrialConfig(
    data=DataConfig(),
    network=NetworkConfig(name="mlp"),
    seed=0,
    optimizer=SGD(),
    global_batch_size=10,
    peak_lr=0.1,
    optimizer_steps=60,
)


@pytest.mark.parametrize(
    "every", [{"every_epochs": 0.1}, {"every_epochs": 0.3}, {"every_steps": 5}]
)
@pytest.mark.parametrize("size", [5, 30, 60])
def test_the_records_of_layers_are_counted_exactly(every: dict[str, float], size: int) -> None:
    """Several that fall at one step are one."""
    plan = batch_plan(replace(CONFIG, global_batch_size=size, optimizer_steps=600 // size), N)
    measure = LayerStatistics(**every)  # type: ignore[arg-type]
    facts = trial_facts(CONFIG, plan, 40, CLASSES)
    interval = Fraction(str(every.get("every_epochs", 1)))
    epochs = [interval * i for i in range(1, math.floor(10 / interval) + 1)]
    by_epoch = {1, *(math.ceil(epoch * N / size) for epoch in epochs)}
    by_step = {1, *range(5, 600 // size + 1, 5)}
    assert measure.records(facts) == (by_step if "every_steps" in every else by_epoch)


@pytest.mark.parametrize("config", [kind() for kind in OPTIMIZERS.values()], ids=str)
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_an_optimizer_keeps_no_more_than_it_says(config: OptimizerConfig, momentum: float) -> None:
    if hasattr(config, "momentum"):
        config = replace(config, momentum=momentum)
    model = network()
    inputs, targets = torch.randn(N, 30), torch.randint(CLASSES, (N,))
    optimizer = build.build(config, model)

    def closure() -> Tensor:
        optimizer.zero_grad()
        value = nn.functional.cross_entropy(model(inputs), targets)
        value.backward()
        return value

    for _ in range(14):  # more than L-BFGS remembers
        for group in optimizer.param_groups:
            group["lr"] = 0.01
        optimizer.step(closure)
    kept = sum(map(elements, optimizer.state.values()))
    said = config.kept_per_parameter * elements(list(model.parameters()))
    assert kept <= 1.01 * said + 50  # counters of steps
    assert kept >= 0.9 * said - 50 or config.searches_line or momentum == 0


def elements(value: object) -> int:
    """Numbers in the tensors of a nest of lists and dictionaries."""
    if isinstance(value, Tensor):
        return value.numel()
    inner = list(value.values()) if isinstance(value, dict) else value
    return sum(map(elements, inner)) if isinstance(inner, list | tuple) else 0


OTHERS = (CBLR(curvature="exact"), CBLR(curvature_samples=3), Conservative(inner_steps=5))


@pytest.mark.parametrize("config", [*(kind() for kind in OPTIMIZERS.values()), *OTHERS], ids=str)
def test_a_step_takes_as_many_gradients_as_it_says(config: OptimizerConfig) -> None:
    """At least so many where a line is searched; exact curvature leaves the few biases out."""
    model, calls = network(), 0
    inputs, targets = torch.randn(N, 30), torch.randint(CLASSES, (N,))
    optimizer = build.build(config, model)
    for group in optimizer.param_groups:
        group["lr"] = 0.1

    def closure() -> Tensor:
        nonlocal calls
        calls += 1
        optimizer.zero_grad()
        value = nn.functional.cross_entropy(model(inputs), targets)
        value.backward()
        return value

    optimizer.step(closure)
    said = config.gradients_per_step(sum(p.numel() for p in model.parameters()))
    if config.searches_line:
        assert calls >= said > 1
    else:
        assert calls == pytest.approx(said, rel=0.2)
