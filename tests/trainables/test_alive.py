"""The watch over code that never returns."""

from __future__ import annotations

import faulthandler
import subprocess
import sys
import time
from collections.abc import Generator
from pathlib import Path

import pytest

from trainables import alive

HANGS = """\
import re, sys
from trainables import alive

def steps():
    yield 1
    re.match(r"(a+)+$", "a" * 60 + "b")  # holds the interpreter's lock
    yield 2

file = open(sys.argv[1], "w")
for step in alive.watched(steps(), 0.5, file, ends=sys.argv[2] == "ends"):
    print(step, flush=True)
"""


def test_code_that_never_returns_is_ended_with_its_stack(tmp_path: Path) -> None:
    (tmp_path / "hangs.py").write_text(HANGS)
    stack = tmp_path / "stack.txt"
    done = subprocess.run(
        [sys.executable, tmp_path / "hangs.py", stack, "ends"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1 and done.stdout == "1\n"
    assert 'hangs.py", line 6 in steps' in stack.read_text()


def test_where_the_process_is_ours_it_is_waited_for_and_said_again(tmp_path: Path) -> None:
    (tmp_path / "hangs.py").write_text(HANGS)
    stack = tmp_path / "stack.txt"
    with subprocess.Popen([sys.executable, tmp_path / "hangs.py", stack, "waits"]) as process:
        deadline = time.monotonic() + 60
        while not stack.exists() or stack.read_text().count("in steps") < 2:
            assert time.monotonic() < deadline and process.poll() is None
            time.sleep(0.05)
        process.kill()


def test_signs_begin_the_count_anew_and_what_lies_between_steps_is_not_watched(
    tmp_path: Path,
) -> None:
    def steps() -> Generator[int, None, str]:
        for _ in range(6):  # together longer than the limit
            time.sleep(0.1)
            alive.sign()
        yield 1
        return "done"

    def all_of_it() -> Generator[int, None, None]:
        returned.append((yield from alive.watched(steps(), 0.4, file, ends=False)))

    returned: list[str] = []
    path = tmp_path / "stack.txt"
    with path.open("w") as file:
        for _ in all_of_it():
            time.sleep(0.6)
    assert returned == ["done"] and path.read_text() == ""


def test_a_sign_outside_a_watch_is_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faulthandler, "dump_traceback_later", pytest.fail)
    alive.sign()


LOADS = """\
import sys
from trainables.config.data import DataConfig
from trainables.datasets import user

user.LIMIT_SECONDS = 0.5
user.load(DataConfig(source="load", load="bg_stuck:load"), sys.argv[1])
"""
STUCK = """\
import re
def load():
    re.match(r"(a+)+$", "a" * 60 + "b")
"""


def test_a_loader_that_never_returns_ends_the_process_that_plans(tmp_path: Path) -> None:
    (tmp_path / "loads.py").write_text(LOADS)
    (tmp_path / "bg_stuck.py").write_text(STUCK)
    done = subprocess.run(
        [sys.executable, tmp_path / "loads.py", tmp_path],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("calling data.load bg_stuck:load")
    assert 'bg_stuck.py", line 3 in load' in done.stderr


def test_a_call_that_returns_in_time_is_nothing(tmp_path: Path) -> None:
    code = "from trainables import alive; import time\n"
    code += "with alive.limited(0.3): pass\n"
    code += "time.sleep(0.6); print('still here')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "still here\n" and done.stderr == ""
