"""Runs verbs of batchgap, each in a process of its own with limits.

A program: it imports the command line once, then reads a JSON list of words per line, forks, and
answers with a JSON line. So a thousand verbs take a thousand forks and not a thousand imports. Two
such programs run verbs side by side.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import IO, TypeVar

PRELOADED = ("study.cli", "study.show.plan")
"""What is imported for most verbs here."""
AT_ONCE = 2
DATA_BYTES = 2 << 30
SECONDS = 20
Item = TypeVar("Item")


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
    """The other end of the programs."""

    def __init__(self, programs: list[subprocess.Popen[str]]) -> None:
        self._at_once = len(programs)
        self._idle: SimpleQueue[subprocess.Popen[str]] = SimpleQueue()
        for program in programs:
            self._idle.put(program)

    def run(self, *words: str | Path) -> Done:
        """Runs one verb, as soon as a program is idle."""
        program = self._idle.get()
        try:
            asked, answers = program.stdin, program.stdout
            assert asked is not None and answers is not None
            asked.write(json.dumps([str(word) for word in words]) + "\n")
            asked.flush()
            return Done(**json.loads(answers.readline()))
        finally:
            self._idle.put(program)

    def each(self, check: Callable[[Item], None], items: Iterable[Item]) -> None:
        """Calls what runs verbs with each item, some at a time.

        The items are made here, in order, whoever is faster: so what is drawn is the same again.
        """
        with ThreadPoolExecutor(self._at_once) as pool:
            for _ in pool.map(check, items):
                pass  # raises what a check raised, and starts no more


@contextmanager
def limited(folder: Path, *modules: str, at_once: int = AT_ONCE) -> Iterator[Limited]:
    """The programs, in a folder where relative paths begin, with modules that its verbs import."""
    with ExitStack() as stack:
        yield Limited([stack.enter_context(_program(folder, modules)) for _ in range(at_once)])


def _program(folder: Path, modules: tuple[str, ...]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, __file__, *PRELOADED, *modules],
        cwd=folder,
        env=os.environ | {"OMP_NUM_THREADS": "1", "COLUMNS": "100"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def _serve(modules: list[str]) -> None:
    for name in modules:
        importlib.import_module(name)
    gc.freeze()  # or each fork copies what is imported here when it collects
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
    _serve(sys.argv[1:])
