"""Who is let in while a study runs on a Ray of its own: nobody, and nothing from beside it."""

from __future__ import annotations

import ipaddress
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.processes import descendants

pytestmark = pytest.mark.faults

STUDY = """\
name: doors
data: {source: mnist-5k, train_examples: 500}
network: {name: mlp, hidden: [8]}
training: {global_batch_size: 20, base_lr: 0.05, epochs: 4000}
seeds: 1
execution: {device: cpu, num_workers: WORKERS}
"""
DECOYS = (  # what a run, Ray, its dashboard and its workers import, and some look for in vain
    *("torch", "numpy", "pandas", "pyarrow", "json", "typer", "yaml", "ray", "study", "trainables"),
    *("analysis", "sitecustomize", "usercustomize", "socks", "brotli", "setproctitle", "psutil"),
    *("aiohttp", "safetensors", "filelock", "tensorboardX", "multiprocessing", "random"),
)
DECOY = "import pathlib; pathlib.Path(__file__).with_suffix('.ran').touch()\n"
KNOCK = """\
import sys
from ray._raylet import GcsClient
try:
    print("in:", len(GcsClient(address=sys.argv[1]).get_all_node_info(timeout=10)))
except Exception as error:
    print("out:", error)
"""


@dataclass(frozen=True)
class Seen:
    """What could be seen of a run from outside."""

    listening: dict[str, list[str]]
    """Processes that listen, by the address."""
    command_lines: list[str]
    token: str
    session: Path
    home: Path
    here: Path
    stranger: str
    """What one got who has no token."""
    with_other_token: str
    with_token: str
    has_two_workers: bool


@pytest.fixture(scope="module", params=[1, 2])
def seen(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Seen]:
    """A run on Ray in the midst of its training, with one worker and with two."""
    here, home = tmp_path_factory.mktemp("doors"), tmp_path_factory.mktemp("home")
    for name in DECOYS:
        (here / f"{name}.py").write_text(DECOY)
    (here / "doors.yaml").write_text(STUDY.replace("WORKERS", str(request.param)))
    environment = os.environ | {"HOME": str(home), "OMP_NUM_THREADS": "1"}
    run = subprocess.Popen(
        [Path(sys.executable).with_name("batchgap"), "run", "doors.yaml", "--runner", "tune"],
        cwd=here,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        folder, deadline = here / "studies" / "doors", time.monotonic() + 120
        while not list(folder.glob("attempts/*.parquet")):
            assert run.poll() is None and time.monotonic() < deadline, run.communicate()
            time.sleep(0.1)
        time.sleep(2)  # for what two workers open as they meet
        tree = descendants(run.pid)
        (known,) = folder.glob(".ray/*/session.json")
        token = token_of(tree)
        session = Path(json.loads(known.read_text())["session"])
        yield Seen(
            listening=listening(tree),
            command_lines=[command_line(pid) for pid in tree],
            token=token,
            session=session,
            home=home,
            here=here,
            stranger=knock(session, home, None),
            with_other_token=knock(session, home, "0" * 64),
            with_token=knock(session, home, token),
            has_two_workers=request.param == 2,
        )
    finally:
        run.send_signal(signal.SIGINT)
        said = run.communicate(timeout=60)[1]
        assert run.returncode == 130, said


def listening(processes: list[int]) -> dict[str, list[str]]:
    """Which of these processes listen on TCP, by address, from the kernel's tables."""
    owners = {}
    for pid in processes:
        for file in Path(f"/proc/{pid}/fd").iterdir():
            owners[os.readlink(file).removeprefix("socket:[").removesuffix("]")] = pid
    found: dict[str, list[str]] = {}
    for table, family in (("tcp", socket.AF_INET), ("tcp6", socket.AF_INET6)):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            local, state, inode = (line.split()[i] for i in (1, 3, 9))
            if state == "0A" and inode in owners:
                words = bytes.fromhex(local.partition(":")[0])
                packed = b"".join(words[i : i + 4][::-1] for i in range(0, len(words), 4))
                found.setdefault(socket.inet_ntop(family, packed), []).append(
                    command_line(owners[inode])
                )
    return found


def command_line(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ").strip()


def token_of(processes: list[int]) -> str:
    """What all processes have in their environment, which only their user may read."""
    texts = [Path(f"/proc/{pid}/environ").read_text().split("\0") for pid in processes[1:]]
    (token,) = {v.partition("=")[2] for text in texts for v in text if v.startswith("RAY_AUTH_TOK")}
    return token


def knock(session: Path, home: Path, token: str | None) -> str:
    """What a program of the same user gets that tries to join with another token, or none."""
    (port,) = session.glob("gcs_server_port_*")
    known = {} if token is None else {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token}
    asked = subprocess.run(
        [sys.executable, "-c", KNOCK, f"127.0.0.1:{port.read_text()}"],
        env={"HOME": str(home), "PATH": os.environ["PATH"], **known},
        capture_output=True,
        text=True,
        timeout=120,
    )
    return asked.stdout.strip()


def test_all_that_listens_is_on_loopback(seen: Seen) -> None:
    """But for the store where two workers of one trial meet, which takes no address from us."""
    open_to_all = {
        address: processes
        for address, processes in seen.listening.items()
        if not is_loopback(address)
    }
    assert sum(map(len, seen.listening.values())) > 5
    if seen.has_two_workers:
        (processes,) = open_to_all.values()
        assert [line.split()[0] for line in processes] == ["ray::RayTrainWorker"]
    else:
        assert open_to_all == {}


def is_loopback(address: str) -> bool:
    found = ipaddress.ip_address(address)
    mapped = getattr(found, "ipv4_mapped", None)
    return bool((mapped or found).is_loopback)


def test_who_has_not_the_token_stays_out(seen: Seen) -> None:
    assert seen.with_token == "in: 1"
    assert seen.stranger.startswith("out: ") and "token" in seen.stranger
    assert seen.with_other_token.startswith("out: ") and "token" in seen.with_other_token


def test_the_token_lies_in_no_file_and_on_no_command_line(seen: Seen) -> None:
    assert len(seen.token) == 64
    assert not [line for line in seen.command_lines if seen.token in line]
    below = [seen.session, seen.home, seen.here]
    files = [path for folder in below for path in folder.rglob("*") if path.is_file()]
    assert len(files) > 20
    assert not [path for path in files if seen.token.encode() in path.read_bytes()]
    assert not (seen.home / ".ray" / "auth_token").exists()


def test_no_other_user_enters_where_ray_keeps_its_files(seen: Seen) -> None:
    own = seen.session.parent.parent
    assert stat.S_IMODE(own.stat().st_mode) == 0o700
    assert own.stat().st_uid == os.getuid()


def test_nothing_is_imported_from_the_working_directory(seen: Seen) -> None:
    """Which is the study file's folder, and the study names no code."""
    assert [path.name for path in seen.here.glob("*.ran")] == []
