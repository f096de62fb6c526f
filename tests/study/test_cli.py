"""The front door: what each verb prints, writes, refuses, and exits with."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from study.cli import app
from study.show import doctor
from tests.stored import at
from trainables.config.trial import Beat
from trainables.installation import SOURCE_TREE
from trainables.results import files
from trainables.results.ledger import read_ledger
from trainables.results.storage import PosixFolder

HEAVY = ("torch", "ray", "pandas", "pyarrow", "matplotlib", "scipy", "numpy")

TINY = """\
name: tiny
question: Does it run?
data: {source: mnist-5k, train_examples: 200}
network: {name: mlp, hidden: [8]}
training: {base_lr: 0.05, epochs: 1}
grid: {training.global_batch_size: [50, 100]}
seeds: 1
measures: [{name: evaluation, train_examples: 100}]
execution: {device: cpu}
"""
MORE = "measures=[{name: evaluation}, {name: hessian, examples: 50, trace_samples: 2}]"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current directory with the study file `tiny.yaml` in it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.yaml").write_text(TINY)
    return tmp_path


def batchgap(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which `tiny.yaml` was run to its end."""
    folder = tmp_path_factory.mktemp("done")
    (folder / "tiny.yaml").write_text(TINY)
    study, root = str(folder / "tiny.yaml"), str(folder / "studies")
    result = batchgap("run", study, "--runner", "serial", "--results", root)
    assert result.exit_code == 0, result.stderr
    return folder


def in_folder(folder: Path, verb: str, *arguments: str) -> Result:
    return batchgap(
        verb, str(folder / "tiny.yaml"), "--results", str(folder / "studies"), *arguments
    )


@pytest.fixture
def copy(done: Path, tmp_path: Path) -> Path:
    """A copy of the finished study, to be damaged."""
    subprocess.run(["cp", "-r", f"{done}/.", str(tmp_path)], check=True)
    return tmp_path


def one_error_line(result: Result) -> str:
    """The only line on stderr, but for the announcement that own code is now built."""
    lines = result.stderr.splitlines()
    lines = lines[lines[0].startswith("building network ") :]
    assert len(lines) == 1 and lines[0].startswith("error: "), result.stderr
    assert result.stdout == ""
    return lines[0]


# ---------------------------------------------------------------------------------- start and help


VERBS = (
    *("init", "presets", "schema", "plan", "run", "measure", "status", "report", "export"),
    *("verify", "doctor"),
)


def test_help_names_every_verb() -> None:
    shown = batchgap("--help").stdout
    assert all(f" {verb} " in shown for verb in VERBS)


@pytest.mark.parametrize("verb", [(), *((verb,) for verb in VERBS)], ids=lambda v: "".join(v))
def test_help_fits_80_columns_and_loads_nothing_heavy(verb: tuple[str, ...]) -> None:
    code = (
        "import sys\n"
        "from study.cli import app\n"
        f"app({[*verb, '--help']!r}, standalone_mode=False)\n"
        f"print(sorted(set({HEAVY!r}) & set(sys.modules)), file=sys.stderr)\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=SOURCE_TREE,
        env=os.environ | {"COLUMNS": "80"},
    )
    assert ran.stderr == "[]\n"
    assert "Usage" in ran.stdout
    assert max(map(len, ran.stdout.splitlines())) <= 80


def test_status_loads_neither_torch_nor_ray_nor_pandas(done: Path) -> None:
    code = (
        "import sys\n"
        "from study.cli import app\n"
        f"app(['status', {str(done / 'studies' / 'tiny')!r}], standalone_mode=False)\n"
        "print(sorted({'torch', 'ray', 'pandas', 'matplotlib'} & set(sys.modules)))\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=SOURCE_TREE,
    )
    assert ran.stdout.splitlines()[-1] == "[]"


def test_a_package_of_the_same_name_elsewhere_is_said_plainly(tmp_path: Path) -> None:
    (tmp_path / "analysis").mkdir()
    (tmp_path / "analysis" / "__init__.py").write_text("")
    code = "import sys; from study.cli import main; sys.path.insert(0, sys.argv.pop()); main()"
    ran = subprocess.run(
        [sys.executable, "-c", code, "presets", str(tmp_path)],
        capture_output=True,
        text=True,
        cwd=SOURCE_TREE,
    )
    assert ran.returncode == 3
    assert f"package 'analysis' resolves to {tmp_path / 'analysis'}" in ran.stderr


