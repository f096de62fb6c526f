"""The results folder: what counts as done, who may write, which damage is found."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from study.run import guard
from study.run.missing import Missing, missing_measures
from tests.stored import at, write_bytes
from trainables.config import identity
from trainables.config.data import DataConfig, NetworkConfig
from trainables.config.execution import ExecutionConfig
from trainables.config.measures.evaluation import Evaluation
from trainables.config.measures.hessian import Hessian
from trainables.config.measures.kinds import MeasureConfig
from trainables.config.measures.layers import LayerStatistics
from trainables.config.measures.sharpness import Sharpness
from trainables.config.optimizers.sgd import SGD
from trainables.config.trial import Trial, TrialConfig
from trainables.installation import SOURCE_TREE
from trainables.results import files, head, provenance
from trainables.results.export import export, export_folder
from trainables.results.files import DamagedFileError, NewerSchemaError
from trainables.results.head import Head
from trainables.results.layout import study_folder, trial_file
from trainables.results.ledger import Ledger, read_attempts, read_ledger, set_aside
from trainables.results.measure_keys import measure_key
from trainables.results.schema import TABLES, flatten
from trainables.results.storage import FolderError, PosixFolder
from trainables.results.verify import verify

FACTS = SimpleNamespace(fingerprint="f" * 64, source_hash=None, chance={"test_accuracy": 0.11})


def trial(folder: Path, seed: int = 0, **changes: Any) -> Trial:
    config = TrialConfig(
        data=DataConfig(),
        network=NetworkConfig(name="mlp"),
        seed=seed,
        optimizer=SGD(),
        global_batch_size=100,
        peak_lr=0.1,
        optimizer_steps=50,
    )
    config = replace(config, **changes)
    return Trial(
        trial_id=identity.trial_id(config),
        config=config,
        execution=ExecutionConfig(),
        measures=(Evaluation(), Sharpness()),
        folder=str(folder),
    )


def write_trial(trial: Trial, status: str = "complete", **columns: Any) -> None:
    """What a runner leaves of a trial: its attempt, evaluations, weights, and last its row."""
    folder = Path(trial.folder)
    attempt = {"trial_id": trial.trial_id, "attempt": 1, "status": status}
    files.write_rows(*at(folder / "attempts" / f"{trial.trial_id}-1.parquet"), [attempt])
    evaluations = folder / "evaluations" / f"{trial.trial_id}.parquet"
    rows = [
        {"trial_id": trial.trial_id, "optimizer_step": 10 * i, "test_accuracy": i / 10}
        for i in range(5)
    ]
    files.write_rows(*at(evaluations), rows)
    weights = folder / "weights" / trial.trial_id / "50.safetensors"
    write_bytes(weights, bytes(range(256)))
    row = {
        "trial_id": trial.trial_id,
        "status": status,
        "optimizer_step": 50,
        "every_epochs": 1.0,
        "num_train_examples": 5000,
        "data_fingerprint": FACTS.fingerprint,
        "parameter_shapes_hash": "s",
        **flatten(trial.config),
        "files": [files.file_record(*at(path)) for path in (evaluations, weights)],
        **columns,
    }
    files.write_rows(*at(folder / "trials" / f"{trial.trial_id}.parquet"), [row])


def write_measure(trial: Trial, measure: MeasureConfig, step: int | None = None) -> Path:
    key = measure_key(trial.trial_id, measure, step)
    row = {"trial_id": trial.trial_id, "measure": measure.name, "value": 1.5}
    return Path(trial.folder) / files.write_keyed(
        PosixFolder(Path(trial.folder)), "measures", key, [row]
    )


def ledger_of(folder: Path) -> Ledger:
    return read_ledger(PosixFolder(folder))


def missing(folder: Path, trials: list[Trial], ledger: Ledger | None = None) -> Missing:
    known = ledger or ledger_of(folder)
    return Missing(storage=PosixFolder(folder), trials=trials, ledger=known)


def again(folder: Path, trials: list[Trial]) -> dict[str, list[Trial]]:
    return missing(folder, trials).train_again


def plan_table(*trials: Trial) -> pa.Table:
    rows = [
        {
            "arm": "baseline",
            "trial_id": t.trial_id,
            "requires": [],
            "data": t.config.data.label,
            "network": t.config.network.label,
        }
        for t in trials
    ]
    return pa.Table.from_pylist(rows, schema=TABLES["plan"])


def head_of(*trials: Trial) -> Head:
    return Head(study="name: one\n", plan=plan_table(*trials))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A whole study of two complete trials, each with its measure."""
    folder = tmp_path / "studies" / "one"
    trials = [trial(folder, seed) for seed in (0, 1)]
    guard.write_head(PosixFolder(folder), head_of(*trials), {"mnist-5k": FACTS})
    for each in trials:
        write_trial(each)
        write_measure(each, Sharpness())
    return folder


