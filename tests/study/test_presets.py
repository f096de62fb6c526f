"""The studies that come with batchgap: valid, feasible, and what they say they are."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from study.plan import Plan, expand
from study.spec import PRESETS, json_schema, load_study
from study.template import study_text
from trainables.config import DataConfig
from trainables.datasets.cache import DataFacts

FILES = sorted(PRESETS.glob("*.yaml"))


def facts(data: DataConfig) -> DataFacts:
    """Of mnist-5k."""
    assert data.source == "mnist-5k"
    return DataFacts(
        num_train_examples=5000,
        num_validation_examples=0,
        num_test_examples=10000,
        input_shape=(1, 28, 28),
        num_classes=10,
        fingerprint="f",
        source_hash=None,
        channel_mean=(0.0,),
        channel_std=(1.0,),
    )


def planned(name: str) -> Plan:
    return expand(load_study(PRESETS / f"{name}.yaml"), facts)


def test_there_are_these() -> None:
    assert [path.stem for path in FILES] == ["four-axes", "quickstart"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_preset_is_named_for_its_file_and_says_what_it_is(path: Path) -> None:
    spec = load_study(path)
    assert spec.name == path.stem
    assert spec.question
    head = [line for line in path.read_text().splitlines() if line.startswith("#")]
    words = {line[2:].split(" ")[0] for line in head}
    assert {"Question", "Cost", "Papers", "Here"} <= words


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_preset_fits_the_schema(path: Path) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    jsonschema.Draft202012Validator(json_schema()).validate(dict(load_study(path).sections))


def test_a_presets_paths_are_taken_from_the_current_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert load_study(PRESETS / "quickstart.yaml").import_folder == str(tmp_path)


def test_four_axes_are_crossed() -> None:
    plan = planned("four-axes")
    axes = [
        (p.training.global_batch_size, p.training.lr_scaling, p.training.warmup_epochs)
        for p in plan.points
    ]
    sizes, scalings, warmups = (set(axis) for axis in zip(*axes, strict=True))
    ratios = {p.training.discard_ratio for p in plan.points}
    assert len(plan.points) == 5 * len(sizes) * len(scalings) * len(warmups) * len(ratios) == 270
    # At the reference batch all rules of scaling are one.
    assert len(plan.configs) == 270 - 5 * 2 * len(warmups) * len(ratios) == 210


def test_quickstart_runs_every_arm_at_the_large_batch_and_at_the_baseline() -> None:
    plan = planned("quickstart")
    counts = Counter((p.arm, p.training.global_batch_size) for p in plan.points)
    arms = ("sqrt-warmup", "linear-warmup", "discard-30", "small-first-epoch")
    baseline = [("baseline", size) for size in (32, 128, 512, 1000, 2500)]
    remedies = [(arm, size) for arm in arms for size in (32, 1000)]
    assert counts == dict.fromkeys((*baseline, *remedies), 5)


def test_quickstart_trains_what_is_the_same_once() -> None:
    plan = planned("quickstart")
    first = [p for p in plan.points if p.seed == 0]
    at_32 = {p.arm: p.trial_id for p in first if p.training.global_batch_size == 32}
    assert at_32["sqrt-warmup"] == at_32["linear-warmup"] != at_32["baseline"]


# ------------------------------------------------------------------------------- what `init` writes


@pytest.mark.parametrize("network", [None, "my_net:build"])
@pytest.mark.parametrize("data", [None, "my_data:load"])
def test_a_new_study_is_valid_and_explains_each_section(
    tmp_path: Path, network: str | None, data: str | None
) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(study_text("mine", network, data))
    spec = load_study(path)
    assert spec.name == "mine"
    assert (spec.settings[0].network.build, spec.settings[0].data.load) == (network, data)
    lines = path.read_text().splitlines()
    starts = [i for i, line in enumerate(lines) if re.match(r"[a-z]", line)]
    explained = [i for i in starts if "#" in lines[i] or lines[i - 1].startswith("#")]
    assert {lines[i] for i in starts} - {lines[i] for i in explained} == {
        f"question: {spec.question}"
    }


def test_a_new_study_varies_four_axes_and_has_an_arm(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(study_text("mine", None, None))
    plan = expand(load_study(path), facts)
    assert {p.arm for p in plan.points} == {"baseline", "small-first-epoch"}
    assert set(plan.spec.settings[0].grid) == {
        "training.global_batch_size",
        "training.lr_scaling",
        "training.warmup_epochs",
        "training.discard_ratio",
    }
    assert len(plan.configs) == 3 * (4 + 8 + 8 + 1)