# --------------------------------------------------------------------------------------- writing


def test_init_writes_a_study_that_plans(here: Path) -> None:
    assert batchgap("init", "mine.yaml").exit_code == 0
    planned = json.loads(batchgap("plan", "mine.yaml", "--json").stdout)
    assert planned["name"] == "mine"
    assert len({trial["global_batch_size"] for trial in planned["trials"]}) == 3
    assert planned["points"] > len(planned["trials"])


def test_init_never_overwrites(here: Path) -> None:
    result = batchgap("init", "tiny.yaml")
    assert result.exit_code == 2
    assert "tiny.yaml: exists already" in one_error_line(result)
    assert (here / "tiny.yaml").read_text() == TINY


def test_init_names_the_users_own_network_and_data(here: Path) -> None:
    assert (
        batchgap("init", "own.yaml", "--network", "my_module:build", "--data", "my_module:load")
    ).exit_code == 0
    text = (here / "own.yaml").read_text()
    assert "build: my_module:build" in text and "load: my_module:load" in text


OWN = """\
import numpy as np
from torch import nn

def load():
    draw = np.random.default_rng(0)
    inputs, labels = draw.normal(size=(1200, 1, 9)).astype("float32"), draw.integers(0, 3, 1200)
    return {"train": (inputs, labels), "test": (inputs, labels)}

def build(input_shape, num_classes):
    return nn.Sequential(nn.Conv1d(1, 2, 3), nn.Flatten(), nn.Linear(14, num_classes))
"""


def test_what_init_writes_for_own_code_costs_what_it_says(here: Path) -> None:
    (here / "bg_sensor.py").write_text(OWN)
    batchgap("init", "own.yaml", "--network", "bg_sensor:build", "--data", "bg_sensor:load")
    text = (here / "own.yaml").read_text()
    assert "48 trials of the search" in text and "30 finals" in text
    plan = json.loads(batchgap("plan", "own.yaml", "--json").stdout)
    assert len(plan["trials"]) == 48 and plan["finals_to_come"] == 30
    assert plan["candidates"][0] == {"training.base_lr": 0.003} and len(plan["candidates"]) == 8
    shown = batchgap("plan", "own.yaml").stdout
    assert "from an assumed speed per core (plan --calibrate measures it)" in shown
    assert "disk: about" in shown and "unknown" not in shown


def test_init_refuses_what_is_no_import_string(here: Path) -> None:
    result = batchgap("init", "own.yaml", "--network", "./model.py")
    assert result.exit_code == 2
    assert "module:function" in one_error_line(result)
    assert not (here / "own.yaml").exists()


def test_presets_are_listed_with_question_and_cost_and_can_be_shown() -> None:
    listed = batchgap("presets").stdout
    assert "quickstart" in listed and "?" in listed and "trials" in listed
    assert "name: quickstart" in batchgap("presets", "--show", "quickstart").stdout
    assert batchgap("presets", "--show", "quickstrat").exit_code == 2


def test_schema_is_json() -> None:
    assert "grid" in json.loads(batchgap("schema").stdout)["properties"]


# -------------------------------------------------------------------------------------- planning


def test_plan_shows_what_would_run_and_writes_nothing(here: Path) -> None:
    result = batchgap("plan", "tiny.yaml")
    assert result.exit_code == 0
    assert "2 points, 2 trials: 0 done, 2 to run" in result.stdout
    assert "time: about" in result.stdout and "disk: about" in result.stdout
    assert not (here / "studies").exists()


def test_plan_knows_what_is_done(done: Path) -> None:
    result = in_folder(done, "plan")
    assert "2 points, 2 trials: 2 done, 0 to run" in result.stdout
    assert "nothing to run" in result.stdout