# -------------------------------------------------------------------------------- what is done


def test_only_what_is_not_done_remains(folder: Path) -> None:
    done, diverged, failed, new = (trial(folder, seed) for seed in (0, 3, 4, 5))
    write_trial(diverged, "diverged")
    write_trial(failed, "failed", error="ValueError: no")
    ledger = ledger_of(folder)
    assert missing(folder, [done, diverged, failed, new], ledger).to_run == [failed, new]
    assert diverged.trial_id in ledger.finished
    assert ledger.rows[failed.trial_id]["error"] == "ValueError: no"


def test_a_complete_trial_that_lacks_a_measure_remains(folder: Path) -> None:
    done = trial(folder)
    more = replace(done, measures=(*done.measures, Hessian()))
    ledger = ledger_of(folder)
    assert missing_measures(more, ledger) == [Hessian()]
    assert missing(folder, [done, more], ledger).to_run == [more]
    other = replace(done, measures=(Evaluation(), Sharpness(sharpness_epsilon=5e-4)))
    assert missing_measures(other, ledger) == [Sharpness(sharpness_epsilon=5e-4)]


def test_a_measure_whose_weights_were_not_kept_needs_training_again(folder: Path) -> None:
    more = replace(trial(folder), measures=(Evaluation(), Hessian()))
    (folder / "weights" / more.trial_id / "50.safetensors").unlink()
    ledger = ledger_of(folder)
    assert missing(folder, [more], ledger).to_run == []
    again = missing(folder, [more, trial(folder)], ledger).train_again
    assert again == {"the weights that a measure is taken from": [more]}
    PosixFolder(folder).delete(trial_file(more.trial_id))
    assert missing(folder, [more], ledger_of(folder)).to_run == [more]


