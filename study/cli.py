"""The command line: parse, call, print. Nothing heavy is imported before a verb needs it."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from study.run import ray_environment
from study.run.stopping import exit_code, stopping
from study.show.errors import ENVIRONMENT, RESULTS, SOME_FAILED, Verbs
from study.show.options import (
    RESULTS_ROOT,
    Address,
    Data,
    Format,
    Json,
    Results,
    RunnerName,
    Scale,
    Set,
    StudyOrResults,
    local_path,
)
from study.show.terminal import console, echo

app = typer.Typer(
    cls=Verbs,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)

WRITE, RUN, READ, CARE = "Write a study", "Run it", "Read its results", "Look after it"
READERS = ("status", "report", "export", "verify")
"""Verbs that read what others wrote, and load no torch, which takes address space as it likes."""


def _print_version(is_wanted: bool) -> None:
    if is_wanted:
        from importlib.metadata import version

        echo(f"batchgap {version('batchgap')}")
        raise typer.Exit


@app.callback()
def batchgap(
    ctx: typer.Context,
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
) -> None:
    """What does a larger batch do to a network, why, and what closes the gap?

    One YAML file names data, network, batch sizes and remedies; batchgap runs
    the trials, measures accuracy, sharpness and curvature, and writes Parquet
    and a report.

    [bold]Try it:[/bold]  batchgap run quickstart   then   batchgap report quickstart

    [bold]Your own:[/bold]  batchgap init my.yaml   then   plan, run, status, report my.yaml

    Exit codes: 0 done, 1 some trials failed, 2 the study file, 3 the
    environment, 4 damaged or newer results, 130 interrupted (143, 129).
    """
    from trainables.installation import foreign_packages
    from trainables.limits import hold_memory

    if ctx.invoked_subcommand in READERS:
        hold_memory()

    for line in foreign_packages():
        echo(f"error: {line}", err=True)
        if ctx.invoked_subcommand != "doctor":
            raise typer.Exit(ENVIRONMENT)


# ---------------------------------------------------------------------------------------- write


@app.command(rich_help_panel=WRITE)
def init(
    file: Annotated[Path, typer.Argument(parser=local_path, help="Where to write it.")] = Path(
        "study.yaml"
    ),
    network: Annotated[
        str | None, typer.Option(metavar="MODULE:FUNCTION", help="Your own network.")
    ] = None,
    data: Annotated[
        str | None, typer.Option(metavar="MODULE:FUNCTION", help="Your own data.")
    ] = None,
) -> None:
    """Write a commented study file that runs as it is."""
    from study.show.template import write_study

    write_study(file, network, data)
    echo(f"{file}\nnext: batchgap plan {file}", err=True)


@app.command(rich_help_panel=WRITE)
def presets(
    show: Annotated[
        str | None, typer.Option(metavar="NAME", help="Print one preset's file.")
    ] = None,
) -> None:
    """List the studies that come with batchgap."""
    from study.run.opening import preset_files, study_file
    from study.show import status as showing

    if show is not None:
        echo(study_file(show).read_text(encoding="utf-8"), nl=False)
    else:
        showing.print_presets(preset_files(), console())


@app.command(rich_help_panel=WRITE)
def schema(
    of_report: Annotated[
        bool, typer.Option("--report", help="Of what `report --json` prints, instead.")
    ] = False,
) -> None:
    """Print the JSON Schema of study files, for completion and checks in an editor."""
    if of_report:
        from analysis import conclusions

        _print_json(conclusions.json_schema())
        return
    from study.show.json_schema import json_schema

    _print_json(json_schema())


# ------------------------------------------------------------------------------------------ run


@app.command(rich_help_panel=RUN)
def plan(
    study: StudyOrResults,
    override: Set = [],  # noqa: B006 - typer copies it
    scale: Scale = None,
    data: Data = None,
    results: Results = RESULTS_ROOT,
    calibrate: Annotated[
        bool,
        typer.Option("--calibrate", help="First time the networks here, a second or two each."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Show what would run, what is done already, and what it will take."""
    from study.run.opening import open_study
    from study.show import plan as outlook

    def say(line: str) -> None:
        echo(line, err=True)

    opened = open_study(study, override, results, scale=scale, data_folder=data)
    if calibrate:
        from study.run import calibration

        with stopping() as should_stop:
            which = calibration.by_key(opened)
            calibration.calibrate(which, should_stop, say)
    look = outlook.outlook(opened, say)
    if as_json:
        _print_json(outlook.plan_json(look))
    else:
        outlook.print_plan(look, console())


