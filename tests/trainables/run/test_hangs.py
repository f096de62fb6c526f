"""What a stack says of an attempt that hung."""

from __future__ import annotations

from pathlib import Path

from trainables.run.hangs import hangs

OTHER = """\
Thread 0x00007fca8a7fc6c0 (most recent call first):
  File "/usr/lib/python3.11/threading.py", line 327 in wait
  File "/usr/lib/python3.11/threading.py", line 1002 in _bootstrap

"""
TRIAL = '  File "/batchgap/trainables/run/trial.py", line 90 in _attempt\n'
OWN = '  File "/home/me/my_net.py", line 12 in forward\n'
WAITS = '  File "/env/site-packages/torch/autograd/graph.py", line 1113 in _engine_run_backward\n'
INNER = '  File "/usr/lib/python3.11/re/__init__.py", line 166 in match\n'
THREAD = "Thread 0x00007fca8a7fc6c1 (most recent call first):\n"


def write(scratch: Path, name: str, stack: str) -> None:
    (scratch / "stacks").mkdir(exist_ok=True)
    (scratch / "stacks" / f"{name}.txt").write_text("Timeout (0:30:00)!\n" + stack)


def test_the_line_is_the_users_own(tmp_path: Path) -> None:
    write(tmp_path, "a-1-0", OTHER + THREAD + INNER + OWN + TRIAL)
    (hang,) = hangs(str(tmp_path), "a", "/home/me")
    assert hang.number == 1 and hang.error.endswith("from /home/me/my_net.py:12, forward")
    (hang,) = hangs(str(tmp_path), "a", None)
    assert hang.error.endswith("re/__init__.py:166, match")


def test_of_several_workers_it_is_that_of_the_one_that_did_not_wait(tmp_path: Path) -> None:
    write(tmp_path, "a-1-0", THREAD + WAITS + TRIAL)
    write(tmp_path, "a-1-1", THREAD + INNER + OWN + TRIAL)
    write(tmp_path, "b-1-0", THREAD + WAITS + TRIAL)
    (hang,) = hangs(str(tmp_path), "a", "/home/me")
    assert hang.error.endswith("from /home/me/my_net.py:12, forward")


def test_a_stack_that_is_deeper_than_what_is_written_has_its_line_too(tmp_path: Path) -> None:
    write(tmp_path, "a-2-0", OTHER + THREAD + INNER + 99 * OWN + "  ...\n")
    (hang,) = hangs(str(tmp_path), "a", "/home/me")
    assert hang.number == 2 and hang.error.endswith("from /home/me/my_net.py:12, forward")


def test_a_file_without_a_stack_is_an_attempt_that_runs(tmp_path: Path) -> None:
    (tmp_path / "stacks").mkdir()
    (tmp_path / "stacks" / "a-1-0.txt").write_text("")
    assert hangs(str(tmp_path), "a", None) == []
    write(tmp_path, "a-1-0", OTHER)
    (hang,) = hangs(str(tmp_path), "a", "/home/me")
    assert hang.error == "hung: no sign of life came in time"
