"""Finals: winners crossed with the baseline's, wave by wave, as the results come."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner

from study.cli import app
from study.grid.spec import load_spec
from study.plan.looks import complete_places
from study.plan.plan import Plan, expand
from study.run import run_study as running
from study.run.progress import Display
from tests.stored import at
from tests.study.mnist_facts import facts
from trainables.config.trial import Beat, TrialConfig
from trainables.results import files, provenance
from trainables.results.storage import PosixFolder

GRID = [0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28]
SEARCH: dict[str, Any] = {"fields": {"training.base_lr": GRID}}
WARM = {"warm": {"training.warmup_epochs": 2}}
Rows = dict[str, dict[str, Any]]
Point = tuple[str, int, str, float, int]
Score = Callable[[TrialConfig], float | str]


def planned(folder: Path, rows: Rows | None = None, **sections: Any) -> Plan:
    text = {
        "name": "x",
        "network": {"name": "mlp"},
        "data": {"source": "mnist-5k", "validation_examples": 500},
        "training": {"epochs": 10},
        "grid": {"training.global_batch_size": [32]},
        "arms": WARM,
        "seeds": 3,
        "search": SEARCH,
    }
    path = folder / "study.yaml"
    path.write_text(json.dumps(text | sections))  # JSON is YAML
    return expand(load_spec(path), facts, rows or {})


def run(folder: Path, score: Score, **sections: Any) -> tuple[Plan, list[set[Point]]]:
    """The plan at its end, and what each wave ran: arm, batch size, stage, rate, seeds."""
    rows: Rows = {}
    waves: list[set[Point]] = []
    while True:
        plan = planned(folder, rows, **sections)
        new = [p for p in plan.points if p.trial_id not in rows]
        if not new:
            return plan, waves
        seeds: dict[tuple[str, int, str, float], int] = {}
        for p in new:
            key = (p.arm, p.training.global_batch_size, p.stage, p.training.base_lr)
            seeds[key] = seeds.get(key, 0) + 1
            value = score(plan.configs[p.trial_id])
            rows[p.trial_id] = {
                "status": value if isinstance(value, str) else "complete",
                "validation_accuracy": None if isinstance(value, str) else value,
            }
        waves.append({(*key, count) for key, count in seeds.items()})


def peaks(**best: float) -> Score:
    """An arm's accuracy falls off on both sides of its best rate."""

    def score(config: TrialConfig) -> float:
        arm = "warm" if config.scaled_warmup_epochs else "baseline"
        return 0.9 - math.log(config.peak_lr / best[arm]) ** 2 / 100

    return score


# ------------------------------------------------------------------------------------ the crossing


def test_arms_and_baseline_run_at_each_others_winners_and_beside_the_best(tmp_path: Path) -> None:
    plan, waves = run(tmp_path, peaks(baseline=0.08, warm=0.32))
    assert {point[2] for point in waves[0]} == {"search"}
    assert waves[1] == {
        ("baseline", 32, "final", 0.08, 3),
        ("warm", 32, "final", 0.32, 3),
        ("warm", 32, "crossed", 0.08, 3),
        ("baseline", 32, "crossed", 0.32, 3),
    }
    assert waves[2] == {
        ("baseline", 32, "crossed", 0.04, 3),
        ("baseline", 32, "crossed", 0.16, 3),
    }
    assert len(waves) == 3
    (crossing,) = plan.crossings
    assert crossing.bracket is not None and crossing.bracket.state == "bracketed"
    assert not crossing.is_open and not list(crossing.expected())


def test_crossed_finals_run_on_the_studys_seeds_and_stand_in_the_plans_rows(tmp_path: Path) -> None:
    plan, _ = run(tmp_path, peaks(baseline=0.08, warm=0.32), seeds=[3, 5])
    crossed = [row for row in plan.point_rows() if row["stage"] == "crossed"]
    assert {row["seed"] for row in crossed} == {3, 5}
    assert {(row["arm"], row["base_lr"]) for row in crossed} == {
        ("warm", 0.08),
        ("baseline", 0.32),
        ("baseline", 0.04),
        ("baseline", 0.16),
    }


def test_an_arm_that_wins_where_the_baseline_does_needs_no_crossing(tmp_path: Path) -> None:
    _, waves = run(tmp_path, peaks(baseline=0.08, warm=0.08))
    assert waves[1] == {("baseline", 32, "final", 0.08, 3), ("warm", 32, "final", 0.08, 3)}
    assert waves[2] == {("baseline", 32, "crossed", r, 3) for r in (0.04, 0.16)}


