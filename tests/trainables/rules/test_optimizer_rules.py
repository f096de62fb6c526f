"""What an optimizer's settings resolve to: averages that follow the batch, what is refused."""

from __future__ import annotations

import math
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainables.config.data import DataConfig, NetworkConfig
from trainables.config.identity import trial_id
from trainables.config.optimizers.adagrad import AdaGrad
from trainables.config.optimizers.adam import Adam, AdamW
from trainables.config.optimizers.cblr import CBLR
from trainables.config.optimizers.conservative import Conservative
from trainables.config.optimizers.gradient_descent import GradientDescent
from trainables.config.optimizers.kinds import OptimizerConfig
from trainables.config.optimizers.lamb import LAMB
from trainables.config.optimizers.layerwise import LARS
from trainables.config.optimizers.lbfgs import LBFGS
from trainables.config.optimizers.sam import SAM
from trainables.config.optimizers.sgd import SGD
from trainables.config.optimizers.sgd_folded import SGDFolded
from trainables.config.training import BatchPhase, TrainingConfig
from trainables.config.trial import TrialConfig
from trainables.rules.resolve import resolve


def resolved(optimizer: OptimizerConfig, batch: int = 32, **training: Any) -> TrialConfig:
    return resolve(
        TrainingConfig(
            global_batch_size=batch, base_lr=0.1, epochs=4.0, optimizer=optimizer, **training
        ),
        data=DataConfig(),
        network=NetworkConfig(name="mlp"),
        seed=0,
        num_train_examples=5000,
    )


def averaged(optimizer: Any, rule: str, batch: int, reference: int = 32) -> Any:
    scaling = {"averaging_scaling": rule, "lr_reference_batch_size": reference}
    return resolved(optimizer, batch, **scaling).optimizer


def refusal(optimizer: OptimizerConfig, batch: int = 32, **training: Any) -> str:
    with pytest.raises(ValueError) as raised:
        resolved(optimizer, batch, **training)
    return str(raised.value)


# -------------------------------------------------------------------------------------- averaging

AVERAGING: list[OptimizerConfig] = [
    SGD(momentum=0.9),
    SGDFolded(),
    LARS(),
    CBLR(),
    SAM(),
    Adam(),
    AdamW(beta1=0.8),
    LAMB(),
    Conservative(),
]


@pytest.mark.parametrize("optimizer", AVERAGING, ids=lambda o: o.name)
@given(batch=st.integers(1, 5000), reference=st.integers(1, 5000))
def test_half_life_in_examples_is_kept(optimizer, batch, reference):
    found = averaged(optimizer, "half-life", batch, reference)
    for name in ("momentum", "beta1", "beta2"):
        if not hasattr(optimizer, name):
            continue
        m, k = getattr(optimizer, name), batch / reference
        assert getattr(found, name) == m**k
        if m**k > 1e-300:
            in_examples = batch * math.log(0.5) / math.log(m**k)
            assert in_examples == pytest.approx(reference * math.log(0.5) / math.log(m))
    assert getattr(found, "epsilon", 0) == getattr(optimizer, "epsilon", 0)


@pytest.mark.parametrize("batch", [8, 32, 64, 256])
def test_sqrt_is_malladis_rule(batch):
    k = batch / 32
    found = averaged(Adam(epsilon=1e-6), "sqrt", batch)
    assert found.beta1 == pytest.approx(1 - k * 0.1)
    assert found.beta2 == pytest.approx(1 - k * 0.001)
    assert found.epsilon == pytest.approx(1e-6 / math.sqrt(k))
    assert averaged(SGD(momentum=0.9), "sqrt", batch) == SGD(momentum=found.beta1)


@pytest.mark.parametrize("optimizer", AVERAGING, ids=lambda o: o.name)
@pytest.mark.parametrize("rule", ["half-life", "sqrt"])
def test_at_the_reference_batch_it_is_the_same_trial(optimizer, rule):
    scaling = {"averaging_scaling": rule, "lr_reference_batch_size": 48}
    assert trial_id(resolved(optimizer, 48, **scaling)) == trial_id(resolved(optimizer, 48))
    assert trial_id(resolved(optimizer, 64, **scaling)) != trial_id(resolved(optimizer, 64))


