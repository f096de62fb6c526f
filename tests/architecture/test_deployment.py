"""cluster.yaml and deploy/ keep step with Ray, KubeRay, constraints.txt and each other, offline.

What starts machines is not run here. `rayjob-fields.json` says what KubeRay takes; Ray's own
validator says what its launcher takes.
"""

from __future__ import annotations

import copy
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "deploy" / "Dockerfile").read_text()
CLUSTER_TEXT = (ROOT / "cluster.yaml").read_text()
CLUSTER: dict[str, Any] = YAML(typ="safe").load(CLUSTER_TEXT)
JOB: dict[str, Any] = YAML(typ="safe").load((ROOT / "deploy" / "rayjob.yaml").read_text())
JOB_CLUSTER = JOB["spec"]["rayClusterSpec"]
HEAD_POD = JOB_CLUSTER["headGroupSpec"]["template"]["spec"]
POD_SPECS = [
    HEAD_POD,
    *(group["template"]["spec"] for group in JOB_CLUSTER["workerGroupSpecs"]),
]


def known_fields() -> dict[str, dict[str, Any]]:
    data = json.loads(Path(__file__).with_name("rayjob-fields.json").read_text())
    pods = {
        f"{template}.{path}": field
        for template in data["templates"]
        for path, field in data["pod"].items()
    }
    return data["fields"] | pods


FIELDS = known_fields()


# ------------------------------------------------------------------------------------- RayJob


def is_a(value: Any, kind: str) -> bool:
    classes = {
        "object": dict,
        "array": list,
        "string": str,
        "boolean": bool,
        "integer": int,
        "number": int | float,
        "int-or-string": int | str,
    }
    return isinstance(value, classes[kind]) and (kind == "boolean" or not isinstance(value, bool))


def problems(value: Any, path: str = "spec") -> Iterator[str]:
    """What KubeRay's schema refuses of a value, each with its path."""
    field = FIELDS.get(path)
    if field is None:
        yield f"{path}: unknown"
        return
    if not is_a(value, field["type"]):
        yield f"{path}: {value!r} is no {field['type']}"
        return
    if value not in field.get("enum", [value]):
        yield f"{path}: {value!r} is none of {field['enum']}"
    if isinstance(value, dict):
        yield from (
            f"{path}.{key}: missing" for key in field.get("required", ()) if key not in value
        )
        is_map = f"{path}{{}}" in FIELDS
        for key, inner in value.items():
            yield from problems(inner, f"{path}{{}}" if is_map else f"{path}.{key}")
    if isinstance(value, list):
        for inner in value:
            yield from problems(inner, f"{path}[]")


def test_the_job_has_known_fields_only() -> None:
    assert JOB.keys() == {"apiVersion", "kind", "metadata", "spec"}
    assert (JOB["apiVersion"], JOB["kind"]) == ("ray.io/v1", "RayJob")
    assert JOB["metadata"].keys() == {"name"}
    assert list(problems(JOB["spec"])) == []


def head(spec: dict[str, Any]) -> dict[str, Any]:
    return spec["rayClusterSpec"]["headGroupSpec"]


def pod(spec: dict[str, Any]) -> dict[str, Any]:
    return head(spec)["template"]["spec"]


Change = Callable[[dict[str, Any]], Any]


