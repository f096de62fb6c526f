"""A Ray cluster of several nodes on this machine: one process, which a test tells what to change.

    with Cluster.started(tmp_path) as cluster:
        node = cluster.add(num_cpus=1)
        cluster.remove(node)

Nodes are raylets of one host. They share its disks, as nodes of a real cluster share the results
folder. `python -m tests.faults.cluster` is the process; it answers a line of JSON to each line.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
OWN = (
    "RAY_ADDRESS",
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER",
    "GLOO_SOCKET_IFNAME",
    "NCCL_SOCKET_IFNAME",
)
"""What a test process has set for a private Ray, and a cluster must not."""


def environment(folder: Path) -> dict[str, str]:
    """Of a cluster with a token of its own, which keeps its files in a folder."""
    kept = {name: value for name, value in os.environ.items() if name not in OWN}
    return kept | {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_JOB_STOP_WAIT_TIME_S": "20",
        "RAY_TMPDIR": str(folder),
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(ROOT),
    }


def free_port() -> int:
    """One that nothing listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@dataclass(frozen=True)
class Cluster:
    """One that runs, with a head that has no cores."""

    process: subprocess.Popen[str]
    address: str
    dashboard: str
    environment: dict[str, str]

    @classmethod
    @contextmanager
    def started(cls, folder: Path, *, dashboard: bool = False) -> Iterator[Cluster]:
        """Up while the block lasts, with a token of its own."""
        own = environment(folder)
        with subprocess.Popen(
            [sys.executable, "-m", "tests.faults.cluster", str(int(dashboard))],
            env=own,
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        ) as process:
            try:
                assert process.stdout is not None and process.stdin is not None
                up = json.loads(process.stdout.readline())
                yield cls(process, up["address"], up["dashboard"], own)
                process.stdin.close()
                process.wait(60)
            finally:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)

    def add(self, num_cpus: int = 1) -> str:
        """A node more; its id."""
        return self._told({"add": num_cpus})

    def remove(self, node: str, *, says_so: bool = False) -> None:
        """Takes a node away as a spot instance goes, without a word, unless it says so."""
        self._told({"remove": node, "says_so": says_so})

    def batchgap(self, *words: object, **options: Any) -> subprocess.Popen[str]:
        """The command, with the cluster's token."""
        command = Path(sys.executable).with_name("batchgap")
        piped = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        settings = piped | {"env": self.environment} | options
        return subprocess.Popen([command, *map(str, words)], **settings)

    def _told(self, what: dict[str, Any]) -> str:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(json.dumps(what) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())["node"]


def main() -> None:
    """Keeps the cluster until stdin ends."""
    from ray.cluster_utils import Cluster as Nodes

    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what Ray prints is no answer
    dashboard = {"include_dashboard": sys.argv[1] == "1", "dashboard_port": free_port()}
    own = {"dashboard_agent_listen_port": free_port()}  # where the head takes jobs
    nodes = Nodes(
        initialize_head=True, head_node_args={"num_cpus": 0, "num_gpus": 0, **dashboard, **own}
    )
    by_id: dict[str, Any] = {}
    up = {"address": nodes.address, "dashboard": nodes.head_node.address_info["webui_url"]}
    answers.write(json.dumps(up) + "\n")
    for line in sys.stdin:
        told = json.loads(line)
        if "add" in told:
            node = nodes.add_node(num_cpus=told["add"], num_gpus=0)
            by_id[node.node_id] = node
            answers.write(json.dumps({"node": node.node_id}) + "\n")
        else:
            if (node := by_id.pop(told["remove"], None)) is not None:
                nodes.remove_node(node, allow_graceful=told["says_so"])
            answers.write(json.dumps({"node": told["remove"]}) + "\n")
    nodes.shutdown()


if __name__ == "__main__":
    main()