def test_a_baseline_without_arms_is_bracketed_for_the_gaps(tmp_path: Path) -> None:
    sizes = {"training.global_batch_size": [32, 512]}
    _, waves = run(tmp_path, peaks(baseline=0.08), arms={}, grid=sizes)
    assert waves[2] == {("baseline", b, "crossed", r, 3) for b in (32, 512) for r in (0.04, 0.16)}


def test_own_finals_are_the_winners_alone(tmp_path: Path) -> None:
    plan, waves = run(tmp_path, peaks(baseline=0.08, warm=0.32), search={**SEARCH, "finals": "own"})
    assert waves[1:] == [{("baseline", 32, "final", 0.08, 3), ("warm", 32, "final", 0.32, 3)}]
    assert plan.crossings == ()


def test_nothing_is_crossed_before_all_searches_of_a_comparison_have_ended(tmp_path: Path) -> None:
    plan = planned(tmp_path)
    score = peaks(baseline=0.08, warm=0.32)
    rows: Rows = {
        p.trial_id: {"status": "complete", "validation_accuracy": score(plan.configs[p.trial_id])}
        for p in plan.points
        if p.arm == "baseline"
    }
    points = planned(tmp_path, rows).points
    assert {(p.arm, p.stage) for p in points if p.stage != "search"} == {("baseline", "final")}


def test_an_arm_whose_search_died_is_crossed_with_nothing(tmp_path: Path) -> None:
    score = peaks(baseline=0.08, warm=0.32)
    _, waves = run(tmp_path, lambda t: "diverged" if t.scaled_warmup_epochs else score(t))
    assert waves[1:] == [
        {("baseline", 32, "final", 0.08, 3)},
        {("baseline", 32, "crossed", 0.04, 3), ("baseline", 32, "crossed", 0.16, 3)},
    ]


def test_an_arm_is_crossed_with_the_baseline_cells_that_match_it(tmp_path: Path) -> None:
    """Equal on every axis, but on one that the arm sets to what the baseline never takes."""
    sizes = {"training.global_batch_size": [32, 512]}
    grid = [{**sizes, "training.decay": [decay]} for decay in ("constant", "cosine")]
    step = {"training.decay": "step", "training.decay_epochs": [8], "training.decay_factor": 0.1}
    plan = planned(tmp_path, grid=grid, arms={**WARM, "step": step})
    found = {
        (x.baseline.setting.training.global_batch_size, x.baseline.setting.training.decay): {
            (a.setting.arm, a.setting.training.global_batch_size, a.setting.training.decay)
            for a in x.arms
        }
        for x in plan.crossings
    }
    assert found == {
        (size, decay): {("warm", size, decay), ("step", size, "step")}
        for size in (32, 512)
        for decay in ("constant", "cosine")
    }


def test_between_a_best_and_a_cliff_the_baseline_runs_what_nobody_searched(tmp_path: Path) -> None:
    score = peaks(baseline=0.09, warm=0.09)
    plan, waves = run(tmp_path, lambda t: "diverged" if t.peak_lr > 0.13 else score(t))
    assert waves[3] == {("baseline", 32, "crossed", 0.1131, 3)}
    (crossing,) = plan.crossings
    assert crossing.bracket is not None and crossing.bracket.state == "bracketed"


def test_at_chance_is_dead_by_the_classes_of_the_validation_split(tmp_path: Path) -> None:
    score = peaks(baseline=0.09, warm=0.09)
    _, waves = run(tmp_path, lambda t: 0.12 if t.peak_lr > 0.13 else score(t))  # .1 + .04 is chance
    assert waves[3] == {("baseline", 32, "crossed", 0.1131, 3)}


def test_of_several_fields_the_runners_up_are_run_too(tmp_path: Path) -> None:
    fields = {"training.base_lr": [0.04, 0.08], "training.optimizer.momentum": [0.5, 0.9]}

    def score(config: TrialConfig) -> float:
        momentum = config.optimizer.momentum  # type: ignore[union-attr]
        return 0.5 + config.peak_lr + momentum / 10 - bool(config.scaled_warmup_epochs) * momentum

    plan, _ = run(tmp_path, score, search={"fields": fields})
    (crossing,) = plan.crossings
    assert crossing.bracket is not None and crossing.bracket.state == "several fields"
    assert [tuple(v.values()) for v in crossing.settings] == [
        (0.08, 0.9),
        (0.08, 0.5),  # the arm's winner, and the first runner-up
        (0.04, 0.9),
    ]


