"""What a person wrote, resolved: rules applied, refusals that name a value that works, ids."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from trainables.config.data import DataConfig, NetworkConfig
from trainables.config.identity import trial_id
from trainables.config.optimizers.adam import Adam, AdamW
from trainables.config.optimizers.cblr import CBLR
from trainables.config.optimizers.lbfgs import LBFGS
from trainables.config.optimizers.sgd import SGD
from trainables.config.training import BatchPhase, TrainingConfig
from trainables.config.trial import TrialConfig
from trainables.methods.selection import kept_examples
from trainables.rules.batching import batch_plan
from trainables.rules.learning_rate import rate
from trainables.rules.resolve import resolve

N = 1000


def resolved(
    num_train_examples: int = N, seed: int = 0, data: DataConfig | None = None, **training: Any
) -> TrialConfig:
    budget = {} if training.keys() & {"optimizer_steps", "target_train_loss"} else {"epochs": 4.0}
    return resolve(
        TrainingConfig(**{"global_batch_size": 100, "base_lr": 0.1} | budget | training),
        data=data or DataConfig(),
        network=NetworkConfig(name="mlp"),
        seed=seed,
        num_train_examples=num_train_examples,
    )


def phase(until: float, size: int, peak_lr: float | None = None) -> BatchPhase:
    return BatchPhase(until_epoch=until, global_batch_size=size, peak_lr=peak_lr)


# ---------------------------------------------------------------------------------------- budgets


@pytest.mark.parametrize(
    ("budget", "steps"),
    [
        ({"epochs": 4.0}, 40),
        ({"epochs": 0.3}, 3),
        ({"epochs": 0.31}, 4),
        ({"optimizer_steps": 17}, 17),
        ({"epochs": 4.0, "steps_of_batch_size": 50}, 80),
        ({"target_train_loss": 0.01, "max_epochs": 5.0}, 50),
    ],
)
def test_budgets(budget, steps):
    config = resolved(**budget)
    assert config.optimizer_steps == steps
    assert config.target_train_loss == budget.get("target_train_loss")


@pytest.mark.parametrize(
    "budget",
    [
        {"epochs": None},
        {"epochs": 1.0, "optimizer_steps": 5},
        {"target_train_loss": 0.1},
        {"max_epochs": 2.0},
        {"epochs": 1.0, "max_epochs": 2.0},
        {"optimizer_steps": 5, "steps_of_batch_size": 10},
        {"epochs": None, "steps_of_batch_size": 10},
    ],
)
def test_a_budget_that_is_none_of_the_four_is_refused(budget):
    with pytest.raises(ValueError, match=r"budget: got .*; give one of: epochs; optimizer_steps"):
        resolved(**budget)


def test_as_many_steps_as_another_batch_stretches_every_setting_in_epochs():
    config = resolved(
        global_batch_size=300,
        steps_of_batch_size=100,
        warmup_epochs=0.7,
        decay="step",
        decay_epochs=(1.0, 2.5),
        decay_factor=0.1,
        discard_ratio=0.3,
        discard_epochs=0.1,
    )
    assert config.optimizer_steps == 40
    assert config.scaled_warmup_epochs == 2.1
    assert config.decay_epochs == (3.0, 7.5)
    assert config.discard_epochs == 0.3


@pytest.mark.parametrize("setting", ["warmup_epochs", "discard_epochs", "decay_epochs"])
@given(batch=st.integers(2, 60), reference=st.integers(2, 60), n=st.integers(60, 130))
def test_a_setting_as_long_as_the_run_stays_so_when_stretched(setting, batch, reference, n):
    steps = math.ceil(Fraction(3 * n, reference))
    assume(steps * reference == 3 * n)  # else the stretched run is longer than the setting
    others = {"discard_epochs": {"discard_ratio": 0.5}, "warmup_epochs": {}}
    others["decay_epochs"] = {"decay": "step", "decay_factor": 0.1}
    length = (3.0,) if setting == "decay_epochs" else 3.0
    budget = {"epochs": 3.0, "steps_of_batch_size": reference, "global_batch_size": batch}
    config = resolved(n, **budget, **others[setting], **{setting: length})
    value = {
        "warmup_epochs": config.scaled_warmup_epochs,
        "discard_epochs": config.discard_epochs,
        "decay_epochs": max(config.decay_epochs, default=None),
    }[setting]
    assert value == float(Fraction(3 * batch, reference))


@pytest.mark.parametrize("batch", [50, 100, 200])
def test_stretched_by_a_whole_number_it_is_the_published_regime_adaptation(batch):
    """Hoffer et al. 2017, their released main_gbn.py: boundaries and length x ceil(B / B_ref)."""
    small, epochs, boundaries = 50, 4, [1, 3]
    config = resolved(
        global_batch_size=batch,
        epochs=float(epochs),
        steps_of_batch_size=small,
        lr_scaling="sqrt",
        lr_reference_batch_size=small,
        decay="step",
        decay_epochs=tuple(map(float, boundaries)),
        decay_factor=0.1,
    )
    factor = math.ceil(batch / small)
    published = []
    for epoch in range(epochs * factor):
        passed = sum(epoch >= boundary * factor for boundary in boundaries)
        published += [0.1 * (batch / small) ** 0.5 * 0.1**passed] * (N // batch)
    plan = batch_plan(config, N)
    assert config.optimizer_steps == len(published) == epochs * N // small
    assert [rate(config, plan, step) for step in range(len(published))] == pytest.approx(
        published, rel=1e-12
    )


def test_a_factor_that_is_no_whole_number_is_not_rounded_up():
    """Where we depart: at B = 1.5 B_ref theirs is 2, which takes more steps than B_ref did."""
    settings = {"decay": "step", "decay_epochs": (1.0,), "decay_factor": 0.1}
    config = resolved(global_batch_size=150, steps_of_batch_size=100, **settings)
    assert config.optimizer_steps == resolved(global_batch_size=100).optimizer_steps
    assert config.decay_epochs == (1.5,)


# ------------------------------------------------------------------------------------------ rules


def test_peak_rates_of_a_schedule_follow_the_scaling_rule_unless_given():
    config = resolved(
        lr_scaling="sqrt",
        lr_reference_batch_size=25,
        batch_schedule=(phase(0.5, 25), phase(1.0, 50, 0.7)),
    )
    assert config.peak_lr == 0.2
    assert [p.peak_lr for p in config.batch_schedule] == [0.1, 0.7]


def test_legw_scales_warmup_with_the_batch():
    config = resolved(warmup_epochs=0.3, warmup_scaling="linear", lr_reference_batch_size=25)
    assert config.scaled_warmup_epochs == 1.2


@pytest.mark.parametrize(
    ("ratio", "size", "dropped"), [(0.3, 1000, 300), (0.29, 100, 29), (0.7, 10, 7), (0.35, 3, 1)]
)
def test_a_ratio_is_read_as_a_decimal(ratio, size, dropped):
    config = resolved(global_batch_size=size, discard_ratio=ratio)
    assert size - kept_examples(config, size, 0.0) == dropped


@pytest.mark.parametrize(
    "moot",
    [
        {"warmup_shape": "constant"},
        {"warmup_start_lr": 0.01},
        {"warmup_scaling": "linear", "lr_reference_batch_size": 50},
        {"lr_reference_batch_size": 50},
        {"lr_scaling": "linear", "lr_reference_batch_size": 100},
        {"decay_epochs": (1.0,), "decay_factor": 0.5},
        {"discard_epochs": 2.0},
        {"discard_rule": "random"},
        {"epochs": 3.91},
        {"steps_of_batch_size": 100},
        {"optimizer_steps": 40},
    ],
    ids=str,
)
def test_settings_that_change_nothing_give_the_same_trial(moot):
    assert trial_id(resolved(**moot)) == trial_id(resolved())


@pytest.mark.parametrize(
    "change",
    [
        {"global_batch_size": 50},
        {"base_lr": 0.2},
        {"epochs": 5.0},
        {"target_train_loss": 0.1, "max_epochs": 4.0},
        {"warmup_epochs": 1.0},
        {"decay": "cosine"},
        {"discard_ratio": 0.3},
        {"ghost_batch_size": 50},
        {"ghost_batch_size": 100},
        {"evaluation_normalization": "running"},
        {"horizontal_flip": True},
        {"max_shift": 0.1},
        {"max_rotation": 10.0},
        {"discard_gradient_ratio": 0.3},
        {"max_gradient_norm": 5.0},
        {"label_smoothing": 0.1},
        {"focal_gamma": 2.0},
        {"adversarial_epsilon": 0.1},
        {"precision": "float64"},
        {"optimizer": SGD(momentum=0.9)},
        {"optimizer": Adam()},
        {"optimizer": AdamW()},
        {"batch_schedule": (phase(0.5, 50),)},
        {"seed": 1},
    ],
    ids=str,
)
def test_settings_that_change_the_training_give_another_trial(change):
    assert trial_id(resolved(**change)) != trial_id(resolved())


@pytest.mark.parametrize(
    "schedule",
    [
        (phase(0.5, 100),),
        (phase(0.5, 100, 0.1),),
        (phase(0.5, 100), phase(1.0, 100)),
    ],
    ids=["its rate implied", "its rate given", "twice"],
)
def test_a_phase_that_only_repeats_what_follows_is_none(schedule):
    """Written out or not, it is one training, and so one trial."""
    whole = resolved()
    assert (whole.global_batch_size, whole.peak_lr) == (100, 0.1)
    assert resolved(batch_schedule=schedule).batch_schedule == ()
    assert trial_id(resolved(batch_schedule=schedule)) == trial_id(whole)


def test_ids_are_pinned():
    """Another id here means that every study on disk would run again."""
    everything = resolved(
        seed=3,
        optimizer=SGD(momentum=0.9, nesterov=True, weight_decay=5e-4),
        lr_scaling="sqrt",
        lr_reference_batch_size=25,
        warmup_epochs=0.5,
        warmup_start_lr=0.01,
        decay="step",
        decay_epochs=(1.0, 2.0),
        decay_factor=0.1,
        batch_schedule=(phase(0.5, 50),),
        discard_ratio=0.3,
        discard_epochs=2.0,
        ghost_batch_size=25,
        evaluation_normalization="batch",
        horizontal_flip=True,
        max_shift=0.1,
        precision="bf16",
    )
    assert trial_id(resolved()) == "6b26f59d05dc"
    assert trial_id(everything) == "0afb1d73e503"


def test_where_data_lies_and_how_it_comes_is_no_part_of_the_id():
    data = DataConfig(source="mnist")
    config = replace(resolved(), data=data)
    elsewhere = replace(config, data=replace(data, root="/elsewhere", download=True))
    assert trial_id(config) == trial_id(elsewhere)
    assert trial_id(config) != trial_id(replace(config, data=replace(data, standardize=True)))


# --------------------------------------------------------------------------------------- refusals


def refusal(*args: Any, **training: Any) -> str:
    with pytest.raises(ValueError) as raised:
        resolved(*args, **training)
    return str(raised.value)


def suggested(message: str, pattern: str) -> list[str]:
    """The values that a message names."""
    found = re.search(pattern, message)
    assert found, message
    return found[1].split(", ")


def test_a_batch_larger_than_the_data():
    message = refusal(global_batch_size=1200)
    assert message.startswith("global_batch_size 1200: larger than the training set of 1000")
    for size in suggested(message, r"at most (\d+)"):
        resolved(global_batch_size=int(size))
    assert "1200" in refusal(batch_schedule=(phase(0.5, 1200),))


@given(size=st.integers(1, 200), ghost=st.integers(2, 250))
def test_a_ghost_size_that_does_not_divide(size, ghost):
    assume(size % ghost)
    message = refusal(global_batch_size=size, ghost_batch_size=ghost)
    assert message.startswith(f"ghost_batch_size {ghost}: must divide global_batch_size {size}")
    if size == 1:
        assert message.endswith("leave it out")
        return
    for near in suggested(message, r"nearest that do: ([\d, ]+)"):
        resolved(global_batch_size=size, ghost_batch_size=int(near))


def test_a_ghost_size_must_divide_every_batch_of_the_schedule():
    assert "global_batch_size 30" in refusal(batch_schedule=(phase(1, 30),), ghost_batch_size=20)


@given(size=st.integers(1, 1000), thousandths=st.integers(1, 1200))
def test_a_discard_ratio_that_drops_none_or_all(size, thousandths):
    ratio = thousandths / 1000
    if 0 < thousandths * size // 1000 < size:
        resolved(global_batch_size=size, discard_ratio=ratio)
        return
    message = refusal(global_batch_size=size, discard_ratio=ratio)
    assert message.startswith(f"discard_ratio {ratio}: drops ")
    if size == 1:
        assert message.endswith("use 0")
        return
    for least in suggested(message, r"at least ([\d.]+) and below 1"):
        config = resolved(global_batch_size=size, discard_ratio=float(least))
        assert kept_examples(config, size, 0.0) == size - 1


def test_a_discard_ratio_must_drop_some_of_every_batch_of_the_schedule():
    message = refusal(batch_schedule=(phase(1, 2),), discard_ratio=0.3)
    assert "drops 0 of a batch of 2; at least 0.5" in message


def test_a_schedule_must_ascend():
    assert refusal(batch_schedule=(phase(2, 20), phase(1, 10))).endswith("ascend, got [2, 1]")
    assert "ascend" in refusal(batch_schedule=(phase(1, 20), phase(1, 10)))


def test_a_schedule_must_leave_something():
    for until in (4, 4.0, 5):
        message = refusal(batch_schedule=(phase(until, 20),))
        assert message.startswith(f"batch_schedule: until_epoch {until} leaves nothing of the run")
        (below,) = suggested(message, r"below ([\d.]+)")
        resolved(batch_schedule=(phase(float(below) - 1e-3, 20),))


def test_a_schedule_is_not_stretched():
    message = refusal(batch_schedule=(phase(1, 20),), steps_of_batch_size=10)
    assert "give optimizer_steps instead" in message
    resolved(batch_schedule=(phase(1, 20),), optimizer_steps=100)


@pytest.mark.parametrize("setting", ["lr_scaling", "warmup_scaling"])
def test_a_rule_needs_its_reference(setting):
    message = refusal(**{setting: "linear"}, warmup_epochs=0.1)
    assert message.startswith(f"{setting} linear: needs lr_reference_batch_size")
    (example,) = suggested(message, r"e\.g\. (\d+)")
    resolved(**{setting: "linear"}, warmup_epochs=0.1, lr_reference_batch_size=int(example))


def test_a_constant_warmup_needs_a_rate():
    message = refusal(warmup_epochs=1.0, warmup_shape="constant")
    (example,) = suggested(message, r"e\.g\. ([\d.]+)")
    resolved(warmup_epochs=1.0, warmup_shape="constant", warmup_start_lr=float(example))


def test_one_loss_at_a_time():
    message = refusal(label_smoothing=0.1, focal_gamma=2.0)
    assert message == (
        "focal_gamma 2.0: not defined for the spread targets of label_smoothing 0.1; set one of "
        "them to 0"
    )


@pytest.mark.parametrize("change", [{"label_smoothing": 0.1}, {"focal_gamma": 2.0}])
def test_changes_of_cross_entropy_are_of_no_other_loss(change):
    ((name, value),) = change.items()
    message = refusal(loss="squared-error", **change)
    assert message == (
        f"{name} {value}: is a change of cross-entropy, not of loss squared-error; use 0, or the "
        "other loss"
    )
    resolved(loss="squared-error")


def test_a_task_has_its_losses():
    message = refusal(data=DataConfig(source="load", load="a:b", task="regression"))
    assert message == "loss cross-entropy: a regression has none; use squared-error"


@pytest.mark.parametrize("change", [{"max_gradient_norm": 5.0}, {"discard_gradient_ratio": 0.3}])
@pytest.mark.parametrize("optimizer", [CBLR(), LBFGS()])
def test_gradients_whose_differences_are_curvature_stay_as_they_are(optimizer, change):
    ((name, value),) = change.items()
    message = refusal(optimizer=optimizer, **change)
    assert message.startswith(f"{name} {value}: optimizer {optimizer.name} takes the loss's")
    resolved(optimizer=optimizer)


def test_the_control_of_discarding_is_another_trial():
    by_loss = resolved(discard_ratio=0.3)
    by_chance = resolved(discard_ratio=0.3, discard_rule="random")
    assert trial_id(by_loss) != trial_id(by_chance)


@pytest.mark.parametrize("given_", [{"decay_epochs": (1.0,)}, {"decay_factor": 0.1}, {}], ids=str)
def test_step_decay_needs_epochs_and_factor(given_):
    assert "needs decay_epochs and decay_factor" in refusal(decay="step", **given_)


LONG = {
    "warmup_epochs": {},
    "discard_epochs": {"discard_ratio": 0.5},
    "decay_epochs": {"decay": "step", "decay_factor": 0.1},
}


@pytest.mark.parametrize("setting", LONG)
@given(
    batch=st.integers(2, 60),
    reference=st.none() | st.integers(2, 60),
    n=st.integers(60, 60_000),
    excess=st.floats(1.001, 5),
)
def test_longer_than_the_run_is_refused_with_the_longest_that_fits(
    setting, batch, reference, n, excess
):
    training = LONG[setting] | {"global_batch_size": batch, "steps_of_batch_size": reference}
    config = resolved(n, **training | ({setting: (1e-9,)} if setting == "decay_epochs" else {}))
    longest = batch_plan(config, n).examples / n / (batch / reference if reference else 1)

    def written(value: float) -> Any:
        return (value,) if setting == "decay_epochs" else value

    message = refusal(n, **training, **{setting: written(longest * excess)})
    assert message.startswith(f"{setting} {longest * excess}")
    assert "longer than the run of" in message
    (most,) = suggested(message, r"at most ([\d.]+)$")
    resolved(n, **training, **{setting: written(float(most))})
    assert float(most) == pytest.approx(longest, rel=1e-5)


def test_a_scaled_warmup_longer_than_the_run_names_the_length_to_write():
    legw = {"warmup_scaling": "linear", "lr_reference_batch_size": 10}
    message = refusal(warmup_epochs=1.0, **legw)
    assert message == (
        "warmup_epochs 1.0 (as scaled 10): longer than the run of 4 epochs at global_batch_size "
        "100; at most 0.4"
    )
    assert resolved(warmup_epochs=0.4, **legw).scaled_warmup_epochs == 4.0
