"""The studies that come with batchgap: valid, feasible, and what they say they are."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from analysis.judged.published import published
from study.file.document import read
from study.grid.spec import PRESETS, load_spec
from study.plan.plan import Plan, expand
from study.show.json_schema import json_schema
from study.show.template import study_text
from trainables.config.data import DataConfig
from trainables.datasets.facts import DataFacts

FILES = sorted(PRESETS.glob("*.yaml"))
SCALES = [(path, scale) for path in FILES for scale in (None, *read(path).values.get("scales", {}))]
SHAPES: dict[str, tuple[int, tuple[int, ...], int]] = {
    "mnist-5k": (5000, (1, 28, 28), 10),
    "mnist": (60_000, (1, 28, 28), 10),
    "cifar10-jpeg": (50_000, (3, 32, 32), 10),
    "imagenet100-32px": (50_000, (3, 32, 32), 100),
    "fsdd-frames": (112_911, (360,), 100),
    "imagenet": (1_281_167, (3, 224, 224), 1000),
}
"""Training examples, shape of one, classes."""


def facts(data: DataConfig) -> DataFacts:
    """What is known of the data that presets name, without having it."""
    examples, shape, classes = SHAPES[data.label]
    return DataFacts(
        num_train_examples=(data.train_examples or examples) - data.validation_examples,
        num_validation_examples=data.validation_examples,
        num_test_examples=10000,
        input_shape=shape,
        num_classes=classes,
        fingerprint="f",
        source_hash=None,
        channel_mean=(0.0,),
        channel_std=(1.0,),
    )


def planned(name: str, scale: str | None = None) -> Plan:
    return expand(load_spec(PRESETS / f"{name}.yaml", scale=scale), facts)


def test_there_are_these() -> None:
    assert [path.stem for path in FILES] == [
        *("adam-rules", "critical-batch", "edge-of-stability", "four-axes", "gao-batch-sweep"),
        *("gao-curvature", "gao-discard", "gao-first-epoch", "gao-gradients", "gao-loss-curves"),
        *("gao-mclr", "gao-other-ways", "goyal-warmup", "hoffer-table1", "keskar-batch-sweep"),
        *("keskar-line-search", "keskar-optimizers", "keskar-parametric", "keskar-remedies"),
        *("keskar-resilience", "keskar-sharpness-along-training", "keskar-table2"),
        *("keskar-warm-start", "quickstart", "three-budgets"),
    ]


@pytest.mark.parametrize(
    ("path", "scale"), SCALES, ids=lambda value: getattr(value, "stem", value or "full")
)
def test_every_scale_of_a_preset_can_run(path: Path, scale: str | None) -> None:
    plan = planned(path.stem, scale)
    assert plan.spec.name == (f"{path.stem}-{scale}" if scale else path.stem)
    assert plan.configs
    assert len(plan.spec.seeds) >= (2 if scale == "smoke" else 3)
    if scale == "smoke":
        assert {p.data.source for p in plan.points} == {"mnist-5k"}, "runs without other data"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_what_a_preset_reproduces_is_published_under_its_name(path: Path) -> None:
    spec = load_spec(path)
    names = spec.sections.get("reproduces", [])
    assert list(names) == ([] if path.stem in ("quickstart", "four-axes") else [path.stem])
    claims = [claim for name in names for claim in published(name).to_dict("records")]
    arms = {setting.arm for setting in spec.settings}
    networks = {setting.network.label for setting in spec.settings}
    for claim in claims:
        assert {claim["arm"], claim["versus_arm"]} <= arms, claim
        assert claim["network"] in {"", *networks} or path.stem == "keskar-remedies", claim
        of_slope = ("no law",) if claim["quantity"] == "edge_slope" else ("remark",)
        assert claim["direction"] in ("higher", "lower", "not lower", "equal", *of_slope)
        assert claim["source"] and claim["where"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_preset_is_named_for_its_file_and_says_what_it_is(path: Path) -> None:
    spec = load_spec(path)
    assert spec.name == path.stem
    assert spec.question
    head = [line for line in path.read_text().splitlines() if line.startswith("#")]
    words = {line[2:].split(" ")[0] for line in head}
    assert {"Question", "Cost", "Papers", "Here"} <= words


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_preset_fits_the_schema(path: Path) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    jsonschema.Draft202012Validator(json_schema()).validate(dict(load_spec(path).sections))


def test_a_presets_paths_are_taken_from_the_current_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert load_spec(PRESETS / "quickstart.yaml").import_folder == str(tmp_path)


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
    spec = load_spec(path)
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
    plan = expand(load_spec(path), facts)
    assert {p.arm for p in plan.points} == {"baseline", "small-first-epoch"}
    assert set(plan.spec.settings[0].grid) == {
        "training.global_batch_size",
        "training.lr_scaling",
        "training.warmup_epochs",
        "training.discard_ratio",
    }
    assert len(plan.configs) == 3 * (4 + 8 + 8 + 1)