def test_whole_numbers_stay_whole_between_two(tmp_path: Path) -> None:
    sizes = {"training.ghost_batch_size": [4, 16, 64]}
    sections: dict[str, Any] = {
        "search": {"fields": sizes},
        "training": {"epochs": 10, "base_lr": 0.1},
        "grid": {"training.global_batch_size": [64]},
        "arms": {},
    }

    def score(config: TrialConfig) -> float | str:
        return "diverged" if (config.ghost_batch_size or 0) > 20 else (config.ghost_batch_size or 0)

    plan, _ = run(tmp_path, score, **sections)
    tried = [p.training.ghost_batch_size for p in plan.points if p.stage == "crossed"]
    assert set(tried) >= {4, 64, 32} and {type(size) for size in tried} == {int}


def test_what_is_only_crossed_is_evaluated_only_and_keeps_no_weights(tmp_path: Path) -> None:
    measures = [{"name": "evaluation"}, {"name": "hessian", "examples": 50}]
    plan, _ = run(tmp_path, peaks(baseline=0.08, warm=0.32), measures=measures)
    stages: dict[str, set[str]] = {}
    for point in plan.points:
        stages.setdefault(point.trial_id, set()).add(point.stage)
    for trial in plan.trials(tmp_path):
        is_final = "final" in stages[trial.trial_id]
        assert [m.name for m in trial.measures] == ["evaluation", "hessian"][: 1 + is_final]
        assert trial.execution.keep_weights == ("final" if is_final else "none")


def test_a_trial_that_is_final_for_one_and_crossed_for_another_takes_all_measures(
    tmp_path: Path,
) -> None:
    measures = [{"name": "evaluation"}, {"name": "hessian", "examples": 50}]
    plan, _ = run(tmp_path, peaks(baseline=0.08, warm=0.32), measures=measures)
    final = next(point for point in plan.points if point.stage == "final")
    both = replace(plan, points=(*plan.points, replace(final, arm="other", stage="crossed")))
    trials = {trial.trial_id: trial for trial in both.trials(tmp_path)}
    assert len(trials[final.trial_id].measures) == 2
    assert trials[final.trial_id].execution.keep_weights == "final"


def test_measures_between_trials_concern_finals_only(tmp_path: Path) -> None:
    measures = [{"name": "evaluation"}, {"name": "interpolation"}]
    sizes = {"training.global_batch_size": [32, 512]}
    plan, _ = run(tmp_path, peaks(baseline=0.08, warm=0.32), measures=measures, grid=sizes)
    finals = {point.trial_id for point in plan.points if point.stage == "final"}
    assert plan.other_trial_ids.keys() <= finals
    assert {other for others in plan.other_trial_ids.values() for other in others} <= finals


# --------------------------------------------------------------------------------- what is expected


def test_the_number_of_finals_is_about_right_from_the_start(tmp_path: Path) -> None:
    plan = planned(tmp_path)
    (crossing,) = plan.crossings
    expected = [(cell.setting.arm, settings) for cell, settings in crossing.expected()]
    assert expected == [("baseline", 3), ("warm", 1)]  # beside the winners: 4 settings of 8
    ended, _ = run(tmp_path, peaks(baseline=0.08, warm=0.16))
    crossed = {(p.arm, p.training.base_lr) for p in ended.points if p.stage == "crossed"}
    assert len(crossed) == 3


# ------------------------------------------------------------------------------------------- looks


def test_what_was_complete_is_told_by_block_and_batch_size(tmp_path: Path) -> None:
    sizes = {"training.global_batch_size": [32, 512]}
    score = peaks(baseline=0.08, warm=0.32)
    plan, _ = run(tmp_path, score, grid=sizes)
    rows: Rows = {i: {"status": "complete", "validation_accuracy": 0.5} for i in plan.configs}
    first, second = complete_places(plan, rows)
    assert (first["block"], first["global_batch_size"], first["seeds"]) == (0, 32, 3)
    assert second["global_batch_size"] == 512
    (comparison,) = first["comparisons"]
    assert comparison.startswith("warm-") and [comparison] != second["comparisons"]
    missing = next(p for p in plan.points if p.training.global_batch_size == 32)
    del rows[missing.trial_id]
    assert complete_places(plan, rows) == [second]
    assert complete_places(planned(tmp_path, grid=sizes), rows) == []  # finals are to come


