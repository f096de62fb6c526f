"""`batchgap measure`: what is added from kept weights, what is tried again, and what waits."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from study.cli import app
from study.grid.spec import load_spec
from tests.stored import at
from trainables.config.measures.hessian import Hessian
from trainables.config.measures.interpolation import Interpolation
from trainables.config.trial import Trial
from trainables.results import files
from trainables.results.ledger import read_ledger
from trainables.results.storage import PosixFolder

STUDY = """\
name: tiny
data: {source: mnist-5k, train_examples: 200}
network: {name: mlp, hidden: [8]}
training: {base_lr: 0.05, epochs: 1}
grid: {training.global_batch_size: [50, 100]}
seeds: 1
execution: {device: cpu}
"""
HESSIAN = "{name: hessian, examples: 50, trace_samples: 2}"
INTERPOLATION = "{name: interpolation, points: 3, examples: 50}"
WARM = """\
arms:
  warm: {training.start: {trial: {training.global_batch_size: 25, training.epochs: 2}, epoch: 1}}
exclude: [{arm: warm, training.global_batch_size: 50}]
"""


def batchgap(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def verb(folder: Path, name: str, *arguments: str) -> Result:
    runner = () if name in ("plan", "status", "verify") else ("--runner", "serial")
    return batchgap(
        name, str(folder / "tiny.yaml"), "--results", str(folder / "studies"), *runner, *arguments
    )


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the study was run to its end."""
    folder = tmp_path_factory.mktemp("done")
    (folder / "tiny.yaml").write_text(STUDY)
    result = verb(folder, "run")
    assert result.exit_code == 0, result.stderr
    return folder


@pytest.fixture
def copy(done: Path, tmp_path: Path) -> Path:
    shutil.copytree(done, tmp_path, dirs_exist_ok=True)
    return tmp_path


def taken(folder: Path) -> dict[str, int]:
    """How many trials have each measure on record without an error."""
    counts: dict[str, int] = {}
    for path in (folder / "studies/tiny/measures").glob("*.parquet"):
        rows = files.read_rows(*at(path))
        if all(row["error"] is None for row in rows):
            counts[rows[0]["measure"]] = counts.get(rows[0]["measure"], 0) + 1
    return counts


def trained(folder: Path) -> dict[Path, int]:
    return {p: p.stat().st_mtime_ns for p in (folder / "studies/tiny/trials").glob("*")}


# ------------------------------------------------------------------------------------------- --add


def test_measures_are_added_from_kept_weights_and_recorded(copy: Path) -> None:
    before = trained(copy)
    added = ("--add", HESSIAN, "--add", "distance", "--add", INTERPOLATION)
    result = verb(copy, "measure", *added)
    assert result.exit_code == 0, result.stderr
    assert trained(copy) == before
    assert taken(copy) == {"hessian": 2, "distance": 2, "interpolation": 1}
    spec = load_spec(copy / "studies/tiny/study.yaml")
    names = [measure.name for measure in spec.measures]
    assert names == ["evaluation", "hessian", "distance", "interpolation"]
    assert spec.measures[1] == Hessian(examples=50, trace_samples=2)
    assert verb(copy, "verify").exit_code == 0


def test_a_results_folder_stands_for_its_study_and_keeps_what_was_added(copy: Path) -> None:
    folder = copy / "studies" / "tiny"
    shutil.move(folder, copy / "moved")
    (copy / "tiny.yaml").unlink()
    moved = ("measure", str(copy / "moved"), "--runner", "serial")
    assert "2 of 2 trials ended" in batchgap(*moved, "--add", HESSIAN).stderr
    assert len(list((copy / "moved/measures").glob("*.parquet"))) == 2
    again = batchgap(*moved)
    assert again.exit_code == 0 and "nothing to measure" in again.stderr
    once_more = batchgap(*moved, "--add", HESSIAN)  # it has it
    assert once_more.exit_code == 0 and "nothing to measure" in once_more.stderr
    assert not folder.exists()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("hesian", "--add hesian: name: there is no 'hesian'; did you mean hessian?"),
        ("{name: hessian, example: 3}", "example: unknown key; did you mean examples or"),
        ("{name: hessian, examples: 0}", "examples: 0 must be at least 1"),
        ("{name: hessian", "--add {name: hessian:1:"),
        ("[hessian]", "is not a mapping"),
        ("{name: hessian, examples: 201}", "examples 201 of measure hessian: the training set"),
        ("evaluation", "is recorded along training; write it under measures"),
        ("layers", "is recorded along training; write it under measures"),
    ],
)
def test_a_measure_that_cannot_be_is_one_line_and_nothing_changes(
    copy: Path, text: str, says: str
) -> None:
    result = verb(copy, "measure", "--add", text)
    assert result.exit_code == 2
    (line,) = result.stderr.splitlines()
    assert says in line
    assert len(load_spec(copy / "studies/tiny/study.yaml").measures) == 1


def test_weights_that_are_gone_are_one_line_that_says_what_to_do(copy: Path) -> None:
    shutil.rmtree(copy / "studies/tiny/weights")
    result = verb(copy, "measure", "--add", HESSIAN)
    assert result.exit_code == 0
    folder = copy / "studies" / "tiny"
    lines = [line for line in result.stderr.splitlines() if "complete trials lack" in line]
    assert lines == [
        "2 complete trials lack what only training again gives, the weights that a measure is "
        f"taken from: batchgap run {folder} --retrain"
    ]
    assert taken(copy) == {}
    assert batchgap("run", str(folder), "--retrain", "--runner", "serial").exit_code == 0
    assert taken(copy) == {"hessian": 2}


# ----------------------------------------------------------------------------------------- --retry


