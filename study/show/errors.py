"""What an error is to a person: a line, and an exit code. Imports nothing heavy."""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperGroup

from study.run import stopping
from study.show.terminal import echo
from trainables.redaction import redacted

SOME_FAILED, STUDY_FILE, ENVIRONMENT, RESULTS = 1, 2, 3, 4


def exit_code(error: Exception) -> int | None:
    """What the user's mistakes and the environment's faults exit with; None for a bug."""
    from study.file.document import StudyError
    from study.run.ray_environment import ClusterError
    from trainables.results.files import DamagedFileError, NewerSchemaError
    from trainables.results.storage import FolderError

    kinds: list[tuple[Any, int]] = [
        (StudyError, STUDY_FILE),
        ((DamagedFileError, NewerSchemaError), RESULTS),
        ((FolderError, OSError, ImportError, MemoryError, ClusterError), ENVIRONMENT),
    ]
    return next((code for kind, code in kinds if isinstance(error, kind)), None)


class Verbs(TyperGroup):
    """The one place where an error becomes a line and an exit code; a bug keeps its traceback."""

    def invoke(self, ctx: Any) -> Any:
        """Runs the verb that was asked for."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            echo("interrupted; what is done is kept, run again to go on", err=True)
            raise typer.Exit(stopping.exit_code()) from None
        except (typer.Exit, typer.Abort, BrokenPipeError):
            raise
        except Exception as error:
            code = exit_code(error)
            if code is None:
                raise
            said = str(error) or "there is not enough memory here"
            echo(f"error: {redacted(said)}", err=True)
            raise typer.Exit(code) from None
