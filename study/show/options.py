"""What several verbs take: the study, its results, what is changed of it. Imports nothing heavy."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Annotated

import typer


class RunnerName(enum.StrEnum):
    """Who runs the trials."""

    AUTO = "auto"
    SERIAL = "serial"
    TUNE = "tune"


class Format(enum.StrEnum):
    """What to export to."""

    CSV = "csv"
    LATEX = "latex"
    PARQUET = "parquet"


def local_path(text: str) -> Path:
    """A path that was typed; an address such as s3://bucket is refused."""
    from trainables.results.storage import local

    return local(text)


StudyOrResults = Annotated[
    str,
    typer.Argument(
        metavar="STUDY",
        help="A study file (YAML), the name of a preset such as quickstart, or a results folder.",
    ),
]
Results = Annotated[
    Path,
    typer.Option(
        "--results", parser=local_path, metavar="DIR", help="Folder that holds results folders."
    ),
]
Set = Annotated[
    list[str],
    typer.Option(
        "--set", metavar="A.B=C", help="Override a value of the study file; may be repeated."
    ),
]
Scale = Annotated[
    str | None,
    typer.Option("--scale", metavar="NAME", help="One of the file's scales, e.g. cpu or smoke."),
]
Data = Annotated[
    Path | None,
    typer.Option(
        "--data",
        parser=local_path,
        metavar="DIR",
        help="Where relative paths of data begin. Default: the file's folder; of a preset, data.",
    ),
]
Address = Annotated[
    str | None,
    typer.Option(
        metavar="auto|HOST:PORT",
        help="The Ray cluster to join, from one of its nodes. Default: RAY_ADDRESS, or a Ray of "
        "one's own.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
RESULTS_ROOT = Path("studies")
