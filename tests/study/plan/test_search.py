"""What is tuned apart for every cell: the section, the points, the winners, and going on."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from study.cli import app
from study.file.candidates import van_der_corput
from study.file.search_config import FIRST_SEED, SearchConfig
from study.grid.spec import StudyError, load_spec, resolved_yaml
from study.plan.plan import Plan, expand
from tests.stored import at
from tests.study.mnist_facts import facts
from trainables.config.trial import TrialConfig
from trainables.results import files
from trainables.results.ledger import read_ledger
from trainables.results.storage import PosixFolder

RATES = {"training.base_lr": [0.01, 0.02, 0.05]}
RATE_RANGE = {"training.base_lr": {"low": 0.001, "high": 1, "log": True}}
RANGES = {
    "training.base_lr": {"low": 0.001, "high": 1, "log": True},
    "training.optimizer.momentum": {"low": 0.5, "high": 0.95},
}
SIZES = {"training.global_batch_size": [32, 512]}
Rows = dict[str, dict[str, Any]]


def written(search: Mapping[str, Any], **sections: Any) -> dict[str, Any]:
    return {
        "name": "x",
        "network": {"name": "mlp"},
        "data": {"source": "mnist-5k", "validation_examples": 500},
        "training": {"epochs": 10},
        "grid": SIZES,
        "seeds": 3,
        "search": dict(search),
    } | sections


Planned = Callable[..., Plan]


@pytest.fixture
def planned(tmp_path: Path) -> Planned:
    """`planned(search, rows, **sections)`: the plan of a study that searches."""

    def plan(search: Mapping[str, Any], rows: Rows | None = None, **sections: Any) -> Plan:
        path = tmp_path / "study.yaml"
        text = written(search, **sections) if search else written({}, **sections) | {"search": None}
        path.write_text(json.dumps(text))  # JSON is YAML
        return expand(load_spec(path), facts, rows or {})

    return plan


def of_stage(plan: Plan, stage: str) -> list[Any]:
    return [point for point in plan.points if point.stage == stage]


def all_rows(plan: Plan, objective: Callable[[TrialConfig], float | str]) -> Rows:
    """A final row per trial of the search: an accuracy, or the status of one that died."""
    found: Rows = {}
    for point in of_stage(plan, "search"):
        value = objective(plan.configs[point.trial_id])
        dead = isinstance(value, str)
        found[point.trial_id] = {
            "status": value if dead else "complete",
            "validation_accuracy": None if dead else value,
            "validation_loss": None if dead else 1 - value,
        }
    return found


def best_rate(rate: float) -> Callable[[TrialConfig], float]:
    return lambda config: 1 - abs(math.log(config.peak_lr / rate)) / 10


# ------------------------------------------------------------------------------------------ a grid


def test_every_cell_tries_every_value_with_the_seeds_of_the_search(planned: Planned) -> None:
    plan = planned({"fields": RATES, "seeds": 2})
    tried = of_stage(plan, "search")
    assert len(tried) == len(plan.points) == 2 * 3 * 2
    assert {point.seed for point in tried} == {FIRST_SEED, FIRST_SEED + 1}
    for size in (32, 512):
        rates = [p.training.base_lr for p in tried if p.training.global_batch_size == size]
        assert sorted(set(rates)) == RATES["training.base_lr"]


def test_winners_are_trained_with_the_seeds_of_the_study(planned: Planned) -> None:
    def objective(config: TrialConfig) -> float:
        return best_rate({32: 0.01, 512: 0.05}[config.global_batch_size])(config)

    rows = all_rows(planned({"fields": RATES}), objective)
    finals = of_stage(planned({"fields": RATES}, rows), "final")
    assert {(p.training.global_batch_size, p.training.base_lr) for p in finals} == {
        (32, 0.01),
        (512, 0.05),
    }
    assert [p.seed for p in finals] == [0, 0, 1, 1, 2, 2]
    assert not {p.trial_id for p in finals} & rows.keys()


def test_a_winner_is_the_trial_that_a_file_with_its_rate_describes(planned: Planned) -> None:
    rows = all_rows(planned({"fields": RATES}), best_rate(0.02))
    won = {p.trial_id for p in of_stage(planned({"fields": RATES}, rows), "final")}
    training = {"epochs": 10, "base_lr": 0.02}
    plain = planned({}, training=training)
    assert won == {point.trial_id for point in plain.points}
    assert {point.stage for point in plain.points} == {"final"}


def test_of_equals_the_smaller_value_wins_and_a_loss_is_minimized(planned: Planned) -> None:
    down = {"fields": {"training.base_lr": [0.05, 0.02, 0.01]}}
    equal = all_rows(planned(down), lambda config: 0.5)
    assert of_stage(planned(down, equal), "final")[0].training.base_lr == 0.01
    rows = all_rows(planned({"fields": RATES}), best_rate(0.05))
    by_loss = planned({"fields": RATES, "optimize": "validation_loss"}, rows)
    assert of_stage(by_loss, "final")[0].training.base_lr == 0.05


@pytest.mark.parametrize("status", ["diverged", "failed", "stopped"])
def test_what_did_not_complete_never_wins(planned: Planned, status: str) -> None:
    def objective(config: TrialConfig) -> float | str:
        return status if config.peak_lr == 0.05 else best_rate(0.05)(config)

    rows = all_rows(planned({"fields": RATES}), objective)
    finals = of_stage(planned({"fields": RATES}, rows), "final")
    assert {p.training.base_lr for p in finals} == {0.02}


def test_one_seed_that_diverged_loses_the_point(planned: Planned) -> None:
    search = {"fields": RATES, "seeds": 2}
    rows = all_rows(planned(search), best_rate(0.05))
    for key, config in planned(search).configs.items():
        if config.peak_lr == 0.05 and config.seed == FIRST_SEED:
            rows[key]["status"] = "diverged"
    assert {p.training.base_lr for p in of_stage(planned(search, rows), "final")} == {0.02}


def test_a_cell_waits_for_all_of_its_points_and_for_no_other_cell(planned: Planned) -> None:
    plan = planned({"fields": RATES})
    rows = all_rows(plan, best_rate(0.02))
    open_one = next(i for i, config in plan.configs.items() if config.global_batch_size == 512)
    del rows[open_one]
    finals = of_stage(planned({"fields": RATES}, rows), "final")
    assert {p.training.global_batch_size for p in finals} == {32}


def test_a_cell_whose_points_all_died_has_no_winner_and_says_so(planned: Planned) -> None:
    def objective(config: TrialConfig) -> float | str:
        return "diverged" if config.global_batch_size == 512 else 0.5

    plan = planned({"fields": RATES}, all_rows(planned({"fields": RATES}), objective))
    by_size = {cell.setting.training.global_batch_size: cell for cell in plan.searches}
    assert by_size[512].ended and by_size[512].winner is None
    assert by_size[32].winner is not None


def test_trials_of_a_search_are_evaluated_only_and_keep_no_weights(planned: Planned) -> None:
    measures = [{"name": "evaluation"}, {"name": "hessian", "examples": 50}]
    rows = all_rows(planned({"fields": RATES}, measures=measures), best_rate(0.02))
    plan = planned({"fields": RATES}, rows, measures=measures)
    for trial in plan.trials(Path("somewhere")):
        searching = trial.config.seed >= FIRST_SEED
        assert [m.name for m in trial.measures] == ["evaluation", "hessian"][: 2 - searching]
        assert trial.execution.keep_weights == ("none" if searching else "final")


# --------------------------------------------------------------------------------- random, adaptive


def rates_of(plan: Plan, arm: str = "baseline", size: int = 32) -> list[float]:
    cell = [p for p in of_stage(plan, "search") if p.arm == arm]
    return [p.training.base_lr for p in cell if p.training.global_batch_size == size]


def test_one_range_is_halved_again_and_again() -> None:
    assert [van_der_corput(n) for n in range(8)] == [
        0,
        1 / 2,
        1 / 4,
        3 / 4,
        1 / 8,
        5 / 8,
        3 / 8,
        7 / 8,
    ]


@pytest.mark.parametrize("log", [True, False])
def test_candidates_of_one_range_are_evenly_spaced_and_low_is_tried(
    planned: Planned, log: bool
) -> None:
    rate = {"training.base_lr": {"low": 0.001, "high": 1, "log": log}}
    tried = sorted(rates_of(planned({"fields": rate, "method": "random", "points": 8})))
    shares = [i / 8 for i in range(8)]
    exact = [0.001 * 1000**s if log else 0.001 + 0.999 * s for s in shares]
    assert tried == pytest.approx(exact, rel=1e-3)
    assert tried[0] == 0.001 and all(value == float(f"{value:.4g}") for value in tried)


@pytest.mark.parametrize("fields", [RATE_RANGE, RANGES], ids=["one", "several"])
def test_all_arms_and_batch_sizes_try_the_same_candidates(
    planned: Planned, fields: dict[str, Any]
) -> None:
    arms = {"warm": {"training.warmup_epochs": 2}, "long": {"training.epochs": 20}}
    search = {"fields": fields, "method": "random", "points": 8}
    plan = planned(search, arms=arms)
    cells = {(p.arm, p.training.global_batch_size) for p in plan.points}
    tried = {cell: rates_of(plan, *cell) for cell in cells}
    assert len(tried) == 6 and all(len(rates) == 8 for rates in tried.values())
    assert len({tuple(rates) for rates in tried.values()}) == 1
    assert {p.trial_id for p in planned(search).points} < {p.trial_id for p in plan.points}


@pytest.mark.parametrize(
    ("fields", "counts"), [(RATE_RANGE, (4, 8, 16, 32)), (RANGES, (3, 4, 6, 13))]
)
def test_more_points_only_add(
    planned: Planned, fields: dict[str, Any], counts: tuple[int, ...]
) -> None:
    known: set[str] = set()
    for count in counts:
        plan = planned({"fields": fields, "method": "random", "points": count})
        tried = {p.trial_id for p in plan.points}
        assert known < tried and len(tried) == 2 * count
        known = tried


def test_more_points_of_an_adaptive_search_only_add_until_more_are_shared(planned: Planned) -> None:
    """Also within a round, and whatever came out of the points before."""
    rows: Rows = {}
    known: set[str] = set()
    for count in (8, 9, 13, 15):
        search = {"fields": RANGES, "method": "optuna", "points": count}
        for _ in range(count):  # as many rounds as it takes
            plan = planned(search, rows)
            rows |= all_rows(plan, best_rate(0.1))
        tried = {p.trial_id for p in of_stage(plan, "search")}
        assert known < tried == rows.keys()
        assert len(tried) == 2 * count
        known = tried


def test_an_adaptive_search_begins_with_what_all_cells_share(planned: Planned) -> None:
    search = {"fields": RATE_RANGE, "method": "optuna", "points": 19}
    arms = {"warm": {"training.warmup_epochs": 2}}
    shared = rates_of(planned({**search, "method": "random", "points": 8}))
    rows: Rows = {}
    plans = [planned(search, rows, arms=arms)]
    for _ in range(3):
        rows |= all_rows(plans[-1], best_rate(0.1))
        plans.append(planned(search, rows, arms=arms))
    counts = [len(rates_of(plan)) for plan in plans]
    assert counts == [8, 12, 16, 19]
    own = [rates_of(plans[-1], arm, size) for arm in ("baseline", "warm") for size in (32, 512)]
    assert all(rates[:8] == shared for rates in own)
    assert len({tuple(rates) for rates in own}) == 4  # and then each goes its own way


@pytest.mark.parametrize(
    "search",
    [
        {"fields": RANGES | {"training.ghost_batch_size": {"low": 2, "high": 4}}, "points": 8},
        {"fields": {"training.ghost_batch_size": {"low": 2, "high": 6}}, "points": 4},
        {"fields": RANGES, "points": 9, "method": "optuna"},
        {"fields": RATES | {"training.optimizer.momentum": [0.5, 0.9]}, "points": 9},
    ],
)
def test_candidates_keep_to_what_is_searched(planned: Planned, search: dict[str, Any]) -> None:
    training = {"epochs": 10} | ({} if "training.base_lr" in search["fields"] else {"base_lr": 1})
    grid = {"training.global_batch_size": [60, 120]}
    plan = planned({"method": "random", **search}, training=training, grid=grid)
    for name, values in search["fields"].items():
        key = name.rpartition(".")[2]
        for p in of_stage(plan, "search"):
            value = getattr(p.training, key, None) or getattr(p.training.optimizer, key)
            if isinstance(values, list):
                assert value in values
            else:
                assert values["low"] <= value <= values["high"]
                assert type(value) is (int if key == "ghost_batch_size" else float)


def test_an_adaptive_search_asks_by_what_it_was_told(planned: Planned) -> None:
    search = {"fields": RANGES, "method": "optuna", "points": 40}

    def rates(best: float) -> list[float]:
        rows: Rows = {}
        for _ in range(10):
            plan = planned(search, rows, grid={"training.global_batch_size": [32]})
            rows |= all_rows(plan, best_rate(best))
        late = of_stage(plan, "search")[20:]
        return [math.log(p.training.base_lr) for p in late]

    low, high = rates(0.003), rates(0.3)
    assert sum(low) / len(low) + 1 < sum(high) / len(high)


# ------------------------------------------------------------------------------------ what is wrong


@pytest.mark.parametrize(
    ("search", "place", "says"),
    [
        ({}, "search:", "must have fields"),
        ({"fields": {}}, "search:", "must have fields"),
        ({"fields": RATES, "budget": 3}, "search.budget:", "unknown key"),
        ({"fields": RATES, "method": "gird"}, "search.method:", "grid, random, optuna"),
        ({"fields": RATES, "points": 20}, "search.points:", "remove it"),
        ({"fields": RATES, "method": "random"}, "search.points:", "e.g. points: 16"),
        (
            {"fields": {"training.base_lr": {"low": 0.1, "high": 1}}}
            | {"method": "random", "points": 2},
            "search.points:",
            "the nearest is 4",
        ),
        ({"fields": RANGES, "method": "random", "points": 0}, "search.points:", "at least 1"),
        ({"fields": RATES, "seeds": 0}, "search.seeds:", "at least 1"),
        ({"fields": RATES, "optimize": "accuracy"}, "search.optimize:", "validation_accuracy"),
        ({"fields": RANGES}, "search.fields.training.base_lr:", "use method: random"),
        ({"fields": {"training.decay": ["cosine"]}}, "search.fields.training.decay:", "number"),
        ({"fields": {"training.horizontal_flip": [1]}}, "search.fields.training", "number"),
        ({"fields": {"training.base_rl": [1]}}, "search.fields.training.base_rl:", "base_lr"),
        ({"fields": {"training.global_batch_size": [8]}}, "search.fields.training", "in grid"),
        ({"fields": {"network.dropout": [0.1]}}, "search.fields.network.dropout:", "in grid"),
        ({"fields": {"training.base_lr": 0.1}}, "search.fields.training.base_lr:", "list"),
        ({"fields": {"training.base_lr": [0.1, "x"]}}, "search.fields.training.base_lr[1]:", "'x'"),
        (
            {"fields": {"training.base_lr": [0.1, -1]}},
            "search.fields.training.base_lr[1]:",
            "above",
        ),
        (
            {"fields": {"training.base_lr": [0.1, 0.1]}},
            "search.fields.training.base_lr[1]:",
            "twice",
        ),
        (
            {"fields": {"training.ghost_batch_size": [2.5]}},
            "search.fields.training",
            "whole number",
        ),
        ({"fields": {"training.base_lr": {"low": 1, "high": 1}}}, "search.fields", "below high"),
        (
            {"fields": {"training.warmup_epochs": {"low": 0, "high": 1, "log": True}}},
            "search.fields.training.warmup_epochs:",
            "no logarithm",
        ),
        (
            {"fields": {"training.epochs": [5, 10]}},
            "search.fields.training.epochs:",
            "set in training",
        ),
        *(
            (
                {"fields": RATE_RANGE, "method": "random", "points": points},
                "search.points:",
                f"the nearest is {nearest}",
            )
            for points, nearest in ((3, 4), (6, 8), (20, 16), (25, 32))
        ),
        (
            {"fields": RATES, "method": "random", "points": 4},
            "search.method:",
            "use method: grid",
        ),
        (
            {
                "fields": {"training.ghost_batch_size": {"low": 2, "high": 8}},
                "method": "random",
                "points": 8,
            },
            "search.points:",
            "only 6 of the 8 values of training.ghost_batch_size differ; take points: 4,",
        ),
        (
            {"fields": RATE_RANGE, "method": "optuna", "points": 7},
            "search.points:",
            "take at least 8",
        ),
        ({"fields": RATES, "finals": "all"}, "search.finals:", "crossed, own"),
        (
            {"fields": RATES, "scheduler": "asha"},
            "search.scheduler:",
            "take 9 values in all",
        ),
        (
            {"fields": RATE_RANGE, "method": "random", "points": 8, "scheduler": "asha"},
            "search.scheduler:",
            "take points: 16 or more",
        ),
    ],
)
def test_a_mistake_is_named_with_its_place_and_a_way_out(
    tmp_path: Path, search: dict[str, Any], place: str, says: str
) -> None:
    path = tmp_path / "study.yaml"
    path.write_text(json.dumps(written(search)))
    with pytest.raises(StudyError) as caught:
        load_spec(path)
    lines = [line.partition("study.yaml:1:")[2] for line in caught.value.problems]
    assert any(place in line and says in line for line in lines), caught.value.problems
    assert all(line.partition(":")[0].isdigit() for line in lines)


@pytest.mark.parametrize(
    ("sections", "place"),
    [
        ({"training": {"epochs": 10, "lr_scaling": "linear"}}, "training.lr_scaling:"),
        ({"grid": SIZES | {"training.lr_scaling": ["none", "sqrt"]}}, "scaling[1]:"),
        ({"grid": [SIZES, SIZES | {"training.lr_scaling": ["sqrt"]}]}, "grid[1].training.lr_sc"),
        ({"arms": {"sqrt": {"training.lr_scaling": "sqrt"}}}, "arms.sqrt.training.lr_scaling:"),
    ],
)
def test_a_rate_that_is_searched_is_not_scaled_too(
    planned: Planned, sections: dict[str, Any], place: str
) -> None:
    with pytest.raises(StudyError) as caught:
        planned({"fields": RATES}, **sections)
    (line,) = caught.value.problems
    assert place in line
    assert "one knob: the search tunes the rate of every batch size apart; remove it" in line


def test_a_scaled_rate_may_stay_where_another_field_is_searched(planned: Planned) -> None:
    training = {"epochs": 10, "base_lr": 0.1, "lr_scaling": "sqrt", "lr_reference_batch_size": 32}
    momentum = {"training.optimizer.momentum": [0.5, 0.9]}
    assert planned({"fields": momentum}, training=training).points
    none = {"epochs": 10, "lr_scaling": "none"}
    assert planned({"fields": RATES}, training=none).points


def test_a_search_without_validation_examples_names_how_many(planned: Planned) -> None:
    with pytest.raises(StudyError, match=r"data\.validation_examples: 500, or .* test_accuracy"):
        planned({"fields": RATES}, data={"source": "mnist-5k"})
    on_test = planned({"fields": RATES, "optimize": "test_accuracy"}, data={"source": "mnist-5k"})
    assert len(on_test.points) == 6


def test_seeds_of_the_study_are_none_of_the_search(planned: Planned) -> None:
    with pytest.raises(StudyError, match="seeds: seed 1000000 is the search's own"):
        planned({"fields": RATES}, seeds=[1, FIRST_SEED])


def test_a_field_that_an_arm_sets_or_its_optimizer_lacks_is_refused(planned: Planned) -> None:
    with pytest.raises(StudyError, match="base_lr: is set in arms too"):
        planned({"fields": RATES}, arms={"fast": {"training.base_lr": 1}})
    momentum = {"training.optimizer.momentum": [0.5, 0.9]}
    with pytest.raises(StudyError, match="in arm adam at batch size 32: optimizer adam has no mo"):
        planned({"fields": RATES | momentum}, arms={"adam": {"training.optimizer.name": "adam"}})


def test_a_value_that_cannot_run_is_refused_before_anything_runs(planned: Planned) -> None:
    ranges = {"training.warmup_epochs": {"low": 0, "high": 20}}
    search = {"fields": RATES | ranges, "method": "optuna", "points": 8}
    with pytest.raises(
        StudyError, match=r"warmup_epochs 20 in arm baseline .* longer than the run"
    ):
        planned(search)


def test_without_its_package_an_adaptive_search_says_what_to_install(
    planned: Planned, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(StudyError, match=r"pip install 'batchgap\[search\]'"):
        planned({"fields": RANGES, "method": "optuna", "points": 8})


def test_the_resolved_file_is_the_same_study(tmp_path: Path) -> None:
    path, again = tmp_path / "study.yaml", tmp_path / "again.yaml"
    search = {"fields": RANGES, "method": "random", "points": 5}
    path.write_text(json.dumps(written(search, target_test_accuracy=0.9)))
    spec = load_spec(path)
    again.write_text(resolved_yaml(spec))
    assert load_spec(again) == spec
    assert spec.sections["search"]["optimize"] == "validation_accuracy"
    assert spec.sections["search"]["finals"] == "crossed"


# ------------------------------------------------------------------------------------------ running

TINY = """\
name: tuned
data: {source: mnist-5k, train_examples: 200, validation_examples: 50}
network: {name: mlp, hidden: [8]}
training: {epochs: 1}
grid: {training.global_batch_size: [25, 50]}
seeds: 2
search:
  method: METHOD
  fields: {training.base_lr: RATES}