def test_plan_as_json_holds_every_trial(done: Path) -> None:
    planned = json.loads(in_folder(done, "plan", "--json", "--set", "seeds=2").stdout)
    assert [(t["global_batch_size"], t["seed"], t["to_train"]) for t in planned["trials"]] == [
        (50, 0, False),
        (100, 0, False),
        (50, 1, True),
        (100, 1, True),
    ]
    assert {t["optimizer_steps"] for t in planned["trials"]} == {4, 2}
    assert planned["estimate"]["seconds"] > 0


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["plan", "none.yaml"], 2, "no such file"),
        (["plan", "quickstrat"], 2, "did you mean quickstart?"),
        (["plan", "tiny.yaml", "--set", "training.epoch=3"], 2, "training.epoch"),
        (["run", "tiny.yaml", "--set", "grid={training.global_batch_size: [500]}"], 2, "500"),
        (["run", "tiny.yaml", "--set", "name=../out"], 2, "name"),
        (["plan", "tiny.yaml", "--set", "data.train_examples=9999"], 2, "train_examples"),
        (["status", "tiny.yaml"], 3, "no results there yet"),
        (["verify", "tiny.yaml"], 3, "no results there yet"),
        (["run", "tiny.yaml", "--runner", "serial", "--results", "tiny.yaml"], 3, "tiny.yaml"),
        (
            ["run", "tiny.yaml", "--runner", "serial", "--set", "execution.num_workers=2"],
            2,
            "needs Ray",
        ),
    ],
)
def test_a_users_mistake_is_one_line_and_leaves_nothing_behind(
    here: Path, arguments: list[str], code: int, message: str
) -> None:
    result = batchgap(*arguments)
    assert result.exit_code == code
    assert message in one_error_line(result)
    assert not (here / "studies").exists()


