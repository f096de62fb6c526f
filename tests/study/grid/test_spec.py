"""Study files: what is accepted, and the place, rule and way out of everything that is not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
from pydantic import TypeAdapter

from study.file import fields as study_fields
from study.file.document import StudyError
from study.file.search_config import SearchConfig
from study.grid.spec import SECTIONS, StudySpec, load_spec, resolved_yaml
from study.show.json_schema import json_schema
from trainables.config.data import DataConfig, NetworkConfig
from trainables.config.execution import ExecutionConfig
from trainables.config.measures.evaluation import Evaluation
from trainables.config.measures.hessian import Hessian
from trainables.config.measures.kinds import MeasureConfig
from trainables.config.optimizers.adam import Adam
from trainables.config.optimizers.kinds import OptimizerConfig
from trainables.config.optimizers.sgd import SGD
from trainables.config.sources import SHARED, SOURCES
from trainables.config.training import BatchPhase, TrainingConfig, WarmStart

HEAD = "name: x\nnetwork: {name: mlp}\n"
PLAIN = HEAD + "training: {base_lr: 0.02, epochs: 3, global_batch_size: 32}\n"
NUMBERS = PLAIN.replace("32}", "32, loss: squared-error}") + (
    "data: {load: 'mine:numbers', task: regression}\n"
)


@pytest.fixture
def write(tmp_path: Path) -> Any:
    def written(text: str, overrides: Sequence[str] = ()) -> StudySpec:
        path = tmp_path / "study.yaml"
        path.write_text(text, encoding="utf-8")
        return load_spec(path, overrides)

    return written


@pytest.fixture
def problems(write: Any, tmp_path: Path) -> Any:
    def found(text: str, overrides: Sequence[str] = ()) -> list[str]:
        with pytest.raises(StudyError) as error:
            write(text, overrides)
        return [line.replace(f"{tmp_path}/study.yaml:", "") for line in error.value.problems]

    return found


# -------------------------------------------------------------------------------------- what holds


def test_every_field_arrives_where_it_is_written(write: Any) -> None:
    spec = write(
        """\
name: all
question: Why?
data: {source: mnist-5k, standardize: true, train_examples: 4000}
network: {name: mlp, hidden: [64, 32], dropout: 0.5}
training:
  global_batch_size: 64
  base_lr: 2e-2
  epochs: 5
  optimizer: {name: sgd, momentum: .9, nesterov: true}
  batch_schedule: [{until_epoch: 1, global_batch_size: 32, peak_lr: 1e-3}]
  precision: bf16