measures: [{name: evaluation, train_examples: 100}]
execution: {device: cpu}
"""


def batchgap(*arguments: str) -> Any:
    return CliRunner().invoke(app, [*arguments])


@pytest.mark.parametrize(
    ("method", "rates"),
    [("grid", "[0.01, 0.1]"), ("optuna, points: 9", "{low: 0.001, high: 1, log: true}")],
)
def test_a_run_searches_then_trains_the_winners(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str, rates: str
) -> None:
    monkeypatch.chdir(tmp_path)
    text = TINY.replace("METHOD", method.replace(", ", "\n  ")).replace("RATES", rates)
    (tmp_path / "s.yaml").write_text(text)
    points = 2 if method == "grid" else 9
    before = json.loads(batchgap("plan", "s.yaml", "--json").stdout)
    assert {cell["winner"] for cell in before["search"]} == {None}
    assert "finals done" in batchgap("plan", "s.yaml").stdout
    ran = batchgap("run", "s.yaml", "--runner", "serial")
    assert ran.exit_code == 0, ran.stderr
    rows = files.read_rows(*at(tmp_path / "studies/tuned/plan.parquet"))
    assert [row["stage"] for row in rows].count("search") == 2 * points
    assert [row["stage"] for row in rows].count("final") == 2 * 2
    done = read_ledger(PosixFolder(tmp_path / "studies/tuned")).finished
    assert done.keys() == {row["trial_id"] for row in rows}
    after = json.loads(batchgap("plan", "s.yaml", "--json").stdout)
    assert [cell["finals_done"] for cell in after["search"]] == [2, 2]
    winner = max(
        (row for row in rows if row["stage"] == "search" and row["global_batch_size"] == 25),
        key=lambda row: done[row["trial_id"]]["validation_accuracy"],
    )
    assert after["search"][0]["winner"] == {"training.base_lr": winner["base_lr"]}
    assert "nothing to run" in batchgap("run", "s.yaml", "--runner", "serial").stderr
    assert "search" in batchgap("status", "s.yaml").stdout
    assert "Tuned apart at every" in batchgap("report", "s.yaml").stdout
    assert "Tuning and steps to a target" in (tmp_path / "studies/tuned/report.html").read_text()


def test_a_search_that_was_stopped_goes_on_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever was done before the stop, the same points are tried and the same values win."""
    monkeypatch.chdir(tmp_path)
    rates = "{low: 0.001, high: 1, log: true}"
    text = TINY.replace("METHOD", "optuna\n  points: 9").replace("RATES", rates)
    (tmp_path / "s.yaml").write_text(text)
    (tmp_path / "other.yaml").write_text(text.replace("name: tuned", "name: other"))
    assert batchgap("run", "s.yaml", "--runner", "serial").exit_code == 0
    assert batchgap("run", "other.yaml", "--runner", "serial").exit_code == 0
    plan = "studies/other/plan.parquet"
    whole = files.read_table(*at(tmp_path / plan))
    rows = files.read_rows(*at(tmp_path / plan))
    for row in [r for r in rows if r["stage"] == "final"] + rows[2:7]:
        (tmp_path / f"studies/other/trials/{row['trial_id']}.parquet").unlink()
    gone = batchgap("report", "other.yaml")
    assert gone.exit_code == 0, gone.stderr  # the plan still has them, as not run
    assert batchgap("run", "other.yaml", "--runner", "serial").exit_code == 0
    assert files.read_table(*at(tmp_path / plan)).equals(whole)
    other = files.read_table(*at(tmp_path / "studies/tuned/plan.parquet"))
    assert whole.equals(other)