def test_a_bug_keeps_its_traceback(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*arguments: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("study.run.opening.expand", broken)
    result = batchgap("plan", "tiny.yaml")
    assert isinstance(result.exception, ZeroDivisionError)


# ---------------------------------------------------------------------------------------- running


def test_run_leaves_complete_trials_and_says_where_to_read_on(done: Path) -> None:
    ledger = read_ledger(PosixFolder(done / "studies" / "tiny"))
    assert [row["status"] for row in ledger.rows.values()] == ["complete", "complete"]
    result = in_folder(done, "run")
    assert result.exit_code == 0
    assert "nothing to run" in result.stderr and "batchgap report" in result.stderr
    assert result.stdout == ""


def test_a_study_that_grows_runs_only_what_is_new(copy: Path) -> None:
    before = {p: p.stat().st_mtime_ns for p in (copy / "studies/tiny/trials").glob("*")}
    result = in_folder(copy, "run", "--runner", "serial", "--set", "seeds=2")
    assert result.exit_code == 0
    assert "2 of 2 trials ended" in result.stderr and "4 of 4 done" in result.stderr
    after = {p: p.stat().st_mtime_ns for p in (copy / "studies/tiny/trials").glob("*")}
    assert len(after) == 4 and before.items() <= after.items()


def test_measure_takes_what_is_missing_without_training(copy: Path) -> None:
    folder = copy / "studies" / "tiny"
    planned = in_folder(copy, "plan", "--set", MORE).stdout
    assert "2 complete trials lack a measure" in planned
    result = in_folder(copy, "measure", "--runner", "serial", "--set", MORE)
    assert result.exit_code == 0, result.stderr
    assert len(list((folder / "measures").glob("*.parquet"))) == 2
    assert "nothing to run" in in_folder(copy, "plan", "--set", MORE).stdout


def test_measure_trains_nothing_new(copy: Path) -> None:
    result = in_folder(copy, "measure", "--runner", "serial", "--set", "seeds=2")
    assert "nothing to measure" in result.stderr
    assert len(list((copy / "studies/tiny/trials").glob("*.parquet"))) == 2


def test_a_finer_record_is_named_and_taken_only_when_asked_to_train_again(copy: Path) -> None:
    finer = "measures=[{name: evaluation, every_epochs: 0.5}]"
    assert (
        "2 complete trials lack what only training"
        in in_folder(copy, "plan", "--set", finer).stdout
    )
    assert "nothing to run" in in_folder(copy, "run", "--set", finer).stderr
    result = in_folder(copy, "run", "--runner", "serial", "--retrain", "--set", finer)
    assert result.exit_code == 0 and "2 of 2 trials ended" in result.stderr
    assert "lack" not in in_folder(copy, "plan", "--set", finer).stdout


def test_a_damaged_row_is_set_aside_and_its_trial_run_again(copy: Path) -> None:
    path = sorted((copy / "studies/tiny/trials").glob("*.parquet"))[0]
    path.write_bytes(path.read_bytes()[:-50])
    assert in_folder(copy, "verify").exit_code == 4
    result = in_folder(copy, "run", "--runner", "serial")
    assert result.exit_code == 0
    assert "set aside" in result.stderr and "1 of 1 trials ended" in result.stderr
    assert in_folder(copy, "verify").exit_code == 0


def test_time_writes_a_row_per_arm_and_batch_size(
    copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import trainables.run.timing

    def quick(trial: object, **options: object) -> dict[str, object]:
        return {"trial_id": trial.trial_id, "step_seconds": 0.1}  # type: ignore[attr-defined]

    monkeypatch.setattr(trainables.run.timing, "time_trial", quick)
    assert in_folder(copy, "run", "--time").exit_code == 0
    rows = [
        files.read_rows(*at(path))[0] for path in (copy / "studies/tiny/timings").glob("*.parquet")
    ]
    assert [row["step_seconds"] for row in rows] == [0.1, 0.1]


def test_time_of_several_workers_is_refused_before_anything_runs(here: Path) -> None:
    result = batchgap("run", "tiny.yaml", "--time", "--set", "execution.num_workers=2")
    assert result.exit_code == 2
    assert "--time takes one worker" in result.stderr
    assert not (here / "studies").exists()


def test_a_trial_that_fails_makes_the_run_exit_1(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*arguments: object) -> None:
        raise RuntimeError("no such layer")

    monkeypatch.setattr("trainables.run.execute.prepare", broken)
    result = batchgap("run", "tiny.yaml", "--runner", "serial")
    assert result.exit_code == 1
    assert "failed 2 x" in result.stderr and "no such layer" in result.stderr
    status = json.loads(batchgap("status", "tiny.yaml", "--json").stdout)
    assert status["trials"] == {"failed": 2}
    assert list(status["failures"].values()) == [2]


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("", "has no attribute 'build'"),
        ("def build(i, n): raise KeyError('layer')", "raised KeyError: 'layer'"),
        ("from torch import nn\ndef build(i, n): return nn.Linear(28, 3)", "gives [2, 1, 28, 3]"),
    ],
)
def test_a_network_that_cannot_be_is_one_line_and_nothing_is_written(
    here: Path, code: str, message: str, request: pytest.FixtureRequest
) -> None:
    module = f"own_network_{abs(hash(request.node.name))}"
    (here / f"{module}.py").write_text(code + "\n")
    own = ("--set", f"network={{build: '{module}:build'}}")
    result = batchgap("run", "tiny.yaml", "--runner", "serial", *own)
    assert result.exit_code == 2
    assert message in one_error_line(result)
    assert not (here / "studies").exists()


def test_plan_finds_an_import_string_that_names_no_module(here: Path) -> None:
    result = batchgap("plan", "tiny.yaml", "--set", "network={build: 'no_such_module:build'}")
    assert result.exit_code == 2
    assert "no module 'no_such_module'" in one_error_line(result)


def test_code_that_changed_since_is_refused(here: Path) -> None:
    module = here / "changing_network_module.py"
    lines = (
        "from torch import nn",
        "def build(input_shape, num_classes):",
        "    return nn.Sequential(nn.Flatten(), nn.Linear(784, num_classes))",
    )
    module.write_text("\n".join(lines) + "\n")
    run = (*("run", "tiny.yaml", "--runner", "serial"),)
    own = ("--set", "network={build: 'changing_network_module:build'}")
    assert batchgap(*run, *own).exit_code == 0
    module.write_text("\n".join(lines) + "\n# changed\n")
    result = batchgap(*run, *own)
    assert result.exit_code == 3
    assert "the code of network" in one_error_line(result)


