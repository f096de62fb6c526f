from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from analysis.load import load_study
from tests.analysis.synthetic import WriteStudy
from tests.stored import at, write_bytes
from trainables.results import files
from trainables.results.files import DamagedFileError, NewerSchemaError
from trainables.results.schema import SCHEMA_VERSION, TABLES


def _point(batch: int, seed: int = 0, **changes: Any) -> dict[str, Any]:
    measured = {"sharpness": 5.0 + seed, "hessian_trace": 2.0}
    point = {"global_batch_size": batch, "seed": seed, "test_accuracy": 0.9}
    return {**point, **measured, "trial_id": f"{batch:04d}{seed:08d}", **changes}


def _damage(path: Path, column: str) -> None:
    """Flips one bit of a column's values."""
    group = pq.read_metadata(path).row_group(0)
    chunk = next(
        group.column(i)
        for i in range(group.num_columns)
        if group.column(i).path_in_schema == column
    )
    content = bytearray(path.read_bytes())
    content[chunk.data_page_offset + chunk.total_compressed_size - 2] ^= 1
    path.write_bytes(content)


def _one(folder: Path, table: str, name: str) -> Path:
    (path,) = (folder / table).glob(f"{name}*.parquet")
    return path


def test_points_carry_what_was_written_and_what_became_of_it(results_folder: WriteStudy) -> None:
    loaded = load_study(results_folder([_point(32), _point(512, batch_schedule=[])]))
    assert (loaded.name, loaded.question) == ("synthetic", "Does it add up?")
    assert (loaded.baseline_batch_size, loaded.searched) == (32, ())
    assert loaded.problems == ()
    small = loaded.points.iloc[0]
    assert small["epochs"] == 2
    assert small["test_accuracy"] == 0.9
    assert small.isna()["optimizer_steps"]  # as written: the budget is in epochs
    assert small["optimizer_steps_resolved"] == 312
    assert small["batch_schedule"] == ()
    assert len(loaded.evaluations) == 4
    assert sorted(loaded.measures["value"]) == [2, 2, 5, 5]


def test_points_may_share_a_trial_which_is_read_once(results_folder: WriteStudy) -> None:
    shared = _point(32, trial_id="aaaaaaaaaaaa")
    loaded = load_study(results_folder([shared, {**shared, "arm": "sqrt"}]))
    assert len(loaded.points) == 2
    assert len(loaded.trials) == 1
    assert loaded.points["test_accuracy"].tolist() == [0.9, 0.9]


def test_trials_that_no_point_asks_for_are_left_out(results_folder: WriteStudy) -> None:
    folder = results_folder([_point(32), _point(512)])
    results_folder([_point(32)])  # the study file shrank; the results stayed
    loaded = load_study(folder)
    assert len(loaded.trials) == 1
    assert set(loaded.evaluations["trial_id"]) == set(loaded.points["trial_id"])


def test_dead_and_absent_trials_are_rows_not_problems(results_folder: WriteStudy) -> None:
    points = [
        _point(32),
        {"global_batch_size": 512, "seed": 0, "status": "planned"},
        {"global_batch_size": 512, "seed": 1, "status": "diverged"},
        {"global_batch_size": 512, "seed": 2, "status": "failed", "error": "no memory"},
    ]
    loaded = load_study(results_folder(points))
    assert loaded.points["status"].tolist() == ["complete", "planned", "diverged", "failed"]
    assert loaded.problems == ()


def test_batch_schedules_can_be_grouped_by(results_folder: WriteStudy) -> None:
    phase = {"until_epoch": 1.0, "global_batch_size": 32, "peak_lr": None}
    loaded = load_study(
        results_folder([_point(512, batch_schedule=[phase], decay_epochs=[1.0, 1.5]), _point(32)])
    )
    assert loaded.points["batch_schedule"].tolist() == [((1.0, 32, None),), ()]
    assert loaded.points["decay_epochs"].tolist() == [(1.0, 1.5), ()]


@pytest.mark.parametrize(
    ("table", "column"),
    [("trials", "test_loss"), ("evaluations", "test_loss"), ("measures", "value")],
)
def test_a_flipped_bit_sets_the_file_aside(
    results_folder: WriteStudy, table: str, column: str
) -> None:
    folder = results_folder([_point(32), _point(512)])
    before = load_study(folder)
    path = sorted((folder / table).glob("0032*.parquet"))[0]
    _damage(path, column)
    loaded = load_study(folder)
    assert any(p.startswith(f"{table}/{path.name}: set aside") for p in loaded.problems)
    assert len(getattr(loaded, table)) < len(getattr(before, table))
    assert len(loaded.points) == 2
    assert (getattr(loaded, table)["trial_id"] == "051200000000").any()