def test_a_report_before_any_winner_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    text = TINY.replace("METHOD", "grid").replace("RATES", "[0.01, 0.1]")
    (tmp_path / "s.yaml").write_text(text)
    assert batchgap("run", "s.yaml", "--runner", "serial").exit_code == 0
    folder = tmp_path / "studies/tuned"
    rows = files.read_rows(*at(folder / "plan.parquet"))
    kept = [row for row in rows if row["stage"] == "search"]
    files.write_rows(*at(folder / "plan.parquet"), kept)
    shown = batchgap("report", str(folder))
    assert shown.exit_code == 3
    assert "no cell's search has a winner yet (4 complete)" in shown.stderr


# ------------------------------------------------------------------------------------------- asha

STEP = {"training.decay": "step", "training.decay_epochs": [8], "training.decay_factor": 0.1}
NINE = {"training.base_lr": [0.001 * 2**i for i in range(9)]}


def test_each_trial_of_a_search_knows_those_of_its_cell_and_seed(planned: Planned) -> None:
    search = {"fields": NINE, "seeds": 2, "scheduler": "asha", "grace_epochs": 2}
    plan = planned(search)
    assert plan.halvings.keys() == plan.configs.keys()
    for trial_id, halving in plan.halvings.items():
        own = plan.configs[trial_id]
        others = [plan.configs[other] for other in halving.sibling_ids]
        assert len(others) == len(NINE["training.base_lr"]) - 1
        assert {(o.global_batch_size, o.seed) for o in others} == {
            (own.global_batch_size, own.seed)
        }
        assert (halving.grace_epochs, halving.objective) == (2, "validation_accuracy")
    assert not planned({"fields": RATES}).halvings