@pytest.mark.parametrize("rule", ["half-life", "sqrt"])
def test_what_is_no_average_stays_none(rule):
    assert averaged(SGD(), rule, 1000) == SGD()
    assert averaged(Adam(beta1=0.0), rule, 40).beta1 == 0.0


@given(momentum=st.integers(1, 99), batch=st.integers(1, 5000))
def test_sqrt_is_refused_where_it_is_not_positive(momentum, batch):
    optimizer = SGD(momentum=momentum / 100)
    if batch * (100 - momentum) < 32 * 100:
        assert averaged(optimizer, "sqrt", batch).momentum > 0
        return
    scaling = {"averaging_scaling": "sqrt", "lr_reference_batch_size": 32}
    message = refusal(optimizer, batch, **scaling)
    assert message.startswith("averaging_scaling sqrt: gives momentum ")
    (most,) = re.findall(r"at most (\d+)", message)
    assert averaged(optimizer, "sqrt", int(most)).momentum > 0
    assert "at most" in refusal(optimizer, int(most) + 1, **scaling)


@pytest.mark.parametrize("optimizer", [AdaGrad(), GradientDescent(), LBFGS()])
def test_who_averages_nothing_is_refused_a_rule(optimizer):
    scaling = {"averaging_scaling": "half-life", "lr_reference_batch_size": 32}
    message = refusal(optimizer, **scaling)
    assert message.startswith(f"averaging_scaling half-life: optimizer {optimizer.name} has no")


def test_a_rule_needs_a_reference_and_one_batch_size():
    message = refusal(Adam(), averaging_scaling="half-life")
    assert message.startswith("averaging_scaling half-life: needs lr_reference_batch_size")
    schedule = (BatchPhase(until_epoch=1.0, global_batch_size=16),)
    scaling = {"averaging_scaling": "sqrt", "lr_reference_batch_size": 32}
    message = refusal(Adam(), batch_schedule=schedule, **scaling)
    assert message.startswith("averaging_scaling sqrt: cannot be combined with batch_schedule")


# ------------------------------------------------------------------------------------- the others


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (SGD(decay_normalization=False), SGD()),
        (CBLR(curvature="exact", curvature_samples=7), CBLR(curvature="exact")),
        (
            Conservative(inner_steps=1, proximal_weight=3.0),
            Conservative(inner_steps=1),
        ),
    ],
    ids=str,
)
def test_what_another_setting_switches_off_makes_no_other_trial(one, other):
    assert trial_id(resolved(one)) == trial_id(resolved(other))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (SGD(weight_decay=0.1, decay_normalization=False), SGD(weight_decay=0.1)),
        (CBLR(curvature_samples=7), CBLR()),
        (Conservative(proximal_weight=3.0), Conservative()),
    ],
    ids=str,
)
def test_what_is_on_makes_another_trial(one, other):
    assert trial_id(resolved(one)) != trial_id(resolved(other))


HARMFUL: list[tuple[str, Any, dict[str, Any]]] = [
    ("precision", "bf16", {}),
    ("discard_ratio", 0.5, {}),
    ("discard_gradient_ratio", 0.5, {}),
    ("max_gradient_norm", 5.0, {}),
    ("adversarial_epsilon", 0.1, {}),
]


@pytest.mark.parametrize("optimizer", [CBLR(), LBFGS()], ids=lambda o: o.name)
@pytest.mark.parametrize(("name", "value", "others"), HARMFUL)
def test_differences_of_gradients_need_those_of_one_smooth_loss(optimizer, name, value, others):
    message = refusal(optimizer, **{name: value} | others)
    assert message.startswith(f"{name} {value}: optimizer {optimizer.name} takes the loss's")
    assert re.search(
        r"(use float32 or float64|use 0, or discard_rule random|leave it out)$", message
    )
    resolved(SAM(), **{name: value} | others)
