"""What is kept of a failure: the line, the traceback with the user's frames first, the log."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from trainables.run import failures

CODE = """\
def outer(depth):
    if depth: return outer(depth - 1)
    import json
    json.loads('{')
"""


def raised(folder: Path, depth: int = 0) -> Exception:
    scope: dict[str, object] = {}
    path = folder / "bg_raises.py"
    path.write_text(CODE)
    exec(compile(CODE, str(path), "exec"), scope)
    with pytest.raises(ValueError) as caught:
        scope["outer"](depth)  # type: ignore[operator]
    return caught.value


def test_the_users_own_frames_come_first_and_the_whole_follows(tmp_path: Path) -> None:
    text = failures.traceback_text(raised(tmp_path), str(tmp_path))
    first, _, rest = text.partition("\n\n")
    assert first.startswith("In your code:") and "bg_raises.py" in first
    assert "json/decoder.py" not in first and "json/decoder.py" in rest
    assert rest.rstrip().splitlines()[-1].startswith("json.decoder.JSONDecodeError")
    assert "In your code" not in failures.traceback_text(raised(tmp_path), "/elsewhere")
    assert "In your code" not in failures.traceback_text(raised(tmp_path), None)


def test_of_a_long_one_the_end_is_kept(tmp_path: Path) -> None:
    text = failures.traceback_text(raised(tmp_path, depth=400), str(tmp_path))
    assert len(text) <= failures.LIMIT
    assert text.rstrip().splitlines()[-1].startswith("json.decoder.JSONDecodeError")


def test_a_log_is_a_file_that_stderr_goes_to(tmp_path: Path) -> None:
    code = "from trainables.run.failures import log_file; print(log_file())"
    with (tmp_path / "worker.err").open("w") as log:
        to_file = subprocess.check_output([sys.executable, "-c", code], stderr=log, text=True)
    assert to_file.strip() == str(tmp_path / "worker.err")
    piped = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert piped.stdout.strip() == "None"


def test_a_reduction_that_lost_its_peer_is_an_echo(tmp_path: Path) -> None:
    assert failures.is_echo(RuntimeError("[/pytorch/gloo/transport/tcp/pair.cc:561] closed"))
    assert not failures.is_echo(raised(tmp_path))
