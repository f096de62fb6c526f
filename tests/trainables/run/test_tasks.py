"""Trials of another loss and of another task, against computations of their own in float64."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from tests.stored import at
from trainables.config.data import DataConfig, NetworkConfig
from trainables.config.measures.evaluation import Evaluation
from trainables.config.measures.hessian import Hessian
from trainables.config.measures.kinds import KINDS, MeasureConfig
from trainables.config.measures.sharpness import Sharpness
from trainables.config.trial import Trial
from trainables.datasets.cache import open_data
from trainables.results import files
from trainables.run import trial as trials

PLAIN = NetworkConfig(name="mlp", options={"hidden": [8], "batch_norm": False})
SMALL: dict[str, dict[str, Any]] = {
    "hessian": {"trace_samples": 2},
    "noise-scale": {"small_batch_size": 4, "large_batch_size": 20, "pairs": 3},
    "batch-sharpness": {"batches": 3, "batch_size": 10},
    "spectrum": {"lanczos_steps": 5, "vectors": 2},
    "random-directions": {"directions": 3},
    "landscape": {"points": 3},
    "gradient-probe": {"batch_sizes": (5, 20), "draws": 3},
}


def run(trial: Trial) -> dict[str, Any]:
    """The trial's row, complete."""
    for _ in trials.run(trial):
        pass
    (row,) = rows(trial, "trials")
    assert row["status"] == "complete", row["error"]
    return row


def rows(trial: Trial, table: str) -> list[dict[str, Any]]:
    paths = sorted((Path(trial.folder) / table).glob(f"{trial.trial_id}*.parquet"))
    return [row for path in paths for row in files.read_rows(*at(path))]


def weights(trial: Trial) -> dict[str, Tensor]:
    (path,) = (Path(trial.folder) / "weights" / trial.trial_id).iterdir()
    return load_file(path)


def outputs(
    w: dict[str, Tensor], inputs: Tensor, activation: Callable[[Tensor], Tensor] = torch.relu
) -> Tensor:
    """The perceptron's, written out."""
    hidden = activation(inputs.flatten(1) @ w["hidden1.weight"].T + w["hidden1.bias"])
    return hidden @ w["output.weight"].T + w["output.bias"]


# ---------------------------------------------------------------------------------- squared error


@pytest.fixture
def squared(make_trial, tmp_path: Path) -> Trial:
    measures: list[MeasureConfig] = [
        kind(**SMALL.get(name, {})) for name, kind in KINDS.items() if name != "evaluation"
    ]
    trial: Trial = make_trial(
        tmp_path,
        40,
        data=DataConfig(train_examples=120),
        network=PLAIN,
        measures=(Evaluation(), *measures),
        loss="squared-error",
        precision="float64",
        epochs=2.0,
    )
    return trial


def test_training_takes_the_steps_of_half_the_squared_error(make_trial, tmp_path: Path) -> None:
    """Full batches: the oracle needs no order of examples."""
    settings = {
        "data": DataConfig(train_examples=60), "network": PLAIN, "loss": "squared-error",
        "precision": "float64",
    }  # fmt: skip
    first, third = (
        make_trial(tmp_path, 60, optimizer_steps=steps, base_lr=0.05, **settings)
        for steps in (1, 3)
    )
    run(first), run(third)
    data = open_data(first.config.data)
    inputs = torch.from_numpy(data.train_inputs).double() / 255
    one_hot = torch.eye(10, dtype=torch.float64)[torch.from_numpy(data.train_labels)]
    w = {name: value.requires_grad_() for name, value in weights(first).items()}
    for _ in range(2):
        loss = ((outputs(w, inputs) - one_hot) ** 2).sum() / 2 / 60
        slopes = torch.autograd.grad(loss, list(w.values()))
        w = {
            name: (value - 0.05 * slope).detach().requires_grad_()
            for (name, value), slope in zip(w.items(), slopes, strict=True)
        }
    for name, value in weights(third).items():
        torch.testing.assert_close(value, w[name].detach(), rtol=1e-12, atol=1e-14)


def test_evaluation_and_every_measure_follow_the_loss(squared: Trial) -> None:
    row, w = run(squared), weights(squared)
    data = open_data(squared.config.data)
    for split, arrays in {
        "train": (data.train_inputs, data.train_labels),
        "test": (data.test_inputs, data.test_labels),
    }.items():
        found = outputs(w, torch.from_numpy(arrays[0]).double() / 255).numpy()
        wanted = ((found - np.eye(10)[arrays[1]]) ** 2).sum(1).mean() / 2
        assert row[f"{split}_loss"] == pytest.approx(wanted, rel=1e-12)
        right = (found.argmax(1) == arrays[1]).mean()
        assert row[f"{split}_accuracy"] == pytest.approx(right, abs=1e-12)
    taken = rows(squared, "measures")
    assert not [found["error"] for found in taken if found["error"]]
    of_loss = [r for r in taken if r["start_loss"] is not None]
    assert {"sharpness", "hessian", "noise-scale", "batch-sharpness"} <= {
        r["measure"] for r in of_loss
    }
    at_end = [r for r in of_loss if r["optimizer_step"] == row["optimizer_step"]]
    assert len(at_end) >= 12
    for found in at_end:
        assert found["start_loss"] == pytest.approx(row["train_loss"], rel=1e-12)