def test_a_comparison_is_another_one_once_the_arm_was_changed(tmp_path: Path) -> None:
    def comparisons(**sections: Any) -> list[str]:
        plain = {"search": None, "training": {"epochs": 10, "base_lr": 0.1}}
        plan = planned(tmp_path, **plain | sections)
        rows: Rows = {i: {"status": "complete"} for i in plan.configs}
        (place,) = complete_places(plan, rows)
        found: list[str] = place["comparisons"]
        return found

    assert comparisons() == comparisons(seeds=[4, 9])
    assert comparisons() != comparisons(arms={"warm": {"training.warmup_epochs": 3}})
    assert comparisons(arms={}) == []
    start = {"trial": {"training.base_lr": 0.2}, "epoch": 2}
    branch = {"later": {"training.start": start}}
    assert comparisons(arms=branch) == comparisons(arms=branch, seeds=[4, 9])


# ----------------------------------------------------------------------------------------- running

TINY = """\
name: tuned
data: {source: mnist-5k, train_examples: 200, validation_examples: 50}
network: {name: mlp, hidden: [8]}
training: {epochs: 1}
grid: {training.global_batch_size: [25]}
arms: {warm: {training.warmup_epochs: 0.5}}
seeds: 2
search:
  method: random
  points: 4
  fields: {training.base_lr: {low: 0.01, high: 10, log: true}}
measures: [{name: evaluation, train_examples: 100}]
execution: {device: cpu}
"""


def batchgap(*arguments: str) -> Any:
    return CliRunner().invoke(app, [*arguments])


def test_a_run_goes_on_until_the_baseline_is_bracketed_and_leaves_what_was_to_be_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "s.yaml").write_text(TINY)
    before = json.loads(batchgap("plan", "s.yaml", "--json").stdout)
    assert before["candidates"] == [
        {"training.base_lr": rate} for rate in (0.01, 0.3162, 0.05623, 1.778)
    ]
    assert before["finals_to_come"] == 2 * (2 + 2 + 1)
    text = " ".join(batchgap("plan", "s.yaml").stdout.split())
    assert "candidates: training.base_lr 0.01, 0.05623, 0.3162, 1.778, the same" in text
    assert "about 10 final trials follow" in text and "the draw of its rate" in text
    ran = batchgap("run", "s.yaml", "--runner", "serial")
    assert ran.exit_code == 0, ran.stderr
    assert "not run" not in ran.stderr
    after = json.loads(batchgap("plan", "s.yaml", "--json").stdout)
    assert after["finals_to_come"] == 0
    for cell in after["search"]:
        assert cell["crossed"] == cell["crossed_done"] and cell["crossed_to_come"] == 0
    assert "finals are crossed" in batchgap("plan", "s.yaml").stdout
    rows = files.read_rows(*at(tmp_path / "studies/tuned/plan.parquet"))
    assert {row["stage"] for row in rows} == {"search", "final", "crossed"}
    left = provenance.read(PosixFolder(tmp_path / "studies/tuned"))
    (seen,) = left["runs"]
    assert (seen["block"], seen["global_batch_size"], seen["seeds"]) == (0, 25, 2)
    assert left["data"]["mnist-5k"]["chance"].keys() == {
        *("validation_accuracy", "validation_loss", "validation_loss squared-error"),
        *("test_accuracy", "test_loss", "test_loss squared-error"),
    }
    assert batchgap("run", "s.yaml", "--runner", "serial").exit_code == 0
    assert provenance.read(PosixFolder(tmp_path / "studies/tuned"))["runs"] == [seen]
    assert batchgap("run", "s.yaml", "--runner", "serial", "--set", "seeds=3").exit_code == 0
    again = provenance.read(PosixFolder(tmp_path / "studies/tuned"))
    assert [run["seeds"] for run in again["runs"]] == [2, 3]


def test_plan_says_why_finals_are_more_than_the_winners(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "s.yaml").write_text(TINY)
    alone = " ".join(batchgap("plan", "s.yaml", "--set", "arms={}").stdout.split())
    assert "about 6 final trials follow" in alone and "each cell also runs beside" in alone
    own = " ".join(batchgap("plan", "s.yaml", "--set", "search.finals=own").stdout.split())
    assert "4 final trials follow" in own and "no arm will be credited" in own
    assert "about 4 final" not in own