@pytest.mark.parametrize(
    ("change", "found"),
    [
        pytest.param(
            lambda spec: spec.update(backoffLimits=spec.pop("backoffLimit")),
            "spec.backoffLimits: unknown",
            id="misspelt",
        ),
        pytest.param(
            lambda spec: pod(spec)["containers"][0].update(volumemounts=[]),
            "spec.rayClusterSpec.headGroupSpec.template.spec.containers[].volumemounts: unknown",
            id="misspelt below a list",
        ),
        pytest.param(
            lambda spec: head(spec)["rayStartParams"].update({"num-cpus": 0}),
            "spec.rayClusterSpec.headGroupSpec.rayStartParams{}: 0 is no string",
            id="number for text",
        ),
        pytest.param(
            lambda spec: spec.update(backoffLimit=True),
            "spec.backoffLimit: True is no integer",
            id="truth for number",
        ),
        pytest.param(
            lambda spec: pod(spec).update(volumes={"name": "shared"}),
            "spec.rayClusterSpec.headGroupSpec.template.spec.volumes: "
            "{'name': 'shared'} is no array",
            id="mapping for list",
        ),
        pytest.param(
            lambda spec: spec["rayClusterSpec"]["workerGroupSpecs"][0].pop("minReplicas"),
            "spec.rayClusterSpec.workerGroupSpecs[].minReplicas: missing",
            id="missing",
        ),
        pytest.param(
            lambda spec: spec["rayClusterSpec"]["authOptions"].update(mode="Token"),
            "spec.rayClusterSpec.authOptions.mode: 'Token' is none of ['disabled', 'token']",
            id="value of no enumeration",
        ),
    ],
)
def test_a_mistake_in_the_job_is_found(change: Change, found: str) -> None:
    spec = copy.deepcopy(JOB["spec"])
    change(spec)
    assert list(problems(spec)) == [found]


def test_the_operator_takes_the_job() -> None:
    """What KubeRay 1.7 refuses beyond its schema: ValidateRayJobSpec, ValidateRayClusterSpec."""
    assert JOB["spec"]["submissionMode"] == "K8sJobMode"
    assert JOB["spec"]["shutdownAfterJobFinishes"], "ttlSecondsAfterFinished needs it"
    assert JOB_CLUSTER["authOptions"] == {"mode": "token"}, "no other kind works for a RayJob"
    assert tuple(map(int, JOB_CLUSTER["rayVersion"].split("."))) >= (2, 52), "tokens need it"
    assert JOB_CLUSTER["autoscalerOptions"]["version"] == "v2"
    assert all(spec["restartPolicy"] == "Never" for spec in POD_SPECS), "autoscaler v2 needs it"


