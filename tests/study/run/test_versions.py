"""A verb given a file works from that file; the folder is the store of its trials."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner, Result

from study.cli import app
from tests.stored import at
from trainables.results import files, head
from trainables.results.storage import PosixFolder

TINY = """\
name: tiny
data: {source: mnist-5k, train_examples: 200}
network: {name: mlp, hidden: [4]}
training: {base_lr: 0.02, epochs: 1}
grid: {training.global_batch_size: [50, 100]}
arms: {sqrt: {training.lr_scaling: sqrt, training.lr_reference_batch_size: 50}}
exclude: [{arm: sqrt, training.global_batch_size: 50}]
seeds: 1
execution: {device: cpu}
"""
FASTER = ("--set", "training.base_lr=0.05")


def batchgap(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def run(*arguments: str) -> Result:
    return batchgap("run", *arguments, "--runner", "serial")


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which `tiny.yaml` was run to its end."""
    folder = tmp_path_factory.mktemp("versions")
    (folder / "tiny.yaml").write_text(TINY)
    result = run(str(folder / "tiny.yaml"), "--results", str(folder / "studies"))
    assert result.exit_code == 0, result.stderr
    return folder


@pytest.fixture
def here(done: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of that, to go on with, as the current directory."""
    shutil.copytree(done, tmp_path / "here")
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


def stored(here: Path) -> head.Head:
    return head.read(PosixFolder(here / "studies" / "tiny"))


def status(*arguments: str) -> dict[str, object]:
    shown = batchgap("status", *arguments, "--json")
    assert shown.exit_code == 0, shown.stderr
    return dict(json.loads(shown.stdout))


# --------------------------------------------------------------------------------- another version


def test_what_set_made_does_not_take_the_place_of_what_was_run(here: Path) -> None:
    before = stored(here)
    refused = run("tiny.yaml", *FASTER)
    assert refused.exit_code == 2
    said = " ".join(refused.stderr.split())
    assert "training.base_lr 0.05 here, 0.02 there" in said
    assert "--results DIR" in said and "--replace" in said
    assert stored(here).study == before.study
    assert not (here / "studies" / "tiny" / "versions").exists()


def test_both_ways_out_are_ways_out(here: Path) -> None:
    assert run("tiny.yaml", *FASTER, "--results", "other").exit_code == 0
    assert "base_lr: 0.02" in stored(here).study
    replaced = run("tiny.yaml", *FASTER, "--replace")
    assert replaced.exit_code == 0, replaced.stderr
    assert "3 of the 3 trials of tiny are no part of it now" in replaced.stderr
    assert "base_lr: 0.05" in stored(here).study
    again = run("tiny.yaml", *FASTER)  # the same once more drops nothing
    assert again.exit_code == 0 and "no part of it" not in again.stderr


def test_an_edited_file_goes_on_and_the_former_version_is_kept_and_listed(here: Path) -> None:
    (here / "tiny.yaml").write_text(TINY.replace("0.02", "0.05"))
    result = run("tiny.yaml")
    assert result.exit_code == 0 and "below versions/" in result.stderr
    ((former,), _) = head.versions(PosixFolder(here / "studies" / "tiny"))
    assert "base_lr: 0.02" in former.study and former.plan.num_rows == 3
    shown = batchgap("status", "studies/tiny").stdout
    assert "former version of 2" in shown and "training.base_lr 0.05 here, 0.02 there" in shown
    assert batchgap("verify", "tiny.yaml").exit_code == 0


@pytest.mark.parametrize(
    "more",
    [
        ("seeds: 1", "seeds: 2"),
        ("[50, 100]", "[50, 100, 200]"),
        ("execution:", "measures: [{name: distance}]\nexecution:"),
        ("name: tiny", "name: tiny\nquestion: What for?"),
        ("{device: cpu}", "{device: cpu, max_concurrent_trials: 1}"),
    ],
)
def test_a_version_that_keeps_every_trial_goes_on_in_place(
    more: tuple[str, str], here: Path
) -> None:
    (here / "tiny.yaml").write_text(TINY.replace(*more))
    result = run("tiny.yaml")
    assert result.exit_code == 0 and "no part of it" not in result.stderr
    assert not (here / "studies" / "tiny" / "versions").exists()


def test_set_may_stand_beside_an_edit_of_the_file_that_drops_trials(here: Path) -> None:
    (here / "tiny.yaml").write_text(TINY.replace("base_lr: 0.02", "base_lr: 0.05"))
    result = run("tiny.yaml", "--set", "execution.threads_per_worker=1")
    assert result.exit_code == 0, result.stderr
    assert "no part of it now" in result.stderr and len(status("tiny.yaml")["versions"]) == 1
    again = run("tiny.yaml", "--set", "training.base_lr=0.07")
    assert again.exit_code == 2 and "this is another study" in again.stderr


def test_measure_takes_nobodys_place_though_the_file_was_edited(here: Path) -> None:
    (here / "tiny.yaml").write_text(TINY.replace("base_lr: 0.02", "base_lr: 0.05"))
    result = batchgap("measure", "tiny.yaml", "--set", "execution.threads_per_worker=1")
    assert result.exit_code == 2 and "this is another study" in result.stderr


def test_set_may_extend_a_study(here: Path) -> None:
    assert run("tiny.yaml", "--set", "seeds=2").exit_code == 0
    assert stored(here).plan.num_rows == 6


# ------------------------------------------------------------------------------ what verbs read


@pytest.fixture
def replaced(here: Path) -> Path:
    """The folder was last run at another rate than `tiny.yaml` says."""
    assert run("tiny.yaml", *FASTER, "--replace").exit_code == 0
    return here


def test_given_a_file_verbs_speak_of_that_file(replaced: Path) -> None:
    trials = json.loads(batchgap("plan", "tiny.yaml", "--json").stdout)["trials"]
    assert {trial["peak_lr"] for trial in trials} == {0.02, 0.02 * 2**0.5}
    own, folder = status("tiny.yaml"), status("studies/tiny")
    assert own["differences"] == ["training.base_lr 0.02 here, 0.05 there"]
    assert folder["differences"] == [] and own["trials"] == {"complete": 3}
    of_file, of_folder = (
        batchgap("report", study).stdout for study in ("tiny.yaml", "studies/tiny")
    )
    assert "training.base_lr 0.02 here, 0.05 there" in " ".join(of_file.split())
    assert "another version" not in of_folder
    as_run = batchgap("report", "tiny.yaml", *FASTER).stdout
    assert as_run == of_folder


def test_a_report_says_how_many_of_the_file_s_points_have_results(here: Path) -> None:
    (here / "tiny.yaml").write_text(TINY.replace("seeds: 1", "seeds: 3"))
    said = " ".join(batchgap("report", "tiny.yaml").stdout.split())
    assert "seeds [0, 1, 2] here, [0] there" in said
    assert "3 of the 9 points asked for have results" in said
    assert status("tiny.yaml")["trials"] == {"complete": 3, "planned": 6}


def test_two_files_of_one_name_each_keep_their_own_study(here: Path) -> None:
    (here / "other.yaml").write_text(TINY.replace("0.02", "0.1"))
    assert run("other.yaml").exit_code == 0
    for name, rate in (("tiny.yaml", 0.02), ("other.yaml", 0.1)):
        exported = batchgap("export", name, "--format", "parquet", "--output", f"out-{rate}")
        assert exported.exit_code == 0, exported.stderr
        rows = files.read_rows(*at(here / f"out-{rate}" / "trials.parquet"))
        assert min(row["peak_lr"] for row in rows) == rate and len(rows) == 3
        assert f"base_lr: {rate}" in (here / f"out-{rate}" / "study.yaml").read_text()
        page = batchgap("report", f"out-{rate}")
        assert page.exit_code == 0, page.stderr


def test_a_report_needs_no_data_where_the_folder_knows_it(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*_: object, **__: object) -> None:
        raise FileNotFoundError("no data on this machine")

    monkeypatch.setattr("study.run.facts.open_data", gone)
    (here / "tiny.yaml").write_text(TINY.replace("seeds: 1", "seeds: 2"))
    for verb in ("report", "status", "verify"):
        assert batchgap(verb, "tiny.yaml").exit_code == 0
    assert batchgap("plan", "tiny.yaml").exit_code == 3
    (here / "tiny.yaml").write_text(TINY.replace("train_examples: 200", "train_examples: 300"))
    assert batchgap("report", "tiny.yaml").exit_code == 3  # other data, of which nothing is known


def frames(path: Path, seed: int) -> str:
    draw = np.random.default_rng(seed)
    features = [draw.normal(size=3).astype("float32").tolist() for _ in range(40)]
    pd.DataFrame(
        {"features": features, "label": [i % 2 for i in range(40)], "utterance": [0] * 40}
    ).to_parquet(path)
    return path.name


def test_other_data_of_one_name_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text = (
        TINY.replace("{source: mnist-5k, train_examples: 200}", "DATA")
        .replace("[50, 100]", "[5, 10]")
        .replace("global_batch_size: 50", "global_batch_size: 5")
        .replace("size: 50}", "size: 5}")
    )
    for name, seed in (("a", 0), ("b", 1)):
        paths = [frames(tmp_path / f"{name}{split}.parquet", seed) for split in (1, 2)]
        data = f"{{source: frames, name: mine, train: {paths[0]}, test: {paths[1]}}}"
        (tmp_path / f"{name}.yaml").write_text(text.replace("DATA", data))
    assert run("a.yaml").exit_code == 0
    assert status("a.yaml")["differences"] == []
    (said,) = status("b.yaml")["differences"]  # type: ignore[misc]
    assert said.startswith("fingerprint of the data ")
    for path in tmp_path.glob("b*.parquet"):
        path.unlink()
    assert status("b.yaml")["differences"] == []  # what is not here cannot be looked at


def test_the_copy_for_people_is_not_read(here: Path) -> None:
    copy = here / "studies" / "tiny" / "study.yaml"
    before = batchgap("report", "studies/tiny").stdout
    copy.write_text(copy.read_text().replace("0.02", "0.03"))
    assert batchgap("report", "studies/tiny").stdout == before
    shown = batchgap("verify", "studies/tiny")
    assert shown.exit_code == 4 and "study.yaml: not the study that plan.parquet" in shown.stdout
    assert run("tiny.yaml").exit_code == 0
    assert batchgap("verify", "studies/tiny").exit_code == 0


@pytest.mark.parametrize(
    "same",
    [
        ("hidden: [4]", "hidden: [4], activation: relu"),
        ("{device: cpu}", "{device: cpu, num_workers: 1}"),
        (
            "grid: {training.global_batch_size: [50, 100]}",
            "grid: [{training.global_batch_size: [50, 100]}]",
        ),
        ("name: tiny", "name: tiny\nstand_ins: []"),
    ],
)
def test_another_spelling_of_the_same_study_is_no_difference(
    same: tuple[str, str], here: Path
) -> None:
    (here / "tiny.yaml").write_text(TINY.replace(*same))
    assert status("tiny.yaml")["differences"] == []


def test_only_the_measures_that_differ_are_named(here: Path) -> None:
    (here / "tiny.yaml").write_text(TINY + "measures: [{name: distance}]\n")
    (said,) = status("tiny.yaml")["differences"]  # type: ignore[misc]
    assert "distance" in said and "evaluation" not in said


def test_measure_takes_no_other_study_s_place(here: Path) -> None:
    before = stored(here)
    (here / "tiny.yaml").write_text(TINY.replace("0.02", "0.05"))
    refused = batchgap("measure", "tiny.yaml", "--runner", "serial")
    assert refused.exit_code == 2 and "run --replace" in refused.stderr
    assert stored(here).study == before.study


def test_an_export_is_read_and_not_run_in(here: Path) -> None:
    assert batchgap("export", "tiny.yaml", "--format", "parquet").exit_code == 0
    assert status("studies/tiny-export")["trials"] == {"complete": 3}
    refused = run("studies/tiny-export")
    assert refused.exit_code == 3 and "is an export" in refused.stderr
    into = batchgap("export", "tiny.yaml", "--format", "parquet", "--output", "studies/tiny")
    assert into.exit_code == 3 and "is a results folder" in into.stderr


def test_a_damaged_version_is_named_and_stops_nothing(here: Path) -> None:
    (here / "tiny.yaml").write_text(TINY.replace("0.02", "0.05"))
    assert run("tiny.yaml").exit_code == 0
    (path,) = (here / "studies" / "tiny" / "versions").glob("*.parquet")
    content = bytearray(path.read_bytes())
    content[content.index(b"base_lr")] ^= 4
    path.write_bytes(bytes(content))
    path.with_name(f".{path.name}.0123.tmp").write_bytes(b"half")
    assert status("tiny.yaml")["unreadable_versions"]
    shown = batchgap("verify", "tiny.yaml")
    assert shown.exit_code == 4 and f"versions/{path.name}" in shown.stdout
    assert "left by a run that was killed" in shown.stdout
    path.unlink()
    assert batchgap("verify", "tiny.yaml").exit_code == 0


def test_a_former_study_is_kept_once_however_often_files_alternate(here: Path) -> None:
    (here / "other.yaml").write_text(TINY.replace("0.02", "0.05"))
    for name in ("other.yaml", "tiny.yaml") * 3:
        assert run(name).exit_code == 0
    assert len(list((here / "studies" / "tiny" / "versions").iterdir())) == 2


SEARCH = (
    TINY.replace("base_lr: 0.02, ", "")
    .replace(
        "seeds: 1",
        "search: {method: grid, fields: {training.base_lr: [0.02, 0.1]}}\nseeds: 2",
    )
    .replace("train_examples: 200", "train_examples: 200, validation_examples: 50")
    .replace(
        "{sqrt: {training.lr_scaling: sqrt, training.lr_reference_batch_size: 50}}",
        "{sqrt: {training.warmup_epochs: 1}}",
    )
)


def test_finals_that_set_would_drop_are_trials_too(here: Path) -> None:
    (here / "s.yaml").write_text(SEARCH.replace("name: tiny", "name: searched"))
    assert run("s.yaml").exit_code == 0
    refused = run("s.yaml", "--set", "seeds=[5, 6]")
    assert refused.exit_code == 2 and "finals are no part of it now" in refused.stderr
    assert run("s.yaml", "--set", "seeds=3").exit_code == 0
    wider = "search.fields={training.base_lr: [0.02, 0.1, 0.5]}"
    assert run("s.yaml", "--set", "seeds=3", "--set", wider).exit_code == 0


# ------------------------------------------------------------------------------------------- only


def test_only_retrains_what_is_named(here: Path) -> None:
    often = "measures=[{name: evaluation, every_steps: 1}]"
    result = run("tiny.yaml", "--set", often, "--only", "sqrt", "--retrain")
    assert result.exit_code == 0, result.stderr
    assert status("tiny.yaml")["trials"] == {"complete": 3}


def test_only_runs_what_is_named_and_no_more(here: Path) -> None:
    (here / "tiny.yaml").write_text(TINY.replace("seeds: 1", "seeds: 2"))
    tried = run("tiny.yaml", "--only", "sqrt")
    assert tried.exit_code == 0 and "1 of 1 trials ended" in tried.stderr, tried.stderr
    assert status("tiny.yaml")["trials"] == {"complete": 4, "planned": 2}
    assert run("tiny.yaml", "--only", "50").exit_code == 0
    assert status("tiny.yaml")["trials"] == {"complete": 5, "planned": 1}
    (left,) = (
        t
        for t in json.loads(batchgap("plan", "tiny.yaml", "--json").stdout)["trials"]
        if t["to_train"]
    )
    assert run("tiny.yaml", "--only", left["trial_id"]).exit_code == 0
    assert status("tiny.yaml")["trials"] == {"complete": 6}


def test_only_may_name_several(here: Path) -> None:
    (here / "tiny.yaml").write_text(TINY.replace("seeds: 1", "seeds: 2"))
    assert run("tiny.yaml", "--only", "sqrt", "--only", "sqr").exit_code == 2
    result = run("tiny.yaml", "--only", "sqrt", "--only", "50")
    assert result.exit_code == 0 and "2 of 2 trials ended" in result.stderr, result.stderr


def test_only_of_an_unknown_name_says_what_there_is_and_changes_nothing(here: Path) -> None:
    before = stored(here)
    refused = run("tiny.yaml", "--set", "seeds=2", "--only", "sqr")
    assert refused.exit_code == 2 and "did you mean sqrt?" in refused.stderr
    assert stored(here).plan.equals(before.plan)


def test_status_says_that_failed_trials_are_tried_again(here: Path) -> None:
    (path, *_) = sorted((here / "studies" / "tiny" / "trials").glob("*.parquet"))
    (row,) = files.read_rows(*at(path))
    files.write_rows(*at(path), [row | {"status": "failed", "error": "OSError: no"}])
    shown = batchgap("status", "tiny.yaml").stdout
    assert "failed 1 x: OSError: no" in shown
    assert "running again tries failed trials again" in shown