def test_a_flipped_bit_in_a_name_of_the_footer_sets_the_file_aside(
    results_folder: WriteStudy,
) -> None:
    folder = results_folder([_point(32), _point(512)])
    path = _one(folder, "trials", "0032")
    path.write_bytes(path.read_bytes().replace(b"stop_reason", b"\xf3top_reason"))  # not UTF-8
    loaded = load_study(folder)
    assert loaded.trials["trial_id"].tolist() == ["051200000000"]
    assert loaded.problems[0].startswith("trials/003200000000.parquet: set aside")


@pytest.mark.parametrize("table", ["evaluations", "measures"])
def test_a_valid_file_with_other_content_is_set_aside(
    results_folder: WriteStudy, table: str
) -> None:
    folder = results_folder([_point(32), _point(512)])
    path = sorted((folder / table).glob("0032*.parquet"))[0]
    rows = files.read_rows(*at(path))
    column = {"evaluations": "test_accuracy", "measures": "value"}[table]
    files.write_rows(*at(path), [{**row, column: 0.5} for row in rows])
    loaded = load_study(folder)
    assert f"{table}/{path.name}" in loaded.problems[0]
    assert "set aside: not what" in loaded.problems[0]
    assert 0.5 not in getattr(loaded, table)[column].tolist()


def test_a_shorter_or_missing_evaluation_is_named(results_folder: WriteStudy) -> None:
    folder = results_folder([_point(32), _point(512)])
    path = _one(folder, "evaluations", "0032")
    files.write_rows(*at(path), files.read_rows(*at(path))[:1])
    _one(folder, "evaluations", "0512").unlink()
    loaded = load_study(folder)
    assert loaded.problems == (
        f"evaluations/{path.name}: set aside: 1 rows where its trial recorded 2",
        "evaluations/051200000000.parquet: missing",
    )
    assert loaded.evaluations.empty


def test_a_running_trial_has_evaluations_but_no_record_to_compare_with(
    results_folder: WriteStudy,
) -> None:
    folder = results_folder([_point(32)])
    _one(folder, "trials", "0032").unlink()
    loaded = load_study(folder)
    assert loaded.points["status"].tolist() == ["planned"]
    assert len(loaded.evaluations) == 2
    assert loaded.problems == ()


def test_unfinished_files_are_not_read(results_folder: WriteStudy) -> None:
    folder = results_folder([_point(32)])
    beside = folder / "measures" / ".003200000000-x.123.tmp.parquet"
    beside.write_bytes(b"half a file")
    assert load_study(folder).problems == ()


def test_missing_and_failed_measures_are_problems(results_folder: WriteStudy) -> None:
    bare = {k: v for k, v in _point(512).items() if k not in ("sharpness", "hessian_trace")}
    failed = {"trial_id": bare["trial_id"], "measure": "hessian", "error": "out of memory"}
    folder = results_folder([_point(32), bare], measures=[failed])
    assert load_study(folder).problems == ("hessian of trial 051200000000 failed: out of memory",)
    with (folder / "study.yaml").open("a") as file:
        file.write("measures:\n- name: evaluation\n- name: sharpness\n- hessian\n")
    assert load_study(folder).problems[1:] == (
        "hessian: 1 of 2 complete trials have no value",
        "sharpness: 1 of 2 complete trials have no value",
    )


def test_an_interpolation_is_missed_where_the_plan_compares_two_trials(study: WriteStudy) -> None:
    small, large = _point(32), _point(512)
    large["requires"] = [small["trial_id"]]
    alone = _point(1000)
    folder = study([small, large, alone])
    with (folder / "study.yaml").open("a") as file:
        file.write("measures: [{name: interpolation}]\n")
    problems = load_study(folder).problems
    assert problems == ("interpolation: 1 of 1 complete trials have no value",)


@pytest.mark.parametrize("table", ["plan", "trials", "evaluations", "measures"])
def test_a_newer_schema_is_refused(results_folder: WriteStudy, table: str) -> None:
    folder = results_folder([_point(32)])
    path = folder / "plan.parquet" if table == "plan" else next((folder / table).glob("*.parquet"))
    newer = {"schema_version": str(SCHEMA_VERSION + 1)}
    files.write_table(*at(path), files.read_table(*at(path)).replace_schema_metadata(newer))
    with pytest.raises(NewerSchemaError, match=f"schema {SCHEMA_VERSION + 1}"):
        load_study(folder)