def test_the_job_starts_no_worker_that_no_trial_asks_for() -> None:
    assert JOB_CLUSTER["enableInTreeAutoscaling"]
    assert JOB_CLUSTER["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    for group in JOB_CLUSTER["workerGroupSpecs"]:
        assert (group["replicas"], group["minReplicas"]) == (0, 0)
        [container] = group["template"]["spec"]["containers"]
        assert container["resources"]["limits"]["nvidia.com/gpu"] == 1


def test_all_pods_share_one_image_and_run_without_privileges() -> None:
    containers = [container for spec in POD_SPECS for container in spec["containers"]]
    assert len({container["image"] for container in containers}) == 1
    assert all(spec["securityContext"]["runAsNonRoot"] for spec in POD_SPECS)
    for holder in [*containers, JOB_CLUSTER["autoscalerOptions"]]:
        assert holder["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
        }


# ------------------------------------------------------------------------------- cluster.yaml

VALIDATE = """
import json, socket, sys

def refuse(*_):
    raise AssertionError("the network was asked")

socket.socket.connect = socket.create_connection = refuse
sys.modules["boto3"] = None  # as where it is not installed

from ray.autoscaler._private.util import prepare_config, validate_config

said = {}
for name, config in json.load(sys.stdin).items():
    try:
        validate_config(prepare_config(config))
        said[name] = "valid"
    except Exception as error:
        said[name] = f"{type(error).__name__}: {error}"
print(json.dumps(said))
"""


def test_ray_takes_the_cluster_file_and_refuses_a_misspelt_key() -> None:
    """In a process of its own: what Ray reads of the environment when imported is not ours."""
    misspelt = CLUSTER | {"idle_timeout_minute": 15}
    misspelt_type = copy.deepcopy(CLUSTER)
    misspelt_type["available_node_types"]["gpu-worker"]["min_worker"] = 0
    run = subprocess.run(
        [sys.executable, "-c", VALIDATE],
        input=json.dumps({"ours": CLUSTER, "top": misspelt, "node type": misspelt_type}),
        capture_output=True,
        text=True,
        check=True,
    )
    said = json.loads(run.stdout.splitlines()[-1])  # after what Ray warns of
    assert said["ours"] == "valid"
    assert said["top"].startswith("ValidationError: Additional properties are not allowed")
    assert "idle_timeout_minute" in said["top"]
    assert "min_worker" in said["node type"]


def test_the_cluster_starts_no_worker_that_no_trial_asks_for() -> None:
    types = CLUSTER["available_node_types"]
    assert types[CLUSTER["head_node_type"]]["resources"] == {"CPU": 0}
    workers = [types[name] for name in types if name != CLUSTER["head_node_type"]]
    assert workers
    for worker in workers:
        assert worker["min_workers"] == 0
        assert worker["resources"]["GPU"] == 1
        assert worker["node_config"]["InstanceMarketOptions"] == {"MarketType": "spot"}
    assert not CLUSTER["provider"]["cache_stopped_nodes"]


def test_every_node_starts_ray_closed_and_from_the_environment() -> None:
    commands = [*CLUSTER["head_start_ray_commands"], *CLUSTER["worker_start_ray_commands"]]
    starts = [command for command in commands if "ray start" in command]
    assert len(starts) == 2
    for start in starts:
        assert start.startswith("source ~/environment/bin/activate && ")
        assert re.search(r"RAY_AUTH_MODE=token (\w+=\w+ )*ray start ", start)
    assert "--dashboard-host=127.0.0.1 " in starts[0]
    assert CLUSTER["file_mounts"]["/home/ubuntu/.ray/auth_token"] == "~/.ray/auth_token"
    assert "chmod 600 ~/.ray/auth_token" in CLUSTER["setup_commands"][0]


def test_every_install_is_constrained_and_has_its_files() -> None:
    lines = [*CLUSTER["setup_commands"], *CLUSTER["head_setup_commands"]]
    installs = [line for line in lines if "pip install" in line]
    assert installs
    assert all("--constraint ~/batchgap/constraints.txt" in line for line in installs)
    assert "pip install --no-cache-dir --constraint constraints.txt ." in DOCKERFILE

    home = "/home/ubuntu/batchgap/"
    mounted = {
        local: remote.removeprefix(home)
        for remote, local in CLUSTER["file_mounts"].items()
        if remote.startswith(home)
    }
    copies = [line.split() for line in DOCKERFILE.splitlines() if line.startswith("COPY ")]
    copied = {name for _, _owner, *names, _target in copies for name in names}
    seen = set(re.findall(r"^!(\S+)", (ROOT / "deploy/Dockerfile.dockerignore").read_text(), re.M))
    assert mounted == {name: name for name in copied}
    assert seen == copied
    assert all((ROOT / name).exists() for name in copied)


# ---------------------------------------------------------------------------- with each other


def test_one_version_of_ray() -> None:
    [pinned] = re.findall(r"^ray==(\S+)", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    assert re.findall(r"^FROM rayproject/ray:(\S+)-py311$", DOCKERFILE, re.MULTILINE) == [pinned]
    assert JOB_CLUSTER["rayVersion"] == pinned


def test_results_lie_on_the_folder_that_all_nodes_share() -> None:
    entrypoint = JOB["spec"]["entrypoint"]
    assert entrypoint in CLUSTER_TEXT, "the header submits the same command"
    [results] = re.findall(r"--results (\S+)", entrypoint)
    shared = str(Path(results).parent)
    assert entrypoint.split()[2].startswith(f"{shared}/")

    mounts = [line for line in CLUSTER["setup_commands"] if "mount -t nfs4" in line]
    assert [re.findall(r"(/\w+)\)$", line) for line in mounts] == [[shared]]
    for spec in POD_SPECS:
        [volume] = spec["volumes"]
        assert volume["persistentVolumeClaim"] == {"claimName": "batchgap-shared"}
        [container] = spec["containers"]
        assert container["volumeMounts"] == [{"name": volume["name"], "mountPath": shared}]