def test_a_new_algorithm_measures_anew_where_it_can_and_asks_nobody_to_train_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the end, and along training, where what is recorded stays what it is."""
    along = Sharpness(every_epochs=0.4)
    both = replace(trial(folder), measures=(Evaluation(), along))
    write_measure(both, along, step=20)
    write_measure(both, along, step=40)
    monkeypatch.setattr(Sharpness, "algorithm", Sharpness.algorithm + 1)
    ledger = ledger_of(folder)
    assert missing_measures(both, ledger) == [along]
    assert missing(folder, [both], ledger).to_run == [both]  # from the kept weights
    (folder / "weights" / both.trial_id / "50.safetensors").unlink()
    ledger = ledger_of(folder)
    assert missing(folder, [both], ledger).to_run == []
    assert missing(folder, [both], ledger).train_again == {}


def test_a_damaged_measure_counts_as_missing(folder: Path) -> None:
    flip_a_bit(next((folder / "measures").glob(f"{trial(folder).trial_id}-*")))
    assert missing_measures(trial(folder), ledger_of(folder)) == [Sharpness()]


@pytest.mark.parametrize(
    ("measures", "lacks"),
    [
        ((Evaluation(every_epochs=1.0),), False),
        ((Evaluation(every_epochs=2.0),), False),
        ((Evaluation(every_epochs=0.5),), True),
        ((Evaluation(every_steps=50),), False),  # as often as every epoch
        ((Evaluation(every_steps=40),), True),  # rarer, but at another step
        ((Evaluation(every_steps=10),), True),
        ((Evaluation(), Sharpness(every_steps=20)), False),
        ((Evaluation(), Sharpness(every_steps=40)), False),
        ((Evaluation(), Sharpness(every_steps=10)), True),
        ((Evaluation(), Sharpness(every_steps=15)), True),
        ((Evaluation(), Sharpness(every_epochs=0.4)), False),  # step 20, which is there
        ((Evaluation(), Sharpness(every_epochs=0.2)), True),
        ((Evaluation(), Sharpness(every_epochs=2.0)), False),  # beyond the end
    ],
)
def test_a_record_along_training_that_is_lacking_asks_to_train_again(
    folder: Path, measures: tuple[MeasureConfig, ...], lacks: bool
) -> None:
    asked = replace(trial(folder), measures=measures)
    for step in (20, 40):
        write_measure(asked, Sharpness(), step=step)
    assert again(folder, [asked]) == ({"a record along training": [asked]} if lacks else {})


def test_one_record_that_is_missing_of_many_is_lacking(folder: Path) -> None:
    """A measure that was left out of the file for a while."""
    asked = replace(trial(folder), measures=(Evaluation(), Sharpness(every_steps=10)))
    for step in (10, 20, 40):
        write_measure(asked, Sharpness(), step=step)
    assert again(folder, [asked]) == {"a record along training": [asked]}
    write_measure(asked, Sharpness(), step=30)
    assert again(folder, [asked]) == {}


AGAIN = "a record along training"


@pytest.mark.parametrize(
    ("asked", "lacks"),
    [
        (LayerStatistics(every_steps=20), False),  # steps 1, 20 and 40, which are there
        (LayerStatistics(every_steps=40), False),
        (LayerStatistics(every_steps=10), True),
        (LayerStatistics(every_epochs=0.4), False),
        (LayerStatistics(every_epochs=9.0), False),
        (LayerStatistics(every_steps=20, curvature_samples=2), True),
        (LayerStatistics(every_steps=40, curvature_samples=1, examples=60), False),
        (LayerStatistics(every_steps=40, curvature_samples=1), True),
    ],
)
def test_a_record_of_layers_that_is_lacking_asks_to_train_again(
    folder: Path, asked: LayerStatistics, lacks: bool
) -> None:
    done = replace(trial(folder), measures=(Evaluation(), asked))
    shared = {"trial_id": done.trial_id, "curvature_samples": 1, "examples": 60}
    for end, steps in ((20, (1, 20)), (50, (40,))):
        rows = [shared | {"optimizer_step": step, "layer": n} for step in steps for n in "ab"]
        path = folder / "layers" / f"{done.trial_id}-{end}.parquet"
        files.write_rows(*at(path), rows)
    ledger = ledger_of(folder)
    assert missing_measures(done, ledger) == []
    expected = {AGAIN: [done]} if lacks else {}
    assert missing(folder, [done], ledger).train_again == expected


def test_a_record_of_layers_that_was_never_made_or_is_damaged_is_lacking(folder: Path) -> None:
    done = replace(trial(folder), measures=(Evaluation(), LayerStatistics()))
    assert again(folder, [done]) == {AGAIN: [done]}
    path = folder / "layers" / f"{done.trial_id}-50.parquet"
    rows = [{"trial_id": done.trial_id, "optimizer_step": step} for step in (1, 50)]
    files.write_rows(*at(path), rows)
    assert again(folder, [done]) == {}
    path.write_bytes(path.read_bytes()[:-20])
    assert again(folder, [done]) == {AGAIN: [done]}


def test_an_absent_folder_has_nothing_done(tmp_path: Path) -> None:
    assert read_ledger(PosixFolder(tmp_path / "none")).finished == {}


def test_a_damaged_row_is_named_set_aside_and_run_again(folder: Path) -> None:
    path = folder / "trials" / f"{trial(folder).trial_id}.parquet"
    path.write_bytes(path.read_bytes()[:-100])
    ledger = ledger_of(folder)
    assert list(ledger.damaged) == [f"trials/{path.name}"]
    assert missing(folder, [trial(folder), trial(folder, 1)], ledger).to_run == [trial(folder)]
    set_aside(PosixFolder(folder), ledger)
    assert ledger_of(folder).damaged == {}
    assert not path.exists()
    assert len(list(path.parent.glob("*.damaged"))) == 1


def test_the_latest_attempt_is_the_one_that_counts(folder: Path) -> None:
    key = trial(folder).trial_id
    for number in (9, 10, 2):
        row = {"trial_id": key, "attempt": number, "status": "running"}
        files.write_rows(*at(folder / "attempts" / f"{key}-{number}.parquet"), [row])
    assert read_attempts(PosixFolder(folder), [key])[key]["attempt"] == 10


@pytest.mark.parametrize("name", ["../out", "a/b", "", ".hidden", "a=b"])
def test_a_name_never_leaves_its_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="name"):
        study_folder(name, tmp_path)


# ------------------------------------------------------------------------------ who may write


HOLD = """
import sys
from pathlib import Path
from trainables.results.storage import PosixFolder
with PosixFolder(Path(sys.argv[1])).hold():
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds `tmp_path` until its input ends."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=SOURCE_TREE,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_a_second_run_is_refused_with_the_process_that_holds_the_folder(
    tmp_path: Path, holder: subprocess.Popen[str]
) -> None:
    expected = f"process {holder.pid} on {socket.gethostname()}"
    with pytest.raises(FolderError, match=expected), PosixFolder(tmp_path).hold():
        pass
    held = PosixFolder(tmp_path).holder()
    assert held is not None and held["pid"] == holder.pid
    holder.communicate()
    assert PosixFolder(tmp_path).holder() is None
    with PosixFolder(tmp_path).hold():
        pass