def test_what_cannot_be_read_at_all_is_refused(results_folder: WriteStudy, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        load_study(tmp_path / "nothing")
    folder = results_folder([_point(32)])
    plan = (folder / "plan.parquet").read_bytes()
    (folder / "plan.parquet").write_bytes(plan[: len(plan) // 2])
    with pytest.raises(DamagedFileError, match=r"plan\.parquet"):
        load_study(folder)
    (folder / "plan.parquet").write_bytes(plan)
    (folder / "study.yaml").write_text("- a list\n")
    with pytest.raises(DamagedFileError, match="not a study file"):
        load_study(folder)
    (folder / "study.yaml").write_text("a: [\n")
    with pytest.raises(DamagedFileError, match=r"study\.yaml"):
        load_study(folder)


def test_evaluations_that_are_all_gone_are_each_named(results_folder: WriteStudy) -> None:
    folder = results_folder([_point(32), _point(512)])
    shutil.rmtree(folder / "evaluations")
    problems = load_study(folder).problems
    assert len([text for text in problems if text.endswith(".parquet: missing")]) == 2


def test_the_exported_form_reads_the_same(results_folder: WriteStudy, tmp_path: Path) -> None:
    folder = results_folder([_point(batch, seed) for batch in (32, 512) for seed in range(2)])
    exported = tmp_path / "exported"
    write_bytes(exported / "study.yaml", (folder / "study.yaml").read_bytes())
    write_bytes(exported / "plan.parquet", (folder / "plan.parquet").read_bytes())
    for table in ("trials", "evaluations", "measures"):
        paths = sorted((folder / table).glob("*.parquet"))
        whole = pa.concat_tables([files.read_table(*at(path)) for path in paths])
        files.write_table(*at(exported / f"{table}.parquet"), whole)
    first, second = load_study(folder), load_study(exported)
    assert second.problems == ()
    for table in ("points", "trials", "evaluations", "measures", "timings"):
        assert getattr(first, table).equals(getattr(second, table)), table


def test_a_study_that_has_not_begun_loads(results_folder: WriteStudy) -> None:
    loaded = load_study(results_folder([{"global_batch_size": 32, "seed": 0, "status": "planned"}]))
    assert loaded.points["status"].tolist() == ["planned"]
    tables = (loaded.trials, loaded.evaluations, loaded.measures, loaded.timings)
    assert all(table.empty for table in tables)
    assert set(TABLES["measures"].names) == set(loaded.measures)


def _with_layers(folder: Path, **columns: Any) -> Path:
    """Gives the folder's one trial two segments of layers, which its row lists."""
    (path,) = (folder / "trials").glob("*.parquet")
    (trial,) = files.read_rows(*at(path))
    row = {"trial_id": trial["trial_id"], "layer": "hidden1", "kind": "weight"} | columns
    segments = [folder / "layers" / f"{trial['trial_id']}-{end}.parquet" for end in (5, 9)]
    for i, segment in enumerate(segments, start=1):
        files.write_rows(*at(segment), [row | {"optimizer_step": i}] * i)
    listed = [*trial["files"], *(files.file_record(*at(segment)) for segment in segments)]
    files.write_rows(*at(path), [trial | {"files": listed}])
    return segments[0]


def _asking_for_layers(folder: Path) -> Path:
    path = folder / "study.yaml"
    path.write_text(path.read_text() + "measures: [{name: layers}]\n")
    return folder


def test_segments_of_layers_are_read_and_checked(results_folder: WriteStudy) -> None:
    folder = _asking_for_layers(results_folder([_point(32)]))
    segment = _with_layers(folder)
    loaded = load_study(folder)
    assert loaded.problems == () and loaded.layers["optimizer_step"].tolist() == [1, 2, 2]
    stray = segment.with_name(segment.name.replace("-5.", "-7."))
    stray.write_bytes(segment.read_bytes())
    loaded = load_study(folder)
    assert len(loaded.layers) == 3, "a segment that an earlier attempt left counts for nothing"
    assert "its trial's row does not list it" in loaded.problems[0]
    stray.unlink()
    files.write_rows(*at(segment), [{"trial_id": loaded.trials["trial_id"][0]}])
    assert "not what its trial recorded" in load_study(folder).problems[0]
    segment.unlink()
    assert load_study(folder).problems == (f"layers/{segment.name}: missing",)


def test_a_record_of_layers_that_is_lacking_is_named(results_folder: WriteStudy) -> None:
    folder = _asking_for_layers(results_folder([_point(32)]))
    expected = "layers: 1 of 1 complete trials have no record"
    assert load_study(folder).problems == (expected,)
    _with_layers(folder, error="RuntimeError: no second derivative")
    (problem,) = load_study(folder).problems
    assert problem.startswith("curvature of trial 0032") and "no second derivative" in problem


def test_a_probe_at_the_start_is_a_measure_that_was_taken(results_folder: WriteStudy) -> None:
    probe = {"measure": "gradient-probe", "quantity": "gradient_mu", "value": 1.0, "index": 0}
    point = _point(32)
    row = probe | {"trial_id": point["trial_id"], "at_end": False, "optimizer_step": 0}
    folder = results_folder([point], measures=[row])
    text = (folder / "study.yaml").read_text()
    asked = "measures: [{name: gradient-probe, at: start}]\n"
    (folder / "study.yaml").write_text(text + asked)
    assert load_study(folder).problems == ()
    for path in (folder / "measures").glob("*-measures2-*"):
        path.unlink()
    assert "gradient-probe: 1 of 1" in load_study(folder).problems[0]