@app.command(rich_help_panel=RUN)
def run(
    study: StudyOrResults,
    runner: Annotated[
        RunnerName,
        typer.Option(help="auto: Ray Tune, unless this process is done before Ray has started."),
    ] = RunnerName.AUTO,
    override: Set = [],  # noqa: B006
    scale: Scale = None,
    address: Address = None,
    data: Data = None,
    results: Results = RESULTS_ROOT,
    time: Annotated[
        bool, typer.Option("--time", help="First time each arm and batch size, one at a time.")
    ] = False,
    retrain: Annotated[
        bool, typer.Option("--retrain", help="Train again what is damaged or lacks a record.")
    ] = False,
    only: Annotated[
        list[str],
        typer.Option(
            metavar="ARM|BATCH|ID", help="Run these trials and no others; may be repeated."
        ),
    ] = [],  # noqa: B006
    replaces: Annotated[
        bool,
        typer.Option(
            "--replace", help="Take the place of another study in the folder, though --set did it."
        ),
    ] = False,
) -> None:
    """Run what is not done yet; the rest is skipped or resumed.

    Ctrl-C stops within 10 seconds and keeps what is done. Running again goes on.
    """
    from study.run.opening import open_study
    from study.run.run_study import run_study

    _enter(address, runner)
    opened = open_study(study, override, results, scale=scale, data_folder=data)
    options = {"timing": time, "retrain": retrain, "only": only, "replaces": replaces}
    named = _named(study, override, scale, data, results)
    chosen = [f"--only {shlex.quote(name)}" for name in only]
    again = " ".join([named, *chosen, *_joined(address)])
    _run(run_study, ("run", named, again), opened, runner, **options)


@app.command(rich_help_panel=RUN)
def measure(
    study: StudyOrResults,
    runner: Annotated[RunnerName, typer.Option(help="As for run.")] = RunnerName.AUTO,
    add: Annotated[
        list[str],
        typer.Option(
            metavar="MEASURE", help="One more, e.g. hessian, or in YAML; may be repeated."
        ),
    ] = [],  # noqa: B006
    retry: Annotated[
        bool, typer.Option("--retry", help="Also those that are on record with an error.")
    ] = False,
    override: Set = [],  # noqa: B006
    scale: Scale = None,
    address: Address = None,
    data: Data = None,
    results: Results = RESULTS_ROOT,
) -> None:
    """Take the measures that complete trials lack, from their kept weights, without training.

    Those of --add are part of the study in the results folder until its file is run again.
    """
    from study.run.opening import open_study
    from study.run.run_study import measure_study

    _enter(address, runner)
    opened = open_study(study, override, results, scale=scale, data_folder=data, added=add)
    named = str(opened.folder) if add else _named(study, override, scale, data, results)
    again = " ".join([named, *_joined(address)])
    _run(measure_study, ("measure", named, again), opened, runner, retry=retry)


