"""A run's scratch folder: empty, gone at the end, and careful with what is not its own."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from study.run.scratch import SESSION, end_processes_of, record_session, scratch_folder

WRITER = "import sys, time; file = open(sys.argv[1], 'a'); print(flush=True); time.sleep(600)"
READER = WRITER.replace("'a'", "'r'")


def opened(program: str, path: Path) -> subprocess.Popen[bytes]:
    process = subprocess.Popen([sys.executable, "-c", program, path], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    return process


def test_what_killed_runs_left_is_gone_and_so_is_ours_at_the_end(tmp_path: Path) -> None:
    (tmp_path / ".ray" / "tune-1" / "deep").mkdir(parents=True)
    (tmp_path / ".ray" / "tune-1.stop").touch()
    with scratch_folder(tmp_path) as scratch:
        assert list((tmp_path / ".ray").iterdir()) == [scratch]
        assert list(scratch.iterdir()) == []
    assert list((tmp_path / ".ray").iterdir()) == []


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere" / "folder").mkdir(parents=True)
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / ".ray").symlink_to(tmp_path / "elsewhere")
    with scratch_folder(tmp_path / "results") as scratch:
        assert not scratch.is_relative_to(tmp_path / "elsewhere")
    assert (tmp_path / "elsewhere" / "folder").is_dir()


@pytest.mark.parametrize("session", ["ray/session_2026-01-01_1_2", "elsewhere", "ray/other"])
def test_only_who_writes_to_a_session_of_rays_is_ended(tmp_path: Path, session: str) -> None:
    folder = tmp_path / session
    (folder / "logs").mkdir(parents=True)
    log = folder / "logs" / "raylet.out"
    log.touch()
    with opened(WRITER, log) as writer, opened(READER, log) as reader:
        end_processes_of(str(folder))
        is_rays = session.startswith("ray/session")
        if is_rays:
            assert writer.wait(timeout=30) == -9
        time.sleep(0.5)  # until who was told to end has ended
        assert reader.poll() is None
        assert is_rays or writer.poll() is None
        reader.kill()
        writer.kill()


def test_a_session_of_another_host_is_left_alone(tmp_path: Path) -> None:
    folder = tmp_path / "ray" / "session_2026-01-01_1_2"
    folder.mkdir(parents=True)
    (folder / "log").touch()
    run = tmp_path / "results" / ".ray" / "run-1"
    run.mkdir(parents=True)
    record_session(run, str(folder))
    known = json.loads((run / SESSION).read_text())
    assert known["host"] == socket.gethostname()
    (run / SESSION).write_text(json.dumps(known | {"host": "another"}))
    with opened(WRITER, folder / "log") as writer:
        with scratch_folder(tmp_path / "results"):
            assert writer.poll() is None
        writer.kill()