seeds: [3, 1]
measures: [{name: hessian, eigenvalues: 2}]
execution: {num_workers: 2, keep_weights: [1, 2.5]}
"""
    )
    (setting,) = spec.settings
    assert setting.data == DataConfig(standardize=True, train_examples=4000)
    options = {"hidden": [64, 32], "dropout": 0.5}
    assert setting.network == NetworkConfig(name="mlp", options=options)
    phase = BatchPhase(until_epoch=1.0, global_batch_size=32, peak_lr=1e-3)
    assert setting.training == TrainingConfig(
        global_batch_size=64,
        base_lr=0.02,
        epochs=5.0,
        optimizer=SGD(momentum=0.9, nesterov=True),
        batch_schedule=(phase,),
        precision="bf16",
    )
    assert (spec.name, spec.question, spec.seeds) == ("all", "Why?", (3, 1))
    assert spec.measures == (Evaluation(), Hessian(eigenvalues=2))
    assert spec.execution == ExecutionConfig(num_workers=2, keep_weights=(1.0, 2.5))
    assert spec.baseline_batch_size == 64


def test_what_is_not_written_has_its_default(write: Any) -> None:
    spec = write(PLAIN)
    assert spec.seeds == (0, 1, 2, 3, 4)
    assert spec.measures == (Evaluation(),)
    assert spec.execution == ExecutionConfig()
    assert [s.arm for s in spec.settings] == ["baseline"]


def test_an_empty_section_is_an_absent_one(write: Any) -> None:
    assert write(PLAIN + "data:\narms:\nexclude:\nexecution:\n") == write(PLAIN)


def test_yaml_is_1_2(write: Any, problems: Any) -> None:
    assert write(PLAIN.replace("0.02", "2E-2")).settings[0].training.base_lr == 0.02
    assert write(PLAIN + "question: off\n").question == "off"
    (line,) = problems(PLAIN.replace("epochs: 3", "epochs: 3, horizontal_flip: off"))
    assert line.startswith("3:55: training.horizontal_flip: 'off' is not true or false")


def test_a_network_option_is_checked_and_a_users_own_is_passed_on(write: Any) -> None:
    text = PLAIN.replace("{name: mlp}", "{build: 'my_net:build', width: 128, deep: [1, 2]}")
    network = write(text).settings[0].network
    assert network == NetworkConfig(build="my_net:build", options={"width": 128, "deep": [1, 2]})


def test_load_implies_its_source_and_takes_options(write: Any) -> None:
    data = (
        write(PLAIN + "data: {load: 'my:load', root: here, train_examples: 7}\n").settings[0].data
    )
    # `root` is the function's own argument here: passed as it is, not made absolute.
    assert data == DataConfig(
        source="load", load="my:load", options={"root": "here"}, train_examples=7
    )


def test_grid_is_crossed_first_axis_slowest_arms_within(write: Any) -> None:
    spec = write(
        HEAD
        + "training: {epochs: 3, base_lr: 0.1}\n"
        + "grid: {training.global_batch_size: [8, 16], training.warmup_epochs: [0, 1]}\n"
        + "arms: {drop: {training.discard_ratio: 0.5}}\n"
    )
    got = [(s.training.global_batch_size, s.training.warmup_epochs, s.arm) for s in spec.settings]
    assert got == [(b, w, a) for b in (8, 16) for w in (0, 1) for a in ("baseline", "drop")]


def test_blocks_are_united(write: Any) -> None:
    spec = write(
        HEAD
        + "training: {epochs: 3, base_lr: 0.1}\n"
        + "grid: [{training.global_batch_size: [8, 16]},"
        + " {training.global_batch_size: [64], training.base_lr: [1, 2]}]\n"
    )
    got = [(s.block, s.training.global_batch_size, s.training.base_lr) for s in spec.settings]
    assert got == [(0, 8, 0.1), (0, 16, 0.1), (1, 64, 1), (1, 64, 2)]
    axes = {"training.global_batch_size": 8, "training.base_lr": 0.1}
    assert spec.settings[0].grid == axes


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("training.optimizer: {name: adam}", Adam()),
        ("training.optimizer.name: adam", Adam()),
        ("training.optimizer.name: sgd", SGD(momentum=0.9, weight_decay=0.1)),
        ("training.optimizer.momentum: 0.5", SGD(momentum=0.5, weight_decay=0.1)),
        ("training.optimizer.beta1: 0.5, training.optimizer.name: adam", Adam(beta1=0.5)),
    ],
)
def test_an_arm_changes_a_field_or_replaces_the_section(
    write: Any, change: str, expected: OptimizerConfig
) -> None:
    sgd = "optimizer: {name: sgd, momentum: 0.9, weight_decay: 0.1}"
    text = PLAIN.replace("epochs: 3", f"epochs: 3, {sgd}")
    arm = f"arms: {{a: {{{change}, training.decay: cosine}}}}\n"
    assert write(text + arm).settings[1].training.optimizer == expected


def test_a_new_network_leaves_the_old_ones_options(write: Any) -> None:
    text = PLAIN.replace("{name: mlp}", "{name: mlp, hidden: [8]}")
    settings = write(text + "arms: {other: {network.name: f1}}\n").settings
    assert settings[1].network == NetworkConfig(name="f1")


def test_a_new_source_keeps_what_it_has_too(write: Any) -> None:
    data = "data: {source: mnist, root: /images, standardize: true}\n"
    arms = "arms: {f: {data.source: fashion-mnist}, five: {data.source: mnist-5k}}\n"
    _, fashion, five = write(PLAIN + data + arms).settings
    assert fashion.data == DataConfig(source="fashion-mnist", root="/images", standardize=True)
    assert five.data == DataConfig(standardize=True)


def test_exclude_matches_values_in_force_and_defaults(write: Any) -> None:
    spec = write(
        HEAD
        + "training: {epochs: 3, base_lr: 0.1}\n"
        + "grid: {training.global_batch_size: [8, 16, 32]}\n"
        + "arms: {warm: {training.warmup_epochs: 1}, drop: {training.discard_ratio: 0.5}}\n"
        + "exclude:\n"
        + "  - {training.warmup_epochs: 0, arm: drop, training.global_batch_size: [8, 16]}\n"
        + "  - {arm: warm, seed: [0, 2]}\n"
        + "seeds: 3\n"
    )
    got = {(s.arm, s.training.global_batch_size): s.seeds for s in spec.settings}
    every = {("baseline", b): (0, 1, 2) for b in (8, 16, 32)}
    assert got == every | {("warm", b): (1,) for b in (8, 16, 32)} | {("drop", 32): (0, 1, 2)}


def test_baseline_batch_size_is_by_default_the_smallest_there_is(write: Any) -> None:
    text = HEAD + "training: {epochs: 1, base_lr: 1}\ngrid: {training.global_batch_size: [64, 8]}\n"
    assert write(text).baseline_batch_size == 8
    assert write(text + "exclude: [{training.global_batch_size: 8}]\n").baseline_batch_size == 64


# ---------------------------------------------------------------------------------------- the paths


def test_data_paths_are_taken_from_the_files_folder(write: Any, tmp_path: Path) -> None:
    spec = write(
        PLAIN
        + "data: {source: parquet, name: a, train: t.parquet, test: /v}\n"
        + "arms: {b: {data.train: u.parquet}}\n"
    )
    assert [s.data.train for s in spec.settings] == [
        f"{tmp_path}/t.parquet",
        f"{tmp_path}/u.parquet",
    ]
    assert spec.settings[0].data.test == "/v"
    assert spec.import_folder == str(tmp_path)


def test_paths_of_set_are_taken_from_the_current_directory(
    write: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    text = PLAIN + "data: {source: mnist, root: mine}\n"
    assert write(text).settings[0].data.root == str(tmp_path / "mine")
    overridden = write(text, ["data.root=mine"]).settings[0].data.root
    assert overridden == str(tmp_path / "elsewhere" / "mine")


# ------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("text", "place", "says"),
    [
        # the text
        ("name: x\nname: y\n", "2:1: name:", "given twice"),
        ("name: x\n\tb: y\n", "2:1:", "not valid YAML"),
        ("name: [1\nb: 2\n", "2:2:", "not valid YAML"),
        ("- a\n- b\n", "1:1:", "mapping of sections"),
        ("", "1:1:", "mapping of sections"),
        ("name: !!python/name:os.system x\n", "1:7:", "tags"),
        ("1: x\n", "1:1: study:", "must be text"),
        (PLAIN + "question: &q {a: *q}\n", "4:18:", "*q stands for what it is a part of"),
        # sections
        (PLAIN + "search: {points: 3}\n", "4:9: search:", "must have fields to tune"),
        (PLAIN + "target_test_accuracy: 95\n", "4:23: target_test_accuracy:", "e.g. 0.95"),
        (NUMBERS + "target_test_accuracy: .9\n", "5:1: target_test_accuracy:", "of a regression"),
        (
            NUMBERS + "target_test_absolute_error: -2.0\n",
            "5:29: target_test_absolute_error:",
            "must be above 0",
        ),
        (
            NUMBERS
            + "search: {optimize: validation_accuracy, fields: {training.warmup_epochs: [1, 2]}}\n",
            "5:20: search.optimize:",
            "no metric of a regression",
        ),
        (
            NUMBERS.replace(", task: regression", "")
            + "grid: {data.task: [regression, classification]}\n",
            "5:1: grid:",
            "several tasks, classification and regression",
        ),
        (PLAIN + "gird: {}\n", "4:1: gird:", "did you mean grid?"),
        (PLAIN + "base_lr: 3\n", "4:1: base_lr:", "did you mean training.base_lr?"),
        (PLAIN + "question: 3\n", "4:11: question:", "not text"),
        (PLAIN.replace("name: x\n", ""), "1:1: name:", "missing; e.g. name: my-study"),
        (PLAIN.replace("name: x\n", "name: ../x\n"), "1:7: name:", "cannot be a file name"),
        (PLAIN.replace("name: x\n", "name: 3\n"), "1:7: name:", "is not text"),
        (PLAIN.replace("{name: mlp}", "mlp"), "2:10: network:", "not a mapping"),
        # data
        (PLAIN + "data: {source: minst}\n", "4:16: data.source:", "did you mean mnist"),
        (PLAIN + "data: {context: 2}\n", "4:8: data.context:", "only with frames"),
        (PLAIN + "data: {sourse: mnist}\n", "4:8: data.sourse:", "did you mean source"),
        (PLAIN + "data: {source: mnist}\n", "4:1: data.root:", "missing; source mnist needs it"),
        (PLAIN + "data: {source: parquet, name: a, train: t}\n", "4:1: data.test:", "missing"),
        (PLAIN + "data: {source: frames, train: t, test: v}\n", "4:1: data.name:", "missing"),
        (
            PLAIN + "data: {source: image-folder, name: a, train: t, test: v}\n",
            "4:1: data.image_size:",
            "missing; source image-folder needs it, e.g. image_size: 224",
        ),
        (PLAIN + "data: {image_size: 32}\n", "4:8: data.image_size:", "only with image-folder"),
        (PLAIN + "data: {load: my.load}\n", "4:14: data.load:", "module:function"),
        (PLAIN + "data: {load: 'a:b', source: mnist}\n", "4:8: data.load:", "only with load"),
        (PLAIN + "data: {load: 'a:b', deep: {a: 1}}\n", "4:27: data.deep:", "plain value"),
        (PLAIN + "data: {load: 'a:b', scale: .inf}\n", "4:28: data.scale:", "not finite"),
        (PLAIN + "data: {train_examples: 0}\n", "4:24: data.train_examples:", "at least 1"),
        # network
        (PLAIN.replace("mlp", "mpl"), "2:17: network.name:", "did you mean mlp"),
        (PLAIN.replace("mlp}", "mlp, hiden: [1]}"), "2:22: network.hiden:", "did you mean hidden"),
        (PLAIN.replace("mlp}", "mlp, dropout: 2}"), "2:31: network.dropout:", "such as 0.5"),
        (PLAIN.replace("mlp}", "mlp, build: 'a:b'}"), "2:10: network:", "got both"),
        (PLAIN.replace("name: mlp", "build: a"), "2:18: network.build:", "my_module:build"),
        ("name: x\n" + PLAIN.split("\n")[2], "1:1: network:", "got neither"),
        # training
        (PLAIN.replace("0.02", "'0.02'"), "3:21: training.base_lr:", "is not a number; e.g. 0.02"),
        (PLAIN.replace("0.02", "true"), "3:21: training.base_lr:", "true is not a number"),
        (PLAIN.replace("0.02", "-1"), "3:21: training.base_lr:", "must be above 0; e.g. 0.02"),
        (PLAIN.replace("0.02", ".nan"), "3:21: training.base_lr:", "is not a number"),
        (PLAIN.replace("32", "1e3"), "3:57: training.global_batch_size:", "e.g. 1000"),
        (PLAIN.replace("32", "0"), "3:57: training.global_batch_size:", "at least 1; e.g. 32"),
        (
            PLAIN.replace(", global_batch_size: 32", ""),
            "3:1: training.global_batch_size:",
            "missing",
        ),
        (PLAIN.replace("epochs", "epoch"), "3:27: training.epoch:", "did you mean epochs"),
        (PLAIN.replace("epochs: 3", "lr: 3"), "3:27: training.lr:", "training.base_lr"),
        (PLAIN.replace("epochs", "momentum"), "3:27: training.momentum:", "training.optimizer.mom"),
        (
            PLAIN.replace("epochs: 3", "decay: cos"),
            "3:34: training.decay:",
            "constant, cosine, step",
        ),
        (
            PLAIN.replace("epochs: 3", "decay_epochs: [1, x]"),
            "3:45: training.decay_epochs[1]:",
            "'x'",
        ),
        (
            PLAIN.replace("epochs: 3", "decay_epochs: [2, 1]"),
            "3:41: training.decay_epochs:",
            "ascend",
        ),
        (
            PLAIN.replace("epochs: 3", "batch_schedule: [{until_epoch: 1, global_batch_size: 0}]"),
            "3:80: training.batch_schedule[0].global_batch_size:",
            "at least 1",
        ),
        (
            PLAIN.replace("epochs: 3", "batch_schedule: [{until_epoch: 1}]"),
            "3:44: training.batch_schedule[0].global_batch_size:",
            "missing",
        ),
        (
            PLAIN.replace("epochs: 3", "batch_schedule: [3]"),
            "3:44: training.batch_schedule[0]:",
            "a mapping with until_epoch, global_batch_size",
        ),
        (
            PLAIN.replace("epochs: 3", "optimizer: {name: adm}"),
            "3:45: training.optimizer.name:",
            "did you mean adam",
        ),
        (
            PLAIN.replace("epochs: 3", "optimizer: {name: adam, momentum: 1}"),
            "3:51: training.optimizer.momentum:",
            "unknown key",
        ),
        (
            PLAIN.replace("epochs: 3", "optimizer: {nesterov: true}"),
            "3:49: training.optimizer.nesterov:",
            "momentum: 0.9",
        ),
        # grid and arms
        (PLAIN + "grid: {epochs: [1]}\n", "4:8: grid.epochs:", "did you mean training.epochs?"),
        (PLAIN + "grid: {training.max_shift: 0.1}\n", "4:28: grid.training.max_shift:", "[0.1]"),
        (PLAIN + "grid: {training.max_shift: []}\n", "4:28: grid.training.max_shift:", "list of"),
        (PLAIN + "grid: {training.max_shift: [0, 0.0]}\n", "4:32: grid.", "listed twice"),
        (PLAIN + "grid: {training.max_shift: [0, 2]}\n", "4:32: training.max_shift:", "below 1"),
        (PLAIN + "grid: {training.epochs: [1, 2]}\n", "3:27: training.epochs:", "remove one"),
        (PLAIN + "grid: 3\n", "4:7: grid:", "mapping of fields to lists"),
        (
            PLAIN + "arms: {a: {training.warmup: 1}}\n",
            "4:12: arms.a.training.warmup:",
            "warmup_epochs",
        ),
        (PLAIN + "arms: {a: {training.epochs: -1}}\n", "4:29: training.epochs:", "above 0"),
        (PLAIN + "arms: {a: {training.epochs: 3}}\n", "4:8: arms.a:", "changes nothing"),
        (PLAIN + "arms: {a: {}}\n", "4:11: arms.a:", "mapping of fields to values"),
        (PLAIN + "arms: {a.b: {training.epochs: 1}}\n", "4:8: arms.a.b:", "no dots"),
        (PLAIN + "arms: {baseline: {training.epochs: 1}}\n", "4:8: arms.baseline:", "another name"),
        (PLAIN + "arms: [a]\n", "4:7: arms:", "mapping of names"),
        (
            PLAIN + "grid: {training.max_shift: [0, 0.5]}\narms: {a: {training.max_shift: 0.1}}\n",
            "4:32: grid.training.max_shift[1]:",
            "makes no difference in arm a",
        ),
        # exclude
        (PLAIN + "exclude: {arm: a}\n", "4:10: exclude:", "list of mappings"),
        (PLAIN + "exclude: [{arm: a}]\n", "4:17: exclude[0].arm:", "there is no arm 'a'"),
        (PLAIN + "exclude: [{seed: 7}]\n", "4:18: exclude[0].seed:", "there is no seed 7"),
        (PLAIN + "exclude: [{block: 1}]\n", "4:19: exclude[0].block:", "there is no block 1"),
        (PLAIN + "exclude: [{epochs: 1}]\n", "4:12: exclude[0].epochs:", "training.epochs"),
        (PLAIN + "exclude: [{training.epochs: 4}]\n", "4:11: exclude[0]:", "its values are 3"),
        (PLAIN + "exclude: [{training.epochs: 3}]\n", "4:10: exclude:", "every point"),
        # the rest
        (PLAIN + "seeds: 0\n", "4:8: seeds:", "seeds: 5"),
        (PLAIN + "seeds: true\n", "4:8: seeds:", "seeds: 5"),
        (PLAIN + "seeds: [1, 1]\n", "4:12: seeds[1]:", "listed twice"),
        (PLAIN + "seeds: [-1]\n", "4:9: seeds[0]:", "0 or more"),
        (PLAIN + "seeds: []\n", "4:8: seeds:", "seeds: 5"),
        (PLAIN + "baseline_batch_size: 8\n", "4:22: baseline_batch_size:", "one of [32]"),
        (PLAIN + "measures: {name: hessian}\n", "4:11: measures:", "must be a list"),
        (PLAIN + "measures: [hessian]\n", "4:12: measures[0]:", "not a mapping"),
        (PLAIN + "measures: [{examples: 3}]\n", "4:12: measures[0].name:", "missing"),
        (
            PLAIN + "measures: [{name: noise-scale, small_batch_size: 512}]\n",
            "4:50: measures[0].small_batch_size:",
            "512 must be smaller than large_batch_size 512; e.g. 256",
        ),
        (
            PLAIN + "measures: [{name: noise-scale, examples: 100}]\n",
            "4:12: measures[0].large_batch_size:",
            "512 must be at most the 100 examples that batches are drawn from; e.g. examples: 512",
        ),
        (
            PLAIN + "measures: [{name: noise-scale, pairs: 1}]\n",
            "4:39: measures[0].pairs:",
            "at least 2",
        ),
        (
            PLAIN + "measures: [{name: landscape, points: 20}]\n",
            "4:38: measures[0].points:",
            "20 must be odd, so that the solution itself is one of them; e.g. 21",
        ),
        (
            PLAIN + "measures: [{name: batch-sharpness, batch_size: 64, examples: 32}]\n",
            "4:48: measures[0].batch_size:",
            "64 must be at most the 32 examples that batches are drawn from; e.g. examples: 64",
        ),
        (
            PLAIN + "measures: [{name: gradient-probe, batch_sizes: [32]}]\n",
            "4:48: measures[0].batch_sizes:",
            "[32] must hold two or more different sizes, e.g. [32, 256]",
        ),
        (
            PLAIN + "measures: [{name: gradient-probe, examples: 100}]\n",
            "4:12: measures[0].batch_sizes:",
            "1024 must be at most the 100 examples that batches are drawn from",
        ),
        (
            PLAIN + "measures: [{name: gradient-probe, at: start, every_epochs: 1}]\n",
            "4:46: measures[0].every_epochs:",
            "leave it out",
        ),
        (
            PLAIN + "measures: [{name: layers, every_epochs: 2, every_steps: 5}]\n",
            "4:27: measures[0].every_epochs:",
            "cannot be combined with every_steps 5; keep one",
        ),
        (
            PLAIN + "measures: [{name: evaluation, every_epochs: 1, every_steps: 5}]\n",
            "4:31: measures[0].every_epochs:",  # its default too is not in force
            "cannot be combined with every_steps 5; keep one",
        ),
        (
            PLAIN + "measures: [{name: layers, examples: 50}]\n",
            "4:27: measures[0].examples:",
            "add curvature_samples: 1 or leave it out",
        ),
        (
            PLAIN + "measures: [{name: layers}, {name: layers, every_steps: 5}]\n",
            "4:28: measures[1]:",
            "twice",
        ),
        (PLAIN + "measures: [{name: hesian}]\n", "4:19: measures[0].name:", "did you mean hessian"),
        (PLAIN + "measures: [{name: hessian}, {name: hessian}]\n", "4:29: measures[1]:", "twice"),
        (
            PLAIN + "measures: [{name: evaluation}, {name: evaluation, every_epochs: 2}]\n",
            "4:32: measures[1]:",
            "twice",
        ),
        (PLAIN + "execution: {devise: cpu}\n", "4:13: execution.devise:", "did you mean device"),
        (PLAIN + "execution: {num_workers: 0}\n", "4:26: execution.num_workers:", "at least 1"),
        (
            PLAIN + "execution: {keep_weights: all}\n",
            "4:27: execution.keep_weights:",
            "final, none",
        ),
        (
            PLAIN + "execution: {keep_weights: [10, 0]}\n",
            "4:32: execution.keep_weights[1]:",
            "must be above 0; e.g. [10, 20]",
        ),
        (
            PLAIN.replace("epochs: 3", "optimizer: {name: cblr, curvature_samples: 0}"),
            "3:70: training.optimizer.curvature_samples:",
            "must be at least 1; e.g. 1",
        ),
        (PLAIN + "execution: {device: tpu}\n", "4:21: execution.device:", "auto, cpu, cuda"),
    ],
)
def test_a_mistake_is_named_with_its_place_and_a_way_out(
    problems: Any, text: str, place: str, says: str
) -> None:
    found = problems(text)
    assert any(line.startswith(place) and says in line for line in found), found


def test_all_mistakes_come_at_once_in_the_order_of_the_file(problems: Any) -> None:
    found = problems(
        "name: x\nnetwork: {name: mpl}\nmeasures: [3]\ntraining: {base_lr: '1', epoch: 2}\nfoo: 1\n"
    )
    assert [line.partition(":")[0] for line in found] == ["2", "3", "4", "4", "4", "5"]


def test_where_no_point_is_known_nothing_is_said_of_its_task(problems: Any) -> None:
    text = NUMBERS + "target_test_absolute_error: 2.0\nseeds: 0\n"
    (line,) = problems(text)
    assert line.startswith("6:8: seeds:")


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="batchgap init"):
        load_spec(tmp_path / "no.yaml")
    (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(StudyError, match="cannot be read as UTF-8"):
        load_spec(tmp_path / "bytes.yaml")


# -------------------------------------------------------------------------------------------- --set


def test_set_changes_what_is_written_or_adds_to_it(write: Any) -> None:
    text = (
        PLAIN.replace("global_batch_size: 32", "decay: cosine")
        + "grid: {training.global_batch_size: [8, 16]}\nmeasures: [{name: hessian}]\n"
    )
    spec = write(
        text,
        [
            "training.epochs=7",
            "training.optimizer.momentum=0.5",
            "grid.training.global_batch_size=[4]",
            "arms.warm up.training.warmup_epochs=1",
            "measures.0.examples=100",
            "seeds=2",
            "data.standardize=true",
        ],
    )
    assert [s.arm for s in spec.settings] == ["baseline", "warm up"]
    training = spec.settings[1].training
    assert (training.epochs, training.global_batch_size, training.warmup_epochs) == (7, 4, 1)
    assert training.optimizer == SGD(momentum=0.5)
    assert spec.measures == (Evaluation(), Hessian(examples=100))
    assert spec.seeds == (0, 1)
    assert spec.settings[0].data.standardize


def test_set_reaches_into_a_block_of_the_grid(write: Any) -> None:
    text = HEAD + "training: {epochs: 1, base_lr: 1}\ngrid: [{training.global_batch_size: [8]}]\n"
    spec = write(text, ["grid.0.training.base_lr=[1, 2]", "training={epochs: 2}"])
    assert [s.training.base_lr for s in spec.settings] == [1, 2]


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("training.epochs=ten", "training.epochs: 'ten' is not a number"),
        ("training.epoch=1", "training.epoch: unknown key"),
        ("foo.bar=1", "foo: unknown section"),
        ("training.epochs", "KEY=VALUE"),
        ("=3", "KEY=VALUE"),
        ("training.epochs.deep=1", "a plain value"),
        ("measures.4.examples=1", "no item of this list; use 0 to 0"),
        ("training.epochs=[1", "not valid YAML"),
    ],
)
def test_a_mistake_in_set_names_the_option(problems: Any, override: str, says: str) -> None:
    (line,) = problems(PLAIN + "measures: [{name: hessian}]\n", [override])
    assert line.startswith(f"--set {override}") and says in line


# -------------------------------------------------------------------------------------- round trips


def test_what_is_resolved_reads_back_as_an_equal_study(write: Any, tmp_path: Path) -> None:
    text = (
        PLAIN.replace("global_batch_size: 32", "decay: cosine, warmup_start_lr: 1e-8")
        + "question: 'off: or # on?'\n"
        + "data: {source: parquet, name: '007', train: t, test: v}\n"
        + "grid: [{training.global_batch_size: [8, 16]}, {training.global_batch_size: [4],"
        + " training.batch_schedule: [[{until_epoch: 1, global_batch_size: 2}]]}]\n"
        + "arms: {on: {training.optimizer: {name: adam, epsilon: 1e-8}}}\n"
        + "exclude: [{arm: on, data.train: t, block: 0}]\n"
        + "measures: [{name: sharpness, subspace_dim: 10}]\n"
        + "execution: {keep_weights: none}\n"
    )
    spec = write(text, ["seeds=3"])
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    (folder / "study.yaml").write_text(resolved_yaml(spec))
    again = load_spec(folder / "study.yaml")
    assert again == spec
    assert resolved_yaml(again) == resolved_yaml(spec)
    assert len({s.arm for s in spec.settings}) == 2


# ------------------------------------------------------------------------------- definitions agree


CONFIGS = (
    DataConfig,
    TrainingConfig,
    BatchPhase,
    WarmStart,
    ExecutionConfig,
    SearchConfig,
    *get_args(OptimizerConfig),
    *get_args(MeasureConfig),
)


def _numeric(hint: Any) -> bool:
    return hint in (int, float) or any(map(_numeric, get_args(hint)))


@pytest.mark.parametrize("kind", CONFIGS)
def test_every_number_has_a_range_that_its_default_and_its_example_keep_to(kind: type) -> None:
    plain = get_type_hints(kind)
    annotated = get_type_hints(kind, include_extras=True)
    numeric = [
        f
        for f in fields(kind)
        if _numeric(plain[f.name]) and f.name not in ("options", "fields")  # keys of one's own
    ]
    for f in numeric:
        hint = annotated[f.name]
        assert study_fields.limits(hint), f.name
        field_type = TypeAdapter(hint, config=study_fields.STRICT)
        example = study_fields.example_of(hint)
        assert example is not None, f.name
        for value in (example, f.default):
            if value is not MISSING:
                field_type.validate_json(json.dumps(value), strict=True)


def test_every_data_field_belongs_to_a_source() -> None:
    owned = SHARED.union(*(source.settings for source in SOURCES.values())) | {"options"}
    assert owned == {f.name for f in fields(DataConfig)}
    assert tuple(SOURCES) == get_args(get_type_hints(DataConfig)["source"])


def test_the_keys_of_a_study_file_are_these() -> None:
    assert (
        *("name", "question", "data", "network", "training", "grid", "exclude", "arms", "seeds"),
        *("baseline_batch_size", "search", "target_test_accuracy", "target_test_absolute_error"),
        *("measures", "execution"),
        *("reproduces", "stand_ins"),
    ) == SECTIONS
    names = (
        "data network training.optimizer data.source data.task data.name data.root data.download "
        "data.train data.test data.load data.context data.image_size data.standardize "
        "data.train_examples "
        "data.validation_examples network.name network.build training.global_batch_size "
        "training.base_lr training.lr_scaling training.lr_reference_batch_size "
        "training.averaging_scaling training.warmup_epochs training.warmup_scaling "
        "training.warmup_shape training.warmup_start_lr training.decay training.decay_epochs "
        "training.decay_factor training.epochs training.optimizer_steps "
        "training.steps_of_batch_size training.loss training.target_train_loss training.max_epochs "
        "training.batch_schedule training.discard_ratio training.discard_epochs "
        "training.discard_rule training.discard_gradient_ratio training.max_gradient_norm "
        "training.label_smoothing training.focal_gamma training.adversarial_epsilon "
        "training.ghost_batch_size training.evaluation_normalization training.horizontal_flip "
        "training.max_shift training.max_rotation training.precision training.start "
        "training.optimizer.name training.optimizer.momentum training.optimizer.nesterov "
        "training.optimizer.weight_decay training.optimizer.decay_normalization "
        "training.optimizer.beta1 training.optimizer.beta2 training.optimizer.epsilon "
        "training.optimizer.momentum_correction training.optimizer.trust_coefficient "
        "training.optimizer.adapt_vectors training.optimizer.medians training.optimizer.curvature "
        "training.optimizer.curvature_samples training.optimizer.rho "
        "training.optimizer.proximal_weight training.optimizer.inner_steps "
        "training.optimizer.sufficient_decrease training.optimizer.backtracking "
        "training.optimizer.max_backtracks training.optimizer.history_size "
        "training.start.trial training.start.epoch"
    )
    assert " ".join(sorted(study_fields.dotted_fields())) == " ".join(sorted(names.split()))


def _validator() -> Any:
    jsonschema = pytest.importorskip("jsonschema")
    jsonschema.Draft202012Validator.check_schema(json_schema())
    return jsonschema.Draft202012Validator(json_schema())


@pytest.mark.parametrize(
    "section",
    [
        {"foo": 1},
        {"training": {"discard_ratio": 1}},
        {"training": {"epoch": 1}},
        {"training": {"optimizer": {"name": "adam", "momentum": 0.9}}},
        {"training": {"decay_epochs": [0]}},
        {"training": {"batch_schedule": [{"until_epoch": 1}]}},
        {"grid": {"training.epoch": [1]}},
        {"grid": {"training.epochs": 1}},
        {"grid": [{"training.epochs": []}]},
        {"arms": {"a": {"epochs": 1}}},
        {"measures": [{"examples": 3}]},
        {"measures": [{"name": "hessian", "trace_samples": 1}]},
        {"execution": {"keep_weights": "all"}},
        {"seeds": 0},
        {"name": "../x"},
    ],
)
def test_the_json_schema_refuses_mistakes(section: dict[str, Any]) -> None:
    validator = _validator()
    assert validator.is_valid({"name": "x"})
    assert not validator.is_valid({"name": "x"} | section)


def test_the_json_schema_accepts_what_is_read(write: Any) -> None:
    spec = write(
        PLAIN.replace("epochs: 3", "optimizer: {name: adamw}, epochs: 3, decay_epochs: [1, 2.5]")
        + "data: {load: 'a:b', mine: 3}\n"
        + "grid: [{network.hidden: [[8], [16]]}, {training.optimizer: [{name: sgd}]}]\n"
        + "arms: {a: {training.optimizer.weight_decay: 0.1}}\n"
        + "measures: [{name: sharpness, subspace_dim: 10}]\n"
        + "execution: {keep_weights: [1]}\n"
    )
    _validator().validate(dict(spec.sections))


def test_reading_and_planning_load_neither_torch_nor_ray() -> None:
    code = (
        "import sys, study.show.json_schema, study.plan.plan; study.show.json_schema.json_schema();"
        "assert not {'torch', 'ray', 'pandas'} & set(sys.modules)"
    )
    env = os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])}
    subprocess.run([sys.executable, "-c", code], check=True, env=env)