@app.command(rich_help_panel=RUN)
def status(
    study: StudyOrResults,
    override: Set = [],  # noqa: B006
    scale: Scale = None,
    data: Data = None,
    results: Results = RESULTS_ROOT,
    failed: Annotated[
        bool, typer.Option("--failed", help="Show each failed trial's error and traceback instead.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Show how far a study is: done, running, failed, and test accuracy so far."""
    from study.run.opening import open_results
    from study.show import status as show

    opened = open_results(study, override, results, scale=scale, data_folder=data)
    if failed:
        from study.show.failures import failures_json, print_failures

        failures = failures_json(opened)
        _print_json(failures) if as_json else print_failures(failures, console())
        return
    found = show.status_json(opened)
    if as_json:
        _print_json(found)
    else:
        show.print_status(found, console())


def _named(
    study: str, overrides: list[str], scale: str | None, data: Path | None, results: Path
) -> str:
    """How a person names this study to another verb."""
    words = [study, *(word for override in overrides for word in ("--set", override))]
    words += [] if scale is None else ["--scale", scale]
    words += [] if data is None else ["--data", str(data)]
    words += [] if results == RESULTS_ROOT else ["--results", str(results)]
    return shlex.join(words)


def _enter(address: str | None, runner: RunnerName) -> None:
    """Sets what Ray reads, before a person's own code imports it."""
    if address is not None and runner is RunnerName.SERIAL:
        raise typer.BadParameter("--address is of a cluster, which --runner serial does not use")
    ray_environment.enter(address)


def _joined(address: str | None) -> list[str]:
    """How the same cluster is joined again."""
    return [] if address is None else [f"--address {shlex.quote(address)}"]


def _run(
    do: Any, typed: tuple[str, str, str], opened: Any, runner: RunnerName, **options: Any
) -> None:
    verb, study, again = typed
    with stopping() as should_stop:
        ran = do(
            opened,
            runner=runner.value,
            should_stop=should_stop,
            say=lambda line: echo(line, err=True),
            **options,
        )
        stopped = should_stop()
    for line in ran.lines(study, verb=verb, again=again, stopped=stopped):
        echo(line, err=True)
    if stopped:
        raise typer.Exit(exit_code())
    if ran.failed:
        raise typer.Exit(SOME_FAILED)


# ----------------------------------------------------------------------------------------- read


@app.command(rich_help_panel=READ)
def report(
    study: StudyOrResults,
    output: Annotated[
        Path | None,
        typer.Option(
            parser=local_path, metavar="FILE", help="Default: report.html beside the results."
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print all conclusions as JSON, and write no page.")
    ] = False,
    override: Set = [],  # noqa: B006
    scale: Scale = None,
    data: Data = None,
    results: Results = RESULTS_ROOT,
) -> None:
    """Write one self-contained HTML page, and print its verdict."""
    from analysis.load import load_study
    from study.run.opening import open_results

    if as_json and output is not None:
        raise typer.BadParameter("no page is written with --json; leave one of the two out")
    found = open_results(study, override, results, scale=scale, data_folder=data)
    loaded = load_study(found.folder, found.asked)
    if as_json:
        from analysis.conclude import conclusions
        from analysis.conclusions import to_json

        echo(to_json(conclusions(loaded)))
        return
    from analysis.page.report import summary_text, write_report

    path = write_report(loaded, output)
    echo(summary_text(loaded))
    echo(f"report: {path}")


@app.command(rich_help_panel=READ)
def export(
    study: StudyOrResults,
    form: Annotated[Format, typer.Option("--format", help="What to write.")],
    output: Annotated[
        Path | None,
        typer.Option(
            parser=local_path, metavar="PATH", help="Default: beside the results; LaTeX to stdout."
        ),
    ] = None,
    override: Set = [],  # noqa: B006
    scale: Scale = None,
    data: Data = None,
    results: Results = RESULTS_ROOT,
) -> None:
    """Write the results as one file per table (parquet, csv), or the gap table (latex).

    points holds one row per point with everything final: to start from.
    """
    from study.run.opening import open_results

    found = open_results(study, override, results, scale=scale, data_folder=data)
    if form is Format.LATEX:
        from analysis.load import load_study
        from analysis.page import tables
        from analysis.page.output import to_latex

        text = to_latex(tables.gap_table(load_study(found.folder, found.asked)))
        if output is None:
            echo(text)
        else:
            output.write_text(text, encoding="utf-8")
        return
    from trainables.results import export as exporting
    from trainables.results.verify import verify

    harmful = [finding for finding in verify(found.storage) if finding.problem != "orphan"]
    for finding in harmful:
        echo(f"left out: {finding.path}: {finding.detail}", err=True)
    target = output or exporting.export_folder(found.folder)
    flat: Literal["csv", "parquet"] = "csv" if form is Format.CSV else "parquet"
    skip = {finding.path for finding in harmful}
    written = exporting.export(found.storage, target, flat, skip, found.head)
    from analysis.gaps.points import write_points
    from analysis.load import load_study

    written.append(write_points(load_study(found.folder, found.asked), target, flat))
    echo("\n".join(map(str, written)))
    if harmful:
        raise typer.Exit(RESULTS)


# ------------------------------------------------------------------------------------ look after


@app.command(rich_help_panel=CARE)
def verify(
    study: StudyOrResults,
    override: Set = [],  # noqa: B006
    scale: Scale = None,
    results: Results = RESULTS_ROOT,
    as_json: Json = False,
) -> None:
    """Name every results file that is damaged, missing, or belongs to nothing."""
    from study.run.opening import results_folder
    from study.show import status as show
    from trainables.results.storage import storage_at
    from trainables.results.verify import to_train_again
    from trainables.results.verify import verify as findings_of

    findings = findings_of(storage_at(results_folder(study, override, results, scale=scale)))
    if as_json:
        _print_json([vars(finding) for finding in findings])
    else:
        show.print_findings(findings, console())
        if trials := to_train_again(findings):
            again = _named(study, override, scale, None, results)
            echo(f"batchgap run {again} --retrain trains {len(trials)} of its trials again")
    if any(finding.problem != "orphan" for finding in findings):
        raise typer.Exit(RESULTS)


@app.command(rich_help_panel=CARE)
def doctor(
    study: Annotated[
        str | None,
        typer.Argument(
            metavar="[STUDY]", help="A study file or preset, whose data is to be there."
        ),
    ] = None,
    address: Address = None,
    override: Set = [],  # noqa: B006
    scale: Scale = None,
    data: Data = None,
    results: Results = RESULTS_ROOT,
    as_json: Json = False,
) -> None:
    """Check whether this machine, and every node of a cluster, is fit to run studies."""
    from study.run.opening import open_study
    from study.show import status as show
    from study.show.cluster_checks import examine_cluster
    from study.show.doctor import data_checks, examine

    if study is None and (override or scale is not None or data is not None):
        raise typer.BadParameter("--set, --scale and --data are of a study; name one")
    ray_environment.enter(address)
    opened = (study and open_study(study, override, results, scale=scale, data_folder=data)) or None
    checks = [*examine(results), *data_checks(opened), *examine_cluster(results, opened)]
    if as_json:
        _print_json([vars(check) for check in checks])
    else:
        show.print_checks(checks, console())
    if any(check.state == "problem" for check in checks):
        raise typer.Exit(ENVIRONMENT)


def _print_json(content: Any) -> None:
    echo(json.dumps(content, indent=2, default=str))


def main() -> None:
    """The `batchgap` command."""
    app()
