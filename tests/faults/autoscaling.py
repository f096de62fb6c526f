"""Runs a study on a cluster that has no worker until trials wait: `python -m ... FILE RESULTS`.

Its nodes are processes that Ray's own autoscaler starts, by the provider with which Ray tests it.
Nothing ends them with their starter, unless that is the first process of a PID namespace.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.faults.cluster import free_port

BIN = Path(sys.executable).parent
LISTS = (
    *("cluster_synced_files", "initialization_commands", "rsync_exclude", "rsync_filter"),
    *(f"{part}setup_commands" for part in ("", "head_", "worker_")),
    *(f"{part}_start_ray_commands" for part in ("head", "worker")),
)
"""What the launcher would fill in."""
CONFIG: dict[str, Any] = {
    "cluster_name": "nodes-that-come",
    "max_workers": 2,
    "idle_timeout_minutes": 1,
    "upscaling_speed": 1.0,
    "file_mounts": {},
    "docker": {},
    "auth": {},
    **dict.fromkeys(LISTS, ()),
    "head_node_type": "ray.head.default",
    "available_node_types": {
        "ray.head.default": {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0},
        "worker": {
            "resources": {"CPU": 1},
            "node_config": {},
            "min_workers": 0,
            "max_workers": 2,
        },
    },
}


def main() -> None:
    """Ends with the study's exit code."""
    assert os.getpid() == 1, "what it starts would stay"
    port = free_port()
    provider = {
        "type": "fake_multinode",
        "gcs_address": f"127.0.0.1:{port}",
        "launch_multiple": True,
        "disable_node_updaters": True,  # a node is ready as it is
    }
    with tempfile.NamedTemporaryFile("w", suffix=".json") as config:
        json.dump(CONFIG | {"provider": provider}, config)
        config.flush()
        start = [BIN / "ray", "start", "--head", "--num-cpus=0", f"--port={port}"]
        quick = {"AUTOSCALER_UPDATE_INTERVAL_S": "1", "RAY_FAKE_CLUSTER": "1"}
        subprocess.run(
            [*start, f"--autoscaling-config={config.name}", "--include-dashboard=false"],
            env=os.environ | quick,
            check=True,
        )
        run = [BIN / "batchgap", "run", *sys.argv[1:], "--address", "auto"]
        sys.exit(subprocess.run(run).returncode)


if __name__ == "__main__":
    main()