class Watched(Display):
    """A display that notes how full its bar is."""

    made: list[Watched]

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options, console=Console(quiet=True))
        self.made.append(self)
        self.shares: list[float] = []
        self.counts: list[str] = []

    def on_beat(self, beat: Beat) -> None:
        super().on_beat(beat)
        self.shares.append(self._progress.tasks[0].percentage)
        self.counts.append(self._counts())


@pytest.mark.parametrize("method", ["method: random, points: 4", "method: optuna, points: 12"])
def test_the_bar_counts_what_is_to_come_and_never_falls_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Watched, "made", [], raising=False)
    monkeypatch.setattr(running, "Display", Watched)
    text = TINY.replace("method: random\n  points: 4", method.replace(", ", "\n  "))
    (tmp_path / "s.yaml").write_text(text)
    assert batchgap("run", "s.yaml", "--runner", "serial").exit_code == 0
    (display,) = Watched.made  # one bar for all waves
    drops = [a - b for a, b in zip(display.shares, display.shares[1:], strict=False)]
    assert max(drops) < 10
    plan = files.read_rows(*at(tmp_path / "studies/tuned/plan.parquet"))
    share = sum(row["stage"] == "search" for row in plan) / len(plan)
    searched = next(i for i, text in enumerate(display.counts) if text.startswith("8 of"))
    at_end = 100 * 8 / len(plan) if "optuna" in method else 100 * share
    assert display.shares[searched] == pytest.approx(at_end, abs=15)
    assert " of about " in display.counts[0]
    assert display.counts[-1].startswith(f"{len({r['trial_id'] for r in plan})} of ")


def test_a_folder_of_another_search_is_said_to_begin_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "s.yaml").write_text(TINY)
    assert "no part of the search" not in batchgap("run", "s.yaml", "--runner", "serial").stderr
    more = batchgap("run", "s.yaml", "--runner", "serial", "--set", "search.points=8")
    assert "no part of the search" not in more.stderr
    low = ("--set", "search.fields={training.base_lr: {low: 0.02, high: 9, log: true}}")
    said = " ".join(batchgap("plan", "s.yaml", *low).stdout.split())
    assert "16 of the 16 search trials of tuned are no part of the search now" in said
    other = batchgap("run", "s.yaml", "--runner", "serial", "--replace", *low)
    assert other.exit_code == 0
    assert "which begins anew; what they left stays in the folder" in other.stderr
    fewer = batchgap("run", "s.yaml", *low, "--set", "search.points=8", "--runner", "serial")
    assert "no part of the search" not in fewer.stderr


def test_an_adaptive_search_that_lost_results_is_not_called_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "s.yaml").write_text(TINY.replace("random\n  points: 4", "optuna\n  points: 9"))
    assert batchgap("run", "s.yaml", "--runner", "serial").exit_code == 0
    path = tmp_path / "studies/tuned/plan.parquet"
    lost = [r for r in files.read_rows(*at(path)) if r["stage"] == "search"][2:5]
    for row in lost:
        (tmp_path / f"studies/tuned/trials/{row['trial_id']}.parquet").unlink()
    again = batchgap("run", "s.yaml", "--runner", "serial")
    assert again.exit_code == 0 and "no part of the search" not in again.stderr


def test_each_network_of_a_block_has_its_own_comparisons(tmp_path: Path) -> None:
    networks = {"network.hidden": [[8], [16]], "training.global_batch_size": [32]}
    plain = {"search": None, "training": {"epochs": 10, "base_lr": 0.1}, "grid": networks}
    plan = planned(tmp_path, **plain, network={"name": "mlp"})
    found = complete_places(plan, {i: {"status": "complete"} for i in plan.configs})
    assert [len(place["comparisons"]) for place in found] == [1, 1]
    assert [place["network_options"] for place in found] == ['{"hidden": [8]}', '{"hidden": [16]}']


def test_a_wider_search_is_no_other_comparison(tmp_path: Path) -> None:
    def comparisons(fields: dict[str, Any]) -> list[str]:
        search = {"method": "grid", "fields": fields}
        plan, _ = run(tmp_path, peaks(baseline=0.08, warm=0.32), search=search)
        rows: Rows = {i: {"status": "complete", "validation_accuracy": 0.5} for i in plan.configs}
        (place,) = complete_places(plan, rows)
        found: list[str] = place["comparisons"]
        return found

    rates = [0.04, 0.08, 0.16, 0.32]
    assert comparisons({"training.base_lr": rates}) == comparisons(
        {"training.base_lr": [0.02, *rates]}
    )