def test_a_holder_that_was_killed_holds_nothing(
    tmp_path: Path, holder: subprocess.Popen[str]
) -> None:
    holder.kill()
    holder.wait()
    assert (tmp_path / ".holder.json").exists()
    assert PosixFolder(tmp_path).holder() is None
    with PosixFolder(tmp_path).hold():
        pass


def test_a_folder_that_cannot_be_made_is_an_os_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError), PosixFolder(tmp_path / "file" / "study").hold():
        pass


def test_the_folder_of_another_study_is_refused(folder: Path) -> None:
    another = trial(folder, data=DataConfig(source="cifar10"), network=NetworkConfig(name="c1"))
    with pytest.raises(FolderError, match="another study, of mlp on mnist-5k, not c1 on cifar10"):
        guard.check_same_study(PosixFolder(folder), [another])


def test_an_extended_or_changed_study_may_go_on(folder: Path) -> None:
    guard.check_same_study(PosixFolder(folder), [trial(folder, 0), trial(folder, 7)])
    guard.check_same_study(PosixFolder(folder), [trial(folder, 0, peak_lr=0.5)])


def test_a_folder_of_a_newer_schema_is_refused(folder: Path) -> None:
    path = folder / "provenance.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"schema_version": 99}))
    with pytest.raises(NewerSchemaError, match="schema 99"):
        ledger_of(folder)
    assert [f.problem for f in verify(PosixFolder(folder))] == ["newer"]


def test_a_provenance_that_cannot_be_read_is_damage(folder: Path) -> None:
    (folder / "provenance.json").write_text("{")
    with pytest.raises(DamagedFileError, match=r"provenance\.json"):
        ledger_of(folder)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"data_fingerprint": "0" * 64}, "data 'mnist-5k' changed"),
        ({"data_source_hash": "0" * 64}, "the code of data"),
        ({"network_source_hash": "0" * 64}, "the code of network"),
        ({"parameter_shapes_hash": "0" * 64}, "the parameters of network 'mlp'"),
    ],
)
def test_data_or_code_that_changed_since_is_refused(
    folder: Path, columns: dict[str, str], message: str
) -> None:
    shapes = {trial(folder).trial_id: "s"}
    ledger = ledger_of(folder)
    guard.check_unchanged([trial(folder)], ledger, lambda _: FACTS, shapes)
    write_trial(trial(folder), **columns)
    ledger = ledger_of(folder)
    with pytest.raises(FolderError, match=f"{message}.*restore it, or give the study another name"):
        guard.check_unchanged([trial(folder)], ledger, lambda _: FACTS, shapes)


def test_provenance_keeps_what_earlier_runs_recorded(folder: Path) -> None:
    provenance.write(PosixFolder(folder), {"mnist-5k": vars(FACTS)})
    first = provenance.read(PosixFolder(folder))
    assert first["earlier"] == []
    assert first["versions"]["pyarrow"] == pa.__version__
    assert first["data"]["mnist-5k"]["fingerprint"] == FACTS.fingerprint
    provenance.write(PosixFolder(folder), {"other": {"fingerprint": "0", "source_hash": None}})
    second = provenance.read(PosixFolder(folder))
    assert [list(run["data"]) for run in second["earlier"]] == [["mnist-5k"]]
    assert "earlier" not in second["earlier"][0]