@pytest.mark.parametrize("verb", ["plan", "run", "status", "report"])
def test_results_whose_plan_is_missing_say_so(copy: Path, verb: str) -> None:
    (copy / "studies/tiny/plan.parquet").unlink()
    result = batchgap(verb, str(copy / "studies/tiny"))
    assert result.exit_code == 2
    assert "its plan.parquet is missing" in one_error_line(result)
    empty = batchgap(verb, str(copy / "studies"))
    assert "a folder without plan.parquet" in one_error_line(empty)
    found = batchgap("verify", str(copy / "studies/tiny"))
    assert found.exit_code == 4 and "missing  plan.parquet" in found.stdout


def test_the_folder_of_another_study_is_refused(copy: Path) -> None:
    result = in_folder(
        copy, "run", "--set", "network={name: f1}", "--set", "data={source: mnist-5k, name: other}"
    )
    assert result.exit_code == 3
    assert "holds another study" in one_error_line(result)


def test_a_newer_folder_is_refused(copy: Path) -> None:
    path = copy / "studies/tiny/provenance.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"schema_version": 99}))
    for verb in ("run", "plan", "status"):
        result = in_folder(copy, verb)
        assert result.exit_code == 4
        assert "schema 99" in one_error_line(result)


def test_a_second_run_is_refused(copy: Path) -> None:
    code = "import sys; from trainables.results.storage import storage_at\n"
    code += "with storage_at(sys.argv[1]).hold(): print(flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", code, str(copy / "studies/tiny")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=SOURCE_TREE,
    ) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        result = in_folder(copy, "run")
        assert result.exit_code == 3
        assert f"process {holder.pid}" in one_error_line(result)
        assert f"process {holder.pid}" in in_folder(copy, "status").stdout
        assert in_folder(copy, "verify").exit_code == 0