def test_rungs_beyond_the_end_and_settings_without_asha_are_refused(planned: Planned) -> None:
    with pytest.raises(StudyError, match=r"grace_epochs: 11: a run ends at 10.*; take less"):
        planned({"fields": NINE, "scheduler": "asha", "grace_epochs": 11})
    with pytest.raises(StudyError, match="reduction_factor: only with scheduler: asha"):
        planned({"fields": RATES, "reduction_factor": 4})


@pytest.mark.parametrize(
    ("sections", "grace", "says"),
    [
        ({"training": {"epochs": 10, "warmup_epochs": 3}}, 2, "warmup ends at epoch 3.*epochs: 3"),
        ({"training": {"epochs": 10, "warmup_epochs": 3}}, None, "1 .the default.*epochs: 3"),
        ({"training": {"epochs": 10, "decay": "cosine"}}, 4.9, "half of the budget.*epochs: 5"),
        (
            {"arms": {"slow": {"training.warmup_epochs": 2.5}}},
            2,
            "arm slow .*ends at epoch 2.5.*epochs: 3",
        ),
        ({"arms": {"step": STEP}}, 2, "arm step .*half of the budget.*epochs: 5"),
        ({"training": {"epochs": 1, "warmup_epochs": 0.6}}, 0.2, r"grace_epochs: 0\.6$"),
    ],
)
def test_no_rung_lies_before_warmup_has_ended_or_a_rate_has_decayed(
    planned: Planned, sections: dict[str, Any], grace: float | None, says: str
) -> None:
    search = {"fields": NINE, "scheduler": "asha"} | ({"grace_epochs": grace} if grace else {})
    with pytest.raises(StudyError, match=says) as caught:
        planned(search, **sections)
    works = float(caught.value.problems[0].rpartition("grace_epochs: ")[2])
    assert planned({**search, "grace_epochs": works}, **sections).halvings


def test_budgets_too_unlike_for_one_rung_are_refused(planned: Planned) -> None:
    arms = {"long": {"training.epochs": 40, "training.decay": "cosine"}}
    with pytest.raises(StudyError, match=r"no grace_epochs suits all cells.*use scheduler: none"):
        planned({"fields": NINE, "scheduler": "asha", "grace_epochs": 5}, arms=arms)


def test_ashas_factor_says_how_many_points_it_takes(planned: Planned) -> None:
    search = {"fields": RATE_RANGE, "method": "random", "scheduler": "asha", "points": 4}
    assert planned({**search, "reduction_factor": 2}).halvings
    with pytest.raises(StudyError, match="4 points are too few for reduction_factor 3"):
        planned({**search, "reduction_factor": 3})


def test_a_list_is_shared_value_by_value() -> None:
    search = SearchConfig(fields={"training.base_lr": (0.1, 0.2, 0.4)}, method="optuna", points=8)
    shared = [values["training.base_lr"] for values in search.candidates]
    assert sorted(shared) == [0.1, 0.2, 0.4]