def test_provenance_keeps_what_was_at_chance_and_what_runs_had_completed(folder: Path) -> None:
    assert provenance.read(PosixFolder(folder))["data"]["mnist-5k"]["chance"] == FACTS.chance
    one = {"block": 0, "global_batch_size": 32, "seeds": 3, "comparisons": ["warm-1"]}
    more = one | {"seeds": 5}
    provenance.add_runs(PosixFolder(folder), [one])
    provenance.add_runs(PosixFolder(folder), [one, more])
    guard.write_head(PosixFolder(folder), head_of(trial(folder)), {"mnist-5k": FACTS})
    kept = provenance.read(PosixFolder(folder))
    assert kept["runs"] == [one, more]
    assert kept["earlier"] == []  # what was seen is no difference of conditions
    provenance.write(PosixFolder(folder), {})
    assert "runs" not in provenance.read(PosixFolder(folder))["earlier"][0]


# -------------------------------------------------------------------------------------- verify


def flip_a_bit(path: Path, offset: int = 30) -> None:
    content = bytearray(path.read_bytes())
    content[offset] ^= 1
    path.write_bytes(content)


def damage_of(folder: Path) -> dict[str, str]:
    return {f.path: f.problem for f in verify(PosixFolder(folder))}


def test_a_whole_folder_has_nothing_to_report(folder: Path) -> None:
    assert verify(PosixFolder(folder)) == []


@pytest.mark.parametrize("table", ["evaluations", "measures", "weights"])
def test_a_flipped_bit_is_found(folder: Path, table: str) -> None:
    path = next(p for p in sorted((folder / table).rglob("*")) if p.is_file())
    flip_a_bit(path)
    found = damage_of(folder)
    assert found[path.relative_to(folder).as_posix()] == "damaged"