def test_no_space_is_one_line(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(folder: PosixFolder, name: str, content: bytes) -> None:
        raise OSError(28, "No space left on device", f"{folder}/{name}")

    monkeypatch.setattr(PosixFolder, "replace", full)
    result = batchgap("run", "tiny.yaml", "--runner", "serial")
    assert result.exit_code == 3
    assert "No space left on device" in one_error_line(result)


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_stops_a_run_resumably(here: Path, signum: signal.Signals, code: int) -> None:
    command = [sys.executable, "-c", "from study.cli import main; main()", "run", "tiny.yaml"]
    command += ["--runner", "serial", "--set", "training.epochs=100000"]
    command += ["--set", "measures=[{name: evaluation, every_epochs: 1000}]"]
    environment = os.environ | {"PYTHONPATH": str(SOURCE_TREE)}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as run:
        folder = here / "studies" / "tiny" / "attempts"
        while not list(folder.glob("*.parquet")):
            assert run.poll() is None
            time.sleep(0.1)
        time.sleep(1)
        asked = time.monotonic()
        run.send_signal(signum)
        _, said = run.communicate(timeout=60)
    assert run.returncode == code
    assert time.monotonic() - asked < 10
    assert "go on with: batchgap run" in said or "run again to go on" in said
    assert "tiny.yaml --set training.epochs=100000 --set" in said
    status = json.loads(batchgap("status", "studies/tiny", "--json").stdout)
    assert status["trials"] == {"interrupted": 1, "planned": 1}


def test_a_stop_at_once_runs_no_further_trial(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(todo: object, *, on_beat: object, should_stop: object, scratch: object) -> None:
        trial = todo[0]  # type: ignore[index]
        on_beat(Beat(trial_id=trial.trial_id, stage="training", fraction=0.5))  # type: ignore[operator]
        raise KeyboardInterrupt

    monkeypatch.setattr("study.run.serial.run", run)
    result = batchgap("run", "tiny.yaml", "--runner", "serial")
    assert result.exit_code == 130
    assert PosixFolder(here / "studies" / "tiny").holder() is None


# ---------------------------------------------------------------------------------------- reading


def test_status_is_told_to_a_person_and_as_json(done: Path) -> None:
    assert "2 trials: 2 complete" in in_folder(done, "status").stdout
    status = json.loads(in_folder(done, "status", "--json").stdout)
    assert status["trials"] == {"complete": 2} and status["running"] is None
    sizes = [row["global_batch_size"] for row in status["settings"]]
    assert sizes == [50, 100]
    assert all(0 < row["mean_test_accuracy"] < 1 for row in status["settings"])


def test_a_results_folder_stands_for_its_study(done: Path) -> None:
    result = batchgap("status", str(done / "studies" / "tiny"))
    assert result.exit_code == 0 and "2 complete" in result.stdout


@pytest.mark.parametrize("form", ["parquet", "csv"])
def test_export_lists_the_files_it_wrote(done: Path, tmp_path: Path, form: str) -> None:
    result = in_folder(done, "export", "--format", form, "--output", str(tmp_path / "out"))
    assert result.exit_code == 0
    written = [Path(line) for line in result.stdout.splitlines()]
    assert tmp_path / "out" / f"trials.{form}" in written
    assert all(path.exists() for path in written)


def test_an_export_goes_beside_the_study_by_default(copy: Path) -> None:
    assert in_folder(copy, "export", "--format", "parquet").exit_code == 0
    assert (copy / "studies" / "tiny-export" / "evaluations.parquet").exists()


def test_an_export_leaves_out_what_is_damaged_and_exits_4(copy: Path) -> None:
    path = sorted((copy / "studies/tiny/evaluations").glob("*"))[0]
    path.write_bytes(path.read_bytes()[:-50])
    result = in_folder(copy, "export", "--format", "parquet")
    assert result.exit_code == 4
    assert f"left out: evaluations/{path.name}" in result.stderr


def test_the_gap_table_goes_to_stdout_as_latex(done: Path) -> None:
    result = in_folder(done, "export", "--format", "latex")
    assert result.exit_code == 0
    assert "\\begin{tabular}" in result.stdout


def test_report_prints_the_verdict_and_writes_a_page(done: Path, tmp_path: Path) -> None:
    result = in_folder(done, "report", "--output", str(tmp_path / "page.html"))
    assert result.exit_code == 0
    assert "At batch size 100 test accuracy is" in result.stdout
    assert "<html" in (tmp_path / "page.html").read_text()


# ----------------------------------------------------------------------------------- looking after


def test_verify_names_the_damage_and_exits_4(copy: Path) -> None:
    assert in_folder(copy, "verify").stdout == "nothing is damaged\n"
    path = sorted((copy / "studies/tiny/evaluations").glob("*"))[0]
    path.unlink()
    result = in_folder(copy, "verify")
    assert result.exit_code == 4
    assert f"evaluations/{path.name}" in result.stdout
    (finding,) = json.loads(in_folder(copy, "verify", "--json").stdout)
    assert finding["problem"] == "missing"


def test_doctor_names_a_package_that_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    def version(name: str) -> str | None:
        return None if name == "pyarrow" else "1.0"

    monkeypatch.setattr("trainables.installation.package_version", version)
    checks = {check.name: check for check in doctor._packages()}
    assert (checks["pyarrow"].state, checks["pyarrow"].detail) == ("problem", "not installed")
    assert checks["torch"].state == "ok"


def test_an_address_that_nothing_would_join_is_refused(here: Path) -> None:
    said = in_folder(here, "run", "--address", "10.0.0.1:6379", "--runner", "serial")
    assert said.exit_code == 2 and "--runner serial does not use" in said.stderr


@pytest.mark.parametrize("option", [("--scale", "cpu"), ("--set", "name=x"), ("--data", ".")])
def test_doctor_refuses_what_is_of_a_study_without_one(option: tuple[str, str]) -> None:
    said = batchgap("doctor", *option)
    assert said.exit_code == 2 and "are of a study; name one" in said.stderr


@pytest.mark.slow
def test_doctor_finds_this_machine_fit() -> None:
    checks = json.loads(batchgap("doctor", "--json").stdout)
    states = {check["name"]: check["state"] for check in checks}
    assert states["torch devices"] == "ok" and states["package names"] == "ok"
    assert states["data cache"] == "ok"