def test_a_measure_that_failed_is_a_row_and_is_tried_again_when_asked(
    copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from trainables.measures import take

    def broken(*arguments: object) -> None:
        raise RuntimeError("no memory left")

    with monkeypatch.context() as patch:
        patch.setitem(take.OF_OBJECTIVE, "hessian", broken)
        result = verb(copy, "measure", "--add", HESSIAN, "--add", "distance")
    assert result.exit_code == 0 and "2 complete" in result.stderr
    assert "2 measures are on record with an error; to try again: batchgap measure" in result.stderr
    assert taken(copy) == {"distance": 2}
    folder = str(copy / "studies" / "tiny")
    before = trained(copy)
    left = batchgap("measure", folder, "--runner", "serial")
    assert "nothing to measure" in left.stderr and "2 measures are on record" in left.stderr
    again = batchgap("measure", folder, "--runner", "serial", "--retry")
    assert again.exit_code == 0 and "on record with an error" not in again.stderr
    assert taken(copy) == {"distance": 2, "hessian": 2} and trained(copy) == before


# ------------------------------------------------------------------- trunks, branches and pairs run


def test_a_run_takes_trunks_branches_and_pairs_in_their_order(tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(STUDY + WARM + f"measures: [{INTERPOLATION}]\n")
    planned = verb(tmp_path, "plan").stdout
    assert "3 points, 4 trials, 1 of them only the trunks of warm starts: 0 done" in planned
    result = verb(tmp_path, "run")
    assert result.exit_code == 0, result.stderr
    ended = [line.partition(":")[0] for line in result.stderr.splitlines() if " at step " in line]
    first, last = ended[:4], ended[4:]
    assert first.index("batch 25, seed 0, trunk") < first.index("batch 100, seed 0, warm")
    assert last == []  # the smaller batch came first: nothing had to wait for it
    assert taken(tmp_path) == {"interpolation": 2}
    status = verb(tmp_path, "status").stdout
    assert "4 trials: 4 complete" in status
    assert "nothing to run" in verb(tmp_path, "plan").stdout
    assert verb(tmp_path, "verify").exit_code == 0


def test_what_waited_for_its_pair_is_measured_at_the_end_of_the_run(tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(
        STUDY.replace("[50, 100]", "[100, 50]") + f"measures: [{INTERPOLATION}]\n"
    )
    result = verb(tmp_path, "run")
    assert result.exit_code == 0, result.stderr
    assert result.stderr.count("2 of 2 trials ended") == 1
    ended = [line for line in result.stderr.splitlines() if " at step " in line]
    assert len(ended) == 3 and "2 of 2 done" in ended[-1]  # one of the two came back
    assert taken(tmp_path) == {"interpolation": 1}


def test_a_pair_with_a_trial_that_failed_is_not_taken_and_not_asked_for(
    copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = copy / "studies" / "tiny"
    ledger = read_ledger(PosixFolder(folder))
    spec = load_spec(copy / "tiny.yaml", [f"measures=[{INTERPOLATION}]"])
    assert spec.measures[1] == Interpolation(points=3, examples=50)
    small = min(ledger.rows, key=lambda i: -ledger.rows[i]["optimizer_step"])
    path = folder / "trials" / f"{small}.parquet"
    (row,) = files.read_rows(*at(path))
    files.write_rows(*at(path), [row | {"status": "diverged"}])
    measures = ("--set", f"measures=[{INTERPOLATION}]")
    assert "nothing to run" in verb(copy, "plan", *measures).stdout
    assert "nothing to measure" in verb(copy, "measure", *measures).stderr
    assert taken(copy) == {}


def test_a_stop_between_trunk_and_branch_leaves_both_to_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tiny.yaml").write_text(STUDY + WARM)
    from study.run import serial

    whole, waves = serial.run, []

    def first_wave(todo: list[Trial], **options: object) -> None:
        waves.append([trial.config.start for trial in todo])
        whole(todo, **options)  # type: ignore[arg-type]
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(serial, "run", first_wave)
        assert verb(tmp_path, "run").exit_code == 130
    assert waves == [[None, None, None]]
    result = verb(tmp_path, "run")
    assert result.exit_code == 0 and "1 of 1 trials ended" in result.stderr


def test_an_epoch_asked_for_later_needs_its_trunk_trained_again(tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(STUDY + WARM)
    assert verb(tmp_path, "run").exit_code == 0
    (tmp_path / "tiny.yaml").write_text(STUDY + WARM.replace("epoch: 1}", "epoch: 1.5}"))
    lacking = (
        "1 complete trials lack what only training again gives, the weights of an epoch asked for"
    )
    assert f"{lacking} now: --retrain" in verb(tmp_path, "plan").stdout
    without = verb(tmp_path, "run")
    assert without.exit_code == 1 and lacking in without.stderr
    assert "were not kept" in without.stderr
    result = verb(tmp_path, "run", "--retrain")
    assert result.exit_code == 0, result.stderr
    assert "2 of 2 trials ended" in result.stderr
    assert lacking not in verb(tmp_path, "plan").stdout


def test_analysis_reads_trunks_but_makes_them_no_points(tmp_path: Path) -> None:
    from analysis.gaps.by_cell import counts
    from analysis.load import load_study

    (tmp_path / "tiny.yaml").write_text(STUDY + WARM)
    assert verb(tmp_path, "run").exit_code == 0
    study = load_study(tmp_path / "studies" / "tiny")
    assert len(study.trial_ids) == len(study.trials) == 4
    assert len(study.points) == 3 and set(study.points["global_batch_size"]) == {50, 100}
    (trunk,) = set(study.trial_ids) - set(study.points["trial_id"])
    assert trunk in set(study.evaluations["trial_id"])
    assert set(counts(study)["global_batch_size"]) == {50, 100}