@pytest.mark.parametrize("table", ["trials", "attempts"])
def test_a_flipped_bit_of_a_file_without_a_digest_is_found_or_changes_nothing(
    folder: Path, table: str
) -> None:
    """Parquet's checksums cover pages, not all that lies between them."""
    path = sorted((folder / table).glob("*"))[0]
    name, rows, content = f"{table}/{path.name}", files.read_rows(*at(path)), path.read_bytes()
    found = 0
    for offset in range(4, len(content), len(content) // 40):
        flip_a_bit(path, offset)
        if damage_of(folder).get(name):
            found += 1
        else:
            assert files.read_rows(*at(path)) == rows
        path.write_bytes(content)
    assert found > 10


@pytest.mark.parametrize("table", ["trials", "evaluations", "measures", "attempts", "weights"])
def test_a_truncated_file_is_found(folder: Path, table: str) -> None:
    path = next(p for p in sorted((folder / table).rglob("*")) if p.is_file())
    path.write_bytes(path.read_bytes()[:-20])
    found = damage_of(folder)
    assert found[path.relative_to(folder).as_posix()] == "damaged"


@pytest.mark.parametrize("table", ["evaluations", "weights"])
def test_a_missing_file_is_found(folder: Path, table: str) -> None:
    path = next(p for p in sorted((folder / table).rglob("*")) if p.is_file())
    path.unlink()
    assert damage_of(folder) == {path.relative_to(folder).as_posix(): "missing"}


def test_a_valid_file_of_other_content_is_found(folder: Path) -> None:
    """Whole and readable, but not the one that the trial wrote."""
    first, second = sorted((folder / "evaluations").glob("*"))
    second.write_bytes(first.read_bytes())
    assert damage_of(folder) == {f"evaluations/{second.name}": "damaged"}


def test_a_row_in_the_file_of_another_trial_is_found(folder: Path) -> None:
    first, second = sorted((folder / "trials").glob("*"))
    second.write_bytes(first.read_bytes())
    assert damage_of(folder)[f"trials/{second.name}"] == "damaged"


def test_a_network_that_changed_its_parameters_is_found(folder: Path) -> None:
    changed = trial(folder, seed=9)
    write_trial(changed, parameter_shapes_hash="other")
    damaged = [f for f in verify(PosixFolder(folder)) if "other parameters" in f.detail]
    assert len(damaged) == 1


def test_a_row_that_lists_a_file_outside_the_folder_is_found(folder: Path) -> None:
    secret = {"path": "../../../etc/passwd", "rows": None, "sha256": "0"}
    write_trial(trial(folder), files=[secret])
    assert damage_of(folder)["../../../etc/passwd"] == "damaged"


def test_files_of_no_trial_are_orphans_and_harmless(folder: Path) -> None:
    leftover = folder / "evaluations" / ".x.parquet.1.tmp"
    leftover.write_bytes(b"")
    files.write_rows(*at(folder / "evaluations" / "ffffffffffff.parquet"), [])
    write_bytes(folder / "weights" / trial(folder).trial_id / "7.safetensors", b"x")
    for name in ("trials/a copy.csv", "trials/b-c.parquet", "attempts/a.parquet"):
        write_bytes(folder / name, b"x")
    assert set(damage_of(folder).values()) == {"orphan"}
    assert len(damage_of(folder)) == 6


def test_a_trial_that_is_still_running_is_no_damage(folder: Path) -> None:
    running = trial(folder, seed=8)
    write_trial(running)
    (folder / "trials" / f"{running.trial_id}.parquet").unlink()
    assert verify(PosixFolder(folder)) == []


def test_a_file_of_a_newer_schema_is_said_to_be_newer(folder: Path) -> None:
    path = next((folder / "attempts").glob("*"))
    newer = pq.read_table(path).replace_schema_metadata({"schema_version": "99"})
    pq.write_table(newer, path)
    assert damage_of(folder) == {f"attempts/{path.name}": "newer"}


def test_verify_needs_a_results_folder(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no results"):
        verify(PosixFolder(tmp_path))


@pytest.mark.parametrize("table", ["plan", "trials", "evaluations", "measures"])
@pytest.mark.parametrize("cut", [False, True])
def test_a_damaged_table_of_an_export_is_found(folder: Path, table: str, cut: bool) -> None:
    target = export_folder(folder)
    export(PosixFolder(folder), target, "parquet", (), head.read(PosixFolder(folder)))
    assert damage_of(target) == {}
    path = target / f"{table}.parquet"
    content = bytearray(path.read_bytes())
    content[len(content) // 4] ^= 1
    path.write_bytes(content[: len(content) // 2] if cut else content)
    assert damage_of(target) == {f"{table}.parquet": "damaged"}
    path.unlink()
    if table != "trials":  # without them it is no export
        assert damage_of(target) == {f"{table}.parquet": "missing"}


def test_a_valid_table_of_other_rows_in_an_export_is_found(folder: Path) -> None:
    target = export_folder(folder)
    export(PosixFolder(folder), target, "parquet", (), head.read(PosixFolder(folder)))
    rows = files.read_rows(*at(target / "measures.parquet"))
    files.write_rows(*at(target / "measures.parquet"), [row | {"value": 0.5} for row in rows])
    assert damage_of(target) == {"measures.parquet": "damaged"}


# -------------------------------------------------------------------------------------- export


def test_the_parquet_export_holds_the_rows_of_every_table(folder: Path) -> None:
    target = export_folder(folder)
    assert target == folder.parent / "one-export"
    written = export(PosixFolder(folder), target, "parquet", (), head.read(PosixFolder(folder)))
    assert {p.name for p in written} >= {f"{table}.parquet" for table in TABLES}
    for table, rows in (("trials", 2), ("evaluations", 10), ("measures", 2), ("timings", 0)):
        exported = files.read_table(*at(target / f"{table}.parquet"))
        assert exported.num_rows == rows
    assert (target / "study.yaml").read_text() == "name: one\n"


def test_the_csv_export_reads_back_with_pandas(folder: Path, tmp_path: Path) -> None:
    export(PosixFolder(folder), tmp_path / "out", "csv", (), head.read(PosixFolder(folder)))
    trials = pd.read_csv(tmp_path / "out" / "trials.csv", dtype={"trial_id": str})
    assert sorted(trials["trial_id"]) == sorted(trial(folder, seed).trial_id for seed in (0, 1))
    assert [file["rows"] for file in json.loads(trials["files"][0])] == [5, None]


def test_what_is_damaged_is_not_exported(folder: Path, tmp_path: Path) -> None:
    path = next((folder / "evaluations").glob("*"))
    flip_a_bit(path)
    skip = {f.path for f in verify(PosixFolder(folder))}
    export(PosixFolder(folder), tmp_path / "out", "parquet", skip, head.read(PosixFolder(folder)))
    exported = files.read_table(*at(tmp_path / "out" / "evaluations.parquet"))
    assert set(exported["trial_id"].to_pylist()).isdisjoint({path.stem})
    assert exported.num_rows == 5