def test_sharpness_and_hessian_are_those_of_the_squared_error(make_trial, tmp_path: Path) -> None:
    """All of a small network's Hessian, and a search of the box by brute force."""
    options = {"hidden": [2], "batch_norm": False, "activation": "tanh"}
    tiny = NetworkConfig(name="mlp", options=options)
    epsilon = 0.005
    trial: Trial = make_trial(
        tmp_path,
        30,
        data=DataConfig(train_examples=30),
        network=tiny,
        loss="squared-error",
        precision="float64",
        epochs=20.0,
        measures=(
            Evaluation(every_epochs=20),
            Hessian(trace_samples=200),
            Sharpness(sharpness_epsilon=epsilon),
        ),
    )
    run(trial)
    w, data = weights(trial), open_data(trial.config.data)
    inputs = torch.from_numpy(data.train_inputs).double().flatten(1) / 255
    one_hot = torch.eye(10, dtype=torch.float64)[torch.from_numpy(data.train_labels)]
    names, sizes = [*w], [value.numel() for value in w.values()]
    x = torch.cat([w[name].flatten() for name in names])

    def loss(x: Tensor) -> Tensor:
        parts = dict(zip(names, x.split(sizes), strict=True))
        shaped = {name: part.view(w[name].shape) for name, part in parts.items()}
        return ((outputs(shaped, inputs, torch.tanh) - one_hot) ** 2).sum() / 2 / 30

    hessian = torch.autograd.functional.hessian(loss, x)
    values = {(r["quantity"], r["method"]): r["value"] for r in rows(trial, "measures")}
    eigenvalues = torch.linalg.eigvalsh(hessian)
    top = values["hessian_top_eigenvalue", "lanczos"]
    assert top == pytest.approx(eigenvalues[-1].item(), rel=1e-4)
    trace = values["hessian_trace", "hutchinson"]
    assert trace == pytest.approx(hessian.trace().item(), rel=0.2)
    box = epsilon * (x.abs() + 1)
    draw, highest = np.random.default_rng(0), 0.0
    for _ in range(20):
        z = box * torch.from_numpy(draw.choice([-1.0, 1.0], len(x)))
        for _ in range(20):
            (slope,) = torch.autograd.grad(loss(leaf := (x + z).requires_grad_()), leaf)
            z = box * slope.sign()
            highest = max(highest, loss(x + z).item())
    start = loss(x).item()
    wanted = 100 * (highest - start) / (1 + start)
    assert values["sharpness", "best"] == pytest.approx(wanted, rel=0.02)
    assert values["sharpness", "best"] >= wanted * (1 - 1e-9)


# ------------------------------------------------------------------------------------- regression


NUMBERS = """
import numpy as np
from trainables.datasets.splits import Splits


def load(outputs=2):
    draw = np.random.default_rng(0)
    inputs = draw.standard_normal((300, 5)).astype("float32")
    mixed = inputs @ draw.standard_normal((5, outputs))
    targets = (np.tanh(mixed / 4) + 3).astype("float32")
    return Splits(train=(inputs[:200], targets[:200]), test=(inputs[200:], targets[200:]))
"""


def test_a_regression_is_trained_evaluated_and_measured(make_trial, tmp_path: Path) -> None:
    (tmp_path / "bg_numbers.py").write_text(NUMBERS)
    source = DataConfig(
        source="load", load="bg_numbers:load", task="regression", validation_examples=50
    )
    trial: Trial = make_trial(
        tmp_path / "study",
        25,
        data=source,
        network=PLAIN,
        import_folder=tmp_path,
        loss="squared-error",
        precision="float64",
        epochs=60.0,
        base_lr=0.05,
        measures=(Evaluation(every_epochs=60), Sharpness(), Hessian(trace_samples=2)),
    )
    row = run(trial)
    data = open_data(source, str(tmp_path))
    assert data.facts.num_classes == 2 and data.train_labels.dtype == np.float32
    assert (len(data.train_labels), len(data.validation_labels)) == (150, 50)
    for split in ("train", "validation", "test"):
        inputs, labels = (getattr(data, f"{split}_{part}") for part in ("inputs", "labels"))
        away = outputs(weights(trial), torch.from_numpy(inputs).double()).numpy() - labels
        wanted = (away**2).sum(1).mean() / 2
        assert row[f"{split}_loss"] == pytest.approx(wanted, rel=1e-12)
        assert row[f"{split}_absolute_error"] == pytest.approx(np.abs(away).mean(), rel=1e-12)
        assert row[f"{split}_accuracy"] is None
    assert row["test_absolute_error"] < data.facts.chance["test_absolute_error"] / 2
    (best,) = [r for r in rows(trial, "measures") if r["method"] == "best"]
    assert best["error"] is None and best["value"] > 0
    assert f"number {data.train_labels.min():g}" in best["starts"]
