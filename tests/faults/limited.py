"""Runs verbs of batchgap one after the other, each in a process of its own with limits.

A program: it imports the command line once, then reads a JSON list of words per line, forks, and
answers with a JSON line. So a thousand verbs take a thousand forks and not a thousand imports.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

PRELOADED = ("study.cli", "study.show.plan", "study.show.failures", "analysis.page.report")
DATA_BYTES = 2 << 30
SECONDS = 20


@dataclass(frozen=True, kw_only=True)
class Done:
    """How a verb ended."""

    words: list[str]
    code: int
    """Exit code; of a process that was ended by a signal the negative number of that."""
    said: str
    """What it printed, the end of it."""
    seconds: float
    resident_bytes: int

    @property
    def is_clean(self) -> bool:
        """Whether it was an answer: one of our exit codes, and no traceback."""
        return self.code in (0, 1, 2, 3, 4) and "Traceback" not in self.said


class Limited:
    """The other end of the program."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def run(self, *words: str | Path) -> Done:
        """Runs one verb."""
        asked, answers = self._process.stdin, self._process.stdout
        assert asked is not None and answers is not None
        asked.write(json.dumps([str(word) for word in words]) + "\n")
        asked.flush()
        return Done(**json.loads(answers.readline()))


@contextmanager
def limited(folder: Path) -> Iterator[Limited]:
    """The program, in a folder where relative paths begin."""
    process = subprocess.Popen(
        [sys.executable, __file__],
        cwd=folder,
        env=os.environ | {"OMP_NUM_THREADS": "1", "COLUMNS": "100"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        yield Limited(process)
        assert process.stdin is not None
        process.stdin.close()


def _serve() -> None:
    for name in PRELOADED:
        importlib.import_module(name)
    for line in sys.stdin:
        words = json.loads(line)
        with tempfile.TemporaryFile("w+", errors="replace") as said:
            answer = _forked(words, said)
            said.seek(max(0, said.seek(0, os.SEEK_END) - 4000))
            text = said.buffer.read().decode(errors="replace")
        print(json.dumps({"words": words, "said": text, **answer}), flush=True)


def _forked(words: list[str], said: IO[str]) -> dict[str, float]:
    began = time.monotonic()
    if (child := os.fork()) == 0:
        os.dup2(said.fileno(), 1)
        os.dup2(said.fileno(), 2)
        resource.setrlimit(resource.RLIMIT_DATA, (DATA_BYTES, DATA_BYTES))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(SECONDS)
        sys.argv = ["batchgap", *words]
        from study.cli import main

        try:
            main()
        except SystemExit as ended:
            os._exit(ended.code if isinstance(ended.code, int) else 1)
        except BaseException:
            import traceback

            traceback.print_exc()
            sys.stderr.flush()
            os._exit(70)
        os._exit(0)
    _, status, used = os.wait4(child, 0)
    return {
        "code": os.waitstatus_to_exitcode(status),
        "seconds": time.monotonic() - began,
        "resident_bytes": used.ru_maxrss * 1024,
    }


if __name__ == "__main__":
    _serve()
